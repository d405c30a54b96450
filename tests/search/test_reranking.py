import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.results import RankedDocument, Ranking
from sidecar.search.hits import Hit
from sidecar.search.reranking import Window, positive_score, reorder


def hit(name: str, text: object, score: float = 1.0) -> Hit:
    source = {} if text is None else {"text": text}
    raw = {"_index": "docs", "_id": name, "_score": score, "_source": source, "sort": [1], "highlight": {"text": ["x"]}}
    return Hit.read(raw)


def ranking(*scores: float) -> Ranking:
    documents = sorted((RankedDocument(n, s) for n, s in enumerate(scores)), key=lambda d: -d.relevance_score)
    return Ranking(tuple(documents))


HITS = [hit("a", "sea", 3.0), hit("b", None, 2.5), hit("c", ["tide", "moon"], 2.0), hit("d", "sky", 1.0)]


def opened(hits: list[Hit]) -> Window:
    """Hits with a text and those without, as they are handed to a reranker."""
    texts = [(hit, hit.source.get("text")) for hit in hits]
    told = [(hit, text if isinstance(text, str) else "\n".join(text)) for hit, text in texts if text is not None]
    without = tuple(hit for hit, text in texts if text is None)
    return Window(tuple(hit for hit, _ in told), tuple(text for _, text in told), without)


def test_hits_come_in_the_rankers_order_and_keep_what_they_had() -> None:
    ranked = reorder(opened(HITS), ranking(0.1, 0.9, 0.5))
    assert [hit.id for hit in ranked] == ["c", "d", "a", "b"]
    assert [hit.rerank_score for hit in ranked] == [0.9, 0.5, 0.1, None]
    assert ranked[0].score == pytest.approx(1.9)
    assert ranked[0].raw["_score"] == 2.0
    assert ranked[0].raw["sort"] == [1]
    assert ranked[0].raw["highlight"] == {"text": ["x"]}
    assert ranked[0].as_json()["_rerank_score"] == 0.9


def test_min_score_is_the_rankers_own_and_drops_hits_without_text() -> None:
    ranked = reorder(opened(HITS), ranking(0.1, 0.9, 0.5), min_score=0.5)
    assert [hit.id for hit in ranked] == ["c", "d"]


def test_ties_keep_the_first_stages_order() -> None:
    assert [hit.id for hit in reorder(opened(HITS), ranking(0.5, 0.5, 0.5))] == ["a", "c", "d", "b"]


@pytest.mark.parametrize(
    "broken",
    [
        Ranking((RankedDocument(0, 1.0),)),
        Ranking((RankedDocument(0, 1.0), RankedDocument(1, 0.5), RankedDocument(5, 0.1))),
        Ranking((RankedDocument(0, 1.0), RankedDocument(1, 0.5), RankedDocument(1, 0.5))),
        ranking(0.1, math.nan, 0.2),
    ],
)
def test_rankings_that_do_not_fit_are_refused(broken: Ranking) -> None:
    with pytest.raises(ValueError, match="reranker"):
        reorder(opened(HITS), broken)


@pytest.mark.parametrize(("score", "positive"), [(0.5, 1.5), (-2.5, 0.0821), (0.0, 1.0), (3.0, 4.0)])
def test_positive_scores_are_elasticsearchs(score: float, positive: float) -> None:
    assert positive_score(score) == pytest.approx(positive, abs=1e-4)


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_positive_scores_keep_order_and_can_be_turned_back(one: float, other: float) -> None:
    if one < other:
        assert positive_score(one) <= positive_score(other)
    positive = positive_score(one)
    assert (positive - 1.0 if positive >= 1.0 else math.log(positive)) == pytest.approx(one, abs=1e-6)
