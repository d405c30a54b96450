"""YAML in, as Elasticsearch 9.4.3 reads it, and out, as any reader of YAML reads it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import XContentParseError
from sidecar.wire.yaml_reader import read_yaml
from sidecar.wire.yaml_writer import write_yaml


# What a document holds that was indexed as `x: ...` in YAML and read back as JSON.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-15", "2024-01-15"),
        ("2024-13-45", "2024-13-45"),
        ("190:20:30", "190:20:30"),
        ("1:30", "1:30"),
        ("!!int abc", "abc"),
        ("!!int 5", 5),
        ('!!int "5"', 5),
        ("!!bool maybe", "maybe"),
        ("!!bool true", True),
        ("!!str 5", "5"),
        ("!!float 1", 1.0),
        ("!!null x", None),
        ("!!binary aGk=", "aGk="),
        ("!!timestamp 2024-01-15", "2024-01-15"),
        ("!foo x", "x"),
        ("yes", True),
        ("off", False),
        ("TRUE", True),
        ('"true"', "true"),
        ("'true'", "true"),
        ("Null", None),
        ("~", None),
        ("", None),
        ("0x1F", 31),
        ("0o17", "0o17"),
        ("017", 15),
        ("0b11", 3),
        ("1_000", 1000),
        ("1__0", 10),
        ("1_", 1),
        ("_1", "_1"),
        ("1_000.5", 1000.5),
        ("+5", 5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1E+3", 1000.0),
        ("12345678901234567890", 12345678901234567890),
        ("-0", 0),
        ("1.2.3", "1.2.3"),
        ("--1", "--1"),
        ("=", "="),
        ("<<", "<<"),
        ("&a x", "x"),
        ("*a", "a"),
        ('"a\\nb"', "a\nb"),
        ("[1, 2.50, 1e2]", [1, 2.5, 100.0]),
        ("!!set {a, b}", {"a": None, "b": None}),
        ("!!omap [a: 1]", [{"a": 1}]),
    ],
)
def test_scalars_mean_what_they_mean_to_elasticsearch(text: str, value: Any) -> None:
    found = read_yaml(f"---\nx: {text}\n".encode())["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "- 1", "-", ".inf", ".nan", "[", "{? [a] : b}", "@", "\x01"])
def test_what_elasticsearch_refuses_is_refused(text: str) -> None:
    with pytest.raises(XContentParseError, match=r"^\[\d+:\d+\] "):
        read_yaml(f"---\nx: {text}\n".encode())


def test_an_anchor_is_never_written_out() -> None:
    assert read_yaml(b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n") == {
        "a": ["x", "x"],
        "b": ["a", "a"],
        "c": ["b", "b"],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
).filter(lambda value: isinstance(value, (dict, list)))


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    written = write_yaml(value)
    assert same(yaml.safe_load(written), value)
    assert same(read_yaml(written), value)


def same(found: Any, value: Any) -> bool:
    if isinstance(value, float) and isinstance(found, (int, float, str)):
        return math.isclose(float(found), value)  # 1e300 without a point is a text to some readers
    if isinstance(value, dict):
        return found.keys() == value.keys() and all(same(found[key], value[key]) for key in value)
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    return bool(found == value)


def test_vectors_keep_their_short_digits() -> None:
    vector = np.array([0.1, -2.5, 1e-7], dtype=np.float32)
    assert json.loads(json.dumps(yaml.safe_load(write_yaml({"v": vector}))))["v"][:2] == [0.1, -2.5]
