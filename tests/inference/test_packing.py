"""Embeddings as bytes: many are packed as each alone is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.results import SparseEmbedding
from sidecar.core.tasks import ElementType
from sidecar.inference.cache.packing import Embedded, pack, pack_all, unpack

_NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.sampled_from([1e300, math.nan, math.inf])
_VECTORS = st.lists(_NUMBERS, min_size=1, max_size=3) | st.just([0.5, 0.25])
_FLOATS = st.builds(Embedded, _VECTORS | _VECTORS.map(np.array), st.just(ElementType.FLOAT), st.booleans())
_BYTES = st.builds(Embedded, st.lists(st.integers(-200, 200), max_size=3), st.just(ElementType.BYTE), st.booleans())
_SPARSE = st.builds(Embedded, st.builds(SparseEmbedding, st.dictionaries(st.text(max_size=3), st.floats(0, 9))))


@given(st.lists(_FLOATS, max_size=4) | st.lists(_FLOATS | _BYTES | _SPARSE, max_size=4))
def test_many_are_packed_as_each_alone(parts: list[Any]) -> None:
    packed = pack_all(parts)
    assert packed == [pack(part) for part in parts]
    for part, data in zip(parts, packed, strict=True):
        if data is not None:
            assert unpack(data).is_truncated == part.is_truncated
