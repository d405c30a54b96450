"""A pull scanner for JSON that knows where it is.

Elasticsearch reads bodies token by token, so the first thing wrong *in reading order* decides its answer, and every
message carries ``[line:column]``. This scanner reads the same way: field names together with the first character of
their value, numbers and literals at once, strings only when somebody asks for them. Accepted beyond JSON: a leading
byte order mark and ``/* */`` and ``//`` comments. Columns count bytes, from 1.

It costs microseconds a value. Good bodies are read by the library (``json_values``) and never come here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from sidecar.core.errors import OtherError, XContentParseError
from sidecar.wire.json_text import (
    CONTAINER_COUNTS_AS,
    IN_NAME,
    MAX_VALUES,
    PLAIN_VALUE,
    JsonText,
    beyond,
    too_many_items,
    too_many_values,
)
from sidecar.wire.json_values import MAX_DEPTH
from sidecar.wire.token_reader import Token

_VALUES_BETWEEN_LOOKS = 1000
# What Elasticsearch allows.
MAX_PARSED_DEPTH = 1000

_LITERALS: dict[int, tuple[bytes, Any]] = {
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
    ord("n"): (b"null", None),
}


class JsonScanner(JsonText):
    """Reads ``data`` token by token.

    ``names_end_of_input`` is false for generations that report a truncated text as an ordinary parse error.
    ``patience`` bounds the seconds spent: a text that takes longer is refused without a place. ``most_items`` bounds
    the values of one array.
    """

    def __init__(
        self,
        data: bytes,
        *,
        names_end_of_input: bool = True,
        patience: float = 3.0,
        most_items: int | None = None,
    ) -> None:
        super().__init__(data, names_end_of_input=names_end_of_input, patience=patience)
        self._most_items = MAX_VALUES if most_items is None else most_items
        self._open: list[_Container] = []
        self._pending: tuple[Token, int] | None = None
        self._start = -1
        self._unread_string = False
        self._value: Any = None
        self._left = self._next_look = MAX_VALUES
        self.token: Token | None = None
        self.name = ""

    # --- where we are ------------------------------------------------------------------------------------

    @property
    def location(self) -> str:
        """``line:column`` of the current token; ``1:0`` before the first and for a blank text."""
        return "1:0" if self._start < 0 else self._position(self._start)

    # --- tokens ------------------------------------------------------------------------------------------

    def next(self) -> Token | None:
        """The next token, ``None`` at the end of the text; raises ``XContentParseError``."""
        if self._pending is not None:
            token, start = self._pending
            self._pending = None
            self._enter(token, start)  # what it raises is told at the name
            self.token, self._start = token, start
            return token
        if self._unread_string:
            self._finish_string()
        char = self._skip_blank()
        if char < 0:
            if self._open:
                container = self._open[-1]
                self._fail_at_end(
                    f": expected close marker for {container.kind} (start marker at {self._source(container.start)})"
                )
            self.token, self._start = None, -1
            return None
        if char in b"]}":
            return self._close(char)
        self._next_entry(char)
        return self.token

    def _next_entry(self, char: int) -> None:
        container = self._open[-1] if self._open else None
        if container is not None and container.entries:
            if char != ord(","):
                self._fail_on(char, f"was expecting comma to separate {container.kind} entries")
            self._at += 1
            char = self._skip_blank()
            if char < 0:
                self._fail(f"Unexpected end-of-input within/between {container.kind} entries", len(self._data))
        if container is not None:
            container.entries += 1
        if container is None or container.kind == "Array":
            if container is not None and container.entries > self._most_items:
                raise too_many_items(self._most_items)
            self._start = self._at
            self.token, self._start = self._value_token(char)
            self._enter(self.token, self._start)
            return
        name_start = self._at
        self._read_name(char, container)
        self.token, self._start = Token.FIELD_NAME, name_start
        self._skip_colon()
        value_char = self._skip_blank()
        if value_char < 0:
            self._fail_at_end(" within/between Object entries")
        self._pending = self._value_token(value_char)

    def _enter(self, token: Token, start: int) -> None:
        if token in (Token.START_OBJECT, Token.START_ARRAY):
            if len(self._open) >= MAX_PARSED_DEPTH:
                raise beyond("Document nesting depth", len(self._open) + 1, MAX_PARSED_DEPTH, "getMaxNestingDepth")
            self._left -= CONTAINER_COUNTS_AS
            self._open.append(_Container("Object" if token is Token.START_OBJECT else "Array", start))

    def _close(self, char: int) -> Token:
        token, kind = (Token.END_ARRAY, "Array") if char == ord("]") else (Token.END_OBJECT, "Object")
        self._start = self._at
        if not self._open or self._open[-1].kind != kind:
            opened = self._open[-1] if self._open else _Container("root", -1)
            expected = "]" if kind == "Object" else "}"
            self._fail(
                f"Unexpected close marker '{chr(char)}': expected '{expected}' "
                f"(for {opened.kind} starting at {self._source(opened.start)})",
                self._at,
            )
        self._open.pop()
        self.token = token
        self._at += 1
        return token

    def _value_token(self, char: int) -> tuple[Token, int]:
        start = self._at
        self._left -= 1
        if self._left < self._next_look:
            self._check_limits()
        if char == ord('"'):
            self._at += 1
            self._unread_string = True
            return Token.STRING, start
        if char in b"{[":
            self._at += 1
            return (Token.START_OBJECT if char == ord("{") else Token.START_ARRAY), start
        if char == ord("-") or ord("0") <= char <= ord("9"):
            self._value = self._read_number(is_root=not self._open)
            return Token.NUMBER, start
        if char in _LITERALS:
            text, value = _LITERALS[char]
            self._match(text)
            self._value = value
            return (Token.NULL if value is None else Token.BOOLEAN), start
        self._fail_on_value(char)

    def _check_limits(self) -> None:
        self._next_look = self._left - _VALUES_BETWEEN_LOOKS
        if self._left <= 0:
            raise too_many_values()
        self._check_patience()

    # --- values ------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The current value as text; raises ``XContentParseError`` or ``OtherError`` where there is no text."""
        if self.token is Token.STRING:
            if self._unread_string:
                self._finish_string()
            return str(self._value)
        if self.token is Token.NUMBER:
            return self.number_text(self._start)
        if self.token is Token.BOOLEAN:
            return "true" if self._value else "false"
        found = "null" if self.token is None else self.token.value
        raise OtherError("illegal_argument_exception", f"Expected text at {self.location} but found {found}")

    def leading_texts(self) -> list[str]:
        """The strings without escapes and the whole numbers that the array which has just begun begins with."""
        return self._leading(lambda text, number: (number if text is None else text).decode())

    def _leading(self, read: Callable[[bytes | None, bytes], Any]) -> list[Any]:
        """Such values as long as each has a comma behind it; the last comma is left to be read."""
        data, at, left, match = self._data, self._at, self._left, PLAIN_VALUE.match
        items: list[Any] = []
        while left > 0 and len(items) < self._most_items and (found := match(data, at)):
            try:
                items.append(read(found[1], found[2]))
            except UnicodeDecodeError:
                break
            at = found.end()
            left -= 1
            if left < self._next_look:
                self._left = left
                self._check_limits()
        if items:
            self._at, self._left = at - 1, left
            self._open[-1].entries += len(items)
        return items

    def number(self) -> int | float:
        """The current number."""
        assert isinstance(self._value, (int, float)) and self.token is Token.NUMBER  # noqa: S101
        return self._value

    def boolean(self) -> bool:
        """The current ``true`` or ``false``."""
        return self._value is True

    def value(self) -> Any:
        """The whole value that begins with the current token, as Python objects; raises what is too deep for them."""
        if len(self._open) > MAX_DEPTH:
            while len(self._open) > MAX_DEPTH and self.next():
                pass
            text = f"Document nesting depth ({MAX_DEPTH + 1}) exceeds the maximum allowed ({MAX_DEPTH})"
            raise XContentParseError(text, cause=OtherError("stream_constraints_exception", text))
        match self.token:
            case Token.START_OBJECT:
                result: dict[str, Any] = {}
                while self.next() is not Token.END_OBJECT:
                    name = self.name
                    self.next()
                    result[name] = self.value()
                return result
            case Token.START_ARRAY:
                items = self._leading(lambda text, number: int(number) if text is None else text.decode())
                while self.next() is not Token.END_ARRAY:
                    items.append(self.value())
                return items
            case Token.STRING:
                return self.text()
            case _:
                return self._value

    def refuse_number(self, message: str) -> NoReturn:
        """Raises ``XContentParseError`` with the place behind the current number."""
        self._fail(message, self._at, "input_coercion_exception")

    def _read_name(self, char: int, container: _Container) -> None:
        if char != ord('"'):
            self._fail_on_name(char)
        self._at += 1
        self.name = self._read_string(IN_NAME)
        if self.name in container.names:
            self._fail(f"Duplicate field '{self.name}'", self._at)
        container.names.add(self.name)

    def _finish_string(self) -> None:
        self._unread_string = False
        self._value = self._read_string(" in VALUE_STRING")


class _Container:
    """An open object or array: where it began, how many values and which names it has."""

    __slots__ = ("entries", "kind", "names", "start")

    def __init__(self, kind: str, start: int) -> None:
        self.kind = kind
        self.start = start
        self.entries = 0
        self.names: set[str] = set()
