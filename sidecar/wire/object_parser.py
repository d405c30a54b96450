"""Declared objects: which fields a body may have, of which kinds, and how each is read.

Messages and their order follow Elasticsearch's ``ObjectParser``: an unknown field is reported with the closest known
names, a value of the wrong kind at its place, and whatever fails inside a value as the cause of
``failed to parse field``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.core.errors import IllegalArgumentError, OtherError, SidecarError, XContentParseError
from sidecar.core.javatext import java_trim
from sidecar.wire.json_text import MAX_NUMBER_LENGTH
from sidecar.wire.token_reader import Token, TokenReader

Reader = Callable[[TokenReader], Any]
Build = Callable[[dict[str, Any]], Any]

_UNBUILT = object()

# Nothing is given back once it is taken: a text of a million digits would be gone through a million times.
_PLAIN = r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
_WHOLE = re.compile(r"[+-]?[0-9]+")
_PLAIN_DECIMAL = re.compile(_PLAIN)
_DECIMAL = re.compile(rf"{_PLAIN}[fFdD]?|[+-]?(?:NaN|Infinity)")
_HEXADECIMAL = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]++\.?[0-9a-fA-F]*+|\.[0-9a-fA-F]++)[pP][+-]?[0-9]+[fFdD]?")

_STRING = frozenset({Token.STRING})
_NUMBER = frozenset({Token.NUMBER, Token.STRING})
_BOOLEAN = frozenset({Token.BOOLEAN, Token.STRING})
_OBJECT = frozenset({Token.START_OBJECT})
_STRINGS = frozenset({Token.STRING, Token.START_ARRAY})
_OBJECTS = frozenset({Token.START_OBJECT, Token.START_ARRAY})
_TEXT_OR_OBJECTS = frozenset({Token.STRING, Token.START_OBJECT, Token.START_ARRAY})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a declared object; ``kinds`` are the tokens its value may begin with."""

    name: str
    kinds: frozenset[Token]
    read: Reader
    required: bool = False


class ObjectParser:
    """Reads one JSON object into a dictionary of the fields that are there, or into what ``build`` makes of it.

    ``build`` runs as soon as the last declared field has been read, or else at the end of the object; that decides
    which field an error of it is reported under.
    """

    def __init__(self, name: str, fields: Iterable[Field], build: Build = dict) -> None:
        self.name = name
        self.fields = {field.name: field for field in fields}
        self._build = build

    def parse(self, scanner: TokenReader) -> Any:
        """The object that begins with the current token, or with the next one at the start of a text.

        Raises ``XContentParseError``, and ``IllegalArgumentError`` when required fields are missing.
        """
        token = scanner.token if scanner.token is Token.START_OBJECT else scanner.next()
        if token is not Token.START_OBJECT:
            found = "null" if token is None else token.value
            raise self._error(scanner, f"Expected START_OBJECT but was: {found}")
        found_fields: dict[str, Any] = {}
        built: Any = _UNBUILT
        while scanner.next() is not Token.END_OBJECT:
            name = scanner.name
            field = self.fields.get(name)
            if field is None:
                place = scanner.location
                scanner.next()  # A value that cannot be read comes before a name that is not known.
                hint = did_you_mean(name, self.fields)
                raise XContentParseError(f"[{place}] [{self.name}] unknown field [{name}]{hint}")
            token = scanner.next()
            if token not in field.kinds:
                raise self._error(scanner, f"{name} doesn't support values of type: {token}")
            try:
                found_fields[name] = field.read(scanner)
                if len(found_fields) == len(self.fields):
                    built = self._target(found_fields)
            except SidecarError as cause:
                raise self._error(scanner, f"failed to parse field [{name}]", cause) from cause
        missing = [field.name for field in self.fields.values() if field.required and field.name not in found_fields]
        if missing:
            raise IllegalArgumentError(f"Required [{', '.join(missing)}]")
        return self._target(found_fields) if built is _UNBUILT else built

    def _target(self, fields: dict[str, Any]) -> Any:
        try:
            return self._build(fields)
        except SidecarError as cause:
            failed = "failed" if isinstance(cause, XContentParseError) else "Failed"
            raise XContentParseError(
                f"{failed} to build [{self.name}] after last required field arrived", cause=cause
            ) from cause

    def _error(self, scanner: TokenReader, message: str, cause: SidecarError | None = None) -> XContentParseError:
        return XContentParseError(f"[{scanner.location}] [{self.name}] {message}", cause=cause)


# --- fields ------------------------------------------------------------------------------------------------


def text(name: str, *, required: bool = False) -> Field:
    """A JSON string."""
    return Field(name, _STRING, _read_text, required)


def texts(name: str, *, required: bool = False) -> Field:
    """A string or an array of strings, numbers and booleans, which are read as text; always a tuple."""
    return Field(name, _STRINGS, _read_texts, required)


def boolean(name: str, *, required: bool = False) -> Field:
    """``true``, ``false``, or one of these as a string."""
    return Field(name, _BOOLEAN, _read_boolean, required)


