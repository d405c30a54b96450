"""JSON objects, one a line, read incrementally: the streams of Ollama."""

from __future__ import annotations

from collections.abc import Iterator


class LineDecoder:
    """Feeds on bytes cut anywhere and yields whole lines without their ends; blank ones are skipped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[str]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield from self._line(line)
        if rest:
            self._rest.append(rest)

    def finish(self) -> Iterator[str]:
        """The last line, where nothing ended it."""
        yield from self._line(b"")

    def _line(self, end: bytes) -> Iterator[str]:
        line = b"".join([*self._rest, end])
        self._rest.clear()
        if text := line.decode("utf-8", "replace").strip():
            yield text
