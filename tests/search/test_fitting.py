import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.search.asking import Scored
from sidecar.search.defaults import LegKind
from sidecar.search.fitting import Configuration, _values, default_configuration, fit, fused, grid
from sidecar.search.fusion import Normalizer
from sidecar.search.measuring import measured

scores = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 10**6), max_size=10)


def ranking(found: dict[str, int]) -> list[Scored]:
    # distinct scores: how ties stand is the cluster's to say
    ordered = sorted(found, key=lambda name: (-found[name], name))
    return [Scored(name, found[name] + (len(ordered) - n) / 100) for n, name in enumerate(ordered)]


@given(
    st.lists(scores, min_size=3, max_size=3),
    st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(0, 3), min_size=1),
    st.lists(st.sampled_from(list(grid(3))), min_size=1, max_size=8),
)
def test_what_is_chosen_by_is_what_the_library_measures(
    found: list[dict[str, int]], grades: dict[str, int], configurations: list[Configuration]
) -> None:
    grades = {**grades, "a": 1}
    legs = {kind: {"q": ranking(own)} for kind, own in zip(LegKind, found, strict=True)}
    values = _values(legs, "q", grades, configurations, 10)
    for value, configuration in zip(values, configurations, strict=True):
        sums = sorted(fused_scores(legs, configuration))
        if any(higher - lower <= 1e-6 * higher for lower, higher in itertools.pairwise(sums)):
            continue  # a tie in single precision: its order is nobody's
        fair = measured(["nDCG@10"], {"q": grades}, {"q": fused(legs, "q", configuration)})
        assert value == pytest.approx(fair["nDCG@10"]["q"])


def fused_scores(legs: dict[LegKind, dict[str, list[Scored]]], one: Configuration) -> list[float]:
    totals: dict[str, float] = {}
    for leg, weight in zip(legs.values(), one.weights, strict=True):
        own = [found.score for found in leg["q"][: one.window]]
        if not own or not weight:
            continue
        low, high, length = min(own), max(own), float(np.linalg.norm(own))
        for found in leg["q"][: one.window]:
            scaled = {
                Normalizer.MINMAX: (found.score - low) / (high - low) if high > low else 1.0,
                Normalizer.L2_NORM: found.score / length,
                Normalizer.NONE: found.score,
            }[one.normalizer]
            totals[found.id] = totals.get(found.id, 0.0) + weight * scaled
    return list(totals.values())


def collection(seed: int, good: LegKind, count: int = 40) -> dict[LegKind, dict[str, list[Scored]]]:
    """Queries whose one answer stands first in ``good`` and anywhere elsewhere."""
    draw = np.random.default_rng(seed)
    legs: dict[LegKind, dict[str, list[Scored]]] = {kind: {} for kind in LegKind}
    for query in range(count):
        for kind, found in legs.items():
            names = [f"d{n}" for n in draw.permutation(30)]
            if kind is good:
                names = ["d0", *(name for name in names if name != "d0")]
            values = np.sort(draw.uniform(1, 9, 30))[::-1]
            found[str(query)] = [Scored(name, float(value)) for name, value in zip(names, values, strict=True)]
    return legs


@pytest.mark.parametrize("good", LegKind)
def test_a_fit_finds_the_leg_that_knows(good: LegKind) -> None:
    legs = collection(5, good)
    grades = {query: {"d0": 1} for query in legs[good]}
    found = fit(legs, grades)
    assert found.best.weights[list(LegKind).index(good)] > 0.6
    means = [
        np.mean(list(measured(["nDCG@10"], grades, rankings)["nDCG@10"].values()))
        for rankings in (found.default, found.held_out)
    ]
    assert means[1] >= means[0]
    assert set(found.held_out) == set(grades)
    assert len(found.chosen) == 5
    assert found == fit(legs, grades)


def test_where_nothing_can_be_told_the_default_stays() -> None:
    legs = collection(5, LegKind.DENSE)
    same = dict.fromkeys(LegKind, legs[LegKind.DENSE])
    found = fit(same, {query: {"d0": 1} for query in same[LegKind.DENSE]})
    assert found.best == default_configuration(same)
    assert found.held_out == found.default


def test_missing_legs_leave_the_others_their_proportion() -> None:
    assert default_configuration(dict.fromkeys([LegKind.WORDS, LegKind.SPARSE])).weights == pytest.approx((0.6, 0.4))


def test_what_cannot_be_fitted_is_said() -> None:
    legs = collection(5, LegKind.DENSE)
    with pytest.raises(ValueError, match="two ways"):
        fit({LegKind.DENSE: legs[LegKind.DENSE]}, {str(n): {"d0": 1} for n in range(9)})
    with pytest.raises(ValueError, match="at least 5 judged queries"):
        fit(legs, {"1": {"d0": 1}, "2": {"d0": 0}})
