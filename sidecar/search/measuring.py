"""How good rankings are by the field's measures, how sure that is, and whether one way is better than another.

Measures: ``ir-measures`` (trec_eval's own code). Intervals: percentile bootstrap over queries. Significance: paired
randomisation test, which Smucker, Allan and Carterette ("A comparison of statistical significance tests for
information retrieval evaluation", CIKM 2007) recommend. Both from ``scipy``. All of it is the extra ``eval``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidecar.core.user_error import UserError

Ranking = Sequence[str]
"""Ids, best first."""
Grades = Mapping[str, Mapping[str, int]]

MEASURES = ("nDCG@10", "R@100", "RR", "AP")
RESAMPLES = 9999
_SEED = 1
_BATCH = 500
NOT_INSTALLED = (
    "Evaluation needs the extra [eval], which is not installed: pip install '.[eval]' in a checkout of the sidecar."
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def check_measures(names: Sequence[str]) -> None:
    """Raises ``UserError`` where the extra is not installed or a name is no measure."""
    for name in names:
        _measure(name)


def measured(names: Sequence[str], grades: Grades, rankings: Mapping[str, Ranking]) -> dict[str, dict[str, float]]:
    """Each measure's value for every judged query; 0 where nothing was found.

    Raises:
        UserError: the extra is not installed, or a name is no measure.
    """
    measures = {_measure(name): name for name in names}
    # By places, not scores: trec_eval orders equal scores by id, which is not the order that people see.
    run = {
        query: {document: -float(place) for place, document in enumerate(dict.fromkeys(ranking))}
        for query, ranking in rankings.items()
    }
    judged = {query: dict(documents) for query, documents in grades.items()}
    values = {name: dict.fromkeys(grades, 0.0) for name in names}
    for metric in _library().iter_calc(list(measures), judged, run):
        values[measures[metric.measure]][metric.query_id] = float(metric.value)
    return values


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, with its interval; the same values give the same interval."""
    mean = float(np.mean(values))
    if len(values) < 2 or min(values) == max(values):
        return Estimate(mean, mean, mean)
    found = (
        _statistics()
        .bootstrap((np.asarray(values),), np.mean, n_resamples=RESAMPLES, method="percentile", batch=_BATCH, rng=_SEED)
        .confidence_interval
    )
    return Estimate(mean, float(found.low), float(found.high))


def significance(values: Sequence[float], others: Sequence[float]) -> float:
    """How often chance alone gives means of the same queries that differ so much: two-sided p, 1 where none differ."""
    differences = np.asarray(values, dtype=np.float64) - np.asarray(others, dtype=np.float64)
    if len(differences) < 2 or not np.any(differences):
        return 1.0  # of one difference, turned round, both ways are as far from nothing
    found = _statistics().permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, batch=_BATCH, rng=_SEED
    )
    return float(found.pvalue)


def _measure(name: str) -> Any:
    library = _library()
    try:
        return library.parse_measure(name)
    except (NameError, ValueError, SyntaxError, TypeError) as error:
        raise UserError(f"[{name}] is no measure that ir-measures knows: {error}.") from None


def _library() -> Any:
    try:
        import ir_measures  # noqa: PLC0415
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    return ir_measures


def _statistics() -> Any:
    try:
        from scipy import stats  # noqa: PLC0415
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    return stats
