"""One ranking out of several, as Elasticsearch's ``rrf`` and ``linear`` retrievers make it, for any licence.

Source: Elasticsearch's retriever reference, "RRF retriever" and "Linear retriever"; Cormack, Clarke and Büttcher,
"Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sidecar.search.hits import Hit

RANK_CONSTANT = 60
_SMALL = 1e-6

Rankings = Mapping[str, Sequence[Hit]]
"""Hits by the name of their retriever, best first."""


class Normalizer(StrEnum):
    """How scores of different retrievers are made comparable."""

    MINMAX = "minmax"
    L2_NORM = "l2_norm"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Rrf:
    """Reciprocal rank fusion: the sum of ``weight / (rank_constant + rank)``, ranks from 1.

    Only the first ``rank_window_size`` hits of each retriever count. Weights default to 1.
    """

    rank_constant: int = RANK_CONSTANT
    rank_window_size: int = 100
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _check(self.rank_window_size, self.weights)
        if self.rank_constant < 1:
            raise ValueError("rank_constant must be at least 1")

    def fuse(self, rankings: Rankings) -> list[Hit]:
        """One list, best first, cut to the window."""
        return _fuse(rankings, self.rank_window_size, self.weights, self._parts)

    def _parts(self, hits: Sequence[Hit]) -> list[float]:
        return [1.0 / (self.rank_constant + rank) for rank in range(1, len(hits) + 1)]


@dataclass(frozen=True, slots=True)
class Linear:
    """The weighted sum of normalised scores; a retriever that did not return a document adds nothing.

    ``min_score`` (inclusive) applies to the sum.
    """

    normalizer: Normalizer = Normalizer.MINMAX
    rank_window_size: int = 100
    weights: Mapping[str, float] | None = None
    min_score: float | None = None

    def __post_init__(self) -> None:
        _check(self.rank_window_size, self.weights)

    def fuse(self, rankings: Rankings) -> list[Hit]:
        """One list, best first, cut to the window."""
        fused = _fuse(rankings, self.rank_window_size, self.weights, self._parts)
        return fused if self.min_score is None else [hit for hit in fused if hit.score >= self.min_score]

    def _parts(self, hits: Sequence[Hit]) -> list[float]:
        return normalize([hit.score for hit in hits], self.normalizer)


def normalize(scores: Sequence[float], normalizer: Normalizer) -> list[float]:
    """Scores of one retriever's window.

    ``minmax`` maps to 0..1; where all scores are equal (to 1e-6) they stay as they are, as in Elasticsearch.
    ``l2_norm`` divides by the Euclidean length, unless that is below 1e-6.
    """
    if not scores:
        return []
    if normalizer is Normalizer.MINMAX:
        low, high = min(scores), max(scores)
        if high - low < _SMALL:
            return [low] * len(scores)
        return [(score - low) / (high - low) for score in scores]
    if normalizer is Normalizer.L2_NORM:
        length = math.sqrt(math.fsum(score * score for score in scores))
        return list(scores) if length < _SMALL else [score / length for score in scores]
    return list(scores)


def _fuse(
    rankings: Rankings,
    window: int,
    weights: Mapping[str, float] | None,
    parts_of: Callable[[Sequence[Hit]], list[float]],
) -> list[Hit]:
    fused: dict[tuple[str, str], Hit] = {}
    for name, ranking in rankings.items():
        weight = 1.0 if weights is None else weights.get(name, 1.0)
        hits = _unique(ranking)[:window]
        for rank, (hit, part) in enumerate(zip(hits, parts_of(hits), strict=True), 1):
            known = fused.get(hit.key)
            if known is None:
                known = replace(hit, score=0.0, ranks={}, scores={})
            fused[hit.key] = replace(
                known,
                score=known.score + weight * part,
                ranks={**known.ranks, name: rank},
                scores={**known.scores, name: hit.score},
                raw=_merged(known, hit),
            )
    # Ties: the better best rank, then index and id, so that the same hits give the same order every time.
    return sorted(fused.values(), key=lambda hit: (-hit.score, min(hit.ranks.values()), hit.key))[:window]


def _merged(one: Hit, other: Hit) -> Mapping[str, object]:
    """The first retriever's hit with what only the other has (highlights, inner hits)."""
    return {**other.raw, **one.raw}


def _unique(ranking: Sequence[Hit]) -> list[Hit]:
    return list({hit.key: hit for hit in reversed(ranking)}.values())[::-1]


def _check(window: int, weights: Mapping[str, float] | None) -> None:
    if window < 1:
        raise ValueError("rank_window_size must be at least 1")
    if weights is not None and any(not math.isfinite(weight) or weight < 0 for weight in weights.values()):
        raise ValueError("weights must be finite and not negative")
