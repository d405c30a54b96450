"""Token vectors to sentence vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sidecar.runtime.directory import Pooling

Floats = npt.NDArray[np.float32]

_TINY = np.float32(1e-12)


def pool(hidden: Floats, mask: npt.NDArray[np.int64], how: Pooling, normalize: bool) -> Floats:
    """Sentence vectors (texts x size) of token vectors (texts x positions x size), padding left out.

    Source: sentence-transformers documentation, "Pooling".
    """
    if how is Pooling.IN_GRAPH:
        vectors = hidden
    elif how is Pooling.CLS:
        vectors = np.ascontiguousarray(hidden[:, 0])
    elif how is Pooling.MAX:
        vectors = np.where(mask[:, :, None] > 0, hidden, -np.inf).max(axis=1).astype(np.float32)
    else:
        weights = mask.astype(np.float32)
        sums = np.matmul(weights[:, None, :], hidden)[:, 0]
        counts = weights.sum(axis=1, keepdims=True)
        vectors = sums / (np.sqrt(counts) if how is Pooling.MEAN_SQRT_LENGTH else counts)
    return unit(vectors) if normalize else vectors


def unit(vectors: Floats) -> Floats:
    """Vectors scaled to length 1 along the last axis; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, _TINY)
    return scaled
