from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.elastic.source import drop_at, put_at, text_at, values_at


@pytest.mark.parametrize(
    ("source", "path", "text"),
    [
        ({"text": "one"}, "text", "one"),
        ({"a": {"b": "one"}}, "a.b", "one"),
        ({"a.b": "one"}, "a.b", "one"),
        ({"a": {"b.c": "one"}}, "a.b.c", "one"),
        ({"text": ["one", "two", None, " "]}, "text", "one\ntwo"),
        ({"authors": [{"name": "one"}, {"name": ["two", "three"]}, {}]}, "authors.name", "one\ntwo\nthree"),
        ({"text": 42}, "text", "42"),
        ({"text": " padded "}, "text", " padded "),
        ({"text": ""}, "text", None),
        ({"text": "  "}, "text", None),
        ({"text": None}, "text", None),
        ({"text": True}, "text", None),
        ({"text": {"deeper": "one"}}, "text", None),
        ({}, "text", None),
        ({"a": "one"}, "a.b", None),
    ],
)
def test_text_at(source: dict[str, Any], path: str, text: str | None) -> None:
    assert text_at(source, path) == text


names = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4).map(".".join)


@given(path=names, value=st.integers())
def test_what_is_put_is_found_and_can_be_dropped(path: str, value: int) -> None:
    document: dict[str, Any] = {}
    put_at(document, path, value)
    assert list(values_at(document, path)) == [value]
    drop_at(document, path)
    assert list(values_at(document, path)) == []


def test_put_does_not_overwrite_a_parent_that_is_a_value() -> None:
    with pytest.raises(TypeError):
        put_at({"a": 1}, "a.b", 2)


def test_drop_removes_both_forms_and_nothing_else() -> None:
    document = {"a": {"b": 1, "c": 2}, "a.b": 3}
    drop_at(document, "a.b")
    assert document == {"a": {"c": 2}}
