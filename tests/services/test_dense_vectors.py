"""Vectors as providers write them: many are read as each alone is, and what is no number is refused."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.services.calls import UnusableAnswerError
from sidecar.services.openai_shapes import dense_vector, dense_vectors

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 1])
_ITEMS: st.SearchStrategy[Any] = _NUMBERS | st.sampled_from([True, False, None, "1.5", [1.0], {}, 0.0, 1.0])


def _outcome(read: Any, value: Any) -> Any:
    try:
        return read(value)
    except UnusableAnswerError as error:
        return str(error)


def _as_stored(vector: Any) -> list[float]:
    with np.errstate(over="ignore"):
        stored: list[float] = np.asarray(vector, dtype=np.float32).tolist()
    return stored


@given(st.lists(st.lists(_NUMBERS, min_size=2, max_size=2) | st.lists(_ITEMS, max_size=3), max_size=4))
def test_many_vectors_are_read_as_each_alone(values: list[list[Any]]) -> None:
    together = _outcome(dense_vectors, values)
    alone = _outcome(lambda each: tuple(dense_vector(value) for value in each), values)
    if isinstance(alone, str):
        assert together == alone
    else:
        assert [_as_stored(vector) for vector in together] == [_as_stored(vector) for vector in alone]


@pytest.mark.parametrize("item", [True, None, "1.5", [1.0]])
def test_what_is_no_number_is_refused_among_numbers(item: Any) -> None:
    with pytest.raises(UnusableAnswerError, match="expecting an array of numbers"):
        dense_vectors([[0.5, 1.0], [0.25, item]])


def test_base64_stands_for_32_bits_a_number() -> None:
    numbers = np.array([0.5, -1.25], dtype="<f4")
    (found,) = dense_vectors([base64.b64encode(numbers.tobytes()).decode()])
    assert list(found) == [0.5, -1.25]
