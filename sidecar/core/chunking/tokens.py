"""Chunks whose sizes are counted in a model's own tokens, in place of words: the sidecar's, not Elasticsearch's.

    {"strategy": "sentence", "max_chunk_size": 256, "sentence_overlap": 1, "unit": "tokens"}

    parts (sentences, words, pieces between separators) ──> as many as the model counts within the size ──> chunk
      a part too large by itself: cut into its sentences, these into words, these in the middle

A count is what the model reads for a chunk alone, with its special tokens and its prompt. Parts are counted one by one
to guess how many fit; what is made of the guess is counted as a whole, so that no chunk is larger than the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

from sidecar.core.chunking.boundaries import WordBoundaries, sentence_ends
from sidecar.core.chunking.chunk import Chunk
from sidecar.core.chunking.separator import SeparatorFinder
from sidecar.core.chunking.settings import parse_chunking_settings
from sidecar.core.errors import IllegalArgumentError
from sidecar.core.generations import DEFAULT_GENERATION

UNIT = "unit"
_UNITS = ("words", "tokens")
_LEAST_ROOM = 8


class TokenCounter(Protocol):
    """Counts as a model does. ``limit`` is the most tokens that it reads of a text, ``frame`` those of an empty one."""

    @property
    def limit(self) -> int: ...

    @property
    def frame(self) -> int: ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text alone; more than ``limit``, whatever the number, for one that would be cut."""
        ...


def parse_counted_settings(value: Mapping[str, Any]) -> dict[str, Any]:
    """Chunking settings of a binding: Elasticsearch's, and ``unit``, ``words`` (the default) or ``tokens``.

    Raises:
        SidecarError: as ``parse_chunking_settings``; an unknown unit, or one of a strategy without sizes.
    """
    rest = {name: held for name, held in value.items() if name != UNIT}
    unit = value.get(UNIT, "words")
    if unit not in _UNITS:
        raise IllegalArgumentError(f"[{UNIT}] must be one of [{', '.join(_UNITS)}], not [{unit}]")
    settings = parse_chunking_settings(rest, generation=DEFAULT_GENERATION)
    if unit == "words":
        return settings
    if "max_chunk_size" not in settings:
        raise IllegalArgumentError(f"strategy [{settings['strategy']}] has no size that [{UNIT}] could say anything of")
    return {**settings, UNIT: unit}


def token_chunks(text: str, settings: Mapping[str, Any], counter: TokenCounter) -> list[Chunk]:
    """Chunks of at most ``max_chunk_size`` tokens, in order, that cover the text; one at least.

    A single character that takes more tokens by itself is a chunk of its own.

    Raises:
        IllegalArgumentError: a separator that is no regular expression or takes too long, or a size that leaves no
            room beside the model's own tokens.
    """
    return _Cutter(text, settings["max_chunk_size"], counter).chunks(settings)


class _Cutter:
    def __init__(self, text: str, size: int, counter: TokenCounter) -> None:
        self._text = text
        self._size = size
        self._counter = counter
        self._frame = counter.frame
        if size - self._frame < _LEAST_ROOM:
            raise IllegalArgumentError(
                f"[max_chunk_size] [{size}] leaves no room for a text beside the [{self._frame}] tokens that the model"
                " puts around it"
            )

    def chunks(self, settings: Mapping[str, Any]) -> list[Chunk]:
        whole = Chunk(0, len(self._text))
        if self._fits(whole):
            return [whole]
        match settings["strategy"]:
            case "word":
                return self._packed(self._words(whole), room=settings["overlap"])
            case "sentence":
                return self._packed(self._sentences(whole), most=settings["sentence_overlap"])
            case _:
                return self._separated(whole, settings["separators"], SeparatorFinder())

    def _fits(self, chunk: Chunk) -> bool:
        return self._counter.count([chunk.of(self._text)])[0] <= self._size

    def _packed(self, parts: Sequence[Chunk], *, most: int = 0, room: int = 0) -> list[Chunk]:
        """Neighbouring parts together while they fit; a chunk repeats the last ``most`` parts of the one before, or as
        many as have ``room`` tokens, where the next part still fits behind them."""
        weights = self._weights(parts)
        chunks: list[Chunk] = []
        first = done = 0  # parts before ``done`` are in some chunk
        while done < len(parts):
            end = self._end(parts, weights, first, done)
            if end <= done and first < done:
                first = done  # what is repeated leaves no room
            elif end <= done:
                chunks += self._smaller(parts[done])
                done += 1
                first = done
            else:
                chunks.append(Chunk(parts[first].start, parts[end - 1].end))
                first, done = self._repeated(weights, first, end, most, room), end
        return chunks

    def _weights(self, parts: Sequence[Chunk]) -> list[int]:
        counts = self._counter.count([part.of(self._text) for part in parts])
        return [max(count - self._frame, 0) for count in counts]

    def _end(self, parts: Sequence[Chunk], weights: Sequence[int], first: int, done: int) -> int:
        """Where a chunk that begins with part ``first`` ends; ``done`` where not one new part fits."""
        left, end = self._size - self._frame, first
        while end < len(parts) and weights[end] <= left:
            left -= weights[end]
            end += 1
        # Tokens of neighbours may be others than those of each alone.
        while end > done and not self._fits(Chunk(parts[first].start, parts[end - 1].end)):
            end -= 1
        return end

    @staticmethod
    def _repeated(weights: Sequence[int], first: int, end: int, most: int, room: int) -> int:
        start = max(end - most, first + 1) if most else end
        while start > first + 1 and weights[start - 1] <= room:
            room -= weights[start - 1]
            start -= 1
        return min(start, end)

    def _smaller(self, part: Chunk) -> list[Chunk]:
        """A part that is too large by itself, in pieces."""
        for cut in (self._sentences, self._words):
            inner = cut(part)
            if len(inner) > 1:
                return self._packed(inner)
        if part.end - part.start <= 1:
            return [part]
        middle = (part.start + part.end) // 2
        return self._packed([Chunk(part.start, middle), Chunk(middle, part.end)])

    def _separated(self, piece: Chunk, separators: Sequence[str], finder: SeparatorFinder) -> list[Chunk]:
        if not separators:
            return self._packed(self._sentences(piece))
        starts = [piece.start + start for start in finder.starts(separators[0], piece.of(self._text))]
        parts = [Chunk(start, end) for start, end in pairwise(sorted({piece.start, *starts, piece.end}))]
        chunks = []
        for chunk in self._joined(parts):
            chunks += [chunk] if self._fits(chunk) else self._separated(chunk, separators[1:], finder)
        return chunks

    def _joined(self, parts: Sequence[Chunk]) -> list[Chunk]:
        """Parts with their neighbours as far as they fit; one that is too large stays as it is."""
        weights = self._weights(parts)
        joined: list[Chunk] = []
        start = 0
        while start < len(parts):
            end = max(self._end(parts, weights, start, start), start + 1)
            joined.append(Chunk(parts[start].start, parts[end - 1].end))
            start = end
        return joined

    def _sentences(self, part: Chunk) -> list[Chunk]:
        return _between(part, sentence_ends(part.of(self._text)))

    def _words(self, part: Chunk) -> list[Chunk]:
        return _between(part, WordBoundaries.of(part.of(self._text)).word_ends)


def _between(part: Chunk, ends: Sequence[int]) -> list[Chunk]:
    """The stretches of ``part`` up to each of ``ends``, which count from its start, and what is left behind them."""
    cuts = sorted({part.start, *(part.start + end for end in ends), part.end})
    return [Chunk(start, end) for start, end in pairwise(cuts)]
