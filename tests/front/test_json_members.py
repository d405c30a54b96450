"""Objects changed in their bytes: what a parser sees is what was asked for, and all else stays as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.front.json_members import Into, appended, changed, has_each_name_once, members

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(st.text(max_size=4), _VALUES, max_size=5)


def written(value: Any, indent: int | None, ascii_only: bool) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@given(_OBJECTS, st.sampled_from([None, 1]), st.booleans())
def test_members_are_where_the_parser_finds_them(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    raw = written(value, indent, ascii_only)
    found, last = members(raw)
    assert {member.name: json.loads(raw[member.value : member.end]) for member in found} == value
    assert raw[last:] == b"}"


@given(_OBJECTS, _OBJECTS, st.sets(st.text(max_size=4), max_size=2), st.sampled_from([None, 1]))
def test_changes_are_what_a_dictionary_would_hold(
    value: dict[str, Any], news: dict[str, Any], gone: set[str], indent: int | None
) -> None:
    gone -= news.keys()
    changes = {name: written(item, None, True) for name, item in news.items()} | dict.fromkeys(gone)
    expected = {name: item for name, item in (value | news).items() if name not in gone}
    assert json.loads(changed(written(value, indent, True), changes)) == expected


@given(_OBJECTS, _OBJECTS, st.sampled_from([None, 1]), st.sampled_from(["", "\n", " \r\n"]))
def test_what_is_appended_stands_where_a_change_would_put_it(
    value: dict[str, Any], news: dict[str, Any], indent: int | None, ending: str
) -> None:
    raw = written(value, indent, True) + ending.encode()
    added = {name: written(item, None, True) for name, item in news.items() if name not in value}
    assert appended(raw, added, is_empty=not value) == changed(raw, added)


def test_what_is_not_changed_keeps_its_digits() -> None:
    raw = b' {"n": 1.0e1, "a": {"z": 1.10, "y": []}, "big": 12345678901234567890123 } \n'
    assert changed(raw, {"a": Into({"x": b"true"}), "v": b"[0.5]"}) == (
        b' {"n": 1.0e1,"a": {"z": 1.10, "y": [],"x":true},"big": 12345678901234567890123,"v":[0.5]} \n'
    )
    assert changed(raw, {"v": b"1"}) == raw[:-3] + b',"v":1} \n'


@given(_OBJECTS, st.booleans())
def test_names_are_counted(value: dict[str, Any], ascii_only: bool) -> None:
    raw = written(value, None, ascii_only)
    assert has_each_name_once(raw, value)


@pytest.mark.parametrize("raw", [b'{"a":1,"a":2}', b'{"a":{"b":1,"b":[]}}', b'[{"a" : 1, "a":2}]'])
def test_a_name_that_stands_twice_is_noticed(raw: bytes) -> None:
    assert not has_each_name_once(raw, json.loads(raw))