def integer(name: str, *, bits: int = 32, required: bool = False) -> Field:
    """A whole number of ``bits`` bits; strings are read, fractions cut off."""
    return Field(name, _NUMBER, lambda scanner: _read_integer(scanner, bits), required)


def decimal(name: str, *, required: bool = False) -> Field:
    """A floating point number, or one as a string."""
    return Field(name, _NUMBER, _read_decimal, required)


def mapping(name: str, *, required: bool = False) -> Field:
    """An object of any content."""
    return Field(name, _OBJECT, _read_value, required)


def nested(name: str, parser: ObjectParser, *, required: bool = False) -> Field:
    """An object that ``parser`` reads."""
    return Field(name, _OBJECT, parser.parse, required)


def nested_list(name: str, read: Reader, *, required: bool = False) -> Field:
    """An array of values that ``read`` reads, or one such object; always a tuple."""
    return Field(name, _OBJECTS, lambda scanner: _read_list(scanner, read), required)


def text_or_objects(name: str, read: Reader, *, required: bool = False) -> Field:
    """A string, an object or an array; ``read`` decides."""
    return Field(name, _TEXT_OR_OBJECTS, read, required)


# --- readers -----------------------------------------------------------------------------------------------


def _read_list(scanner: TokenReader, read: Reader) -> tuple[Any, ...]:
    if scanner.token is not Token.START_ARRAY:
        return (read(scanner),)
    return tuple(_rest_of_list(scanner, read))


def _rest_of_list(scanner: TokenReader, read: Reader) -> Iterator[Any]:
    while (token := scanner.next()) is not Token.END_ARRAY:
        if token is Token.START_ARRAY:
            raise OtherError("illegal_state_exception", f"expected value but got [{token}]")
        yield read(scanner)


def _read_text(scanner: TokenReader) -> str:
    return scanner.text()


def _read_value(scanner: TokenReader) -> Any:
    return scanner.value()


def _read_texts(scanner: TokenReader) -> tuple[str, ...]:
    if scanner.token is not Token.START_ARRAY:
        return (scanner.text(),)
    return (*scanner.leading_texts(), *_rest_of_list(scanner, _read_text))


def _read_boolean(scanner: TokenReader) -> bool:
    if scanner.token is Token.BOOLEAN:
        return scanner.boolean()
    return parse_boolean(scanner.text())


def parse_boolean(value: str) -> bool:
    """``true`` and ``false``; an empty text is false in bodies."""
    if value in ("true", "false", ""):
        return value == "true"
    raise IllegalArgumentError(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")


def _read_integer(scanner: TokenReader, bits: int) -> int:
    number = scanner.number() if scanner.token is Token.NUMBER else _whole_number_in(scanner.text(), bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if low <= number <= high:
        return int(number)
    kind = "int" if bits == 32 else "long"
    if scanner.token is Token.STRING:
        article = "an integer" if bits == 32 else "a long"
        raise IllegalArgumentError(f"Value [{scanner.text()}] is out of range for {article}")
    scanner.refuse_number(f"Numeric value ({scanner.text()}) out of range of {kind} ({low} - {high})")


def _read_decimal(scanner: TokenReader) -> float:
    if scanner.token is Token.NUMBER:
        return float(scanner.number())
    return _number_in(scanner.text())


def _number_in(value: str) -> float:
    """``value`` as Java's ``Double.parseDouble`` reads it."""
    value = java_trim(value)
    if _DECIMAL.fullmatch(value):
        return float(value.rstrip("fFdD"))
    if _HEXADECIMAL.fullmatch(value):
        return float.fromhex(value.rstrip("fFdD"))
    message = f'For input string: "{value}"' if value else "empty String"
    raise OtherError("number_format_exception", message)


def _whole_number_in(value: str, bits: int) -> float:
    """``value`` as a number whose fraction will be cut off; long ones may have no blanks around them, nor a suffix."""
    if bits == 32:
        number = _number_in(value)
        return 0 if math.isnan(number) else number
    if _WHOLE.fullmatch(value):
        return int(value) if len(value) <= MAX_NUMBER_LENGTH else float(value)
    if _PLAIN_DECIMAL.fullmatch(value):
        return float(value)
    raise IllegalArgumentError(f'For input string: "{value}"')


# --- near misses -------------------------------------------------------------------------------------------


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` did you mean [x]?`` for known names that share more than half of their letters, else nothing."""
    near = near_misses(name, known)
    if not near:
        return ""
    return f" did you mean [{near[0]}]?" if len(near) == 1 else f" did you mean any of [{', '.join(near)}]?"


def near_misses(name: str, known: Iterable[str]) -> list[str]:
    """Known names whose edit distance is less than half of the longer name, nearest first."""
    close = [other for other in known if 2 * min(len(name), len(other)) > max(len(name), len(other))]
    scored = [(1 - _edit_distance(name, other) / max(len(name), len(other)), other) for other in close]
    return [other for score, other in sorted(scored, key=lambda item: (-item[0], item[1])) if score > 0.5]


def _edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
