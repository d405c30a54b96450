"""The ways in which the demo searches: bodies of Elasticsearch's search API, sent through the sidecar."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from demo.judged_corpus import Question
from sidecar.search.evaluation import mean, ndcg

INDEX = "sidecar-demo"
SPARSE_ENDPOINT, DENSE_ENDPOINT, RERANK_ENDPOINT = "demo-sparse", "demo-dense", "demo-rerank"
SPARSE_FIELD, DENSE_FIELD = "text_sparse", "text_dense"
DEPTH = 10
WINDOW = 100
RERANKED = 30

Body = dict[str, Any]


@dataclass(frozen=True)
class Hit:
    """A passage that was found."""

    id: str
    source: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What every method found for one question, best first."""

    question: Question
    hits: dict[str, list[Hit]]

    def ndcg(self, method: str) -> float:
        return ndcg([hit.id for hit in self.hits[method]], self.question.judgements, DEPTH)


def words(text: str) -> Body:
    return {"standard": {"query": {"match": {"text": text}}}}


def sparse(text: str) -> Body:
    query = {"field": SPARSE_FIELD, "inference_id": SPARSE_ENDPOINT, "query": text, "prune": False}
    return {"standard": {"query": {"sparse_vector": query}}}


def dense(text: str) -> Body:
    builder = {"text_embedding": {"model_id": DENSE_ENDPOINT, "model_text": text}}
    return {"knn": {"field": DENSE_FIELD, "k": WINDOW, "num_candidates": 5 * WINDOW, "query_vector_builder": builder}}


def default(text: str) -> Body:
    """Whatever the index has, with the measured weights: what ``sidecar search`` does where nobody says how."""
    return {"auto": {"query": text}}


def rank_fusion(text: str) -> Body:
    return {"rrf": {"retrievers": [words(text), sparse(text), dense(text)], "rank_window_size": WINDOW}}


def reranked(text: str) -> Body:
    return {
        "text_similarity_reranker": {
            "retriever": default(text),
            "inference_id": RERANK_ENDPOINT,
            "inference_text": text,
            "field": "text",
            "rank_window_size": RERANKED,
        }
    }


METHODS = {
    "BM25": words,
    "sparse": sparse,
    "dense": dense,
    "default": default,
    "rank fusion": rank_fusion,
    "reranked": reranked,
}


async def ask(sidecar: AsyncElasticsearch, question: Question) -> Result:
    """Puts one question in every way."""
    found = await asyncio.gather(*(_search(sidecar, method(question.text)) for method in METHODS.values()))
    return Result(question, dict(zip(METHODS, found, strict=True)))


async def _search(sidecar: AsyncElasticsearch, retriever: Body) -> list[Hit]:
    answer = await sidecar.search(index=INDEX, retriever=retriever, size=DEPTH, source_includes=["title", "text"])
    return [Hit(hit["_id"], hit["_source"]) for hit in answer["hits"]["hits"]]


async def query_tokens(sidecar: AsyncElasticsearch, text: str) -> dict[str, float]:
    """The token weights of a question."""
    answer = await sidecar.inference.inference(inference_id=SPARSE_ENDPOINT, input=text, input_type="search")
    return dict(answer["sparse_embedding"][0]["embedding"])


def scores(results: Sequence[Result], method: str, kind: str | None = None) -> float:
    """Mean nDCG@10 of a method, of all questions or of one kind."""
    return mean(result.ndcg(method) for result in results if kind in (None, result.question.kind))
