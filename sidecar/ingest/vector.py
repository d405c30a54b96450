"""Embeddings as the values Elasticsearch stores: checked here, so that one bad number cannot reject a whole bulk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.core.results import SparseEmbedding, Vector
from sidecar.core.tasks import ElementType, Similarity
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile

LONGEST_TERM = 32766
SMALLEST_WEIGHT = 1e-3
"""Weights are stored with nine significant bits and add up to scores of 10 and more: below this nothing changes."""


class UnusableVectorError(ValueError):
    """An embedding that no field can hold; the text says why."""


def sparse_value(embedding: SparseEmbedding, version: ServerVersion) -> list[dict[str, float]]:
    """Token weights as a one-element array.

    A partial update merges objects and would keep old tokens, but it replaces arrays whole. ``[{}]`` is "embedded,
    no tokens". Tokens with dots become ``__`` where the server refuses them (before 8.16), as ELSER writes them.
    """
    weights: dict[str, float] = {}
    for token, weight in embedding.tokens.items():
        number = float(weight)
        if not math.isfinite(number):
            raise UnusableVectorError(f"the weight of token [{token[:40]}] is not a finite number")
        if number < SMALLEST_WEIGHT or len(token.encode("utf-8", "surrogatepass")) > LONGEST_TERM:
            continue
        name = token if version.allows_dots_in_tokens else token.replace(".", "__")
        weights[name] = max(number, weights.get(name, 0.0))
    return [weights]


def dense_value(vector: Vector, profile: EndpointProfile) -> npt.NDArray[Any]:
    """A vector as an array of ``float32``, or ``int8`` for byte and bit vectors; length and numbers are checked."""
    kind = np.float32 if profile.element_type is ElementType.FLOAT else np.int8
    array = np.asarray(vector, dtype=kind)
    per_value = 8 if profile.element_type is ElementType.BIT else 1
    dimensions = array.shape[0] * per_value if array.ndim == 1 else 0
    if dimensions == 0 or (profile.dimensions is not None and dimensions != profile.dimensions):
        raise UnusableVectorError(f"the vector has [{dimensions}] dimensions, the endpoint says [{profile.dimensions}]")
    if profile.element_type is ElementType.FLOAT and not np.isfinite(array).all():
        raise UnusableVectorError("the vector holds a value that is not a finite number")
    if profile.similarity in (Similarity.COSINE, Similarity.DOT_PRODUCT) and not array.any():
        raise UnusableVectorError(f"the vector is all zeros, which [{profile.similarity}] cannot compare")
    return array


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
