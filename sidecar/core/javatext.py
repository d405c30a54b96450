"""Values printed the way Elasticsearch's messages print them (Java's ``toString``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

# Elasticsearch prints all of a value; a message of a few pages says as much, and costs no seconds.
MOST_LETTERS = 10_000
_MOST_KEYS = _MOST_OF_KEY = 1000


def java_text(value: Any) -> str:
    """``{a=1, b=[x, y]}`` for maps and lists, ``null``, ``true``, and Java's form of floating point numbers.

    What goes beyond ``MOST_LETTERS`` letters is left out, and ``...`` stands in its place.
    """
    return _Printer().text(value)


class _Printer:
    """Prints one value, as far as there is room."""

    def __init__(self) -> None:
        self._left = MOST_LETTERS

    def text(self, value: Any) -> str:
        if isinstance(value, Mapping):
            keys = java_map_order(islice(value, _MOST_KEYS))
            return "{" + self._joined(f"{self.text(key)}={self.text(value[key])}" for key in keys) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + self._joined(self.text(item) for item in value) + "]"
        text = _scalar_text(value)
        if len(text) > self._left:
            text = text[: self._left] + "..."
        self._left -= len(text)
        return text

    def _joined(self, texts: Iterator[str]) -> str:
        shown = []
        while self._left > 0 and (text := next(texts, None)) is not None:
            shown.append(text)
            self._left -= 2
        if self._left <= 0 and next(texts, None) is not None:
            shown.append("...")
        return ", ".join(shown)


def _scalar_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return java_double(value) if isinstance(value, float) else str(value)


def java_map_order(keys: Iterable[str]) -> list[str]:
    """``keys`` in the order in which Java's ``HashMap`` iterates them: by bucket, then as they came. Of a long key
    only the beginning counts.
    """
    ordered = list(keys)
    buckets = 16
    while len(ordered) > buckets * 0.75:
        buckets *= 2
    return sorted(ordered, key=lambda key: _spread_hash(str(key)[:_MOST_OF_KEY]) & (buckets - 1))


def _spread_hash(text: str) -> int:
    """Java's ``String.hashCode`` with its upper half folded in, as ``HashMap`` does."""
    code = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        code = (31 * code + (high << 8 | low)) & 0xFFFFFFFF
    return code ^ (code >> 16)


def java_double(value: float) -> str:
    """Java's ``Double.toString``: plain between 1e-3 and 1e7, else ``d.dddE±n``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        text = format(Decimal(repr(value)), "f")
        return text if "." in text else f"{text}.0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    mantissa = "".join(map(str, digits))
    power = int(exponent) + len(mantissa) - 1
    return f"{'-' if sign else ''}{mantissa[0]}.{mantissa[1:] or '0'}E{power}"


def java_type(value: Any) -> str:
    """Simple name of the Java class that a JSON value becomes."""
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int):
        return "Integer" if -(2**31) <= value < 2**31 else "Long"
    if isinstance(value, float):
        return "Double"
    if isinstance(value, str):
        return "String"
    return "Map" if isinstance(value, Mapping) else "List"


_BLANKS = "".join(map(chr, range(0x21)))


def java_trim(text: str) -> str:
    """Java's ``String.trim``: without the spaces and control characters at both ends."""
    return text.strip(_BLANKS)
