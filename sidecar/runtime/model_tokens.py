"""How many tokens a model reads of a text, without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from sidecar.core.tasks import InputType
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.tokens import WordPieces


class ModelTokens:
    """Counts what the model of a directory reads of texts to be stored: prompt and special tokens included.

    Safe to use from several threads.
    """

    def __init__(self, directory: ModelDirectory, revision: str) -> None:
        self.revision = revision
        self._directory = directory
        self._prompt = directory.prompts.of(InputType.INGEST)
        self._pieces: WordPieces | None = None
        self._lock = Lock()

    @property
    def limit(self) -> int:
        """The most tokens that are read of a text."""
        return self._directory.max_length

    @property
    def frame(self) -> int:
        """The tokens of an empty text: its special ones and its prompt."""
        return self.count([""])[0]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text alone; one more than :attr:`limit` for one that would be cut."""
        encoded = self._loaded().encode(texts, self._prompt)
        return [self.limit + 1 if one.is_truncated else len(one) for one in encoded]

    def _loaded(self) -> WordPieces:
        with self._lock:
            if self._pieces is None:
                self._pieces = WordPieces(self._directory.tokenizer_file, self._directory.tokens)
            return self._pieces
