"""Bindings that cannot be followed: they spoil what depends on them, in their own index, and nothing else."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import DENSE, SPARSE, mapping, ndjson, statuses, tokens
from tests.front.test_search_agreement import match, standard

WRONG = "wrong-bound"
RIGHT = "right-bound"
WRONG_METAS: list[Any] = [
    7,
    {"maps": "text:tokens=sparse"},
    {"maps": [None]},
    {"maps": [{"source": 5}]},
    {"maps": ["text:tokens="]},
    {"maps": ["text:text=sparse"]},
]


def properties(**fields: object) -> dict[str, Any]:
    return {"text": {"type": "text"}, "tokens": SPARSE, **fields}


@pytest.fixture
def front(filled_front: FilledFront) -> Iterator[FilledFront]:
    filled_front.index(RIGHT, **mapping("text:tokens=sparse", tokens=SPARSE))
    assert filled_front.send("PUT", f"/{RIGHT}/_doc/1?refresh=true", {"text": "one boat"})[0] == 201
    yield filled_front
    filled_front.send("DELETE", f"/{WRONG},{RIGHT}?ignore_unavailable=true")


def warned(front: FilledFront, path: str, body: object) -> tuple[dict[str, Any], list[str]]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(front.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer), answer.headers.get_all("Warning", [])


@pytest.mark.parametrize("meta", WRONG_METAS, ids=str)
def test_other_indices_go_on_and_the_answer_says_why(front: FilledFront, meta: Any) -> None:
    front.index(WRONG, mappings={"_meta": {"sidecar": meta}, "properties": properties()})
    query = {"sparse_vector": {"field": "tokens", "inference_id": "sparse", "query": "boat"}}
    for body in ({"query": query}, {"retriever": {"rrf": {"retrievers": [standard(query), standard(match("x"))]}}}):
        answer, warnings = warned(front, "/*-bound/_search", body)
        assert [hit["_index"] for hit in answer["hits"]["hits"]] == [RIGHT]
        assert ["index [wrong-bound]: [_meta.sidecar" in text for text in warnings] == [True]
    pit = front.send("POST", f"/{RIGHT}/_pit?keep_alive=1m")[1]["id"]
    answer, warnings = warned(front, "/_search", {"query": query, "pit": {"id": pit}})
    assert (len(answer["hits"]["hits"]), warnings) == (1, [])
    assert front.send("POST", f"/{WRONG}/_search", {"query": query})[0] == 200
    assert front.send("GET", f"/{WRONG}/_search?q=text:boat")[0] == 200


@pytest.mark.parametrize("meta", [7, {"maps": "text:tokens=sparse"}, {"maps": ["text:tokens=sparse", None]}], ids=str)
def test_where_any_field_may_be_meant_no_document_is_stored_without_it(front: FilledFront, meta: Any) -> None:
    front.index(WRONG, mappings={"_meta": {"sidecar": meta}, "properties": properties()})
    front.send("PUT", f"/{WRONG}/_doc/1", {"n": 1}, base=front.node)
    front.asked.clear()
    body = ndjson(
        {"index": {"_index": WRONG, "_id": "2"}},
        {"text": "boat"},
        {"update": {"_index": WRONG, "_id": "1"}},
        {"doc": {"n": 2}},
        {"index": {"_index": RIGHT, "_id": "2"}},
        {"text": "ship"},
        {"delete": {"_index": WRONG, "_id": "1"}},
    )
    answer = front.send("POST", "/_bulk", body)[1]
    assert statuses(answer) == [400, 400, 201, 200]
    assert "a bound field would be left empty" in answer["items"][0]["index"]["error"]["reason"]
    assert "[sidecar unbind wrong-bound]" in answer["items"][1]["update"]["error"]["reason"]
    status, answer = front.send("PUT", f"/{WRONG}/_doc/3", {"text": "boat"})
    assert (status, answer["error"]["type"]) == (400, "illegal_argument_exception")
    assert {*front.asked} <= {"ship"}
    assert front.send("GET", f"/{WRONG}/_count")[1]["count"] == 0


def test_where_the_field_is_known_only_its_texts_are_refused(front: FilledFront) -> None:
    wrong = {"source": "title", "target": "vector", "inference_id": "dense", "long_texts": "never"}
    made = {"properties": properties(title={"type": "text"}, vector=DENSE), "_meta": {"sidecar": {"maps": [wrong]}}}
    made["_meta"]["sidecar"]["maps"].append("text:tokens=sparse")
    front.index(WRONG, mappings=made)
    assert front.send("PUT", f"/{WRONG}/_doc/1", {"text": "one boat"})[0] == 201
    assert tokens(front.source(WRONG, "1"), "tokens") == tokens_of("one boat")
    front.asked.clear()
    assert front.send("PUT", f"/{WRONG}/_doc/2", {"text": "x", "title": "t"})[0] == 400
    assert front.send("POST", f"/{WRONG}/_update/1", {"doc": {"title": "t"}})[0] == 400
    assert front.asked == []
    assert front.send("PUT", f"/{WRONG}/_doc/3", {"title": "t", "vector": [1, 0, 0, 0]})[0] == 201
    assert front.send("POST", f"/{WRONG}/_update/1", {"doc": {"text": "later"}})[0] == 200
    assert tokens(front.source(WRONG, "1"), "tokens") == tokens_of("later")


@pytest.mark.parametrize(
    ("entry", "field", "status", "reason"),
    [
        ("text:f=nobody", SPARSE, 404, "Inference id [nobody] not found for field [f]"),
        ("text:f=dense", {"type": "dense_vector", "dims": 3}, 400, "has [3] dims"),
        ("text:f=dense", {"type": "dense_vector", "dims": 4, "element_type": "byte"}, 400, "has element_type [byte]"),
        ("text:f=dense", SPARSE, 400, "is mapped as [sparse_vector]"),
        ("text:f=sparse", {"type": "dense_vector", "dims": 4}, 400, "is mapped as [dense_vector]"),
    ],
)
def test_what_the_field_cannot_hold_is_not_paid_for(
    front: FilledFront, entry: str, field: dict[str, Any], status: int, reason: str
) -> None:
    front.index(WRONG, **mapping(entry, f=field))
    front.asked.clear()
    body = ndjson({"index": {"_id": "1"}}, {"text": "boat"}, {"index": {"_id": "2"}}, {"n": 1})
    answer = front.send("POST", f"/{WRONG}/_bulk", body)[1]
    assert statuses(answer) == [status, 201]
    assert reason in answer["items"][0]["index"]["error"]["reason"]
    assert front.send("PUT", f"/{WRONG}/_create/3", {"text": "boat"})[0] == status
    assert front.asked == []
    waits = {"source": "text", "target": "f", "inference_id": entry.partition("=")[2], "on_failure": "index_pending"}
    front.index(WRONG, **mapping(waits, f=field))
    stored, warnings = warned(front, f"/{WRONG}/_doc", {"text": "boat"})
    assert stored["result"] == "created"
    assert [reason in text for text in warnings] == [True]


@pytest.mark.parametrize("source", ["title.sub", "other", "all"])
def test_a_text_that_no_document_can_hold_is_told_of(front: FilledFront, source: str) -> None:
    title = {"type": "text", "fields": {"sub": {"type": "text"}}, "copy_to": "all"}
    fields = properties(title=title, other={"type": "alias", "path": "title"}, all={"type": "text"})
    front.index(WRONG, mappings={"_meta": {"sidecar": {"maps": [f"{source}:tokens=sparse"]}}, "properties": fields})
    _, warnings = warned(front, f"/{WRONG}/_doc", {"title": "boat"})
    assert [f"is not filled from [{source}]" in text and "[title]" in text for text in warnings] == [True]
