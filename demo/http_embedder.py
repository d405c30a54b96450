"""The sidecar's endpoints over HTTP, asked with the official client as any application would."""

from collections.abc import Sequence

from elasticsearch import AsyncElasticsearch

from sidecar.core.results import (
    DenseEmbeddings,
    RankedDocument,
    Ranking,
    SparseEmbedding,
    SparseEmbeddings,
)
from sidecar.core.tasks import InputType


class HttpEmbedder:
    """Embeds and ranks by calling a sidecar; see `sidecar.inference.embedder.QueryEmbedder`."""

    def __init__(self, sidecar: AsyncElasticsearch) -> None:
        self._sidecar = sidecar

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        answer = await self._sidecar.inference.inference(
            inference_id=inference_id, input=list(texts), input_type=input_type.value
        )
        if "sparse_embedding" in answer:
            items = (SparseEmbedding(item["embedding"], item["is_truncated"]) for item in answer["sparse_embedding"])
            return SparseEmbeddings(tuple(items))
        return DenseEmbeddings(tuple(item["embedding"] for item in answer["text_embedding"]))

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        answer = await self._sidecar.inference.rerank(inference_id=inference_id, input=list(texts), query=query)
        documents = (RankedDocument(item["index"], item["relevance_score"]) for item in answer["rerank"])
        return Ranking(tuple(documents))
