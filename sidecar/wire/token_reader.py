"""Reading a body token by token, whether from its text or from values that were read before.

``JsonScanner`` reads the text and knows where everything stands; ``ValueReader`` walks Python objects and knows no
places. What declares a body (``object_parser``) is written once, for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NoReturn, Protocol

from sidecar.wire.json_values import NotPlainError


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


class TokenReader(Protocol):
    """A current token, and the way to the next one; all methods raise what is wrong with the text."""

    token: Token | None
    name: str

    @property
    def location(self) -> str:
        """``line:column`` of the current token."""

    def next(self) -> Token | None:
        """The next token, ``None`` at the end."""

    def text(self) -> str:
        """The current value as text."""

    def leading_texts(self) -> list[str]:
        """The strings that the current array begins with, as far as they can be read in one go; then read the rest."""

    def number(self) -> int | float:
        """The current number."""

    def boolean(self) -> bool:
        """The current ``true`` or ``false``."""

    def value(self) -> Any:
        """The whole value that begins with the current token, as Python objects."""

    def refuse_number(self, message: str) -> NoReturn:
        """Raises for the current number."""


_END = object()
_KINDS: dict[type, Token] = {
    str: Token.STRING,
    int: Token.NUMBER,
    float: Token.NUMBER,
    bool: Token.BOOLEAN,
    type(None): Token.NULL,
    dict: Token.START_OBJECT,
    list: Token.START_ARRAY,
}


class ValueReader:
    """Reads ``root``, made of dicts, lists, strings, numbers, booleans and ``None``, token by token.

    Raises ``NotPlainError`` where the letters of the text would be needed, and wherever the text cannot be right.
    """

    def __init__(self, root: Any) -> None:
        self._value: Any = root
        self._has_pending = True
        self._open: list[tuple[Iterator[Any], bool]] = []
        self.token: Token | None = None
        self.name = ""

    @property
    def location(self) -> str:
        """Unknown: whoever needs it has something to refuse, and the scanner words that."""
        return "?"

    def next(self) -> Token | None:
        """The next token, ``None`` at the end."""
        if self._has_pending:
            self._has_pending = False
            return self._enter()
        if not self._open:
            self.token = None
            return None
        items, is_object = self._open[-1]
        item: Any = next(items, _END)
        if item is _END:
            self._open.pop()
            self.token = Token.END_OBJECT if is_object else Token.END_ARRAY
        elif is_object:
            self.name, self._value = item
            self._has_pending = True
            self.token = Token.FIELD_NAME
        else:
            self._value = item
            return self._enter()
        return self.token

    def _enter(self) -> Token:
        token = self.token = _KINDS.get(type(self._value))
        if token is None:
            raise NotPlainError
        if token is Token.START_OBJECT:
            self._open.append((iter(self._value.items()), True))
        elif token is Token.START_ARRAY:
            self._open.append((iter(self._value), False))
        return token

    def text(self) -> str:
        """The current string or boolean; the letters of a number are not known here."""
        if self.token is Token.STRING:
            return str(self._value)
        if self.token is Token.BOOLEAN:
            return "true" if self._value else "false"
        raise NotPlainError

    def leading_texts(self) -> list[str]:
        """All strings of the current array; none where it holds anything else."""
        if self.token is not Token.START_ARRAY or not all(type(item) is str for item in self._value):
            return []
        items: list[str] = self._value
        self._open[-1] = (iter(()), False)
        return items

    def number(self) -> int | float:
        """The current number."""
        number: int | float = self._value
        return number

    def boolean(self) -> bool:
        """The current ``true`` or ``false``."""
        return self._value is True

    def value(self) -> Any:
        """The current value itself; what is in it is skipped."""
        if self.token in (Token.START_OBJECT, Token.START_ARRAY):
            self._open.pop()
            self.token = Token.END_OBJECT if self.token is Token.START_OBJECT else Token.END_ARRAY
        return self._value

    def refuse_number(self, message: str) -> NoReturn:
        """Leaves it to the scanner."""
        raise NotPlainError(message)
