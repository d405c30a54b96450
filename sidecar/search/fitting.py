"""Weights, window and normaliser of a ``linear`` retriever out of judged queries, and how much they are worth.

Every configuration of a grid is tried on the legs' raw scores. What is reported is the quality on queries that the
choice has not seen (cross-validation): the quality on those that it has seen flatters it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from sidecar.search.asking import Rankings, Scored
from sidecar.search.defaults import NORMALIZER, WEIGHTS, WINDOW, LegKind
from sidecar.search.fusion import Normalizer
from sidecar.search.measuring import Grades
from sidecar.search.retrievers.fusing import Found, normalized, weighted_scores

FOLDS = 5
WINDOWS = (20, 50, 100, 200)
NORMALIZERS = (Normalizer.MINMAX, Normalizer.L2_NORM, Normalizer.NONE)
STEPS = 10
"""Weights are multiples of ``1 / STEPS`` and add up to 1."""
_SEED = 1

Floats = npt.NDArray[np.float64]
Legs = Mapping[LegKind, Rankings]


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to fuse; ``weights`` in the order of the legs."""

    weights: tuple[float, ...]
    normalizer: Normalizer
    window: int


@dataclass(frozen=True, slots=True)
class Fit:
    """The configuration that is best on all queries, with rankings made by the cross-validation.

    ``held_out``: every query's ranking by the configuration that is best on the other folds; ``default``: by the
    default one. ``chosen``: what each fold chose.
    """

    best: Configuration
    chosen: tuple[Configuration, ...]
    held_out: dict[str, list[str]]
    default: dict[str, list[str]]


def fit(legs: Legs, grades: Grades, *, cutoff: int = 10, folds: int = FOLDS) -> Fit:
    """The configuration of the highest mean nDCG@``cutoff``; of equal ones the nearest to the default.

    Raises:
        ValueError: there are fewer than two legs, or fewer queries with a relevant document than folds.
    """
    queries = [query for query, judged in grades.items() if any(grade > 0 for grade in judged.values())]
    if len(legs) < 2:
        raise ValueError("fitting needs two ways of searching at least: there is nothing to weigh")
    if len(queries) < folds:
        raise ValueError(f"fitting needs at least {folds} judged queries that something answers, not {len(queries)}")
    default = default_configuration(legs)
    configurations = sorted(grid(len(legs)), key=lambda one: _distance(one, default))
    values = np.array([_values(legs, query, grades[query], configurations, cutoff) for query in queries])
    order = np.random.default_rng(_SEED).permutation(len(queries))
    held_out: dict[str, list[str]] = {}
    chosen = []
    for fold in range(folds):
        outside = np.sort(order[fold::folds])
        inside = np.delete(np.arange(len(queries)), outside)
        choice = configurations[_best(values[inside])]
        chosen.append(choice)
        held_out |= {queries[n]: fused(legs, queries[n], choice) for n in outside}
    return Fit(
        configurations[_best(values)],
        tuple(chosen),
        {query: held_out[query] for query in queries},
        {query: fused(legs, query, default) for query in queries},
    )


def default_configuration(legs: Mapping[LegKind, object]) -> Configuration:
    """What ``auto`` does with these legs; the weights add up to 1."""
    total = sum(WEIGHTS[kind] for kind in legs)
    return Configuration(tuple(WEIGHTS[kind] / total for kind in legs), NORMALIZER, WINDOW)


def grid(count: int) -> Iterator[Configuration]:
    """All configurations that are tried for so many legs."""
    for weights in product(range(STEPS + 1), repeat=count):
        if sum(weights) == STEPS:
            for normalizer, window in product(NORMALIZERS, WINDOWS):
                yield Configuration(tuple(weight / STEPS for weight in weights), normalizer, window)


def fused(legs: Legs, query: str, configuration: Configuration) -> list[str]:
    """One query's ranking, by the same arithmetic as the engine's ``linear``."""
    parts = [
        (_found(ranking[query]), weight)
        for ranking, weight in zip(legs.values(), configuration.weights, strict=True)
        if weight > 0
    ]
    ranked = weighted_scores(
        [found for found, _ in parts],
        [weight for _, weight in parts],
        [configuration.normalizer] * len(parts),
        configuration.window,
    )
    return [str(one.key[1]) for one in ranked[: configuration.window]]


def _found(ranking: Sequence[Scored]) -> list[Found]:
    return [Found(("", one.id, ""), one.score, order) for order, one in enumerate(ranking)]


def _best(values: Floats) -> int:
    return int(np.argmax(np.round(values.mean(axis=0), 9)))


def _distance(one: Configuration, other: Configuration) -> tuple[float, bool, float]:
    apart = sum(abs(a - b) for a, b in zip(one.weights, other.weights, strict=True))
    return round(apart, 6), one.normalizer is not other.normalizer, abs(np.log(one.window / other.window))


def _values(
    legs: Legs, query: str, judged: Mapping[str, int], configurations: Sequence[Configuration], cutoff: int
) -> Floats:
    """nDCG of every configuration for one query: gain of the grade, as trec_eval has it."""
    ids = list(dict.fromkeys(one.id for ranking in legs.values() for one in ranking[query]))
    place = {name: n for n, name in enumerate(ids)}
    gains = np.array([max(0, judged.get(name, 0)) for name in ids], dtype=np.float64)
    ideal = np.sort([float(grade) for grade in judged.values() if grade > 0])[::-1][:cutoff]
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    best = float(ideal @ discounts[: len(ideal)])
    result = np.zeros(len(configurations))
    groups: dict[tuple[Normalizer, int], list[int]] = {}
    for number, one in enumerate(configurations):
        groups.setdefault((one.normalizer, one.window), []).append(number)
    for (normalizer, window), members in groups.items():
        scores = np.zeros((len(ids), len(legs)))
        held = np.zeros((len(ids), len(legs)), dtype=bool)
        for column, ranking in enumerate(legs.values()):
            cut = ranking[query][:window]
            rows = [place[one.id] for one in cut]
            scores[rows, column] = normalized([one.score for one in cut], normalizer)
            held[rows, column] = True
        weights = np.array([configurations[number].weights for number in members]).T
        # what no leg of any weight has found cannot be in the list; what scores 0 can
        sums = np.where(held.astype(np.float64) @ (weights > 0) > 0, scores @ weights, -np.inf)
        depth = min(cutoff, window, len(ids))
        top = np.argsort(-sums, axis=0, kind="stable")[:depth]
        found = np.where(np.take_along_axis(sums, top, axis=0) > -np.inf, gains[top], 0.0)
        result[members] = discounts[:depth] @ found / best
    return result
