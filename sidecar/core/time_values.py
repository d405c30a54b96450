"""Durations as Elasticsearch writes them: ``30s``, ``500ms``, ``2h``.

Source: Elasticsearch reference, "API conventions: Time units"; messages as its parser words them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sidecar.core.errors import IllegalArgumentError, OtherError
from sidecar.core.javatext import java_trim

_NANOS_PER_UNIT = {
    "nanos": 1,
    "micros": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
}
# Minutes are matched in lower case only: an upper case M is not a unit.
_IGNORING_CASE = ("nanos", "micros", "ms", "s")
_LAST = ("h", "d")
# Python refuses to make an integer of thousands of digits.
_LONGEST_NUMBER = 1000
_JAVA_LONG = re.compile(r"[+-]?\d+")
_JAVA_DOUBLE = re.compile(r"[+-]?(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?[dDfF]?|[+-]?(NaN|Infinity)")


@dataclass(frozen=True, slots=True)
class TimeValue:
    """A duration with its unit; ``count`` is -1 for the magic "-1"."""

    count: int
    unit: str

    @property
    def seconds(self) -> float:
        """Length in seconds; 0 for ``0`` and for ``-1``, which mean "at once" to the Inference API."""
        return max(self.count, 0) * _NANOS_PER_UNIT[self.unit] / 1e9

    def __str__(self) -> str:
        """The largest unit that fits, with at most one decimal, cut and not rounded: ``1500ms`` is ``1.5s``."""
        if self.count < 0:
            return str(self.count)
        nanos = self.count * _NANOS_PER_UNIT[self.unit]
        if nanos == 0:
            return "0s"
        unit = next(unit for unit in reversed(_NANOS_PER_UNIT) if nanos >= _NANOS_PER_UNIT[unit])
        tenths = nanos * 10 // _NANOS_PER_UNIT[unit]
        whole, tenth = divmod(tenths, 10)
        return f"{whole}.{tenth}{unit}" if tenth else f"{whole}{unit}"


def parse_time_value(text: str, setting: str) -> TimeValue:
    """The duration written in ``text``; ``setting`` names it in messages.

    Raises ``IllegalArgumentError`` for a missing or unknown unit, a negative, fractional or unreadable number.
    """
    lowered = java_trim(text.lower())
    for unit in _IGNORING_CASE:
        if lowered.endswith(unit):
            return TimeValue(_count(text, lowered.removesuffix(unit), setting), unit)
    if text.endswith("m"):
        return TimeValue(_count(text, lowered.removesuffix("m"), setting), "m")
    for unit in _LAST:
        if lowered.endswith(unit):
            return TimeValue(_count(text, lowered.removesuffix(unit), setting), unit)
    if re.fullmatch(r"-0*1", lowered):
        return TimeValue(-1, "ms")
    if re.fullmatch(r"0+", lowered):
        return TimeValue(0, "ms")
    raise IllegalArgumentError(
        f"failed to parse setting [{setting}] with value [{text}] as a time value: unit is missing or unrecognized"
    )


def _count(text: str, number: str, setting: str) -> int:
    number = number.strip()
    is_whole = len(number) <= _LONGEST_NUMBER and number.isascii() and _JAVA_LONG.fullmatch(number)
    if is_whole and -(2**63) <= int(number) < 2**63:
        count = int(number)
        if count < -1:
            raise IllegalArgumentError(
                f"failed to parse setting [{setting}] with value [{text}] as a time value: "
                "negative durations are not supported"
            )
        return count
    cause = OtherError("number_format_exception", f'For input string: "{number}"')
    if _JAVA_DOUBLE.fullmatch(number):
        raise IllegalArgumentError(f"failed to parse [{text}], fractional time values are not supported", cause=cause)
    raise IllegalArgumentError(f"failed to parse [{text}]", cause=cause)
