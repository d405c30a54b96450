"""The five ways in which the demo searches."""

from collections.abc import Sequence
from dataclasses import dataclass

from demo.judged_corpus import Question
from sidecar.search.evaluation import mean, ndcg
from sidecar.search.fusion import Rrf
from sidecar.search.hits import Hit
from sidecar.search.searcher import Reranker, Retriever, Searcher, SearchRequest

INDEX = "sidecar-demo"
SPARSE_ENDPOINT, DENSE_ENDPOINT, RERANK_ENDPOINT = "demo-sparse", "demo-dense", "demo-rerank"
SPARSE_FIELD, DENSE_FIELD = "text_sparse", "text_dense"
DEPTH = 10
WINDOW = 50
RERANKED = 30

BM25 = Retriever("bm25", "text")
SPARSE = Retriever("sparse", SPARSE_FIELD, SPARSE_ENDPOINT)
DENSE = Retriever("dense", DENSE_FIELD, DENSE_ENDPOINT)
METHODS = ("BM25", "sparse", "dense", "fused", "reranked")

# The dense model is by far the strongest of the three on published collections too, so its list counts double.
FUSION = Rrf(rank_window_size=WINDOW, weights={DENSE.name: 2.0})


@dataclass(frozen=True)
class Result:
    """What every method found for one question, best first, and the question's own token weights."""

    question: Question
    hits: dict[str, list[Hit]]
    tokens: dict[str, float]

    def ndcg(self, method: str) -> float:
        return ndcg([hit.id for hit in self.hits[method]], self.question.judgements, DEPTH)


async def ask(searcher: Searcher, question: Question) -> Result:
    """Puts one question; the three lists, their fusion and its reranking come out of one search."""
    request = SearchRequest(
        INDEX,
        question.text,
        (BM25, SPARSE, DENSE),
        fusion=FUSION,
        reranker=Reranker(RERANK_ENDPOINT, "text", RERANKED),
        size=DEPTH,
        source=("title", "text"),
    )
    answer = await searcher.search(request)
    lists = (*(answer.rankings[retriever.name] for retriever in (BM25, SPARSE, DENSE)), answer.fused, answer.hits)
    hits = {method: found[:DEPTH] for method, found in zip(METHODS, lists, strict=True)}
    return Result(question, hits, answer.tokens[SPARSE.name])


def scores(results: Sequence[Result], method: str, kind: str | None = None) -> float:
    """Mean nDCG@10 of a method, of all questions or of one kind."""
    return mean(result.ndcg(method) for result in results if kind in (None, result.question.kind))
