"""Server-sent events, read incrementally. Source: WHATWG HTML standard, "Server-sent events"."""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is ``message`` unless the stream names another."""

    name: str
    data: str


class EventDecoder:
    """Feeds on bytes cut anywhere (also inside a character) and yields whole events; comments are skipped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        self._text += self._decoder.decode(data)
        events: list[Event] = []
        while True:
            cut = self._line_end()
            if cut is None:
                return events
            line, self._text = self._text[: cut[0]], self._text[cut[1] :]
            if (event := self._take(line.removeprefix("\ufeff"))) is not None:
                events.append(event)

    def finish(self) -> list[Event]:
        """The event that was not ended by a blank line, if any: some providers leave the last one open."""
        line, self._text = self._text, ""
        last = [self._take(line)] if line else []
        return [event for event in [*last, self._take("")] if event is not None]

    def _line_end(self) -> tuple[int, int] | None:
        newline, carriage = self._text.find("\n"), self._text.find("\r")
        if carriage >= 0 and (newline < 0 or carriage < newline):
            if carriage + 1 == len(self._text):
                return None  # the \n of a \r\n may still be on its way
            return carriage, carriage + (2 if newline == carriage + 1 else 1)
        return None if newline < 0 else (newline, newline + 1)

    def _take(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return None
