"""Templates and paths of the ``custom`` service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.services.json_path import PathError, extract
from sidecar.services.template import UnknownPlaceholderError, fill

NAMES = st.text(st.characters(exclude_characters="{}$:", exclude_categories=["Cs"]), min_size=1)
TEXTS = st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]))


@given(before=TEXTS, name=NAMES, value=st.text(), after=TEXTS)
def test_every_placeholder_gives_way_to_its_value(before: str, name: str, value: str, after: str) -> None:
    assert fill(f"{before}${{{name}}}{after}${{{name}}}", {name: value}) == before + value + after + value


@given(text=st.text())
def test_values_are_never_read_again(text: str) -> None:
    values = {"input": text + "${secret} ${input} ${nothing}", "secret": "hidden"}
    assert fill("<${input}>", values) == f"<{values['input']}>"


@given(text=TEXTS)
def test_text_without_placeholders_stays(text: str) -> None:
    assert fill(text, {}) == text


@pytest.mark.parametrize("template", ["${nothing}", "a ${} b", "${ input }", "${${input}}"])
def test_a_placeholder_without_value_is_named(template: str) -> None:
    with pytest.raises(UnknownPlaceholderError) as failure:
        fill(template, {"input": "x"})
    assert failure.value.placeholder in template
    assert failure.value.placeholder.startswith("${")


def test_a_fallback_stands_in_for_a_missing_value() -> None:
    assert fill("${a:-x}${b:-y}$b ${b", {"b": "1"}) == "x1$b ${b"


@given(values=st.lists(st.lists(st.integers(), max_size=4), max_size=4))
def test_stars_keep_the_nesting(values: list[list[int]]) -> None:
    body = {"data": [{"embedding": value} for value in values]}
    assert extract(body, "$.data[*].embedding") == values
    assert extract(body, "$.data[*].embedding[*]") == values


@given(names=st.lists(st.text(st.characters(exclude_characters=".["), min_size=1), min_size=1, max_size=5))
def test_fields_lead_into_maps(names: list[str]) -> None:
    body: Any = "leaf"
    for name in reversed(names):
        body = {name: body}
    path = "$" + "".join(f".{name}" for name in names)
    if path == path.strip():
        assert extract(body, path) == "leaf"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a", "must start with a dollar sign"),
        ("$.b", "Unable to find field [b] in map"),
        ("$.n", "Unable to find field [n] in map"),
        ("$.a[0]", "Invalid path received [[0]]"),
        ("$..a", "Invalid path received [..a]"),
        ("$.a.b", "the current object is not a map, found invalid type [ArrayList]"),
        ("$.a[*].b", "the current object is not a map, found invalid type [Integer]"),
        ("$[*]", "the current object is not a list, found invalid type [HashMap]"),
    ],
)
def test_misfits_say_what_is_wrong(path: str, problem: str) -> None:
    with pytest.raises(PathError) as failure:
        extract({"a": [1], "n": None}, path)
    assert problem in str(failure.value)
