"""``semantic_text`` filled on the way to a cluster that may not infer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import StatusError
from sidecar.front.document_merging import is_same, merge
from sidecar.ingest.semantic_values import ABSENT, NULL, texts_of, value_at
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import ndjson, statuses

INDEX = "meaningful"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_OBJECTS = st.dictionaries(st.sampled_from("abc"), _JSON, max_size=3)


@pytest.fixture
def front(filled_front: FilledFront) -> FilledFront:
    chunking = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
    meaning = {"type": "semantic_text", "inference_id": "sparse", "chunking_settings": chunking}
    title = {
        "type": "text",
        "copy_to": "meaning",
        "fields": {"dense": {"type": "semantic_text", "inference_id": "dense"}},
    }
    filled_front.index(INDEX, mappings={"properties": {"meaning": meaning, "title": title, "n": {"type": "integer"}}})
    return filled_front


def chunks(front: FilledFront, identity: str) -> dict[str, Any]:
    """The chunks of every field of a document, as they are stored."""
    front.send("POST", f"/{INDEX}/_refresh")
    body = {"query": {"ids": {"values": [identity]}}, "fields": ["_inference_fields"]}
    source = front.send("POST", f"/{INDEX}/_search", body, base=front.node)[1]["hits"]["hits"][0]["_source"]
    found = source.get("_inference_fields", {})
    return {name: entry["inference"]["chunks"] for name, entry in found.items()}


def test_sources_and_multi_fields_have_chunks_of_their_own(front: FilledFront) -> None:
    text = " ".join(f"word{n}" for n in range(12))
    body = ndjson({"index": {"_id": "1"}}, {"meaning": [text, "", "two"], "title": "Harbour"}, {"index": {}}, {"n": 1})
    assert statuses(front.send("POST", f"/{INDEX}/_bulk", body)[1]) == [201, 201]
    found = chunks(front, "1")
    assert found.keys() == {"meaning", "title.dense"}
    assert found["meaning"].keys() == {"meaning", "title"}
    spans = [(chunk["start_offset"], chunk["end_offset"]) for chunk in found["meaning"]["meaning"]]
    whole = f"{text} {''} two"
    assert whole[slice(*spans[-1])] == "two"
    assert [whole[slice(*span)].split(maxsplit=1)[0] for span in spans] == ["word0", "word9", "two"]
    assert found["meaning"]["title"][0]["embeddings"] == tokens_of("Harbour")
    assert found["title.dense"].keys() == {"title"}


def test_an_update_by_reading_and_writing_answers_as_the_cluster_does(front: FilledFront) -> None:
    front.send("PUT", f"/{INDEX}/_doc/1", {"meaning": "boat", "n": 1})
    path = f"/{INDEX}/_update/1"
    assert front.send("POST", path, {"doc": {"n": 1}})[1]["result"] == "noop"
    status, answer = front.send("POST", path, {"doc": {"n": 2}, "_source": ["n"]})
    assert (status, answer["result"], answer["_version"]) == (200, "updated", 2)
    assert answer["get"]["_source"] == {"n": 2}
    assert front.send("POST", path, {"script": {"source": "ctx._source.meaning = 'train'"}})[0] == 200
    assert chunks(front, "1")["meaning"]["meaning"][0]["embeddings"] == tokens_of("train")
    assert front.send("POST", path, {"script": {"source": "ctx._source.nothing.length()"}})[0] == 400
    assert front.send("POST", f"{path}?if_seq_no=77&if_primary_term=1", {"doc": {"n": 3}})[0] == 409
    assert front.send("POST", f"/{INDEX}/_update/2", {"doc": {"n": 3}})[0] == 404
    assert front.send("POST", f"/{INDEX}/_update/2", {"doc": {"meaning": "lamp"}, "doc_as_upsert": True})[0] == 201
    assert front.send("POST", path, {"script": {"source": "ctx.op = 'delete'"}})[1]["result"] == "deleted"
    assert front.send("POST", f"/{INDEX}/_update/2", {"doc": {"meaning": "please fail"}})[0] == 400
    assert chunks(front, "2")["meaning"]["meaning"][0]["embeddings"] == tokens_of("lamp")


@pytest.mark.parametrize("doc", [{"meaning": "boat"}, {"title": "boat"}, {"meaning": "boat", "title": "x", "n": 1}])
def test_a_bulk_update_of_what_is_not_there_says_so_and_embeds_nothing(front: FilledFront, doc: Any) -> None:
    before = len(front.asked)
    answer = front.send("POST", f"/{INDEX}/_bulk", ndjson({"update": {"_id": "nobody"}}, {"doc": doc}))[1]
    error = answer["items"][0]["update"]["error"]
    assert (error["type"], error["reason"]) == ("document_missing_exception", "[nobody]: document missing")
    assert len(front.asked) == before


@pytest.mark.parametrize("doc", [{"n": 2}, {"title": "Quay"}, {"meaning": None}, {"meaning": " "}])
def test_updates_between_two_refreshes_keep_all_chunks(front: FilledFront, doc: Any) -> None:
    front.send("PUT", f"/{INDEX}/_settings", {"index": {"refresh_interval": "-1"}})
    before = {"meaning": "boat and lamp", "title": "Harbour", "n": 1}
    lines = [{"index": {"_id": "1"}}, before, {"update": {"_id": "1"}}, {"doc": {"n": 3}}]
    for bulk in (
        lines,
        [{"update": {"_id": "1"}}, {"doc": {"title": "Pier"}}],
        [{"update": {"_id": "1"}}, {"doc": doc}],
    ):
        assert set(statuses(front.send("POST", f"/{INDEX}/_bulk", ndjson(*bulk))[1])) <= {200, 201}
    found, wanted = chunks(front, "1"), {"meaning": "boat and lamp", "title": "Pier", **doc}
    texts = {name: [entry["embeddings"] for entry in made] for name, made in found["meaning"].items() if made}
    spoken = {name: text for name in ("meaning", "title") if (text := (wanted[name] or "").strip())}
    assert texts == {name: [tokens_of(text)] for name, text in spoken.items()}
    assert [len(made) for made in found["title.dense"].values()] == [1]


def test_values_that_cannot_be_embedded_fail_alone(front: FilledFront) -> None:
    lines = [
        *({"index": {"_id": "1"}}, {"meaning": {"a": 1}}),
        *({"index": {"_id": "2"}}, b'{"meaning": "broken'),
        *({"index": {"_id": "3"}}, b'{"meaning": "a", "meaning": "b"}'),
        *({"index": {"_id": "4"}}, {"meaning": 7.0}),
    ]
    answer = front.send("POST", f"/{INDEX}/_bulk", ndjson(*lines))[1]
    assert statuses(answer) == [400, 400, 400, 201]
    reasons = [item["index"]["error"]["reason"] for item in answer["items"][:3]]
    assert reasons[0] == "Invalid format for field [meaning], expected [String|Number|Boolean] got [HashMap]"
    assert "Unexpected end of file" in reasons[1]
    assert "Duplicate field 'meaning'" in reasons[2]
    assert chunks(front, "4")["meaning"]["meaning"][0]["embeddings"] == tokens_of("7.0")


def test_documents_are_copied_and_changed_by_query(front: FilledFront) -> None:
    front.index("meaningless", mappings={"properties": {"meaning": {"type": "text"}, "n": {"type": "integer"}}})
    lines = [line for n in range(5) for line in ({"index": {"_id": str(n)}}, {"meaning": f"boat {n}", "n": n})]
    front.send("POST", "/meaningless/_bulk?refresh=true", ndjson(*lines))
    source = {"index": "meaningless", "query": {"range": {"n": {"lt": 4}}}, "size": 3}
    status, answer = front.send("POST", "/_reindex?refresh=true", {"source": source, "dest": {"index": INDEX}})
    assert (status, answer["total"], answer["created"], answer["batches"], answer["failures"]) == (200, 4, 4, 2, [])
    assert chunks(front, "3")["meaning"]["meaning"][0]["embeddings"] == tokens_of("boat 3")
    script = {"source": "if (ctx._source.n == 0) { ctx.op = 'delete' } else { ctx._source.meaning += ' afloat' }"}
    status, answer = front.send("POST", f"/{INDEX}/_update_by_query?refresh=true", {"script": script})
    assert (status, answer["total"], answer["updated"], answer["deleted"]) == (200, 4, 3, 1)
    assert chunks(front, "2")["meaning"]["meaning"][0]["embeddings"] == tokens_of("boat 2 afloat")
    status, answer = front.send(
        "POST", f"/{INDEX}/_update_by_query", {"script": {"source": "ctx._source.meaning = 'fail'"}}
    )
    assert (status, answer["updated"], len(answer["failures"])) == (400, 0, 3)
    assert answer["failures"][0]["cause"]["type"] == "inference_exception"
    status, answer = front.send("POST", f"/{INDEX}/_update_by_query", {"script": {"source": "ctx._source.x.y()"}})
    assert (status, answer["error"]["type"]) == (400, "script_exception")


def test_a_script_that_fails_late_is_run_on_no_document_twice(front: FilledFront) -> None:
    lines = [line for n in range(5) for line in ({"index": {"_id": str(n)}}, {"n": n, "runs": 0})]
    front.send("POST", f"/{INDEX}/_bulk?refresh=true", ndjson(*lines))
    script = {"source": "ctx._source.runs += 1; if (ctx._source.n == 4) { ctx._source.x.y() }"}
    path = f"/{INDEX}/_update_by_query?refresh=true&scroll_size=2"
    status, answer = front.send("POST", path, {"script": script})
    assert (status, answer["error"]["type"]) == (400, "script_exception")
    assert [front.source(INDEX, str(n))["runs"] for n in range(5)] == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("_search", {"query": {"semantic": {"field": "s", "query": "boat"}}}),
        ("_search", {"query": {"bool": {"filter": [{"match": {"s": "boat"}}]}}}),
        ("_count", {"query": {"semantic": {"field": "s", "query": "boat"}}}),
    ],
)
def test_a_search_tells_of_an_endpoint_that_nobody_has(filled_front: FilledFront, path: str, body: Any) -> None:
    field = {"type": "semantic_text", "inference_id": "sparse", "search_inference_id": "nobody"}
    filled_front.index("unanswered", mappings={"properties": {"s": field}})
    assert filled_front.send("PUT", "/unanswered/_doc/1?refresh=true", {"s": "boat"})[0] == 201
    status, answer = filled_front.send("POST", f"/unanswered/{path}", body)
    reason = "Inference endpoint not found [nobody]"
    assert (status, answer["error"]["type"], answer["error"]["reason"]) == (404, "resource_not_found_exception", reason)
    both = {"query": {"bool": {"must": [body["query"], {"no_such": {}}]}}}
    status, answer = filled_front.send("POST", f"/unanswered/{path}", both)
    assert status == 400
    assert "unknown query [no_such]" in json.dumps(answer["error"])


@pytest.mark.parametrize("changed", [{"dimensions": 5}, {"similarity": "dot_product"}, {"element_type": "byte"}])
def test_vectors_that_the_field_cannot_take_are_not_paid_for(filled_front: FilledFront, changed: Any) -> None:
    settings = {"task_type": "text_embedding", "dimensions": 4, "similarity": "cosine", "element_type": "float"}
    field = {"type": "semantic_text", "inference_id": "dense", "model_settings": settings | changed}
    filled_front.index("misfit", mappings={"properties": {"s": field}})
    before = len(filled_front.asked)
    results = {"inference_id": "dense", "model_settings": settings, "chunks": {}}
    told = {"s": "never asked for", "_inference_fields": {"s": {"inference": results}}}
    judged = filled_front.send("PUT", "/misfit/_doc/1", told, base=filled_front.node)
    assert without_places(filled_front.send("PUT", "/misfit/_doc/1", {"s": "never asked for"})) == without_places(
        judged
    )
    lines = ndjson({"index": {"_id": "1"}}, {"s": "never asked for"}, {"index": {"_id": "2"}}, {"s": " ", "n": 1})
    items = filled_front.send("POST", "/misfit/_bulk", lines)[1]["items"]
    error = {name: value for name, value in judged[1]["error"].items() if name != "root_cause"}
    assert without_places(items[0]["index"]["error"]) == without_places(error)
    assert len(filled_front.asked) == before


def without_places(value: Any) -> Any:
    """Without the places in a text that has results in one case and none in the other."""
    return json.loads(re.sub(r"\[\d+:\d+\] ?", "", json.dumps(value)))


@pytest.mark.parametrize(
    ("source", "path", "value"),
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a.b": 1}, "a.b", 1),
        ({"a": {"b": 1}, "a.b": [2]}, "a.b", [1, 2]),
        ({"a": [{"b": 1}, {"b": [2, 3]}, {"c": 4}]}, "a.b", [1, 2, 3]),
        ({"a": None}, "a", NULL),
        ({"a": {"b": None}}, "a.b", NULL),
        ({"a": 1}, "a.b", ABSENT),
        ({"a": [{"c": 1}]}, "a.b", []),
        ({"a": {"b": []}}, "a.b.c", []),
        ({"a": []}, "a", []),
    ],
)
def test_values_are_found_where_elasticsearch_finds_them(source: dict[str, Any], path: str, value: Any) -> None:
    assert value_at(source, path) == value


def test_texts_are_those_of_java() -> None:
    assert texts_of("f", ["a", 1, True, 2.5, 1e10]) == ["a", "1", "true", "2.5", "1.0E10"]
    for wrong in ({"a": 1}, [["a"]], ["a", None], [value_at({"a": [None]}, "a")]):
        with pytest.raises(StatusError, match="Invalid format for field"):
            texts_of("f", wrong)


@given(_OBJECTS, _OBJECTS)
def test_merging_says_whether_it_did_anything(stored: dict[str, Any], partial: dict[str, Any]) -> None:
    merged, is_changed = merge(stored, partial)
    assert is_changed == (not is_same(merged, stored))
    assert merge(merged, partial) == (merged, False)
    assert merged.keys() == stored.keys() | partial.keys()
    assert all(is_same(merged[name], stored[name]) for name in stored.keys() - partial.keys())


@pytest.mark.parametrize("change", [{"doc": {"s": "tram"}}, {"script": "ctx._source.s = 'tram'"}])
def test_a_document_keeps_the_routing_that_an_update_does_not_name(
    filled_front: FilledFront, change: dict[str, Any]
) -> None:
    filled_front.index("routed", mappings={"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}}})
    assert filled_front.send("PUT", "/routed/_doc/1?routing=harbour", {"s": "boat"})[0] == 201
    assert filled_front.send("POST", "/routed/_update/1", change)[0] == 200
    document = filled_front.send("GET", "/routed/_doc/1?routing=harbour")[1]
    assert (document["_routing"], document["_source"]["s"]) == ("harbour", "tram")


@pytest.mark.parametrize("around", [[], [{"n": 1}], [None], [{"n": 1}, {"s": "tram"}]])
def test_arrays_without_a_text_stand_beside_texts_of_other_fields(filled_front: FilledFront, around: list[Any]) -> None:
    sparse, dense = ({"type": "semantic_text", "inference_id": name} for name in ("sparse", "dense"))
    inner = {"properties": {"s": sparse, "text": {"type": "text", "copy_to": ["d"]}, "n": {"type": "integer"}}}
    filled_front.index("arrays", mappings={"properties": {"o": inner, "d": dense, "s": sparse}})
    document = {"s": "boat", "o": around}
    assert filled_front.send("PUT", "/arrays/_doc/1", document)[0] == 201
    bulk = ndjson({"index": {"_id": "2"}}, document, {"update": {"_id": "1"}}, {"doc": {"o": around, "s": "ship"}})
    assert statuses(filled_front.send("POST", "/arrays/_bulk", bulk)[1]) == [201, 200]
    query = {"query": {"semantic": {"field": "o.s", "query": "tram"}}}
    filled_front.send("POST", "/arrays/_refresh")
    found = filled_front.send("POST", "/arrays/_search", query)[1]["hits"]["hits"]
    assert len(found) == (2 if {"s": "tram"} in around else 0)


RENAMES = "ctx._id = 'of ' + ctx._id; ctx._routing = 'harbour'; if (ctx._source.n == 2) { ctx._index = 'elsewhere' }"


def test_a_reindex_heeds_what_its_script_says_of_names(filled_front: FilledFront) -> None:
    fields = {"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}, "n": {"type": "integer"}}}
    for index in ("from", "into", "elsewhere"):
        filled_front.index(index, mappings=fields)
    lines = ndjson(*(line for n in (1, 2) for line in ({"index": {"_id": str(n)}}, {"s": f"boat {n}", "n": n})))
    filled_front.send("POST", "/from/_bulk?refresh=true", lines)
    body = {"source": {"index": "from"}, "dest": {"index": "into"}, "script": RENAMES}
    status, told = filled_front.send("POST", "/_reindex?refresh=true", body)
    assert (status, told["created"], told["failures"]) == (200, 2, [])
    for index, identity in (("into", "of 1"), ("elsewhere", "of 2")):
        found = filled_front.send("GET", f"/{index}/_doc/{identity.replace(' ', '%20')}?routing=harbour")[1]
        assert (found["_routing"], found["_source"]["s"]) == ("harbour", f"boat {identity[-1]}")
    filled_front.send("POST", "/_refresh")
    query = {"query": {"semantic": {"field": "s", "query": "boat"}}}
    hits = filled_front.send("POST", "/into,elsewhere/_search", query)[1]["hits"]["hits"]
    assert sorted(hit["_id"] for hit in hits) == ["of 1", "of 2"]


def test_a_reindex_of_which_a_shard_fails_copies_no_part_of_it(filled_front: FilledFront) -> None:
    texts = {"properties": {"s": {"type": "text"}, "n": {"type": "integer"}}}
    filled_front.index("into", mappings={"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}}})
    filled_front.index("plain", mappings=texts)
    for number, index in enumerate(("from", "elsewhere")):
        filled_front.index(index, mappings=texts)
        filled_front.send("PUT", f"/{index}/_doc/1?refresh=true", {"s": "boat", "n": number})
    script = {"source": "if (doc['n'].value == 1) { Integer.parseInt('x') } return true"}
    body: dict[str, Any] = {"source": {"index": ["from", "elsewhere"], "query": {"script": {"script": script}}}}
    told = filled_front.send("POST", "/_reindex?refresh=true", body | {"dest": {"index": "into"}})
    straight = filled_front.send(
        "POST", "/_reindex?refresh=true", body | {"dest": {"index": "plain"}}, base=filled_front.node
    )
    assert (told[0], told[1]["error"]["type"]) == (straight[0], straight[1]["error"]["type"])
    assert told[0] == 400
    assert filled_front.send("GET", "/into/_count")[1]["count"] == 0


@pytest.mark.parametrize(
    "script", ["ctx._id = 'other'", "ctx._routing = 'other'", "ctx._version = 9", "ctx.op = 'odd'"]
)
def test_updates_by_query_refuse_scripts_as_the_cluster_does(filled_front: FilledFront, script: str) -> None:
    fields = {"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}}}
    filled_front.index("updated", mappings=fields)
    filled_front.index("plain", mappings={"properties": {"s": {"type": "text"}}})
    for index in ("updated", "plain"):
        filled_front.send("PUT", f"/{index}/_doc/1?refresh=true", {"s": "boat"})
    told = filled_front.send("POST", "/updated/_update_by_query", {"script": script})
    straight = filled_front.send("POST", "/plain/_update_by_query", {"script": script}, base=filled_front.node)
    assert (told[0], told[1]["error"]["type"]) == (straight[0], straight[1]["error"]["type"])
    assert told[0] == 400


def test_an_update_answers_with_the_headers_of_the_cluster(filled_front: FilledFront) -> None:
    fields = {"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}}}
    filled_front.index("updated", mappings=fields)
    body = {"doc": {"s": "boat"}, "doc_as_upsert": True}
    headers = dict(filled_front.headers("POST", "/updated/_update/a%20b?routing=q", body))
    assert headers["Location"] == "/updated/_doc/a+b?routing=q"  # so Elasticsearch writes it
    body = {"script": "ctx.op = 'delete'", "_source": True}
    told = filled_front.send("POST", "/updated/_update/a%20b?routing=q", body)[1]
    assert (told["result"], told["get"].keys()) == ("deleted", {"_seq_no", "_primary_term", "found"})


@pytest.mark.parametrize("path", ["_update/1", "_update_by_query"])
def test_a_script_that_leaves_no_source_is_refused(filled_front: FilledFront, path: str) -> None:
    fields = {"properties": {"s": {"type": "semantic_text", "inference_id": "sparse"}}}
    filled_front.index("updated", mappings=fields)
    filled_front.send("PUT", "/updated/_doc/1?refresh=true", {"s": "boat"})
    assert filled_front.send("POST", f"/updated/{path}", {"script": "ctx._source = null"})[0] == 400
    assert filled_front.source("updated", "1")["s"] == "boat"
