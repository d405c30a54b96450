"""The three kinds of model behind one contract: tokens in, a batch run, one result per text out.

    Engine.open(threads) ──► Session
    Engine.batch(work) ──► PaddedBatch ──► Engine.run(session, work, batch) ──► SparseEmbedding | vector | score

The queue knows nothing but token counts; an engine knows nothing of callers.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.late_interaction import QueryVectors
from sidecar.runtime.session import Session
from sidecar.runtime.tokens import Encoded, WordPieces


@dataclass(frozen=True, slots=True)
class Work:
    """One text for a batch.

    ``purpose`` is ``None`` for the model's plain result, ``TOKENS`` for a query's vectors, the vectors of the query
    that a document is scored against, or ``STATIC`` for a query that is looked up and not run.
    """

    encoded: Encoded
    purpose: QueryVectors | str | None = None


TOKENS = "tokens"
STATIC = "static"


class Engine(abc.ABC):
    """A loaded model."""

    def __init__(self, directory: ModelDirectory) -> None:
        self.directory = directory
        self.word_pieces = WordPieces(directory.tokenizer_file, directory.tokens)

    def pieces(self, purpose: Any) -> WordPieces:
        """The tokenizer of texts with a purpose (see ``Work``)."""
        return self.word_pieces

    def batch(self, work: Sequence[Work]) -> PaddedBatch:
        """The padded arrays of some texts."""
        return PaddedBatch.of([text.encoded for text in work], self.directory.pad_token_id)

    @abc.abstractmethod
    def open(self, threads: int) -> Session:
        """A session that uses ``threads`` threads per call."""

    @abc.abstractmethod
    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        """Runs a batch; one result per text, in order.

        Raises ``ModelRunError``, and ``FloatingPointError`` for numbers that are none and would not show in a result.
        """
