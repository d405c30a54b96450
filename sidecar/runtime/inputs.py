"""A call's texts on their way to the tokenizer: counted first, then encoded slice by slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sidecar.runtime.tokens import Encoded, WordPieces

# A slice is tens of milliseconds of tokenising: what a caller who left, or whose time is up, still costs.
_SLICE_CHARACTERS = 32_000
_SLICE_TEXTS = 256


@dataclass(frozen=True)
class Inputs:
    """Texts for a model, each after ``prompt``, or each in one input with ``query``.

    ``purpose`` is handed on to the engine (see ``engine.Work``).
    """

    texts: Sequence[str]
    prompt: str = ""
    query: str | None = None
    purpose: Any = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def characters(self) -> int:
        """Characters that the tokenizer reads at most."""
        return sum(map(len, self.texts)) + len(self.texts) * self._beside

    def tokens(self, characters_per_token: float, longest: int) -> int:
        """About how many tokens the texts are; ``longest`` is what the model reads of one."""
        beside = self._beside
        return sum(min(longest, 2 + int((len(text) + beside) / characters_per_token)) for text in self.texts)

    def slices(self) -> Iterator[Sequence[str]]:
        """The texts in parts that are tokenised in one go; a long text is a part of its own."""
        start = size = 0
        for number, text in enumerate(self.texts):
            characters = len(text) + self._beside
            if number > start and (size + characters > _SLICE_CHARACTERS or number - start >= _SLICE_TEXTS):
                yield self.texts[start:number]
                start, size = number, 0
            size += characters
        yield self.texts[start:]

    def encode(self, word_pieces: WordPieces, part: Sequence[str]) -> list[Encoded]:
        """Tokens of some of the texts."""
        if self.query is not None:
            return word_pieces.encode_pairs(self.query, part)
        return word_pieces.encode(part, self.prompt)

    @property
    def _beside(self) -> int:
        return len(self.prompt) + len(self.query or "")
