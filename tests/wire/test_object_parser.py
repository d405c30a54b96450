"""Numbers in strings as Elasticsearch reads them, and names that come near."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sidecar.core.errors import XContentParseError
from sidecar.wire import object_parser as declare
from sidecar.wire.json_scanner import JsonScanner

NUMBERS = declare.ObjectParser(
    "x", [declare.integer("int"), declare.integer("long", bits=64), declare.decimal("float")]
)


def read(name: str, value: str) -> Any:
    return NUMBERS.parse(JsonScanner(json.dumps({name: value}).encode()))[name]


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("int", " 2 ", 2),
        ("int", "1.9", 1),
        ("int", "NaN", 0),
        ("int", "0x1p3", 8),
        ("long", "+7", 7),
        ("long", "1e3", 1000),
        ("long", "5.7", 5),
        ("float", "0x1p3", 8.0),
        ("float", "1f", 1.0),
        ("float", " .5d ", 0.5),
        ("float", "Infinity", float("inf")),
    ],
)
def test_numbers_in_strings(name: str, value: str, number: float) -> None:
    assert read(name, value) == number


@pytest.mark.parametrize(
    ("name", "value"),
    [("int", "1_0"), ("int", "inf"), ("int", ""), ("long", " 7 "), ("long", "7l"), ("long", "1_0"), ("float", "nan")],
)
def test_strings_that_are_no_numbers(name: str, value: str) -> None:
    with pytest.raises(XContentParseError, match=rf"failed to parse field \[{name}\]"):
        read(name, value)


def test_a_very_long_name_is_refused_at_once() -> None:
    began = time.perf_counter()
    with pytest.raises(XContentParseError, match=r"unknown field \[k+\]$"):
        read("k" * 100_000, "")
    assert time.perf_counter() - began < 1
