"""Ways of searching side by side, and the questions at which one of them fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidecar.search.measuring import Estimate, Grades, Ranking, estimate, measured, significance

Values = Mapping[str, Mapping[str, float]]
"""By measure and query."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way of searching; ``p`` by measure against the baseline, empty for the baseline itself."""

    name: str
    estimates: Mapping[str, Estimate]
    p: Mapping[str, float]


def values_of(names: Sequence[str], grades: Grades, rankings: Mapping[str, Mapping[str, Ranking]]) -> dict[str, Values]:
    """Every way's value by measure and query."""
    return {way: measured(names, grades, found) for way, found in rankings.items()}


def compared(values: Mapping[str, Values], baseline: str) -> list[Row]:
    """A row for every way, in their order. The p values are those of single comparisons, not corrected for many."""
    rows = []
    for way, own in values.items():
        estimates = {measure: estimate(list(by_query.values())) for measure, by_query in own.items()}
        p = {}
        if way != baseline:
            for measure, by_query in own.items():
                others = values[baseline][measure]
                p[measure] = significance(list(by_query.values()), [others[query] for query in by_query])
        rows.append(Row(way, estimates, p))
    return rows


def worst(by_query: Mapping[str, float], grades: Grades, count: int) -> list[str]:
    """The queries of the lowest values, lowest first, of those that a document answers at all."""
    answerable = [query for query in by_query if any(grade > 0 for grade in grades[query].values())]
    return sorted(answerable, key=lambda query: by_query[query])[:count]
