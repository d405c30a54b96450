"""Dense encoders and cross-encoders: sentence vectors, late interaction scores, logits of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.engine import Engine, Work
from sidecar.runtime.late_interaction import QueryVectors
from sidecar.runtime.pooling import pool, unit
from sidecar.runtime.session import Session


class DenseEngine(Engine):
    """Sentence vectors, and late interaction scores of documents against a query's vectors."""

    def open(self, threads: int) -> Session:
        return Session(self.directory.graph_file, threads)

    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        directory = self.directory
        (hidden,) = session.run(batch.feeds, [directory.output.name])
        vectors = pool(hidden, batch.mask, directory.pooling, directory.normalize)
        results: list[Any] = []
        for text, row in zip(work, batch.rows, strict=True):
            if text.purpose is None:
                results.append(vectors[row].copy())
                continue
            # The first and the last token are [CLS] and [SEP]: they match in every pair of texts.
            tokens = unit(hidden[row, 1 : batch.lengths[row] - 1])
            sentence = unit(vectors[row])
            if isinstance(text.purpose, QueryVectors):
                results.append(text.purpose.score(tokens, sentence))
            else:
                results.append(QueryVectors(tokens, sentence))
        return results


class CrossEncoder(Engine):
    """The raw logit of a query and a document read together."""

    def open(self, threads: int) -> Session:
        return Session(self.directory.graph_file, threads)

    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        (logits,) = session.run(batch.feeds, [self.directory.output.name])
        return [float(logits[row, 0]) for row in batch.rows]
