"""Answers as JSON: exact 32-bit floats, Elasticsearch's pretty layout."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.api.result_bodies import short_floats
from sidecar.wire.json_writer import plain, write_json

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)


@given(st.lists(FLOATS, max_size=20))
def test_floats_come_back_bit_by_bit(values: list[float]) -> None:
    vector = np.array(values, dtype=np.float32)
    again = np.array(json.loads(write_json({"embedding": vector}))["embedding"], dtype=np.float32)
    assert again.tobytes() == vector.tobytes()


@given(st.lists(FLOATS, max_size=20))
def test_short_floats_are_the_same_numbers_in_few_digits(values: list[float]) -> None:
    assert np.array(short_floats(values), dtype=np.float32).tolist() == values
    assert all(
        len(repr(abs(number)).replace(".", "").lstrip("0").split("e")[0]) <= 17 for number in short_floats(values)
    )


def test_a_float_has_no_more_digits_than_it_needs() -> None:
    assert write_json(np.array([0.1, 1.7073475, 5.614787e-4], dtype=np.float32)) == b"[0.1,1.7073475,0.0005614787]"


@given(JSON, st.booleans())
def test_what_is_written_reads_back(value: Any, pretty: bool) -> None:
    assert json.loads(write_json(value, pretty=pretty)) == value


def test_pretty_is_elasticsearchs_layout() -> None:
    body = {"a": [1, {"b": None}], "c": {}, "d": [], "e": np.array([0.5], dtype=np.float32)}
    assert write_json(body, pretty=True).decode() == (
        '{\n  "a" : [\n    1,\n    {\n      "b" : null\n    }\n  ],\n'
        '  "c" : { },\n  "d" : [ ],\n  "e" : [\n    0.5\n  ]\n}\n'
    )


@pytest.mark.parametrize("pretty", [False, True])
def test_lone_surrogates_of_a_caller_come_back_as_escapes(pretty: bool) -> None:
    assert b'"a\\uD800b\xc3\xa9"' in write_json({"text": "a\ud800bé"}, pretty=pretty)


def test_plain_has_no_numpy_left() -> None:
    assert plain({"v": np.array([0.1], dtype=np.float32), "n": np.float32(0.5), "t": (1,)}) == {
        "v": [0.1],
        "n": 0.5,
        "t": [1],
    }
