"""Results of providers: whether they can be used, and how those of a split call come together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from sidecar.core.errors import OtherError
from sidecar.core.results import Answer, DenseEmbeddings, Ranking, Result, SparseEmbedding, SparseEmbeddings, Vector
from sidecar.services.calls import UnusableAnswerError


def count_of(result: Result) -> int:
    """How many inputs a result of embeddings is for."""
    if isinstance(result, DenseEmbeddings):
        return len(result.vectors)
    return len(result.items) if isinstance(result, SparseEmbeddings) else 0


def joined(results: list[Result]) -> Result:
    """The results of the parts of one split call, in order."""
    first = results[0]
    if isinstance(first, DenseEmbeddings):
        vectors = itertools.chain.from_iterable(r.vectors for r in results if isinstance(r, DenseEmbeddings))
        marks = [r.is_truncated or (False,) * len(r.vectors) for r in results if isinstance(r, DenseEmbeddings)]
        return replace(first, vectors=tuple(vectors), is_truncated=tuple(itertools.chain.from_iterable(marks)))
    if isinstance(first, SparseEmbeddings):
        items = itertools.chain.from_iterable(r.items for r in results if isinstance(r, SparseEmbeddings))
        return SparseEmbeddings(tuple(items))
    raise TypeError(f"results of {type(first).__name__} cannot be joined")


def with_marks(answer: Answer, truncated: Sequence[bool]) -> Answer:
    """``answer`` with the embeddings marked whose text was cut; documents of a ranking are never cut for a provider."""
    result, marks = answer.result, itertools.chain(truncated, itertools.repeat(False))
    if isinstance(result, SparseEmbeddings):
        items = tuple(
            SparseEmbedding(item.tokens, item.is_truncated or mark)
            for item, mark in zip(result.items, marks, strict=False)
        )
        return replace(answer, result=SparseEmbeddings(items))
    if isinstance(result, DenseEmbeddings):
        known = result.is_truncated or (False,) * len(result.vectors)
        is_truncated = tuple(was or mark for was, mark in zip(known, marks, strict=False))
        return replace(answer, result=replace(result, is_truncated=is_truncated))
    return answer


def check_numbers(result: Result) -> None:
    """Refuse ``NaN`` and infinity, which no index takes and JSON cannot write: callers would get ``null``.

    Raises:
        UnusableAnswerError: one is there; the message names the first input that has one.
    """
    if isinstance(result, DenseEmbeddings):
        if not _are_finite_arrays(result.vectors):
            _check(result.vectors, "The embedding of input")
    elif isinstance(result, SparseEmbeddings):
        _check((item.tokens.values() for item in result.items), "The token weights of input")
    elif isinstance(result, Ranking):
        for document in result.documents:
            if not math.isfinite(document.relevance_score):
                raise _not_finite("The relevance score of input", document.index)


def _are_finite_arrays(vectors: Sequence[Vector]) -> bool:
    """Whether all are arrays of one length without ``NaN`` and infinity: one look at all of them."""
    if not all(isinstance(vector, np.ndarray) for vector in vectors):
        return False
    try:
        return bool(np.isfinite(np.asarray(vectors)).all())
    except (TypeError, ValueError):
        return False


def _check(inputs: Iterable[Iterable[float]], what: str) -> None:
    for position, values in enumerate(inputs):
        if isinstance(values, np.ndarray):
            if not np.isfinite(values).all():
                raise _not_finite(what, position)
            continue
        # One that is not finite makes the sum so; a sum that overflows is looked into.
        if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
            raise _not_finite(what, position)


def _not_finite(what: str, position: int) -> UnusableAnswerError:
    reason = f"{what} [{position}] holds a value that is not a finite number"
    return UnusableAnswerError(OtherError("illegal_argument_exception", reason), status=500)
