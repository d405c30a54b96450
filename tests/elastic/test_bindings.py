"""Bindings as a mapping's ``_meta`` holds them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.bindings import (
    Binding,
    LongTexts,
    OnFailure,
    bindings_of,
    bound,
    entry_of,
    semantic_fields,
    unbound,
)
from sidecar.elastic.index_catalog import write_index

_NAMES = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,2})?", fullmatch=True)
_BINDINGS = st.builds(
    Binding,
    sources=st.lists(_NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    target=_NAMES,
    inference_id=_NAMES,
    passages=st.booleans(),
    chunking_settings=st.none() | st.just({"strategy": "none"}),
    long_texts=st.sampled_from(LongTexts),
    on_failure=st.sampled_from(OnFailure),
    overwrite=st.booleans(),
)


@given(_BINDINGS)
def test_an_entry_reads_back_as_its_binding(binding: Binding) -> None:
    assert Binding.parse(entry_of(binding)) == binding


@given(st.lists(_BINDINGS, max_size=3, unique_by=lambda one: one.target), _BINDINGS)
def test_binding_and_unbinding_touch_their_targets_alone(held: list[Binding], added: Binding) -> None:
    others = {"mine": 1, "sidecar": {"other": True}}
    meta = bound(others, held)
    more = bound(meta, [added])
    kept = tuple(one for one in held if one.target != added.target)
    assert bindings_of({"_meta": more}) == (*kept, added)
    assert bindings_of({"_meta": unbound(more, [added.target])}) == kept
    assert unbound(more) == others
    assert unbound(bound(None, [added])) == {}


@pytest.mark.parametrize(
    "meta", [7, ["text:t=x"], {"maps": 7}, {"maps": "text:t=x"}, {"maps": {"a": 1}}, {"maps": [None]}]
)
def test_what_is_no_list_of_bindings_is_refused(meta: Any) -> None:
    with pytest.raises(IllegalArgumentError):
        bindings_of({"_meta": {"sidecar": meta}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": 5},
        {"source": {"a": 1}},
        {"source": ["a", 5]},
        {"target": 1},
        {"inference_id": []},
        {"chunking_settings": 5},
        {"long_texts": "never"},
        {"long_texts": []},
        {"on_failure": {}},
    ],
)
def test_an_entry_with_a_value_of_the_wrong_type_is_refused(wrong: dict[str, Any]) -> None:
    right = {"source": "text", "target": "tokens", "inference_id": "sparse"}
    assert Binding.parse(right).sources == ("text",)
    with pytest.raises(IllegalArgumentError):
        Binding.parse(right | wrong)


@pytest.mark.parametrize("wrong", ["text:tokens", "tokens=x", ":t=x", "a,:t=x", 7, {"source": "a"}, {"target": "t"}])
def test_what_is_no_binding_is_refused(wrong: Any) -> None:
    with pytest.raises(IllegalArgumentError):
        Binding.parse(wrong)


def test_semantic_fields_know_where_their_texts_stand() -> None:
    inner = {"type": "semantic_text", "inference_id": "a", "search_inference_id": "b"}
    title = {"type": "text", "copy_to": ["all", "o.title"], "fields": {"dense": {"type": "semantic_text"}}}
    properties = {
        "all": {"type": "semantic_text", "inference_id": "c"},
        "o": {"properties": {"title": {"type": "text", "fields": {"x": inner}}}},
        "title": title,
    }
    found = {field.name: field for field in semantic_fields({"properties": properties}, "default")}
    assert {name: (field.path, field.sources) for name, field in found.items()} == {
        "all": ("all", ("title",)),
        "o.title.x": ("o.title", ("title",)),
        "title.dense": ("title", ()),
    }
    assert (found["o.title.x"].search_inference_id, found["title.dense"].inference_id) == ("b", "default")


@pytest.mark.parametrize(
    ("indices", "written"),
    [
        ({"name": {}}, "name"),
        ({"a": {"aliases": {"name": {}}}}, "a"),
        ({"a": {"aliases": {"name": {"is_write_index": False}}}}, None),
        ({"a": {"aliases": {"name": {}}}, "b": {"aliases": {"name": {"is_write_index": True}}}}, "b"),
        ({"a": {"aliases": {"name": {}}}, "b": {"aliases": {"name": {}}}}, None),
        (
            {".ds-name-1-000009": {"data_stream": "name"}, ".ds-name-1-000010": {"data_stream": "name"}},
            ".ds-name-1-000010",
        ),
        ({"name-2026.03.01": {}}, "name-2026.03.01"),
        ({}, None),
    ],
)
def test_the_index_that_a_write_reaches(indices: dict[str, Any], written: str | None) -> None:
    assert write_index("name", indices) == written
