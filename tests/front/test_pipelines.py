"""Ingest pipelines with inference processors, run by a cluster that has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.core.errors import ParseError
from sidecar.front.inference_processors import CARRIER, inference_models, original, stand_in
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of, vector_of
from tests.front.test_bound_writes import DENSE, SPARSE, mapping, ndjson, statuses, tokens

INDEX = "piped"


def inference(model: str = "sparse", into: str = "tokens", **options: Any) -> dict[str, Any]:
    return {"inference": {"model_id": model, "input_output": {"input_field": "text", "output_field": into}, **options}}


@pytest.fixture
def front(filled_front: FilledFront) -> Iterator[FilledFront]:
    properties = {"tokens": SPARSE, "vector": DENSE, "VEC": {"properties": {"tokens": SPARSE}}}
    filled_front.index(INDEX, mappings={"properties": properties})
    yield filled_front
    filled_front.send("DELETE", f"/{INDEX}")  # it names the pipelines
    for name in ("outer", "inner", "end"):
        filled_front.send("DELETE", f"/_ingest/pipeline/{name}")


def put(front: FilledFront, name: str, *processors: Any, **rest: Any) -> None:
    assert front.send("PUT", f"/_ingest/pipeline/{name}", {"processors": list(processors), **rest})[0] == 200


def write(front: FilledFront, *documents: Any, query: str = "?pipeline=outer") -> dict[str, Any]:
    lines = [line for n, doc in enumerate(documents, 1) for line in ({"index": {"_id": str(n)}}, doc)]
    return dict(front.send("POST", f"/{INDEX}/_bulk{query}", ndjson(*lines))[1])


def test_processors_run_in_their_order(front: FilledFront) -> None:
    put(
        front,
        "outer",
        {"lowercase": {"field": "text"}},
        inference(),
        inference("dense", "vector"),
        {"script": {"source": "ctx.n = ctx.tokens.size()"}},
    )
    assert statuses(write(front, {"text": "ONE Boat"})) == [201]
    source = front.source(INDEX, "1")
    assert tokens(source, "tokens") == tokens_of("one boat")
    assert source["vector"] == pytest.approx(vector_of("one boat"))
    assert (source["n"], source["model_id"], source["text"]) == (2, ["sparse", "dense"], "one boat")
    assert CARRIER not in source


def test_conditions_calls_and_the_final_pipeline_are_the_clusters(front: FilledFront) -> None:
    put(front, "inner", inference(**{"if": "ctx.n == 1"}))
    put(front, "outer", {"pipeline": {"name": "inner"}}, {"drop": {"if": "ctx.n == 3"}})
    put(front, "end", {"remove": {"field": "vector", "ignore_missing": True}}, inference("dense", "vector"))
    front.send("PUT", f"/{INDEX}/_settings", {"index.default_pipeline": "outer", "index.final_pipeline": "end"})
    answer = write(front, {"text": "a", "n": 1}, {"text": "b", "n": 2}, {"text": "c", "n": 3}, query="")
    assert statuses(answer) == [201, 201, 200]
    assert answer["items"][2]["index"]["result"] == "noop"
    first, second = (front.source(INDEX, identity) for identity in "12")
    assert (tokens(first, "tokens"), "tokens" in second) == (tokens_of("a"), False)
    assert (first["vector"], second["vector"]) == (pytest.approx(vector_of("a")), pytest.approx(vector_of("b")))
    assert front.source(INDEX, "3") == {}
    assert not {CARRIER} & (first.keys() | second.keys())
    assert front.send("POST", f"/{INDEX}/_update/1", {"doc": {"text": "later"}})[0] == 200
    assert front.source(INDEX, "1")["vector"] == pytest.approx(vector_of("later"))


def test_failures_are_handled_as_the_pipeline_says(front: FilledFront) -> None:
    handled = [{"set": {"field": "why", "value": "failed"}}]
    put(front, "outer", inference(on_failure=handled, **{"if": "ctx.n == 1"}), inference(**{"if": "ctx.n != 1"}))
    answer = write(front, {"text": "fail", "n": 1}, {"text": "fail", "n": 2}, {"text": "boat", "n": 3}, {"n": 4})
    assert statuses(answer) == [201, 400, 201, 400]
    assert front.source(INDEX, "1") == {"text": "fail", "n": 1, "why": "failed"}
    errors = [item["index"].get("error", {}) for item in answer["items"]]
    assert "as asked" in errors[1]["reason"]
    assert errors[3] == {
        "type": "illegal_argument_exception",
        "reason": "field [text] not present as part of path [text]",
    }
    status, answer = front.send("PUT", f"/{INDEX}/_doc/9?pipeline=outer", {"text": "fail", "n": 2})
    assert (status, "as asked" in answer["error"]["reason"]) == (400, True)
    status, answer = front.send("PUT", f"/{INDEX}/_doc/9?pipeline=outer", {"text": "boat", "n": 2}, base=front.node)
    assert (status, answer["error"]["type"]) == (400, "script_exception")


def test_the_older_form_of_the_client_libraries(front: FilledFront) -> None:
    config = {"text_expansion": {"results_field": "tokens"}}
    settings = {"model_id": "sparse", "target_field": "VEC", "field_map": {"text": "text_field"}}
    put(front, "outer", {"inference": {**settings, "inference_config": config}})
    assert statuses(write(front, {"text": "boat"})) == [201]
    vec = front.source(INDEX, "1")["VEC"]
    assert (tokens(vec, "tokens"), vec["model_id"]) == (tokens_of("boat"), "sparse")


def test_what_was_put_is_shown_and_can_be_tried(front: FilledFront) -> None:
    definition = {"description": "d", "processors": [inference(), {"set": {"field": "n", "value": 5}}]}
    put(front, "outer", *definition["processors"], description="d")
    assert front.send("GET", "/_ingest/pipeline/outer")[1] == {"outer": definition}
    docs = [{"_source": {"text": "boat"}}, {"_source": {"text": "fail"}}]
    for path, more in (("/outer", {}), ("", {"pipeline": definition})):
        shown = front.send("POST", f"/_ingest/pipeline{path}/_simulate", {"docs": docs, **more})[1]["docs"]
        assert shown[0]["doc"]["_source"] == {"text": "boat", "tokens": tokens_of("boat"), "model_id": "sparse", "n": 5}
        assert "as asked" in shown[1]["error"]["reason"]
    assert front.send("DELETE", "/_ingest/pipeline/outer")[0] == 200
    assert front.send("GET", "/_ingest/pipeline/outer")[0] == 404


def test_results_are_kept_where_a_step_names_all_that_is_to_be_kept(front: FilledFront) -> None:
    definition = {"processors": [{"remove": {"keep": ["text", "n"]}}, inference(), {"remove": {"keep": "tokens"}}]}
    put(front, "outer", *definition["processors"])
    assert front.send("GET", "/_ingest/pipeline/outer")[1] == {"outer": definition}
    assert statuses(write(front, {"text": "boat", "n": 1, "other": 2})) == [201]
    source = front.source(INDEX, "1")
    assert ({*source}, tokens(source, "tokens")) == ({"tokens"}, tokens_of("boat"))
    docs = [{"_source": {"text": "boat", "other": 2}}]
    for path, more in (("/outer", {}), ("", {"pipeline": definition})):
        shown = front.send("POST", f"/_ingest/pipeline{path}/_simulate", {"docs": docs, **more})[1]["docs"]
        assert shown[0]["doc"]["_source"] == {"tokens": tokens_of("boat")}


@pytest.mark.parametrize("query", ["", "?pipeline=outer", "?pipeline=_none"])
def test_updates_that_would_insert_go_through_pipelines_though_the_document_is_there(
    filled_front: FilledFront, query: str
) -> None:
    """Elasticsearch runs the index's pipelines on a ``doc`` that would be inserted, and the bulk's on an ``upsert``."""
    put(
        filled_front,
        "outer",
        {"set": {"field": "k", "value": "by-pipeline"}},
        {"uppercase": {"field": "text", "ignore_missing": True}},
        {"drop": {"if": "ctx.n == 13"}},
        {"fail": {"message": "unlucky", "if": "ctx.n == 14"}},
    )
    filled_front.index("bound", **mapping("title,text:tokens=sparse", tokens=SPARSE))
    filled_front.index("unbound", mappings={"properties": {"title": {"type": "text"}, "text": {"type": "text"}}})
    lines: list[object] = []
    for number, doc in enumerate(
        ({"title": "tug"}, {"text": "quay"}, {"n": 1}, {"title": "mole", "n": 13}, {"title": "mole", "n": 14}, {})
    ):
        lines += [{"update": {"_id": str(number)}}, {"doc": doc, "doc_as_upsert": True}]
        lines += [{"update": {"_id": f"new{number}"}}, {"doc": doc, "doc_as_upsert": True}]
        lines += [{"update": {"_id": f"plain{number}"}}, {"doc": doc, "upsert": {"text": "not this"}}]
    told = []
    for name in ("bound", "unbound"):
        settings = {"index.default_pipeline": None if query == "?pipeline=outer" else "outer"}
        assert filled_front.send("PUT", f"/{name}/_settings", settings)[0] == 200
        old = [f"{kind}{number}" for kind in ("", "plain") for number in range(6)]
        before = [line for i in old for line in ({"index": {"_id": i}}, {"title": f"ship {i}", "text": "boat"})]
        filled_front.send("POST", f"/{name}/_bulk?pipeline=_none", ndjson(*before))
        answer = filled_front.send("POST", f"/{name}/_bulk{query}", ndjson(*lines))[1]
        items = [about for item in answer["items"] for about in item.values()]
        told.append([(one["_id"], one["status"], one.get("result"), (one.get("error") or {}).get("reason"))
                     for one in items])  # fmt: skip
    assert told[0] == told[1]
    for identity, *_ in told[0]:
        found = [filled_front.send("GET", f"/{name}/_doc/{identity}")[1]["found"] for name in ("bound", "unbound")]
        assert found[0] == found[1]
        if not found[1]:
            continue
        stored, wanted = (filled_front.source(name, identity) for name in ("bound", "unbound"))
        assert {name: stored[name] for name in stored.keys() - {"tokens", "sidecar"}} == wanted
        texts = [wanted[name] for name in ("title", "text") if name in wanted]
        assert tokens(stored, "tokens") == (tokens_of("\n".join(texts)) if texts else None)
    filled_front.send("DELETE", "/bound,unbound")  # they name the pipeline


def test_inference_of_an_update_that_would_insert_is_of_the_document_that_is_there(front: FilledFront) -> None:
    front.index(INDEX, **mapping("title,text:tokens=sparse", tokens=SPARSE, vector=DENSE))
    put(front, "outer", inference("dense", "vector"))
    front.send("PUT", f"/{INDEX}/_settings", {"index.default_pipeline": "outer"})
    assert statuses(write(front, {"title": "Ship", "text": "boat"}, query="?pipeline=_none")) == [201]
    body = ndjson({"update": {"_id": "1"}}, {"doc": {"text": "tug"}, "doc_as_upsert": True})
    assert statuses(front.send("POST", f"/{INDEX}/_bulk", body)[1]) == [200]
    source = front.source(INDEX, "1")
    assert tokens(source, "tokens") == tokens_of("Ship\ntug")
    assert source["vector"] == pytest.approx(vector_of("tug"))
    assert CARRIER not in source


def test_only_what_is_ours_is_replaced_wherever_it_stands() -> None:
    ours, other = inference(), inference("elsewhere")
    foreach = {"foreach": {"field": "x", "processor": ours}}
    failing = {"set": {"field": "a", "value": 1, "on_failure": [ours]}}
    definition = {"processors": [foreach, other, failing], "on_failure": [ours], "_meta": {"mine": 1}}
    assert list(inference_models(definition)) == ["sparse", "elsewhere", "sparse", "sparse"]
    made = stand_in(definition, {"sparse"}.__contains__)
    assert list(inference_models({**made, "_meta": None})) == ["elsewhere"]
    assert original(made) == definition
    assert made["_meta"]["mine"] == 1
    assert json.dumps(made["processors"]).count('"script"') == 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"input_output": []}, "[input_output] property cannot be empty"),
        ({"input_output": "text"}, "[input_output] property isn't a list of maps"),
        ({"input_output": {"input_field": "a"}}, "[output_field] required property is missing"),
        (
            {"input_output": {"input_field": "a", "output_field": "b"}, "target_field": "c"},
            "[target_field] option is incompatible with [input_output]. Use the [output_field] option",
        ),
    ],
)
def test_what_elasticsearch_refuses_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParseError) as error:
        stand_in({"processors": [{"inference": {"model_id": "sparse", **wrong}}]}, lambda model: True)
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("tag", [{}, {"tag": "mine"}])
def test_options_that_there_are_not_are_refused_as_of_any_processor(
    front: FilledFront, tag: dict[str, str], nested: bool
) -> None:
    def refusal(kind: str, options: dict[str, Any]) -> str:
        processor: dict[str, Any] = {kind: {**options, **tag, "zoom": 1, "input_outputs": []}}
        whole = {"foreach": {"field": "texts", "processor": processor}} if nested else processor
        status, answer = front.send("PUT", "/_ingest/pipeline/odd", {"processors": [whole]})
        assert status == 400
        return json.dumps(answer).replace(kind, "KIND")

    assert refusal("inference", {"model_id": "sparse"}) == refusal("uppercase", {"field": "text"})
