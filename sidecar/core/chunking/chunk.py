"""A chunk: a stretch of a text, given by its offsets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

_LAST_SINGLE_UNIT = "\uffff"


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """Half-open range ``[start, end)`` of a text, in Python characters (code points); always an exact substring."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The chunk's words, as they stand in ``text``."""
        return text[self.start : self.end]


class Utf16Offsets:
    """Turns offsets in Python characters into UTF-16 code units, in which Elasticsearch and ICU count, and back.

    The two differ only behind characters outside the basic plane (most emoji, rare ideographs), which take two units.
    """

    __slots__ = ("_characters", "_units")

    def __init__(self, text: str) -> None:
        self._characters = (
            [at for at, character in enumerate(text) if character > _LAST_SINGLE_UNIT]
            if text and max(text) > _LAST_SINGLE_UNIT
            else []
        )
        self._units = [at + before for before, at in enumerate(self._characters)]

    def of(self, offset: int) -> int:
        """UTF-16 code units before the character at ``offset``."""
        return offset + bisect_left(self._characters, offset)

    def chunk(self, chunk: Chunk) -> tuple[int, int]:
        """``(start, end)`` of a chunk in UTF-16 code units: Elasticsearch's ``start_offset`` and ``end_offset``."""
        return self.of(chunk.start), self.of(chunk.end)

    def characters(self, units: Iterable[int]) -> list[int]:
        """Offsets in Python characters of offsets in UTF-16 code units that do not cut a character."""
        if not self._units:
            return list(units)
        return [unit - bisect_left(self._units, unit) for unit in units]
