"""A pull scanner for JSON that knows where it is.

Elasticsearch reads bodies token by token, so the first thing wrong *in reading order* decides its answer, and every
message carries ``[line:column]``. This scanner reads the same way: field names together with the first character of
their value, numbers and literals at once, strings only when somebody asks for them. Accepted beyond JSON: a leading
byte order mark and ``/* */`` and ``//`` comments. Columns count bytes, from 1.

Fast paths parse with the standard library and come here only when something looks wrong.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, NoReturn

from sidecar.core.errors import OtherError, XContentParseError

# Below Python's own limit of nested calls; Elasticsearch allows 1000.
MAX_DEPTH = 400
MAX_NUMBER_LENGTH = 1000

_BLANK = re.compile(rb"[ \t\r\n]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN_STRING = re.compile(rb'[^"\\\x00-\x1f]*')
_AFTER_ROOT_VALUE = (b"", b" ", b"\t", b"\r", b"\n")
_NAME_PART = re.compile(rb"[A-Za-z0-9_$]|[\x80-\xff]")
_ESCAPES = {b'"': '"', b"\\": "\\", b"/": "/", b"b": "\b", b"f": "\f", b"n": "\n", b"r": "\r", b"t": "\t"}
_LITERALS: dict[int, tuple[bytes, Any]] = {
    ord("t"): (b"true", True),
    ord("f"): (b"false", False),
    ord("n"): (b"null", None),
}
_VALID_VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"


class Token(StrEnum):
    """Kinds of tokens; the values are the names Elasticsearch prints."""

    FIELD_NAME = "FIELD_NAME"
    STRING = "VALUE_STRING"
    NUMBER = "VALUE_NUMBER"
    BOOLEAN = "VALUE_BOOLEAN"
    NULL = "VALUE_NULL"
    START_OBJECT = "START_OBJECT"
    END_OBJECT = "END_OBJECT"
    START_ARRAY = "START_ARRAY"
    END_ARRAY = "END_ARRAY"

    @property
    def is_value(self) -> bool:
        """True for strings, numbers and booleans; ``null`` and containers are no values."""
        return self in (Token.STRING, Token.NUMBER, Token.BOOLEAN)


class EndOfInputError(XContentParseError):
    """The text ends inside an object, array or string."""

    type = "x_content_e_o_f_exception"


class JsonScanner:
    """Reads ``data`` token by token.

    ``names_end_of_input`` is false for generations that report a truncated text as an ordinary parse error.
    """

    def __init__(self, data: bytes, *, names_end_of_input: bool = True) -> None:
        self._data = data
        self._names_end_of_input = names_end_of_input
        self._at = 3 if data.startswith(b"\xef\xbb\xbf") else 0
        self._open: list[_Container] = []
        self._pending: tuple[Token, int] | None = None
        self._start = -1
        self._unread_string = False
        self._value: Any = None
        self.token: Token | None = None
        self.name = ""

    # --- where we are ------------------------------------------------------------------------------------

    @property
    def location(self) -> str:
        """``line:column`` of the current token; ``1:0`` before the first and for a blank text."""
        return "1:0" if self._start < 0 else self._position(self._start)

    def _position(self, offset: int) -> str:
        before = self._data[:offset].replace(b"\r\n", b" \n").replace(b"\r", b"\n")
        return f"{before.count(10) + 1}:{offset - before.rfind(10)}"

    # --- tokens ------------------------------------------------------------------------------------------

    def next(self) -> Token | None:
        """The next token, ``None`` at the end of the text; raises ``XContentParseError``."""
        if self._pending is not None:
            self.token, self._start = self._pending
            self._pending = None
            self._enter()
            return self.token
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
        if container is not None and container.has_entries:
            if char != ord(","):
                self._fail_on(char, f"was expecting comma to separate {container.kind} entries")
            self._at += 1
            char = self._skip_blank()
            if char < 0:
                self._fail(f"Unexpected end-of-input within/between {container.kind} entries", len(self._data))
        if container is not None:
            container.has_entries = True
        if container is None or container.kind == "Array":
            self._start = self._at
            self.token, self._start = self._value_token(char)
            self._enter()
            return
        name_start = self._at
        self._read_name(char, container)
        self.token, self._start = Token.FIELD_NAME, name_start
        self._skip_colon()
        value_char = self._skip_blank()
        if value_char < 0:
            self._fail_at_end(" within/between Object entries")
        self._pending = self._value_token(value_char)

    def _enter(self) -> None:
        if self.token in (Token.START_OBJECT, Token.START_ARRAY):
            self._open.append(_Container("Object" if self.token is Token.START_OBJECT else "Array", self._start))
            if len(self._open) > MAX_DEPTH:
                text = f"Document nesting depth ({len(self._open)}) exceeds the maximum allowed ({MAX_DEPTH})"
                raise XContentParseError(text, cause=OtherError("stream_constraints_exception", text))

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
        if char == ord('"'):
            self._at += 1
            self._unread_string = True
            return Token.STRING, start
        if char in b"{[":
            self._at += 1
            return (Token.START_OBJECT if char == ord("{") else Token.START_ARRAY), start
        if char == ord("-") or ord("0") <= char <= ord("9"):
            self._value = self._read_number()
            return Token.NUMBER, start
        if char in _LITERALS:
            text, value = _LITERALS[char]
            self._match(text)
            self._value = value
            return (Token.NULL if value is None else Token.BOOLEAN), start
        self._fail_on_value(char)

    # --- values ------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The current value as text; raises ``XContentParseError`` or ``OtherError`` where there is no text."""
        if self.token is Token.STRING:
            if self._unread_string:
                self._finish_string()
            return str(self._value)
        if self.token is Token.NUMBER:
            match = _NUMBER.match(self._data, self._start)
            return match.group().decode() if match else str(self._value)
        if self.token is Token.BOOLEAN:
            return "true" if self._value else "false"
        found = "null" if self.token is None else self.token.value
        raise OtherError("illegal_argument_exception", f"Expected text at {self.location} but found {found}")

    def number(self) -> int | float:
        """The current number."""
        assert isinstance(self._value, (int, float)) and self.token is Token.NUMBER  # noqa: S101
        return self._value

    def boolean(self) -> bool:
        """The current ``true`` or ``false``."""
        return self._value is True

    def value(self) -> Any:
        """The whole value that begins with the current token, as Python objects."""
        match self.token:
            case Token.START_OBJECT:
                result: dict[str, Any] = {}
                while self.next() is not Token.END_OBJECT:
                    name = self.name
                    self.next()
                    result[name] = self.value()
                return result
            case Token.START_ARRAY:
                items = []
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

    # --- pieces ------------------------------------------------------------------------------------------

    def _skip_blank(self) -> int:
        """Skips blanks and comments; the next byte (not consumed), or -1 at the end."""
        data = self._data
        while True:
            match = _BLANK.match(data, self._at)
            if match is not None:
                self._at = match.end()
            if self._at >= len(data):
                return -1
            char = data[self._at]
            if char == ord("/"):
                self._skip_comment()
            elif char < 0x20:
                self._fail(
                    f"Illegal character ((CTRL-CHAR, code {char})): "
                    "only regular white space (\\r, \\n, \\t) is allowed between tokens",
                    self._at + 1,
                )
            else:
                return char

    def _skip_comment(self) -> None:
        marker = self._data[self._at + 1 : self._at + 2]
        if not marker:
            self._fail_at_end(" in a comment")
        if marker == b"*":
            end = self._data.find(b"*/", self._at + 2)
            if end < 0:
                self._fail_at_end(" in a comment")
            self._at = end + 2
        elif marker == b"/":
            match = re.compile(rb"[^\r\n]*").match(self._data, self._at)
            self._at = match.end() if match else len(self._data)
        else:
            self._at += 1
            self._fail_on(marker[0], "was expecting either '*' or '/' for a comment")

    def _skip_colon(self) -> None:
        char = self._skip_blank()
        if char < 0:
            self._fail_at_end(" within/between Object entries")
        if char != ord(":"):
            self._fail_on(char, "was expecting a colon to separate field name and value")
        self._at += 1

    def _read_name(self, char: int, container: _Container) -> None:
        if char != ord('"'):
            self._fail_on(char, "was expecting double-quote to start field name")
        self._at += 1
        self.name = self._read_string(" in field name")
        if self.name in container.names:
            self._fail(f"Duplicate field '{self.name}'", self._at)
        container.names.add(self.name)

    def _finish_string(self) -> None:
        self._unread_string = False
        self._value = self._read_string(" in VALUE_STRING")

    def _read_string(self, where: str) -> str:
        """The string whose opening quote was consumed; consumes the closing one."""
        parts: list[str] = []
        while True:
            match = _PLAIN_STRING.match(self._data, self._at)
            if match is not None:
                parts.append(self._decode(match.start(), match.end()))
                self._at = match.end()
            char = self._data[self._at : self._at + 1]
            if not char:
                self._fail_at_end(where)
            if char == b'"':
                self._at += 1
                return _joined(parts)
            if char != b"\\":
                self._fail(
                    f"Illegal unquoted character ((CTRL-CHAR, code {char[0]})): "
                    "has to be escaped using backslash to be included in string value",
                    self._at,
                )
            parts.append(self._read_escape(where))

    def _decode(self, start: int, end: int) -> str:
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError as error:
            first, wrong = start + error.start, start + error.end
            if error.reason == "invalid start byte":
                self._fail(f"Invalid UTF-8 start byte 0x{self._data[first]:x}", first + 1)
            byte = self._data[wrong] if wrong < len(self._data) else 0
            self._fail(f"Invalid UTF-8 middle byte 0x{byte:x}", wrong + 1)

    def _read_escape(self, where: str) -> str:
        char = self._data[self._at + 1 : self._at + 2]
        if not char:
            self._at += 1
            self._fail_at_end(where)
        self._at += 2
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char != b"u":
            shown = self._data[self._at - 1 :][:4].decode(errors="replace")[0]
            self._fail(f"Unrecognized character escape '{shown}' (code {ord(shown)})", self._at - 1)
        for digit in range(4):
            digits = self._data[self._at + digit : self._at + digit + 1]
            if not digits:
                self._fail_at_end(where)
            if digits not in b"0123456789abcdefABCDEF":
                self._at += digit
                self._fail_on(digits[0], "expected a hex-digit for character escape sequence")
        code = int(self._data[self._at : self._at + 4], 16)
        self._at += 4
        return chr(code)

    def _read_number(self) -> int | float:
        data, start = self._data, self._at
        match = _NUMBER.match(data, start)
        if match is None:
            self._at = start + 1
            self._fail_on_number("expected digit (0-9) to follow minus sign, for valid numeric value")
        self._at = match.end()
        following = data[self._at : self._at + 1]
        is_whole = match.group(1) is None and match.group(2) is None
        if is_whole and following.isdigit():
            self._fail("Invalid numeric value: Leading zeroes not allowed", self._at)
        if following == b"." and is_whole:
            self._at += 1
            self._fail_on_number("Decimal point not followed by a digit")
        if following in (b"e", b"E") and match.group(2) is None:
            self._at += 2 if data[self._at + 1 : self._at + 2] in (b"+", b"-") else 1
            self._fail_on_number("Exponent indicator not followed by a digit")
        if not self._open and following not in _AFTER_ROOT_VALUE:
            self._fail("Expected space separating root-level values", self._at)
        text = match.group()
        if len(text) > MAX_NUMBER_LENGTH:
            message = f"Number value length ({len(text)}) exceeds the maximum allowed ({MAX_NUMBER_LENGTH})"
            raise XContentParseError(message, cause=OtherError("stream_constraints_exception", message))
        return int(text) if is_whole else float(text)

    def _match(self, text: bytes) -> None:
        start = self._at
        length = 1
        while length < len(text) and self._data[start + length : start + length + 1] == text[length : length + 1]:
            length += 1
        if length == len(text) and not _NAME_PART.match(self._data, start + length):
            self._at = start + length
            return
        self._fail_on_token(start, start + length)

    # --- failures ----------------------------------------------------------------------------------------

    def _fail_on_value(self, char: int) -> NoReturn:
        for text in (b"NaN", b"Infinity"):
            if char == text[0]:
                self._match(text)
                self._fail(
                    f"Non-standard token '{text.decode()}': not a number of JSON",
                    self._at,
                )
        if char == ord("+"):
            self._at += 1
            self._fail_on_number("JSON spec does not allow numbers to have plus signs")
        if char in b",]}":
            self._fail_on(char, "expected a value")
        if _NAME_PART.match(self._data, self._at):
            self._fail_on_token(self._at, self._at + 1)
        self._fail_on(char, f"expected a valid value {_VALID_VALUES}")

    def _fail_on_token(self, start: int, at: int) -> NoReturn:
        """Reports an unknown word; the position is behind the character that ends it."""
        while at < len(self._data):
            at += 1
            if not _NAME_PART.match(self._data, at - 1) or at - start >= 256:
                break
        word = re.compile(rb"[^\W]*").match(self._data, start)
        shown = word.group().decode(errors="replace") if word else ""
        self._fail(f"Unrecognized token '{shown}': was expecting {_VALID_VALUES}", at)

    def _fail_on_number(self, message: str) -> NoReturn:
        if self._at >= len(self._data):
            self._fail_at_end(" in VALUE_NUMBER_INT")
        char = self._data[self._at]
        self._fail(f"Unexpected character ('{_shown(char)}' (code {char})) in numeric value: {message}", self._at)

    def _fail_on(self, char: int, message: str) -> NoReturn:
        self._fail(f"Unexpected character ('{_shown(char)}' (code {char})): {message}", self._at)

    def _fail_at_end(self, where: str) -> NoReturn:
        offset = len(self._data)
        text = f"Unexpected end-of-input{where}\n at {self._source(offset)}"
        cause = OtherError("json_e_o_f_exception", text)
        if self._names_end_of_input:
            raise EndOfInputError(f"[{self._position(offset)}] Unexpected end of file", cause=cause)
        raise XContentParseError(f"[{self._position(offset)}] {text}", cause=cause)

    def _fail(self, message: str, offset: int, kind: str = "json_parse_exception") -> NoReturn:
        text = f"{message}\n at {self._source(offset)}"
        raise XContentParseError(f"[{self._position(offset)}] {text}", cause=OtherError(kind, text))

    def _source(self, offset: int) -> str:
        # Elasticsearch repeats the body here; bodies may hold credentials, so only the place is given.
        line, column = self._position(offset).split(":") if offset >= 0 else ("1", "0")
        return f"[Source: (byte[]); line: {line}, column: {column}]"


class _Container:
    """An open object or array: where it began and which names it has."""

    __slots__ = ("has_entries", "kind", "names", "start")

    def __init__(self, kind: str, start: int) -> None:
        self.kind = kind
        self.start = start
        self.has_entries = False
        self.names: set[str] = set()


def _shown(char: int) -> str:
    return chr(char) if char < 0x80 else "\N{REPLACEMENT CHARACTER}"


def _joined(parts: list[str]) -> str:
    """The parts as one text, with escaped surrogate pairs put together; a lone surrogate stays as it is."""
    text = "".join(parts)
    if any("\ud800" <= char <= "\udfff" for part in parts if len(part) == 1 for char in part):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return text
