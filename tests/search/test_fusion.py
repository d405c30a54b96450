import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.search.fusion import Linear, Normalizer, Rrf, normalize
from sidecar.search.hits import Hit


def hits(*scored: tuple[str, float]) -> list[Hit]:
    return [Hit("docs", name, score, {"_index": "docs", "_id": name, "_score": score}) for name, score in scored]


rankings = st.dictionaries(
    st.sampled_from(["bm25", "sparse", "dense"]),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-10, 10)), max_size=8, unique_by=lambda x: x[0]).map(
        lambda scored: hits(*sorted(scored, key=lambda item: -item[1]))
    ),
    max_size=3,
)
normalizers = st.sampled_from(list(Normalizer))


def test_rrf_of_ranks_two_and_one() -> None:
    fused = Rrf(rank_constant=1).fuse({"one": hits(("x", 9), ("a", 8)), "two": hits(("a", 7))})
    assert fused[0].id == "a"
    assert fused[0].score == pytest.approx(1 / 3 + 1 / 2)
    assert fused[0].ranks == {"one": 2, "two": 1}
    assert fused[0].scores == {"one": 8, "two": 7}


def test_rrf_weights() -> None:
    lists = {"one": hits(("a", 1)), "two": hits(("b", 1))}
    assert [hit.id for hit in Rrf(weights={"two": 2.0}).fuse(lists)] == ["b", "a"]
    assert [hit.id for hit in Rrf(weights={"two": 0.5}).fuse(lists)] == ["a", "b"]


@given(rankings, st.integers(1, 100), st.integers(1, 10))
def test_rrf_is_the_sum_of_reciprocal_ranks_within_the_window(
    rankings: dict[str, list[Hit]], constant: int, window: int
) -> None:
    expected: dict[str, float] = {}
    for ranking in rankings.values():
        for rank, hit in enumerate(ranking[:window], 1):
            expected[hit.id] = expected.get(hit.id, 0.0) + 1 / (constant + rank)
    fused = Rrf(constant, window).fuse(rankings)
    assert len(fused) == min(window, len(expected))
    assert [hit.score for hit in fused] == sorted((hit.score for hit in fused), reverse=True)
    for hit in fused:
        assert hit.score == pytest.approx(expected[hit.id])
    best_left_out = max((score for name, score in expected.items() if name not in {h.id for h in fused}), default=0.0)
    assert all(hit.score >= best_left_out - 1e-12 for hit in fused)


@given(rankings, normalizers)
def test_fusion_does_not_depend_on_the_order_of_the_lists(
    rankings: dict[str, list[Hit]], normalizer: Normalizer
) -> None:
    backwards = dict(reversed(rankings.items()))
    for fusion in (Rrf(), Linear(normalizer)):
        one, other = fusion.fuse(rankings), fusion.fuse(backwards)
        assert {hit.key: pytest.approx(hit.score) for hit in one} == {hit.key: hit.score for hit in other}


@given(rankings)
def test_one_list_keeps_its_order(rankings: dict[str, list[Hit]]) -> None:
    for name, ranking in rankings.items():
        assert [hit.id for hit in Rrf().fuse({name: ranking})] == [hit.id for hit in ranking]


def test_linear_adds_weighted_normalised_scores() -> None:
    lists = {"bm25": hits(("a", 10), ("b", 5), ("c", 0)), "dense": hits(("b", 0.9), ("c", 0.5))}
    fused = Linear(Normalizer.MINMAX, weights={"bm25": 2.0}).fuse(lists)
    assert {hit.id: hit.score for hit in fused} == pytest.approx({"a": 2.0, "b": 1.0 + 1.0, "c": 0.0})
    plain = Linear(Normalizer.NONE).fuse(lists)
    assert {hit.id: hit.score for hit in plain} == pytest.approx({"a": 10, "b": 5.9, "c": 0.5})


def test_linear_min_score_is_inclusive() -> None:
    lists = {"bm25": hits(("a", 3), ("b", 2), ("c", 1))}
    assert [hit.id for hit in Linear(Normalizer.NONE, min_score=2).fuse(lists)] == ["a", "b"]


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_normalised_scores_keep_order_and_range(scores: list[float]) -> None:
    for normalizer in Normalizer:
        normal = normalize(scores, normalizer)
        order = sorted(range(len(scores)), key=lambda n: scores[n])
        assert all(normal[a] <= normal[b] + 1e-9 for a, b in pairwise(order))
    if scores and max(scores) - min(scores) >= 1e-6:
        scaled = normalize(scores, Normalizer.MINMAX)
        assert min(scaled) == 0.0
        assert max(scaled) == pytest.approx(1.0)
    if scores and math.hypot(*scores) >= 1e-6:
        assert math.hypot(*normalize(scores, Normalizer.L2_NORM)) == pytest.approx(1.0)


def test_equal_scores_stay_as_they_are_under_minmax() -> None:
    assert normalize([0.7, 0.7], Normalizer.MINMAX) == [0.7, 0.7]
    assert normalize([], Normalizer.MINMAX) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Rrf(rank_constant=0),
        lambda: Rrf(rank_window_size=0),
        lambda: Rrf(weights={"a": -1.0}),
        lambda: Linear(weights={"a": math.nan}),
    ],
)
def test_parameters_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        make()  # type: ignore[operator]


def test_what_only_one_hit_has_survives() -> None:
    one = [Hit("docs", "a", 1.0, {"_source": {"text": "t"}, "highlight": {"text": ["<em>t</em>"]}})]
    other = [Hit("docs", "a", 2.0, {"_source": {"text": "t"}, "inner_hits": {"passages": {}}})]
    (fused,) = Rrf().fuse({"bm25": one, "dense": other})
    assert set(fused.raw) == {"_source", "highlight", "inner_hits"}
