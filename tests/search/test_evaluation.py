import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.search.evaluation import mean, ndcg, recall

judged = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)
ranked = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)


def test_ndcg_by_hand() -> None:
    judgements = {"a": 3, "b": 2, "c": 1}
    gain = (2**2 - 1) / math.log2(2) + (2**3 - 1) / math.log2(4)
    ideal = (2**3 - 1) / math.log2(2) + (2**2 - 1) / math.log2(3) + (2**1 - 1) / math.log2(4)
    assert ndcg(["b", "x", "a"], judgements) == pytest.approx(gain / ideal)


@given(judged)
def test_the_ideal_order_is_one(judgements: dict[str, int]) -> None:
    ideal = sorted(judgements, key=lambda name: -judgements[name])
    expected = 1.0 if any(judgements.values()) else 0.0
    assert ndcg(ideal, judgements) == pytest.approx(expected)


@given(ranked, judged, st.integers(1, 10))
def test_measures_lie_between_nothing_and_all(ranking: list[str], judgements: dict[str, int], k: int) -> None:
    assert 0.0 <= ndcg(ranking, judgements, k) <= 1.0 + 1e-9
    assert 0.0 <= recall(ranking, judgements, k) <= 1.0


@given(ranked, judged)
def test_a_repeated_document_does_not_count_again(ranking: list[str], judgements: dict[str, int]) -> None:
    doubled = [name for name in ranking for _ in range(2)]
    assert ndcg(doubled, judgements) == pytest.approx(ndcg(ranking, judgements))


def test_recall_counts_the_relevant_found() -> None:
    judgements = {"a": 3, "b": 1, "c": 0}
    assert recall(["a", "x"], judgements, 2) == 0.5
    assert recall(["x", "a"], judgements, 1) == 0.0
    assert recall(["a"], judgements, 1, least=2) == 1.0
    assert recall(["a"], {}, 1) == 0.0


def test_mean_of_nothing() -> None:
    assert mean([]) == 0.0
    assert mean([1.0, 2.0]) == 1.5
