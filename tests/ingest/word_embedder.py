"""Endpoints whose vectors can be read: the numbers say which text they were made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from sidecar.core.errors import StatusError
from sidecar.core.results import DenseEmbeddings, Ranking, SparseEmbedding, SparseEmbeddings, Vector
from sidecar.core.tasks import InputType, Similarity, TaskType
from sidecar.inference.embedder import EndpointProfile

DIMENSIONS = 4


@dataclass
class WordEmbedder:
    """``dense`` endpoints make a vector of length 1 of a text's hash, ``sparse`` ones a token of it.

    ``texts`` records what was asked for. Texts with REFUSE are refused (400), those with BREAK end in an error that
    nobody foresaw, those with LONG get a vector that is not of length 1.
    """

    texts: list[str] = field(default_factory=list)
    similarity: Similarity = Similarity.COSINE
    batch_size: int | None = None

    async def profile(self, inference_id: str) -> EndpointProfile:
        if inference_id.startswith("sparse"):
            return EndpointProfile(inference_id, TaskType.SPARSE_EMBEDDING, "1", batch_size=self.batch_size)
        return EndpointProfile(
            inference_id, TaskType.TEXT_EMBEDDING, "1", DIMENSIONS, self.similarity, batch_size=self.batch_size
        )

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        self.texts += texts
        for text in texts:
            text.encode()  # half a surrogate pair never comes as far as an endpoint
            if "BREAK" in text:
                raise RuntimeError("not foreseen")
            if "REFUSE" in text:
                raise StatusError("content refused", status=400)
        if inference_id.startswith("sparse"):
            return SparseEmbeddings(tuple(SparseEmbedding({word(text): 1.0}) for text in texts))
        return DenseEmbeddings(tuple(vector(text) for text in texts))

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        raise NotImplementedError


def word(text: str) -> str:
    """The token of a text."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def vector(text: str) -> Vector:
    """The vector of a text, of length 1 unless the text says LONG."""
    numbers = np.frombuffer(blake2b(text.encode(), digest_size=DIMENSIONS).digest(), np.uint8) + 1.0
    made = (numbers / np.linalg.norm(numbers)).astype(np.float32)
    return made * np.float32(2) if "LONG" in text else made
