"""Whether a model's result is made of numbers: NaN and infinity are no answer, and JSON cannot say them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sidecar.core.results import SparseEmbedding
from sidecar.runtime.late_interaction import QueryVectors


def is_finite(result: Any) -> bool:
    """True for a vector, score, token weights or query vectors without NaN and infinity."""
    match result:
        case float():
            return math.isfinite(result)
        case SparseEmbedding():
            return all(map(math.isfinite, result.tokens.values()))
        case QueryVectors():
            return bool(np.isfinite(result.tokens).all() and np.isfinite(result.sentence).all())
        case _:
            return bool(np.isfinite(result).all())
