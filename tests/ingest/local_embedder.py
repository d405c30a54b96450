"""The built-in models as an embedder by model name, so that tests of ingestion need no endpoints."""

from collections.abc import Sequence
from dataclasses import replace

from sidecar.core.results import DenseEmbeddings, RankedDocument, Ranking, SparseEmbeddings
from sidecar.core.tasks import InputType, Similarity, TaskType
from sidecar.inference.embedder import EndpointProfile
from sidecar.runtime.config import Lane, RuntimeConfig
from sidecar.runtime.models import LocalModels

SPARSE = "splade-tiny"
DENSE = "all-MiniLM-L6-v2"


class LocalEmbedder:
    """``texts`` records what was asked for; ``revision`` is put behind each model's own, to play a new model."""

    def __init__(self) -> None:
        self._models = LocalModels(RuntimeConfig())
        self.texts: list[str] = []
        self.revision = ""

    async def profile(self, inference_id: str) -> EndpointProfile:
        info = self._models.resolve(inference_id)
        if TaskType.SPARSE_EMBEDDING in info.tasks:
            profile = EndpointProfile(inference_id, TaskType.SPARSE_EMBEDDING, info.revision)
        else:
            profile = EndpointProfile(
                inference_id, TaskType.TEXT_EMBEDDING, info.revision, info.dimensions, Similarity.COSINE
            )
        return replace(profile, revision=info.revision + self.revision)

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        self.texts += texts
        if inference_id == SPARSE:
            return SparseEmbeddings(tuple(await self._models.sparse(inference_id, texts, lane=Lane.INGEST)))
        vectors = await self._models.dense(inference_id, texts, input_type=input_type, lane=Lane.INGEST)
        return DenseEmbeddings(tuple(vectors))

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        scores = await self._models.rerank(inference_id, query, texts, lane=Lane.SEARCH)
        ranked = sorted(enumerate(scores), key=lambda item: -item[1])
        return Ranking(tuple(RankedDocument(index, score) for index, score in ranked))

    async def close(self) -> None:
        await self._models.close()
