"""Embeddings as the values Elasticsearch stores: checked here, so that one bad number cannot reject a whole bulk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from sidecar.core.results import SparseEmbedding, Vector
from sidecar.core.tasks import ElementType, Similarity
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile

LONGEST_TERM = 32766
SMALLEST_WEIGHT = 1e-3
"""Weights are stored with nine significant bits and add up to scores of 10 and more: below this nothing changes."""


_DIRECTED = (Similarity.COSINE, Similarity.DOT_PRODUCT)


class UnusableVectorError(ValueError):
    """An embedding that no field can hold; the text says why."""


def sparse_value(embedding: SparseEmbedding, version: ServerVersion) -> list[dict[str, float]]:
    """Token weights as a one-element array.

    A partial update merges objects and would keep old tokens, but it replaces arrays whole. ``[{}]`` is "embedded,
    no tokens". Tokens with dots become ``__`` where the server refuses them (before 8.16), as ELSER writes them.
    """
    weights: dict[str, float] = {}
    keeps_dots = version.allows_dots_in_tokens
    for token, weight in embedding.tokens.items():
        number = float(weight)
        if not math.isfinite(number):
            raise UnusableVectorError(f"the weight of token [{token[:40]}] is not a finite number")
        if number < SMALLEST_WEIGHT or len(token.encode("utf-8", "surrogatepass")) > LONGEST_TERM:
            continue
        name = token if keeps_dots else token.replace(".", "__")
        weights[name] = max(number, weights.get(name, 0.0))
    return [weights]


def sparse_values(
    embeddings: Iterable[SparseEmbedding], version: ServerVersion
) -> list[list[dict[str, float]] | UnusableVectorError]:
    """:func:`sparse_value` of each, or why it cannot be stored."""
    return [_value_or_error(sparse_value, embedding, version) for embedding in embeddings]


def dense_values(vectors: Sequence[Vector], profile: EndpointProfile) -> list[npt.NDArray[Any] | UnusableVectorError]:
    """:func:`dense_value` of each, or why it cannot be stored; vectors that nothing is wrong with are read at once."""
    try:
        stacked = np.asarray(vectors, dtype=_kind(profile))
    except (ValueError, TypeError, OverflowError):
        stacked = None  # of several lengths, say: the one that is to blame is found below
    if stacked is not None and stacked.ndim == 2 and _is_usable(stacked, profile):
        return list(stacked)
    return [_value_or_error(dense_value, vector, profile) for vector in vectors]


_Value = TypeVar("_Value")
_Given = ParamSpec("_Given")


def _value_or_error(
    make: Callable[_Given, _Value], *given: _Given.args, **named: _Given.kwargs
) -> _Value | UnusableVectorError:
    try:
        return make(*given, **named)
    except UnusableVectorError as error:
        return error


def dense_value(vector: Vector, profile: EndpointProfile) -> npt.NDArray[Any]:
    """A vector as an array of ``float32``, or ``int8`` for byte and bit vectors; length and numbers are checked."""
    array = np.asarray(vector, dtype=_kind(profile))
    dimensions = _dimensions(array, profile) if array.ndim == 1 else 0
    if dimensions == 0 or (profile.dimensions is not None and dimensions != profile.dimensions):
        raise UnusableVectorError(f"the vector has [{dimensions}] dimensions, the endpoint says [{profile.dimensions}]")
    if profile.element_type is ElementType.FLOAT and not np.isfinite(array).all():
        raise UnusableVectorError("the vector holds a value that is not a finite number")
    if profile.similarity in _DIRECTED and not array.any():
        raise UnusableVectorError(f"the vector is all zeros, which [{profile.similarity}] cannot compare")
    return array


def _kind(profile: EndpointProfile) -> type[np.float32] | type[np.int8]:
    return np.float32 if profile.element_type is ElementType.FLOAT else np.int8


def _dimensions(array: npt.NDArray[Any], profile: EndpointProfile) -> int:
    return int(array.shape[-1]) * (8 if profile.element_type is ElementType.BIT else 1)


def _is_usable(stacked: npt.NDArray[Any], profile: EndpointProfile) -> bool:
    """Whether :func:`dense_value` finds nothing wrong with any row."""
    dimensions = _dimensions(stacked, profile)
    if dimensions == 0 or (profile.dimensions is not None and dimensions != profile.dimensions):
        return False
    if profile.element_type is ElementType.FLOAT and not np.isfinite(stacked).all():
        return False
    return profile.similarity not in _DIRECTED or bool(stacked.any(axis=1).all())


def merged_value(values: Sequence[Any], profile: EndpointProfile) -> Any:
    """One value for neighbouring chunks that share a slot; needs one value at least, all as they are stored.

    Tokens are united with the largest weight of each. Vectors are averaged: bytes are rounded, of bits the majority
    counts, and for ``dot_product`` the mean gets the length 1 again, without which Elasticsearch refuses it. Raises
    :class:`UnusableVectorError` for a mean that no field can hold.
    """
    if len(values) == 1:
        return values[0]
    if profile.is_sparse:
        heaviest: dict[str, float] = {}
        for (weights,) in values:
            for token, weight in weights.items():
                heaviest[token] = max(weight, heaviest.get(token, weight))
        return [heaviest]
    stacked = np.stack(values)
    if profile.element_type is ElementType.BIT:
        majority = np.unpackbits(stacked.view(np.uint8), axis=1).mean(axis=0) >= 0.5
        return np.packbits(majority).view(np.int8)
    mean = stacked.mean(axis=0, dtype=np.float64)
    if profile.element_type is ElementType.BYTE:
        mean = np.rint(mean)
    elif profile.similarity is Similarity.DOT_PRODUCT and mean.any():
        mean /= np.linalg.norm(mean)
    return dense_value(mean, profile)
