"""Numbers of a JSON text that keep their digits: what a 64-bit number cannot hold is written as it was read."""

from __future__ import annotations

import json
import re
from typing import Any

_TELLING = re.compile(rb"\d[\d.]{15}|\d[eE]|\.\d*0[^\d.]|-0")
"""Where a number may be written otherwise than it was read: many digits, exponents, zeros at the end."""


class LiteralNumber(float):
    """A number with the ``literal`` that stood in the text.

    As a text it is what a reader of the stored document makes of it: a whole number has all of its digits.
    """

    literal: str

    def __new__(cls, literal: str) -> LiteralNumber:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number

    @property
    def is_whole(self) -> bool:
        return self.literal.removeprefix("-").isdigit()

    def __str__(self) -> str:
        return self.literal if self.is_whole else repr(float(self))


def has_telling_numbers(raw: bytes) -> bool:
    """Whether :func:`load_literally` may find numbers that lose digits otherwise; true too often, never too seldom."""
    return _TELLING.search(raw) is not None


def load_literally(raw: bytes) -> Any:
    """The value of a JSON text; raises ``ValueError`` for what is none, ``NaN`` and infinities included."""
    return json.loads(raw, parse_float=_decimal, parse_int=_whole, parse_constant=_refuse)


def _decimal(literal: str) -> float:
    number = float(literal)
    return number if repr(number) == literal else LiteralNumber(literal)


def _whole(literal: str) -> float:
    return int(literal) if len(literal) < 19 and literal != "-0" else LiteralNumber(literal)


def _refuse(literal: str) -> float:
    raise ValueError(f"[{literal}] is no number")
