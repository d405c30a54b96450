"""Hybrid search with the means of a Basic licence: retrieve, fuse, rerank, each here and not in the cluster.

question -> vectors (one call per endpoint) -> one msearch: bm25 | sparse | dense -> fuse -> rerank -> page
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import IllegalArgumentError, StatusError
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.elastic.version import ServerVersion, server_version
from sidecar.inference.embedder import QueryEmbedder
from sidecar.search.fusion import Linear, Rrf
from sidecar.search.hits import Hit
from sidecar.search.queries import filtered, knn_search, query_weights, sparse_query, sparse_terms_query, text_query
from sidecar.search.reranking import open_window, reorder

Fusion = Rrf | Linear


@dataclass(frozen=True, slots=True)
class Retriever:
    """One way to find documents: ``kind`` is ``bm25``, ``sparse`` or ``dense``; the last two name an endpoint."""

    kind: str
    field: str
    inference_id: str | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.field}"


@dataclass(frozen=True, slots=True)
class Reranker:
    """Which endpoint reranks what: the text of ``field`` of the first ``rank_window_size`` hits."""

    inference_id: str
    field: str
    rank_window_size: int = 50
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question and how to answer it. One retriever needs no fusion."""

    index: str
    text: str
    retrievers: tuple[Retriever, ...]
    fusion: Fusion = field(default_factory=Rrf)
    reranker: Reranker | None = None
    size: int = 10
    filter: Mapping[str, Any] | None = None
    source: Sequence[str] | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        if not self.retrievers:
            raise IllegalArgumentError("at least one of bm25, sparse and dense is needed")
        if len({retriever.name for retriever in self.retrievers}) != len(self.retrievers):
            raise IllegalArgumentError("the same retriever is given twice")

    @property
    def window(self) -> int:
        """Hits each retriever is asked for."""
        reranked = 0 if self.reranker is None else self.reranker.rank_window_size
        fused = self.fusion.rank_window_size if len(self.retrievers) > 1 else 0
        return max(self.size, reranked, fused)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The hits, the list before reranking, what each retriever found, and the query's token weights by retriever."""

    hits: list[Hit]
    fused: list[Hit]
    rankings: dict[str, list[Hit]]
    tokens: dict[str, dict[str, float]]


class Searcher:
    """Searches one cluster; asks for its version once."""

    def __init__(self, client: AsyncElasticsearch, embedder: QueryEmbedder) -> None:
        self._client = client
        self._embedder = embedder
        self._version: ServerVersion | None = None
        self._terms_only = False

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """Answers one question; raises the client's errors and those of the endpoints."""
        if self._version is None:
            self._version = await server_version(self._client)
        vectors = await self._vectors(request)
        rankings = await self._retrieve(request, vectors)
        fused = next(iter(rankings.values())) if len(rankings) == 1 else request.fusion.fuse(rankings)
        hits = fused
        if request.reranker is not None:
            hits = await self._rerank(request.text, hits, request.reranker)
        tokens = {
            retriever.name: query_weights(vectors[retriever.inference_id or ""], self._version)
            for retriever in request.retrievers
            if retriever.kind == "sparse"
        }
        return SearchAnswer(hits[: request.size], fused, rankings, tokens)

    async def _vectors(self, request: SearchRequest) -> dict[str, Any]:
        ids = list(dict.fromkeys(r.inference_id for r in request.retrievers if r.inference_id is not None))
        return dict(zip(ids, await asyncio.gather(*(self._vector(name, request.text) for name in ids)), strict=True))

    async def _vector(self, inference_id: str, text: str) -> Any:
        answer = await self._embedder.embed(inference_id, [text], InputType.SEARCH)
        if isinstance(answer, SparseEmbeddings):
            return answer.items[0].tokens
        assert isinstance(answer, DenseEmbeddings)  # noqa: S101
        return answer.vectors[0]

    async def _retrieve(self, request: SearchRequest, vectors: Mapping[str, Any]) -> dict[str, list[Hit]]:
        searches: list[Mapping[str, Any]] = []
        for retriever in request.retrievers:
            searches += [{}, self._body(retriever, request, vectors)]
        answer = await self._client.msearch(index=request.index, searches=searches)
        rankings: dict[str, list[Hit]] = {}
        for retriever, response in zip(request.retrievers, answer["responses"], strict=True):
            if "error" in response:
                if self._without_sparse_query(response):
                    return await self._retrieve(request, vectors)
                raise _failure(retriever, response)
            rankings[retriever.name] = [Hit.read(hit) for hit in response["hits"]["hits"]]
        return rankings

    def _without_sparse_query(self, response: Mapping[str, Any]) -> bool:
        """True the first time a server does not know the ``sparse_vector`` query (8.15 to 8.17 without its module)."""
        if self._terms_only or "unknown query [sparse_vector]" not in str(response["error"]):
            return False
        self._terms_only = True
        return True

    def _body(self, retriever: Retriever, request: SearchRequest, vectors: Mapping[str, Any]) -> dict[str, Any]:
        assert self._version is not None  # noqa: S101
        body: dict[str, Any] = {"size": request.window, "track_total_hits": False}
        if request.source is not None:
            body["_source"] = list(request.source)
        if request.explain:
            body["explain"] = True
        if retriever.kind == "bm25":
            return body | {"query": filtered(text_query(retriever.field, request.text), request.filter)}
        vector = vectors[retriever.inference_id or ""]
        if isinstance(vector, Mapping) != (retriever.kind == "sparse"):
            raise IllegalArgumentError(f"endpoint [{retriever.inference_id}] does not make [{retriever.kind}] vectors")
        if retriever.kind == "dense":
            return body | {"knn": knn_search(retriever.field, vector, request.window, filter=request.filter)}
        weights = query_weights(vector, self._version)
        query = (
            sparse_terms_query(retriever.field, weights)
            if self._terms_only and weights
            else sparse_query(retriever.field, vector, self._version)
        )
        return body | {"query": filtered(query, request.filter)}

    async def _rerank(self, text: str, hits: Sequence[Hit], reranker: Reranker) -> list[Hit]:
        window = open_window(hits, reranker.field, reranker.rank_window_size)
        if not window.texts:
            return list(hits[: reranker.rank_window_size])
        ranking = await self._embedder.rerank(reranker.inference_id, text, window.texts)
        return reorder(window, ranking, min_score=reranker.min_score)


def _failure(retriever: Retriever, response: Mapping[str, Any]) -> StatusError:
    error = response["error"]
    causes = error.get("root_cause") or [error]
    return StatusError(
        f"search [{retriever.name}] failed: {causes[0].get('reason', 'no reason given')}",
        status=int(response.get("status", 500)),
    )
