"""How good a ranking is, given judgements: the two measures that the demo and a bench need without the extra ``eval``.

Everything else is measured by ``sidecar.search.measuring`` with ``ir-measures``, with which these agree (a test).

Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002, in the
form with gain ``2^grade - 1``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def ndcg(ranking: Sequence[str], judgements: Mapping[str, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first ``k`` ids, 0 to 1; unjudged documents have grade 0.

    0 when no judgement is above 0. An id counts once, at its first place.
    """
    ideal = sorted((grade for grade in judgements.values() if grade > 0), reverse=True)[:k]
    if not ideal:
        return 0.0
    unique = list(dict.fromkeys(ranking))[:k]
    return _gain(max(judgements.get(found, 0.0), 0.0) for found in unique) / _gain(ideal)


def recall(ranking: Sequence[str], judgements: Mapping[str, float], k: int = 100, least: float = 1.0) -> float:
    """Share of the documents of grade ``least`` or more that stand among the first ``k``; 0 when there are none."""
    relevant = {document for document, grade in judgements.items() if grade >= least}
    if not relevant:
        return 0.0
    return len(relevant & set(ranking[:k])) / len(relevant)


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; 0 of nothing."""
    collected = list(values)
    return math.fsum(collected) / len(collected) if collected else 0.0


def _gain(grades: Iterable[float]) -> float:
    return math.fsum((2.0**grade - 1.0) / math.log2(place + 1) for place, grade in enumerate(grades, 1))
