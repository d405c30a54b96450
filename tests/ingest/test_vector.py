import math

import numpy as np
import pytest

from sidecar.core.results import SparseEmbedding
from sidecar.core.tasks import ElementType, Similarity, TaskType
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.vector import UnusableVectorError, dense_value, sparse_value

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


def test_dense_vectors_become_arrays_of_their_element_type() -> None:
    assert dense_value([1, 2, 3], profile()).dtype == np.float32
    assert dense_value([1, -2, 127], profile(element=ElementType.BYTE)).tolist() == [1, -2, 127]
    assert dense_value([1, -2], profile(16, ElementType.BIT)).dtype == np.int8
