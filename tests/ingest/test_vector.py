import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.results import SparseEmbedding
from sidecar.core.tasks import ElementType, Similarity, TaskType
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.vector import UnusableVectorError, dense_value, dense_values, merged_value, sparse_value

NEW, OLD = ServerVersion(8, 19, 8), ServerVersion(8, 14, 1)


def profile(dims: int | None = 3, element: ElementType = ElementType.FLOAT) -> EndpointProfile:
    return EndpointProfile("e", TaskType.TEXT_EMBEDDING, "1", dims, Similarity.COSINE, element)


def test_a_sparse_value_is_an_array_of_one_object() -> None:
    assert sparse_value(SparseEmbedding({"sea": 1.5, "tide": 0.25}), NEW) == [{"sea": 1.5, "tide": 0.25}]
    assert sparse_value(SparseEmbedding({}), NEW) == [{}]


def test_weights_that_no_field_takes_are_left_out() -> None:
    tokens = {"zero": 0.0, "less": -1.0, "tiny": 1e-5, "x" * 40_000: 1.0, "kept": 1.0}
    assert sparse_value(SparseEmbedding(tokens), NEW) == [{"kept": 1.0}]


def test_dots_are_escaped_for_servers_before_8_16() -> None:
    tokens = SparseEmbedding({"a.b": 1.0, "a__b": 2.0})
    assert sparse_value(tokens, OLD) == [{"a__b": 2.0}]
    assert sparse_value(tokens, NEW) == [{"a.b": 1.0, "a__b": 2.0}]


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_weights_must_be_numbers(weight: float) -> None:
    with pytest.raises(UnusableVectorError, match="finite"):
        sparse_value(SparseEmbedding({"sea": weight}), NEW)


@pytest.mark.parametrize(
    ("vector", "complaint"),
    [
        ([1.0, 2.0], "dimensions"),
        ([], "dimensions"),
        ([1.0, math.nan, 2.0], "finite"),
        ([1.0, math.inf, 2.0], "finite"),
        ([0.0, 0.0, 0.0], "zeros"),
    ],
)
def test_dense_vectors_that_no_field_takes(vector: list[float], complaint: str) -> None:
    with pytest.raises(UnusableVectorError, match=complaint):
        dense_value(vector, profile())


_NUMBERS = st.sampled_from([0.0, 1.0, -0.5, 1e300, math.nan, math.inf])


@given(st.lists(st.lists(_NUMBERS, min_size=2, max_size=4) | st.just([0.0] * 3) | st.just([1.0, 2.0, 3.0]), max_size=4))
def test_many_vectors_are_read_as_each_alone(vectors: list[list[float]]) -> None:
    with np.errstate(over="ignore"):
        together = dense_values(vectors, profile())
        for vector, made in zip(vectors, together, strict=True):
            if isinstance(made, UnusableVectorError):
                with pytest.raises(UnusableVectorError) as alone:
                    dense_value(vector, profile())
                assert str(alone.value) == str(made)
            else:
                assert made.dtype == np.float32
                assert made.tolist() == dense_value(vector, profile()).tolist()


def test_dense_vectors_become_arrays_of_their_element_type() -> None:
    assert dense_value([1, 2, 3], profile()).dtype == np.float32
    assert dense_value([1, -2, 127], profile(element=ElementType.BYTE)).tolist() == [1, -2, 127]
    assert dense_value([1, -2], profile(16, ElementType.BIT)).dtype == np.int8


SPARSE = EndpointProfile("s", TaskType.SPARSE_EMBEDDING, "1")


def test_tokens_of_chunks_in_one_slot_are_united_with_the_largest_weight() -> None:
    values = [[{"tide": 1.0, "reef": 2.0}], [{"tide": 1.5}], [{}]]
    assert merged_value(values, SPARSE) == [{"tide": 1.5, "reef": 2.0}]
    assert merged_value([[{"tide": 1.0}]], SPARSE) == [{"tide": 1.0}]


@pytest.mark.parametrize(
    ("element", "similarity", "merged"),
    [
        (ElementType.FLOAT, Similarity.COSINE, [3.0, 1.0, -0.5]),
        (ElementType.FLOAT, Similarity.DOT_PRODUCT, [3.0 / 10.25**0.5, 1.0 / 10.25**0.5, -0.5 / 10.25**0.5]),
        (ElementType.BYTE, Similarity.COSINE, [3, 1, 0]),
    ],
)
def test_vectors_of_chunks_in_one_slot_are_averaged(
    element: ElementType, similarity: Similarity, merged: list[float]
) -> None:
    kind = replace(profile(element=element), similarity=similarity)
    values = [dense_value(vector, kind) for vector in ([1, 1, -1], [2, 1, 2], [6, 1, 1], [3, 1, -4])]
    value = merged_value(values, kind)
    assert value.dtype == values[0].dtype
    assert value.tolist() == pytest.approx(merged)


def test_of_bits_the_majority_counts() -> None:
    bits = EndpointProfile("e", TaskType.TEXT_EMBEDDING, "1", 8, Similarity.L2_NORM, ElementType.BIT)
    values = [np.array([value], np.uint8).view(np.int8) for value in (0b11110000, 0b11000001, 0b10100001)]
    assert merged_value(values, bits).view(np.uint8).tolist() == [0b11100001]


def test_a_mean_of_nothing_but_zeros_is_no_vector() -> None:
    values = [dense_value([1.0, 0.0, 0.0], profile()), dense_value([-1.0, 0.0, 0.0], profile())]
    with pytest.raises(UnusableVectorError, match="zeros"):
        merged_value(values, profile())
