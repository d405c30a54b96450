"""How many tokens a model reads of a text, without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.core.tasks import InputType
from sidecar.runtime.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ModelTokens:
    """Counts what a model reads of texts to be stored: prompt and special tokens included.

    Safe to use from several threads.
    """

    vocabulary: Vocabulary

    @property
    def limit(self) -> int:
        """The most tokens that are read of a text."""
        return self.vocabulary.limit

    @property
    def frame(self) -> int:
        """The tokens of an empty text: its special ones and its prompt."""
        return self.count([""])[0]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text alone; one more than :attr:`limit` for one that would be cut."""
        prompt = self.vocabulary.prompts.of(InputType.INGEST)
        return [min(length, self.limit + 1) for length in self.vocabulary.lengths(texts, prompt)]
