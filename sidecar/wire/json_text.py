"""The letters of a JSON text: blanks, comments, strings, numbers, words, and where each of them is.

What is wrong is told the way Elasticsearch's parser tells it, at the place where that parser notices.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import NoReturn

from sidecar.core.errors import OtherError, XContentParseError
from sidecar.wire.stretches import STRETCH, decoded, encoded

MAX_NUMBER_LENGTH = 1000
# Elasticsearch counts no values; here a body of more is refused, since every value costs more than its letters.
MAX_VALUES = 1_500_000
# An endpoint's settings stay in memory for longer than one step of the loop may take to let them go.
MAX_SETTINGS_VALUES = 100_000
# What one array of a body of the API may hold; no provider takes so many texts in one call.
MAX_ITEMS = 50_000
# An object or array takes more memory and time than a text or number, also when it is let go.
CONTAINER_COUNTS_AS = 10

_BLANK = re.compile(rb"[ \t\r\n]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN_STRING = re.compile(rb'[^"\\\x00-\x1f]*')
# Letters and right escapes.
_LETTERS = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
# How far good letters are looked for at once where bad ones are among them.
_LOOSE_STRETCH = 4096
_STRING = re.compile(rb'([^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"')
# In an array: a value that needs no second look, with the comma behind it.
PLAIN_VALUE = re.compile(rb'[ \t\r\n]*+(?:"([^"\\\x00-\x1f]*+)"|(-?(?:0|[1-9][0-9]{0,17}+))(?![0-9.eE]))[ \t\r\n]*+,')
_AFTER_ROOT_VALUE = (b"", b" ", b"\t", b"\r", b"\n")
_NAME_PART = re.compile(rb"[A-Za-z0-9_$]|[\x80-\xff]")
_ESCAPES = {b'"': '"', b"\\": "\\", b"/": "/", b"b": "\b", b"f": "\f", b"n": "\n", b"r": "\r", b"t": "\t"}
# how many bytes follow a first byte, by its upper five bits
_MORE_BYTES = (*[0] * 16, *[-1] * 8, *[1] * 4, *[2] * 2, 3, -1)
# what begins a word in Latin-1, which is how the parser looks at the first byte of one
_WORD_STARTS = frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
IN_NAME = " in field name"
_VALID_VALUES = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"


class EndOfInputError(XContentParseError):
    """The text ends inside an object, array or string."""

    type = "x_content_e_o_f_exception"


class JsonText:
    """A JSON text and a place in it; the base of :class:`~sidecar.wire.json_scanner.JsonScanner`."""

    def __init__(self, data: bytes, *, names_end_of_input: bool, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._data = data = as_utf8(data)
        self._names_end_of_input = names_end_of_input
        self._at = 3 if data.startswith(b"\xef\xbb\xbf") else 0

    def _position(self, offset: int) -> str:
        data = self._data
        ends = data.count(b"\n", 0, offset) + data.count(b"\r", 0, offset) - data.count(b"\r\n", 0, offset)
        last = max(data.rfind(b"\n", 0, offset), data.rfind(b"\r", 0, offset))
        return f"{ends + 1}:{offset - last}"

    def _check_patience(self) -> None:
        if time.monotonic() > self._deadline:
            text = "the body is wrong, or written in an unusual way, and too large to say where"
            raise XContentParseError(f"[1:1] {text}", cause=OtherError("stream_constraints_exception", text))

    # --- pieces ------------------------------------------------------------------------------------------

    def _skip_blank(self) -> int:
        """Skips blanks and comments; the next byte (not consumed), or -1 at the end."""
        data = self._data
        while True:
            start = self._at
            match = _BLANK.match(data, start, start + STRETCH)
            if match is not None:
                self._at = match.end()
            if self._at == start + STRETCH:
                continue
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

    def _read_string(self, where: str) -> str:
        """The string whose opening quote was consumed; consumes the closing one."""
        whole = _STRING.match(self._data, self._at, self._at + STRETCH)
        if whole is not None:
            try:
                letters = unescaped(whole[1].decode())
            except UnicodeDecodeError:
                pass  # Bytes that are loosely UTF-8 are read one by one.
            else:
                self._at = whole.end()
                return letters
        parts: list[str] = []
        while True:
            end = self._end_of_stretch(self._at)
            if end > self._at:
                self._read_letters(end, parts, is_name=where == IN_NAME)
                continue
            char = self._data[self._at : self._at + 1]
            if not char:
                self._fail_at_end(where)
            if char == b'"':
                self._at += 1
                return joined_halves(parts)
            if char != b"\\":
                self._fail(
                    f"Illegal unquoted character ((CTRL-CHAR, code {char[0]})): "
                    "has to be escaped using backslash to be included in string value",
                    self._at,
                )
            parts.append(self._read_escape(where))

    def _end_of_stretch(self, start: int) -> int:
        """Where letters and right escapes end, or a stretch of them; no letter is cut in two."""
        match = _LETTERS.match(self._data, start, start + STRETCH)
        end = match.end() if match else start
        if end == start + STRETCH:
            for earlier in range(end, end - 4, -1):
                if self._data[earlier : earlier + 1] < b"\x80" or self._data[earlier] >= 0xC0:
                    return earlier
        return end

    def _read_letters(self, end: int, parts: list[str], *, is_name: bool) -> None:
        """Letters and right escapes up to ``end``."""
        try:
            parts.append(unescaped(self._data[self._at : end].decode()))
        except UnicodeDecodeError:
            while self._at < end:
                match = _PLAIN_STRING.match(self._data, self._at, end)
                if match is not None and match.end() > self._at:
                    parts += self._loose_letters(self._at, match.end(), is_name=is_name)
                    self._at = match.end()
                else:
                    parts.append(self._read_escape(""))
        self._at = end

    def _loose_letters(self, at: int, end: int, *, is_name: bool) -> Iterator[str]:
        """UTF-8 as Elasticsearch's parser reads it: overlong forms and surrogates pass; a name is read, then judged."""
        while at < end:
            self._check_patience()
            stop = min(end, at + _LOOSE_STRETCH)
            try:
                yield self._data[at:stop].decode()
                at = stop
            except UnicodeDecodeError as error:
                yield self._data[at : at + error.start].decode()
                at += error.start
                code, more = self._loose_letter(at, end, is_name=is_name)
                yield chr(code) if code <= 0x10FFFF else _halves(code)
                at += 1 + more

    def _loose_letter(self, at: int, end: int, *, is_name: bool) -> tuple[int, int]:
        """The code that begins at ``at``, and how many bytes it has beyond the first."""
        first = self._data[at]
        more = _MORE_BYTES[first >> 3]
        if more < 0:
            self._fail(f"Invalid UTF-8 start byte 0x{first:x}", end + 1 if is_name else at + 1)
        code = first & (0x7F if not more else 0x3F >> more)
        for wrong in range(at + 1, at + 1 + more):
            byte = self._data[wrong] if wrong < len(self._data) else 0
            if byte & 0xC0 != 0x80:
                self._fail(f"Invalid UTF-8 middle byte 0x{byte:x}", end + 1 if is_name else wrong + 1)
            code = code << 6 | byte & 0x3F
        return code, more

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

    def _read_number(self, *, is_root: bool) -> int | float:
        data, start = self._data, self._at
        match = _NUMBER.match(data, start)
        if match is None:
            if data.startswith(b"-Infinity", start):
                self._fail_on_constant(b"-Infinity")
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
        if is_root and following not in _AFTER_ROOT_VALUE:
            self._fail("Expected space separating root-level values", self._at)
        text = match.group()
        if len(text) > MAX_NUMBER_LENGTH:
            raise beyond("Number value length", len(text), MAX_NUMBER_LENGTH, "getMaxNumberLength")
        return int(text) if is_whole else float(text)

    def number_text(self, start: int) -> str:
        """The letters of the number at ``start``."""
        match = _NUMBER.match(self._data, start)
        return match.group().decode() if match else ""

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

    def _fail_on_constant(self, text: bytes) -> NoReturn:
        self._fail(f"Non-standard token '{text.decode()}': not a number of JSON", self._at + len(text))

    def _fail_on_value(self, char: int) -> NoReturn:
        for text in (b"NaN", b"Infinity"):
            if char == text[0]:
                start = self._at
                self._match(text)
                self._at = start
                self._fail_on_constant(text)
        if char == ord("+"):
            self._at += 1
            self._fail_on_number("JSON spec does not allow numbers to have plus signs")
        if char in b",]}":
            self._fail_on(char, "expected a value")
        second = self._data[self._at + 1 : self._at + 2]
        if char in _WORD_STARTS and second and 0x80 <= second[0] < 0xC0:
            self._fail(f"Invalid UTF-8 start byte 0x{second[0]:x}", self._at + 2)
        if _NAME_PART.match(self._data, self._at):
            self._fail_on_token(self._at, self._at + 1)
        self._fail_on(char, f"expected a valid value {_VALID_VALUES}")

    def _fail_on_name(self, char: int) -> NoReturn:
        more = max(_MORE_BYTES[char >> 3], 0)
        letter = self._data[self._at : self._at + 1 + more].decode(errors="replace") if more else chr(char)
        self._at += more
        message = "was expecting double-quote to start field name"
        self._fail(f"Unexpected character ('{letter}' (code {ord(letter[0])})): {message}", self._at)

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


