"""Dense encoders and cross-encoders: sentence vectors, late interaction scores, logits of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Engine, Work
from sidecar.runtime.late_interaction import QueryVectors
from sidecar.runtime.pooling import unit, without_prompt
from sidecar.runtime.session import Session

Floats = npt.NDArray[np.float32]


class DenseEngine(Engine):
    """Sentence vectors, and late interaction scores of documents against a query's vectors."""

    def __init__(self, directory: ModelDirectory) -> None:
        super().__init__(directory)
        self._frame = self.word_pieces.frame

    def open(self, threads: int) -> Session:
        return Session(self.directory.graph_file, threads)

    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        directory = self.directory
        (hidden,) = session.run(batch.feeds, [directory.output.name])
        vectors = self._vectors(hidden, work, batch)
        results: list[Any] = []
        before, behind = self._frame
        for index, (text, row) in enumerate(zip(work, batch.rows, strict=True)):
            if text.purpose is None:
                results.append(vectors[index, : directory.dimensions].copy())
                continue
            # [CLS], [SEP] and their like match in every pair of texts.
            tokens = unit(hidden[row, before : batch.lengths[row] - behind])
            sentence = unit(vectors[index])
            if isinstance(text.purpose, QueryVectors):
                results.append(text.purpose.score(tokens, sentence))
            else:
                results.append(QueryVectors(tokens, sentence))
        return results

    def _vectors(self, hidden: Floats, work: Sequence[Work], batch: PaddedBatch) -> Floats:
        """A vector per text (texts x size), before it is cut."""
        rows, pooling = list(batch.rows), self.directory.pooling
        if pooling is None:
            vectors = hidden[rows]
        elif pooling.include_prompt:
            vectors = pooling.pool(hidden, batch.mask)[rows]
        else:  # equal ids may come from prompts of different lengths
            prompts = np.array([text.encoded.prompt_tokens for text in work])
            vectors = pooling.pool(hidden[rows], without_prompt(batch.mask[rows], prompts))
        for layer in self.directory.layers:
            vectors = layer.apply(vectors)
        return vectors


class CrossEncoder(Engine):
    """The raw logit of a query and a document read together."""

    def open(self, threads: int) -> Session:
        return Session(self.directory.graph_file, threads)

    def run(self, session: Session, work: Sequence[Work], batch: PaddedBatch) -> list[Any]:
        (logits,) = session.run(batch.feeds, [self.directory.output.name])
        return [float(logits[row, 0]) for row in batch.rows]
