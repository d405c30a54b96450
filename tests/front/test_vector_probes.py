"""Ingest pipelines that drop, move or change the vectors of bound fields: no document loses one unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of, vector_of
from tests.front.test_bound_writes import DENSE, SPARSE, mapping, ndjson, statuses, tokens
from tests.front.test_pipelines import inference, put

INDEX = "probed"
PENDING = [
    {"source": "text", "target": field, "inference_id": endpoint, "on_failure": "index_pending"}
    for field, endpoint in (("tokens", "sparse"), ("vector", "dense"))
]
DROPS: dict[str, dict[str, Any]] = {
    "keep": {"remove": {"keep": ["text", "n", "sidecar"]}},
    "remove": {"remove": {"field": ["vector", "tokens"], "ignore_missing": True}},
    "rename": {"script": {"source": "ctx.moved = ctx.remove('vector'); ctx.remove('tokens')"}},
    "emptied": {"script": {"source": "if (ctx.text != null) { ctx.vector = null; ctx.tokens = [] }"}},
}


@pytest.fixture
def front(filled_front: FilledFront) -> Iterator[FilledFront]:
    bind(filled_front, "text:tokens=sparse", "text:vector=dense")
    yield filled_front
    filled_front.send("DELETE", f"/{INDEX},{INDEX}-other?ignore_unavailable=true")
    for name in ("outer", "inner", "end"):
        filled_front.send("DELETE", f"/_ingest/pipeline/{name}")


def bind(front: FilledFront, *maps: object, **fields: Any) -> None:
    front.index(INDEX, **mapping(*maps, tokens=SPARSE, vector=DENSE, **fields))
    front.asked.clear()


def write(front: FilledFront, *documents: Any, query: str = "?pipeline=outer") -> dict[str, Any]:
    lines = [line for n, doc in enumerate(documents, 1) for line in ({"index": {"_id": str(n)}}, doc)]
    return dict(front.send("POST", f"/{INDEX}/_bulk{query}", ndjson(*lines))[1])


def warnings(front: FilledFront, path: str, body: object) -> list[str]:
    return [text for name, text in front.headers("POST", path, body) if name.lower() == "warning"]


def fates(front: FilledFront) -> dict[str, float]:
    """How often each fate was counted."""
    lines = front.text("/metrics").splitlines()
    counted = [line.split() for line in lines if line.startswith("sidecar_front_pipeline_fields_total{")]
    return {name.partition('"')[2].partition('"')[0]: float(value) for name, value in counted}


def is_filled(front: FilledFront, identity: str, text: str) -> bool:
    source = front.source(INDEX, identity)
    return bool(tokens(source, "tokens") == tokens_of(text) and source["vector"] == pytest.approx(vector_of(text)))


@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS.keys())
def test_a_document_that_would_lose_its_vector_is_refused_unpaid(front: FilledFront, drop: dict[str, Any]) -> None:
    before = fates(front).get("dropped", 0)
    put(front, "outer", drop)
    answer = write(front, {"text": "one boat", "n": 1}, {"n": 2})
    assert statuses(answer) == [400, 201]
    error = answer["items"][0]["index"]["error"]
    assert error["type"] == "illegal_argument_exception"
    assert "would be left empty" in error["reason"]
    assert front.asked == []
    assert front.source(INDEX, "1") == {}
    assert fates(front)["dropped"] == before + 1
    status, answer = front.send("PUT", f"/{INDEX}/_doc/3?pipeline=outer", {"text": "boat"})
    assert (status, "would be left empty" in answer["error"]["reason"]) == (400, True)


@pytest.mark.parametrize("way", ["default_pipeline", "final_pipeline", "action"])
def test_every_way_to_a_pipeline_is_looked_at(front: FilledFront, way: str) -> None:
    put(front, "inner", DROPS["keep"])
    put(front, "outer", {"pipeline": {"name": "inner", "if": "ctx.n == 1"}})
    named = {"pipeline": "outer"} if way == "action" else {}
    if not named:
        front.send("PUT", f"/{INDEX}/_settings", {f"index.{way}": "outer"})
    lines = [line for n in (1, 2) for line in ({"index": {"_id": str(n), **named}}, {"text": f"{way} {n}", "n": n})]
    answer = front.send("POST", f"/{INDEX}/_bulk", ndjson(*lines))[1]
    assert statuses(answer) == [400, 201]
    assert is_filled(front, "2", f"{way} 2")
    assert set(front.asked) == {f"{way} 2"}


def test_such_a_document_is_stored_pending_where_its_binding_says_so(front: FilledFront) -> None:
    bind(front, *PENDING)
    put(front, "outer", DROPS["keep"])
    assert statuses(write(front, {"text": "boat", "n": 1})) == [201]
    source = front.source(INDEX, "1")
    assert {"text", "n", "sidecar"} == source.keys()
    assert source["sidecar"]["pending"] is True
    assert "would be left empty" in source["sidecar"]["error"]
    assert front.asked == []
    body = ndjson({"index": {}}, {"text": "boat"})
    told = warnings(front, f"/{INDEX}/_bulk?pipeline=outer", body)
    assert ["drop field [tokens]" in text or "drop field [vector]" in text for text in told] == [True, True]


def test_pipelines_that_keep_the_vector_change_nothing(front: FilledFront) -> None:
    put(
        front,
        "outer",
        {"remove": {"keep": ["text", "vector", "tokens", "sidecar"]}},
        {"lowercase": {"field": "text"}},
        {"script": {"source": "if (ctx.vector == null) { ctx.text = 'no vector' }"}},
    )
    assert statuses(write(front, {"text": "ONE Boat", "n": 1})) == [201]
    assert is_filled(front, "1", "one boat")
    assert front.source(INDEX, "1")["text"] == "one boat"
    assert not warnings(front, f"/{INDEX}/_doc/2?pipeline=outer", {"text": "Boat"})


def test_what_pipelines_make_of_a_vector_is_stored_and_told(front: FilledFront) -> None:
    put(front, "outer", {"script": {"source": "for (int i = 0; i < ctx.vector.size(); i++) { ctx.vector[i] /= 2 }"}})
    told = warnings(front, f"/{INDEX}/_doc/1?pipeline=outer", {"text": "boat"})
    assert ["change field [vector]" in text for text in told] == [True]
    source = front.source(INDEX, "1")
    assert source["vector"] == pytest.approx([number / 2 for number in vector_of("boat")])
    assert tokens(source, "tokens") == tokens_of("boat")


def test_a_vector_of_a_pipelines_own_is_kept_and_told(front: FilledFront) -> None:
    put(front, "outer", {"set": {"field": "vector", "value": [1, 2, 3, 4]}})
    told = warnings(front, f"/{INDEX}/_doc/1?pipeline=outer", {"text": "an own one"})
    assert any("field [vector] was kept as the document brought it" in text for text in told)
    source = front.source(INDEX, "1")
    assert (source["vector"], tokens(source, "tokens")) == ([1, 2, 3, 4], tokens_of("an own one"))
    assert front.asked == ["an own one"]


def test_a_pipeline_that_stops_at_the_probe_alone_is_told(front: FilledFront) -> None:
    check = "if (ctx.vector != null && ctx.vector.size() != 4) { throw new IllegalArgumentException('size') }"
    put(front, "outer", {"script": {"source": check}})
    told = warnings(front, f"/{INDEX}/_doc/1?pipeline=outer", {"text": "boat"})
    assert any("whether they keep it is not known" in text for text in told)
    assert is_filled(front, "1", "boat")


def test_a_lost_marker_is_told(front: FilledFront) -> None:
    put(front, "outer", {"remove": {"field": "sidecar", "ignore_missing": True}})
    told = warnings(front, f"/{INDEX}/_doc/1?pipeline=outer", {"text": "boat"})
    assert ["drop field [sidecar]" in text for text in told] == [True]
    assert is_filled(front, "1", "boat")
    assert "sidecar" not in front.source(INDEX, "1")


def test_the_documents_own_vector_is_looked_after_as_well(front: FilledFront) -> None:
    put(front, "outer", DROPS["remove"])
    answer = write(front, {"text": "boat", "vector": [1, 2, 3, 4], "tokens": {"a": 1.0}})
    assert statuses(answer) == [400]
    assert front.asked == []


def test_passages_are_probed_in_their_nested_field(front: FilledFront) -> None:
    passages = {"type": "nested", "properties": {"vector": DENSE, "text": {"type": "text"}}}
    entry = {"source": "text", "target": "passages.vector", "inference_id": "dense", "passages": True}
    bind(front, entry, passages=passages)
    put(front, "outer", {"foreach": {"field": "passages", "processor": {"remove": {"field": "_ingest._value.vector"}}}})
    assert statuses(write(front, {"text": "boat"})) == [400]
    put(front, "outer", {"lowercase": {"field": "text"}})
    assert statuses(write(front, {"text": "BOAT"})) == [201]
    assert front.source(INDEX, "1")["passages"][0]["vector"] == pytest.approx(vector_of("boat"))


def test_pipelines_with_inference_of_ours_are_probed_too(front: FilledFront) -> None:
    put(front, "outer", {"remove": {"field": "vector", "if": "ctx.n == 1"}}, inference(into="more"))
    answer = write(front, {"text": "one", "n": 1}, {"text": "two", "n": 2})
    assert statuses(answer) == [400, 201]
    assert is_filled(front, "2", "two")
    assert tokens(front.source(INDEX, "2"), "more") == tokens_of("two")


def test_a_document_that_is_sent_on_to_another_index_is_probed_for_that(front: FilledFront) -> None:
    other = f"{INDEX}-other"
    front.index(other, **mapping("text:vector2=dense", vector2=DENSE))
    put(
        front,
        "outer",
        {"set": {"field": "_index", "value": other}},
        {"remove": {"field": "vector2", "if": "ctx.n == 1"}},
    )
    answer = write(front, {"text": "one", "n": 1}, {"text": "two", "n": 2})
    assert statuses(answer) == [400, 201]
    assert front.source(other, "2")["vector2"] == pytest.approx(vector_of("two"))


def test_an_update_goes_through_the_pipelines_of_its_index(front: FilledFront) -> None:
    assert front.send("PUT", f"/{INDEX}/_doc/1", {"text": "boat", "n": 2})[0] == 201
    put(front, "outer", {"lowercase": {"field": "text"}}, {"remove": {"field": ["vector"], "if": "ctx.n == 1"}})
    front.send("PUT", f"/{INDEX}/_settings", {"index.default_pipeline": "outer"})
    status, answer = front.send("POST", f"/{INDEX}/_update/1", {"doc": {"text": "LATER Boat"}})
    assert (status, answer["result"]) == (200, "updated")
    assert front.source(INDEX, "1")["text"] == "later boat"
    assert is_filled(front, "1", "later boat")
    status, answer = front.send("POST", f"/{INDEX}/_update/1", {"doc": {"n": 1}})
    assert (status, "would be left empty" in answer["error"]["reason"]) == (400, True)
    assert is_filled(front, "1", "later boat")


def test_an_update_makes_a_vector_without_a_marker_anew(front: FilledFront) -> None:
    front.index(
        INDEX, mappings={"_meta": {"sidecar": {"maps": ["text:vector=dense"]}}, "properties": {"vector": DENSE}}
    )
    assert front.send("PUT", f"/{INDEX}/_doc/1", {"text": "boat"})[0] == 201
    put(front, "outer", {"lowercase": {"field": "text"}})
    front.send("PUT", f"/{INDEX}/_settings", {"index.default_pipeline": "outer"})
    assert front.send("POST", f"/{INDEX}/_update/1", {"doc": {"text": "LATER"}})[0] == 200
    assert front.source(INDEX, "1")["vector"] == pytest.approx(vector_of("later"))
    assert front.send("POST", f"/{INDEX}/_update/1", {"doc": {"vector": [1, 2, 3, 4]}})[0] == 200
    assert front.source(INDEX, "1")["vector"] == [1, 2, 3, 4]