def beyond(what: str, found: int, limit: int, method: str) -> XContentParseError:
    """A text that passes a limit of the parser; such errors tell no place."""
    message = f"{what} ({found}) exceeds the maximum allowed ({limit}, from `StreamReadConstraints.{method}()`)"
    return XContentParseError(message, cause=OtherError("stream_constraints_exception", message))


def too_many_values(most: int = MAX_VALUES) -> XContentParseError:
    """A text of more than ``most`` values."""
    error = beyond("Token count", most + 1, most, "getMaxTokenCount")
    return XContentParseError(error.reason, status=413, cause=error.cause)


def too_many_items(most: int) -> XContentParseError:
    """An array of more than ``most`` values."""
    reason = f"An array holds more than [{most}] values, which is the most for one call: send them in several"
    cause = OtherError("stream_constraints_exception", reason)
    return XContentParseError(reason, status=413, cause=cause)


def _shown(char: int) -> str:
    return chr(char) if char < 0x80 else "\N{REPLACEMENT CHARACTER}"


def as_utf8(data: bytes) -> bytes:
    """``data`` in UTF-8; the parser recognises UTF-16 and UTF-32 by the zeros or the mark they begin with."""
    encoding = json.detect_encoding(data[:4])
    if encoding.startswith("utf-8"):
        return data
    try:
        return encoded(decoded(data, encoding))
    except UnicodeError:
        return data


def _halves(code: int) -> str:
    """What the parser makes of a character beyond the last one."""
    code -= 0x10000
    return chr(0xD800 | code >> 10) + chr(0xDC00 | code & 0x3FF)


def joined_halves(parts: list[str]) -> str:
    """The parts as one text; where one ends with the first half of a surrogate pair and the next begins with the other
    half, they become one letter.
    """
    parts = list(filter(None, parts))
    for number in range(1, len(parts)):
        before, part = parts[number - 1], parts[number]
        if "\ud800" <= before[-1:] <= "\udbff" and "\udc00" <= part[:1] <= "\udfff":
            pair = (before[-1:] + part[:1]).encode("utf-16", "surrogatepass").decode("utf-16")
            parts[number - 1], parts[number] = before[:-1] + pair, part[1:]
    return "".join(parts)


def unescaped(letters: str) -> str:
    """The text that ``letters`` stand for between quotes; raises ``ValueError`` for a wrong escape."""
    return str(json.loads(f'"{letters}"')) if "\\" in letters else letters
