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
RERANKED = 20

BM25 = Retriever("bm25", "text")
SPARSE = Retriever("sparse", SPARSE_FIELD, SPARSE_ENDPOINT)
DENSE = Retriever("dense", DENSE_FIELD, DENSE_ENDPOINT)

METHODS: dict[str, tuple[tuple[Retriever, ...], Reranker | None]] = {
    "BM25": ((BM25,), None),
    "sparse": ((SPARSE,), None),
    "dense": ((DENSE,), None),
    "fused": ((BM25, SPARSE, DENSE), None),
    "reranked": ((BM25, SPARSE, DENSE), Reranker(RERANK_ENDPOINT, "text", RERANKED)),
}


@dataclass(frozen=True)
class Result:
    """What every method found for one question, best first, and the question's own token weights."""

    question: Question
    hits: dict[str, list[Hit]]
    tokens: dict[str, float]

    def ndcg(self, method: str) -> float:
        return ndcg([hit.id for hit in self.hits[method]], self.question.judgements, DEPTH)


async def ask(searcher: Searcher, question: Question) -> Result:
    """Puts one question in all five ways."""
    hits: dict[str, list[Hit]] = {}
    tokens: dict[str, float] = {}
    for method, (retrievers, reranker) in METHODS.items():
        request = SearchRequest(
            INDEX,
            question.text,
            retrievers,
            fusion=Rrf(rank_window_size=50),
            reranker=reranker,
            size=DEPTH,
            source=("title", "text"),
        )
        answer = await searcher.search(request)
        hits[method] = answer.hits
        tokens |= answer.tokens.get(SPARSE.name, {})
    return Result(question, hits, tokens)


def scores(results: Sequence[Result], method: str, kind: str | None = None) -> float:
    """Mean nDCG@10 of a method, of all questions or of one kind."""
    return mean(result.ndcg(method) for result in results if kind in (None, result.question.kind))
