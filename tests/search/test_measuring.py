import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sidecar.core.user_error import UserError
from sidecar.search import measuring
from sidecar.search.comparing import compared, values_of, worst
from sidecar.search.evaluation import ndcg, recall
from sidecar.search.measuring import MEASURES, estimate, measured, significance

judged = st.dictionaries(
    st.sampled_from("123"), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1), min_size=1
)
found = st.dictionaries(st.sampled_from("123"), st.lists(st.sampled_from("abcdefgh"), unique=True))


@given(judged, found)
def test_values_are_those_of_the_library(grades: dict[str, dict[str, int]], rankings: dict[str, list[str]]) -> None:
    values = measured(MEASURES, grades, rankings)
    qrels = [ir_measures.Qrel(query, name, grade) for query, own in grades.items() for name, grade in own.items()]
    run = [
        ir_measures.ScoredDoc(query, name, 100.0 - place)
        for query, ranking in rankings.items()
        for place, name in enumerate(ranking)
    ]
    wanted = {name: dict.fromkeys(grades, 0.0) for name in MEASURES}
    for metric in ir_measures.iter_calc([ir_measures.parse_measure(name) for name in MEASURES], qrels, run):
        wanted[str(metric.measure)][metric.query_id] = metric.value
    assert values == wanted


@given(judged, found)
def test_the_measures_without_the_extra_agree_with_the_library(
    grades: dict[str, dict[str, int]], rankings: dict[str, list[str]]
) -> None:
    names = ("nDCG(gains={1:1,2:3,3:7})@3", "R@2")
    values = measured(names, grades, rankings)
    for query, own in grades.items():
        ranking = rankings.get(query, [])
        assert ndcg(ranking, own, 3) == pytest.approx(values[names[0]][query])
        assert recall(ranking, own, 2) == pytest.approx(values[names[1]][query])


def test_equal_scores_keep_the_order_that_people_see() -> None:
    assert measured(["RR"], {"1": {"a": 1}}, {"1": ["a", "z"]})["RR"]["1"] == 1.0


def test_an_interval_covers_the_mean_as_theory_has_it() -> None:
    values = np.random.default_rng(7).normal(0.4, 0.2, 200)
    found = estimate(values.tolist())
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    assert found.mean == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.15 * error)
    assert estimate([0.5]) == estimate([0.5, 0.5])


def test_significance_is_near_that_of_the_t_test() -> None:
    draw = np.random.default_rng(3)
    one = draw.normal(0.4, 0.2, 150)
    other = one + draw.normal(0.02, 0.1, 150)
    wanted = float(stats.ttest_rel(one, other).pvalue)
    assert significance(one.tolist(), other.tolist()) == pytest.approx(wanted, abs=0.02)
    assert significance([0.1, 0.2], [0.1, 0.2]) == significance([0.1], [0.9]) == 1.0
    # all the ways to change three signs: two of eight are as far from nothing
    assert significance([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]) == pytest.approx(0.25)


def test_ways_stand_side_by_side() -> None:
    grades = {"1": {"a": 1}, "2": {"b": 1}, "3": {"c": 0}}
    values = values_of(["RR"], grades, {"x": {"1": ["a"], "2": ["q", "b"]}, "y": {"1": ["q"], "2": ["b"]}})
    rows = compared(values, "x")
    assert [row.name for row in rows] == ["x", "y"]
    assert rows[0].estimates["RR"].mean == pytest.approx(0.5)
    assert (rows[0].p, list(rows[1].p)) == ({}, ["RR"])
    # nothing answers the third: it is nobody's failure
    assert worst(values["x"]["RR"], grades, 5) == ["2", "1"]


def test_what_is_no_measure_is_said() -> None:
    with pytest.raises(UserError, match=r"\[best\] is no measure"):
        measuring.check_measures(["best"])


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    with pytest.raises(UserError, match=r"extra \[eval\]"):
        measuring.check_measures(MEASURES)
