"""Rankings made into one, as ``rrf``, ``linear`` and ``pinned`` do it: single precision, ties by shard and document.

Source: Elasticsearch's retriever reference; Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual rank learning methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from sidecar.search.fusion import Normalizer

_Singles: TypeAlias = npt.NDArray[np.float32]
Key = tuple[str, str | int, str]
"""Index, id or sequence number, whichever of the two a search asks its legs for, and what the document was routed by.

Shards of one index may each have a document of an id, where these were routed apart; empty where it was not routed.
"""

LAST = 1 << 62
"""The place of a document whose place among equals is not known."""
_SMALL = 1e-6
_MOST = float(np.finfo(np.float32).max)
# A float32 of 2 to the 127th, the largest score that a search's own hits may have under pinned ones.
_MOST_ORGANIC = np.float32(2.0**127)


class Term(NamedTuple):
    """What one child gave to a document: its place there from 1, its score there, what it adds to the sum."""

    place: int
    rank: int
    score: float
    part: float


class Found(NamedTuple):
    """A document in a ranking. ``order`` is its place among documents of equal score: shard, then Lucene's number.

    ``terms`` are those of the fusion it comes from, where kept; ``raw`` its hit in the leg that found it, for texts and
    explanations; ``relevance`` the reranker's own score, ``reranked`` false where it was not asked. (A named tuple:
    a search makes hundreds of them, and frozen dataclasses take three times as long.)
    """

    key: Key
    score: float
    order: int = LAST
    terms: tuple[Term, ...] = ()
    raw: Mapping[str, Any] = MappingProxyType({})
    relevance: float | None = None
    reranked: bool = False
    before: int | None = None


found_of: Callable[[tuple[Any, ...]], Found] = partial(tuple.__new__, Found)
"""A document of all its fields at once, in a third of the time that their names and defaults take."""


def key_of(hit: Mapping[str, Any]) -> Key:
    """The key of a hit with its id."""
    return hit["_index"], hit["_id"], hit.get("_routing") or ""


def sort_found(found: Iterable[Found]) -> list[Found]:
    """Best first; equal scores in the order of shard and document."""
    return sorted(found, key=lambda one: (-one.score, one.order, one.key))


def reciprocal_ranks(
    rankings: Sequence[Sequence[Found]],
    weights: Sequence[float],
    constant: int,
    window: int,
    *,
    keeps_terms: bool = True,
) -> list[Found]:
    """``rrf``: the sum of ``weight / (constant + rank)``, ranks from 1, over the first ``window`` of each ranking."""
    parts = []
    for ranking, weight in zip(rankings, weights, strict=True):
        places = np.arange(constant + 1, constant + 1 + len(ranking[:window]))
        parts.append(np.float32(weight) * (np.float32(1.0) / places.astype(np.float32)))
    return _summed(rankings, parts, window, keeps_terms=keeps_terms)


def weighted_scores(
    rankings: Sequence[Sequence[Found]],
    weights: Sequence[float],
    normalizers: Sequence[Normalizer],
    window: int,
    *,
    equal_is_one: bool = True,
    keeps_terms: bool = True,
) -> list[Found]:
    """``linear``: the sum of ``weight * normalized score`` over the first ``window`` of each ranking.

    ``equal_is_one``: where all scores of a ranking are equal ``minmax`` makes them 1 (since 9.2; before, it left them).
    """
    parts = []
    for ranking, weight, normalizer in zip(rankings, weights, normalizers, strict=True):
        scores = normalized([one.score for one in ranking[:window]], normalizer, equal_is_one=equal_is_one)
        parts.append(_single(weight * np.asarray(scores, dtype=np.float64)))
    return _summed(rankings, parts, window, keeps_terms=keeps_terms)


def normalized(scores: Sequence[float], normalizer: Normalizer, *, equal_is_one: bool = True) -> list[float]:
    """The scores of one ranking's window; ``l2_norm`` leaves those alone whose length is below 1e-6."""
    if not scores or normalizer is Normalizer.NONE:
        return list(scores)
    values = np.asarray(scores, dtype=np.float64)
    if normalizer is Normalizer.MINMAX:
        low, high = values.min(), values.max()
        if high - low < _SMALL:
            return [1.0] * len(scores) if equal_is_one else [float(low)] * len(scores)
        values = (values - low) / (high - low)
    else:
        length = np.sqrt(np.sum(values * values))
        values = values if length < _SMALL else values / length
    comparable: list[float] = values.tolist()
    return comparable


def pinned_before(pins: Sequence[Found], ranking: Sequence[Found], window: int) -> list[Found]:
    """The pinned documents in their order, then the ranking without them.

    The last pin has the second float above all scores of a search, every earlier one the next. What stands higher in
    the ranking, pinned there itself, is cut to the largest score of a search.
    """
    keys = {pin.key for pin in pins}
    score = np.nextafter(_MOST_ORGANIC, np.float32(np.inf))
    scored: list[Found] = []
    for pin in reversed(pins):
        score = np.nextafter(score, np.float32(np.inf))
        scored.append(pin._replace(score=float(score)))
    rest = [one for one in ranking if one.key not in keys]
    if any(one.score > _MOST_ORGANIC for one in rest):
        rest = sort_found(one._replace(score=min(one.score, float(_MOST_ORGANIC))) for one in rest)
    return [*reversed(scored), *rest][:window]


def _summed(
    rankings: Sequence[Sequence[Found]], parts: Sequence[_Singles], window: int, *, keeps_terms: bool
) -> list[Found]:
    """The first ``window`` documents by the sum of their parts, added one after the other in single precision."""
    found: list[Found] = []
    numbers: dict[Key, int] = {}
    sums = np.zeros(sum(map(len, parts)))
    for ranking, own in zip(rankings, parts, strict=True):
        places = []
        for one in ranking[:window]:
            number = numbers.setdefault(one.key, len(found))
            if number == len(found):
                found.append(one)
            elif found[number].order == LAST:
                found[number] = found[number]._replace(order=one.order)
            places.append(number)
        np.add.at(sums, places, own)
        sums[:] = _single(sums)
    totals: list[float] = sums.tolist()
    # Compared as they stand, without a function for each of them.
    best = sorted(
        (-total, one.order, one.key, place) for place, (one, total) in enumerate(zip(found, totals, strict=False))
    )
    terms = _terms(rankings, parts, window) if keeps_terms else {}
    ranked = []
    for _, order, key, place in best[:window]:
        one = found[place]
        ranked.append(
            found_of((key, totals[place], order, tuple(terms.get(key, ())), one.raw, None, False, one.before))
        )
    return ranked


def _terms(rankings: Sequence[Sequence[Found]], parts: Sequence[_Singles], window: int) -> dict[Key, list[Term]]:
    terms: dict[Key, list[Term]] = {}
    for place, (ranking, own) in enumerate(zip(rankings, parts, strict=True)):
        for rank, (one, part) in enumerate(zip(ranking[:window], own.tolist(), strict=True), 1):
            terms.setdefault(one.key, []).append(Term(place, rank, one.score, part))
    return terms


def _single(values: npt.NDArray[np.float64]) -> _Singles:
    """The nearest float32, which is what scores are; never beyond the largest."""
    return np.minimum(values, _MOST).astype(np.float32)


def has_order(ranking: Iterable[Found]) -> bool:
    """Whether every document's place among equals is known."""
    return all(one.order != LAST for one in ranking)
