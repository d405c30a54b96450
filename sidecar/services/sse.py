"""Server-sent events, read incrementally. Source: WHATWG HTML standard, "Server-sent events"."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``name`` is ``message`` unless the stream names another."""

    name: str
    data: str


class EventDecoder:
    """Feeds on bytes cut anywhere (also inside a character) and yields whole events.

    Comments are skipped, and events without data or with blank data: some providers send them to keep the connection.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._after_carriage = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        text = self._decoder.decode(data)
        if self._after_carriage and text:
            # the line ended with the \r already
            text, self._after_carriage = text.removeprefix("\n"), False
        events: list[Event] = []
        start = 0
        for end in _LINE_END.finditer(text):
            self._line.append(text[start : end.start()])
            start = end.end()
            self._after_carriage = start == len(text) and end[0] == "\r"
            if (event := self._end_line()) is not None:
                events.append(event)
        if start < len(text):
            self._line.append(text[start:])
        return events

    def finish(self) -> list[Event]:
        """The event that was not ended by a blank line, if any: some providers leave the last one open."""
        self._line.append(self._decoder.decode(b"", final=True))
        last = [self._end_line(), self._take("")]
        return [event for event in last if event is not None]

    def _end_line(self) -> Event | None:
        line = "".join(self._line).removeprefix("\ufeff")
        self._line.clear()
        return self._take(line)

    def _take(self, line: str) -> Event | None:
        if not line:
            data, name = "\n".join(self._data), self._name
            self._name, self._data = "", []
            return Event(name or "message", data) if data and not data.isspace() else None
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        return None
