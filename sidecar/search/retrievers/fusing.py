"""Rankings made into one, as ``rrf``, ``linear`` and ``pinned`` do it: single precision, ties by shard and document.

Source: Elasticsearch's retriever reference; Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual rank learning methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sidecar.search.fusion import Normalizer

Key = tuple[str, str]
"""Index and id."""

_LAST = 1 << 62
_SMALL = 1e-6
_MOST = float(np.finfo(np.float32).max)
# A float32 of 2 to the 127th, the largest score that a search's own hits may have under pinned ones.
_MOST_ORGANIC = np.float32(2.0**127)


@dataclass(frozen=True, slots=True)
class Term:
    """What one child gave to a document: its place there from 1, its score there, what it adds to the sum."""

    place: int
    rank: int
    score: float
    part: float


@dataclass(frozen=True, slots=True)
class Found:
    """A document in a ranking. ``order`` is its place among documents of equal score: shard, then Lucene's number.

    ``terms`` are those of the fusion it comes from; ``raw`` its hit in the leg that found it, for texts and
    explanations; ``relevance`` the reranker's own score, ``reranked`` false where it was not asked.
    """

    key: Key
    score: float
    order: int = _LAST
    terms: tuple[Term, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    relevance: float | None = None
    reranked: bool = False
    before: int | None = None


def sort_found(found: Iterable[Found]) -> list[Found]:
    """Best first; equal scores in the order of shard and document."""
    return sorted(found, key=lambda one: (-one.score, one.order, one.key))


def reciprocal_ranks(
    rankings: Sequence[Sequence[Found]], weights: Sequence[float], constant: int, window: int
) -> list[Found]:
    """``rrf``: the sum of ``weight / (constant + rank)``, ranks from 1, over the first ``window`` of each ranking."""
    parts = [
        [float(np.float32(weight) * (np.float32(1.0) / np.float32(constant + rank))) for rank in range(1, window + 1)]
        for weight in weights
    ]
    return _summed(rankings, parts, window)


def weighted_scores(
    rankings: Sequence[Sequence[Found]],
    weights: Sequence[float],
    normalizers: Sequence[Normalizer],
    window: int,
    *,
    equal_is_one: bool = True,
) -> list[Found]:
    """``linear``: the sum of ``weight * normalized score`` over the first ``window`` of each ranking.

    ``equal_is_one``: where all scores of a ranking are equal ``minmax`` makes them 1 (since 9.2; before, it left them).
    """
    parts = [
        [
            _single(weight * score)
            for score in normalized([one.score for one in ranking[:window]], normalizer, equal_is_one=equal_is_one)
        ]
        for ranking, weight, normalizer in zip(rankings, weights, normalizers, strict=True)
    ]
    return _summed(rankings, parts, window)


def normalized(scores: Sequence[float], normalizer: Normalizer, *, equal_is_one: bool = True) -> list[float]:
    """The scores of one ranking's window; ``l2_norm`` leaves those alone whose length is below 1e-6."""
    if not scores or normalizer is Normalizer.NONE:
        return list(scores)
    values = np.asarray(scores, dtype=np.float64)
    if normalizer is Normalizer.MINMAX:
        low, high = values.min(), values.max()
        if high - low < _SMALL:
            return [1.0] * len(scores) if equal_is_one else [float(low)] * len(scores)
        return [float(value) for value in (values - low) / (high - low)]
    length = np.sqrt(np.sum(values * values))
    return list(scores) if length < _SMALL else [float(value) for value in values / length]


def pinned_before(pins: Sequence[Found], ranking: Sequence[Found], window: int) -> list[Found]:
    """The pinned documents in their order, then the ranking without them.

    The last pin has the second float above all scores of a search, every earlier one the next.
    """
    keys = {pin.key for pin in pins}
    score = np.nextafter(_MOST_ORGANIC, np.float32(np.inf))
    scored: list[Found] = []
    for pin in reversed(pins):
        score = np.nextafter(score, np.float32(np.inf))
        scored.append(replace(pin, score=float(score)))
    return [*reversed(scored), *(one for one in ranking if one.key not in keys)][:window]


def _summed(rankings: Sequence[Sequence[Found]], parts: Sequence[Sequence[float]], window: int) -> list[Found]:
    sums: dict[Key, float] = {}
    terms: dict[Key, list[Term]] = {}
    first: dict[Key, Found] = {}
    for place, (ranking, own) in enumerate(zip(rankings, parts, strict=True)):
        for rank, (one, part) in enumerate(zip(ranking[:window], own, strict=False), 1):
            known = first.setdefault(one.key, one)
            if known.order == _LAST and one.order != _LAST:
                first[one.key] = replace(known, order=one.order)
            sums[one.key] = _single(sums.get(one.key, 0.0) + part)
            terms.setdefault(one.key, []).append(Term(place, rank, one.score, part))
    fused = (
        replace(first[key], score=total, terms=tuple(terms[key]), relevance=None, reranked=False)
        for key, total in sums.items()
    )
    return sort_found(fused)[:window]


def _single(value: float) -> float:
    """The nearest float32, which is what scores are; never beyond the largest."""
    return float(np.float32(min(value, _MOST)))


def has_order(ranking: Iterable[Found]) -> bool:
    """Whether every document's place among equals is known."""
    return all(one.order != _LAST for one in ranking)
