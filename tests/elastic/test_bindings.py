"""Bindings as a mapping's ``_meta`` holds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.bindings import (
    Binding,
    LongTexts,
    OnFailure,
    bindings_of,
    bound,
    entry_of,
    read_bindings,
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


def meta_of(*entries: Any) -> dict[str, Any]:
    return {"_meta": {"sidecar": {"maps": list(entries)}}}


@given(_BINDINGS)
def test_an_entry_reads_back_as_its_binding(binding: Binding) -> None:
    assume(not read_bindings(meta_of(entry_of(binding)))[1])
    assert Binding.parse(entry_of(binding)) == binding


@given(st.lists(_BINDINGS, max_size=3, unique_by=lambda one: one.target), _BINDINGS)
def test_binding_and_unbinding_touch_their_targets_alone(held: list[Binding], added: Binding) -> None:
    assume(not read_bindings(meta_of(*map(entry_of, held)))[1])
    left = [one for one in held if one.target != added.target]
    assume(not read_bindings(meta_of(*map(entry_of, [*left, added])))[1])
    others = {"mine": 1, "sidecar": {"other": True}}
    meta = bound(others, held)
    more = bound(meta, [added])
    kept = tuple(one for one in held if one.target != added.target)
    assert bindings_of({"_meta": more}) == (*kept, added)
    assert bindings_of({"_meta": unbound(more, [added.target])}) == kept
    assert unbound(more) == others
    assert unbound(bound(None, [added])) == {}


@given(st.lists(_BINDINGS, max_size=4))
def test_no_two_bindings_that_are_followed_touch_each_others_fields(held: list[Binding]) -> None:
    followed, unread = read_bindings(meta_of(*map(entry_of, held)))
    assert {one.target for one in held} == {one.target for one in followed} | {one.target for one in unread}
    for one in followed:
        written = {one.target} | {other.target for other in followed if other is not one}
        assert written.isdisjoint(one.sources)
    assert len({one.target for one in followed}) == len(followed)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("text:text=e", "target [text] would overwrite its own source field [text]"),
        ("title,text:text=e", "target [text] would overwrite its own source field [text]"),
        ("o.text:o=e", "target [o] would overwrite its own source field [o.text]"),
        ("o:o.tokens=e", "target [o.tokens] would overwrite its own source field [o]"),
        (
            {"source": "p.text", "target": "p.tokens", "inference_id": "e", "passages": True},
            "target [p.tokens] would overwrite its own source field [p.text]",
        ),
        ("text:sidecar.model=e", "the field [sidecar] is kept for the marker"),
        ("text:a..b=e", "[a..b] is not the name of a field"),
        (
            {"source": "text", "target": "tokens", "inference_id": "e", "passages": True},
            "passages lie in a nested field, so their target is [FIELD.tokens]",
        ),
    ],
)
def test_a_binding_fills_no_field_that_it_reads(entry: Any, reason: str) -> None:
    with pytest.raises(IllegalArgumentError) as refused:
        Binding.parse(entry)
    assert refused.value.reason == reason
    with pytest.raises(IllegalArgumentError):
        bound(None, [replace(Binding(("x",), "y", "e"), sources=("y",))])


def test_one_entry_that_cannot_be_followed_leaves_the_others() -> None:
    wrong = {"source": "title", "target": "vector", "inference_id": "e", "long_texts": "never"}
    followed, unread = read_bindings(meta_of("text:tokens=e", wrong, 7, "a:x=e", "a:x=f", "tokens:more=e"))
    assert [one.target for one in followed] == ["tokens"]
    assert [(one.target, one.sources) for one in unread] == [
        ("vector", ("title",)),
        (None, ()),
        ("x", ("a",)),
        ("x", ("a",)),
        ("more", ("tokens",)),
    ]
    assert "[long_texts] must be one of [truncate, fail, chunk], not [never]" in unread[0].reason
    assert unread[2].reason == "[_meta.sidecar.maps]: targets [x] and [x] overlap"
    assert len(read_bindings({"_meta": {"sidecar": "x" * 9999}})[1][0].reason) < 200


def test_what_cannot_be_read_can_be_taken_out() -> None:
    meta = {"mine": 1, "sidecar": {"maps": [7, {"source": 5, "target": "t", "inference_id": "e"}, "text:tokens=e"]}}
    assert unbound(meta) == {"mine": 1}
    assert unbound(meta, ["t"])["sidecar"]["maps"] == [7, "text:tokens=e"]
    assert unbound({"sidecar": 7}) == unbound({"sidecar": {"maps": "x"}}) == {}
    assert bound({"sidecar": {"maps": [{"target": "t"}]}}, [Binding(("a",), "t", "e")])["sidecar"]["maps"] == ["a:t=e"]


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
