"""Writes to bound indices: which vectors a document gets, which it keeps, and what is said of those that fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.front.conftest import FilledFront, StartFront
from tests.front.provider import tokens_of, vector_of

MARKER = {"properties": {"model": {"type": "keyword"}, "hash": {"type": "keyword"}, "at": {"type": "date"}}}
SPARSE, DENSE = {"type": "sparse_vector"}, {"type": "dense_vector", "dims": 4, "index": False}


def mapping(*maps: object, **fields: object) -> dict[str, Any]:
    properties = {"text": {"type": "text"}, "title": {"type": "text"}, "sidecar": MARKER, **fields}
    return {"mappings": {"_meta": {"sidecar": {"maps": list(maps)}}, "properties": properties}}


def ndjson(*lines: object) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def statuses(body: dict[str, Any]) -> list[int]:
    return [about["status"] for item in body["items"] for about in item.values()]


def tokens(source: dict[str, Any], field: str) -> Any:
    """Token weights as they are stored: alone, or in an array of one."""
    value = source.get(field)
    return value[0] if isinstance(value, list) and value else value


@pytest.fixture
def bound(filled_front: FilledFront) -> FilledFront:
    filled_front.index("bound", **mapping("text:tokens=sparse", "text:vector=dense", tokens=SPARSE, vector=DENSE))
    filled_front.asked.clear()
    return filled_front


def test_every_kind_of_write_fills_every_target(bound: FilledFront) -> None:
    assert bound.send("PUT", "/bound/_doc/1", {"text": "one boat"})[0] == 201
    assert bound.send("PUT", "/bound/_create/2", {"text": "two boats"})[0] == 201
    body = ndjson(
        {"index": {"_id": "3"}}, {"text": "three"}, {"create": {"_index": "bound", "_id": "4"}}, {"text": "four"}
    )
    assert statuses(bound.send("PUT", "/bound/_bulk", body)[1]) == [201, 201]
    zipped = gzip.compress(ndjson({"index": {"_index": "bound", "_id": "5"}}, {"text": "five"}))
    assert statuses(bound.send("POST", "/_bulk", zipped, Content_Encoding="gzip")[1]) == [201]
    for identity, text in {"1": "one boat", "2": "two boats", "3": "three", "4": "four", "5": "five"}.items():
        source = bound.source("bound", identity)
        assert tokens(source, "tokens") == tokens_of(text)
        assert source["vector"] == pytest.approx(vector_of(text))
        assert [entry.partition("=")[0] for entry in source["sidecar"]["model"]] == ["tokens", "vector"]


def test_a_text_is_embedded_once_per_endpoint(bound: FilledFront) -> None:
    lines = [line for n in range(40) for line in ({"index": {"_id": str(n)}}, {"text": f"same {n % 3} of once"})]
    assert statuses(bound.send("POST", "/bound/_bulk", ndjson(*lines))[1]) == [201] * 40
    assert sorted(bound.asked) == sorted(f"same {n} of once" for n in range(3) for _ in range(2))


def test_what_is_not_touched_keeps_its_digits(filled_front: FilledFront) -> None:
    bound = filled_front
    bound.index("bound", **mapping("text:tokens=sparse", tokens=SPARSE, big={"type": "keyword"}))
    body = b'{"index":{"_index":"bound","_id":"1"}}\n{"text":"boat","n":1.10,"big":123456789012345678901234567890}\n'
    bound.send("POST", "/_bulk", body)
    raw = bound.send("GET", "/bound/_source/1?_source_includes=n,big")[1]
    assert json.dumps(raw) == '{"n": 1.1, "big": 123456789012345678901234567890}'


def test_an_own_vector_without_a_marker_is_kept_and_told(bound: FilledFront) -> None:
    bound.send("PUT", "/bound/_doc/1", {"text": "boat", "tokens": {"mine": 2.0}})
    source = bound.source("bound", "1")
    assert tokens(source, "tokens") == {"mine": 2.0}
    assert source["vector"] == pytest.approx(vector_of("boat"))


def test_a_vector_is_made_anew_when_its_marker_is_of_another_text(bound: FilledFront) -> None:
    bound.send("PUT", "/bound/_doc/1", {"text": "boat"})
    stored = bound.source("bound", "1")
    bound.asked.clear()
    bound.send("PUT", "/bound/_doc/2", stored)
    assert bound.asked == []
    bound.send("PUT", "/bound/_doc/3", stored | {"text": "frigate"})
    assert bound.asked == ["frigate", "frigate"]
    assert tokens(bound.source("bound", "3"), "tokens") == tokens_of("frigate")
    without = {name: value for name, value in stored.items() if name != "text"}
    bound.send("PUT", "/bound/_doc/4", without)
    assert bound.source("bound", "4").keys() == {"sidecar"}


def test_updates_keep_vectors_fresh(bound: FilledFront) -> None:
    bound.send("PUT", "/bound/_doc/1", {"text": "boat", "n": 1})
    body = ndjson({"update": {"_id": "1"}}, {"doc": {"text": "train"}}, {"update": {"_id": "1"}}, {"doc": {"n": 2}})
    assert statuses(bound.send("POST", "/bound/_bulk", body)[1]) == [200, 200]
    source = bound.source("bound", "1")
    assert (source["n"], tokens(source, "tokens")) == (2, tokens_of("train"))
    assert bound.send("POST", "/bound/_update/1", {"doc": {"text": "lamp"}})[0] == 200
    source = bound.source("bound", "1")
    assert tokens(source, "tokens") == tokens_of("lamp")
    assert source["vector"] == pytest.approx(vector_of("lamp"))
    bound.send("POST", "/bound/_update/1", {"doc": {"text": None}})
    assert not tokens(bound.source("bound", "1"), "tokens")
    upsert = {"doc": {"n": 1}, "upsert": {"text": "new"}}
    assert bound.send("POST", "/bound/_update/2", upsert)[0] == 201
    assert tokens(bound.source("bound", "2"), "tokens") == tokens_of("new")
    as_upsert = ndjson({"update": {"_id": "3"}}, {"doc": {"text": "newer"}, "doc_as_upsert": True})
    assert statuses(bound.send("POST", "/bound/_bulk", as_upsert)[1]) == [201]
    assert tokens(bound.source("bound", "3"), "tokens") == tokens_of("newer")


def test_an_update_of_one_of_several_sources_reads_the_others(filled_front: FilledFront) -> None:
    filled_front.index("bound", **mapping("title,text:tokens=sparse", tokens=SPARSE))
    filled_front.send("PUT", "/bound/_doc/1", {"title": "Harbour", "text": "boat"})
    assert tokens(filled_front.source("bound", "1"), "tokens") == tokens_of("Harbour\nboat")
    body = ndjson(
        {"update": {"_id": "1"}},
        {"doc": {"text": "ship"}},
        {"update": {"_id": "1", "retry_on_conflict": 2}},
        {"doc": {"title": "Quay"}, "doc_as_upsert": True},
    )
    status, answer = filled_front.send("POST", "/bound/_bulk", body)
    assert (status, statuses(answer), answer["errors"]) == (200, [200, 200], False)
    assert tokens(filled_front.source("bound", "1"), "tokens") == tokens_of("Quay\nship")
    assert filled_front.send("POST", "/bound/_update/1", {"doc": {"text": "tug"}})[0] == 200
    assert tokens(filled_front.source("bound", "1"), "tokens") == tokens_of("Quay\ntug")


def test_a_bulk_changes_each_document_in_the_order_of_its_lines(filled_front: FilledFront) -> None:
    fields = {"tokens": SPARSE, "body": {"type": "text"}}
    filled_front.index("bound", **mapping("title,text:tokens=sparse", **fields))
    filled_front.index("unbound", mappings={"properties": {"title": {"type": "text"}, "text": {"type": "text"}}})
    for name in ("bound", "unbound"):
        assert filled_front.send("PUT", f"/{name}/_doc/0", {"title": "Old", "text": "old"})[0] == 201
    lines: list[object] = []
    for identity, later in (
        ("0", [("index", {"title": "Last", "text": "last"})]),
        ("1", [("delete", None)]),
        ("2", [("delete", None), ("create", {"title": "Anew"}), ("update", {"doc": {"text": "written"}})]),
        ("3", [("index", {"title": "Short"}), ("update", {"doc": {"title": "Long"}, "doc_as_upsert": True})]),
        ("4", [("update", {"doc": {"text": "b"}}), ("update", {"doc": {"title": "C"}}), ("create", {"title": "D"})]),
    ):
        lines += [{"index": {"_id": identity}}, {"title": f"First {identity}", "text": "first"}]
        lines += [{"update": {"_id": identity}}, {"doc": {"text": "second"}}]
        for operation, source in later:
            lines += [{operation: {"_id": identity}}, *([] if source is None else [source])]
    lines += [{"update": {"_id": "5"}}, {"doc": {"title": "T"}, "upsert": {"title": "A", "text": "b"}}] * 2
    lines += [{"update": {"_id": "6"}}, {"doc": {"title": "T"}}, {"index": {"_id": "6"}}, {"title": "Here"}]
    lines += [{"update": {"_id": "7"}}, {"doc": {"title": "T"}, "doc_as_upsert": "true"}]
    lines += [{"update": {"_id": "7"}}, {"doc": {"text": "u"}, "doc_as_upsert": True}]
    told = []
    for name in ("bound", "unbound"):
        status, answer = filled_front.send("POST", f"/{name}/_bulk?refresh=true", ndjson(*lines))
        assert status == 200
        told.append([[(op, one["_version"], one["result"]) if "result" in one else (op, one["status"])
                      for op, one in item.items()] for item in answer["items"]])  # fmt: skip
    assert told[0] == told[1]
    for identity in "01234567":
        wanted, stored = filled_front.source("unbound", identity), filled_front.source("bound", identity)
        assert {name: stored[name] for name in stored.keys() - {"tokens", "sidecar"}} == wanted
        texts = [wanted[name] for name in ("title", "text") if name in wanted]
        assert tokens(stored, "tokens") == (tokens_of("\n".join(texts)) if texts else None)


@pytest.mark.parametrize("route", ["_update", "_bulk"])
def test_no_vector_is_of_half_a_document_that_came_meanwhile(filled_front: FilledFront, route: str) -> None:
    filled_front.index("bound", **mapping("title,text:tokens=sparse", tokens=SPARSE))

    def upsert(number: int) -> None:
        body = {"doc": {"title" if number % 2 else "text": f"w{number}"}, "doc_as_upsert": True}
        identity = str(number // 8)
        if route == "_update":
            filled_front.send("POST", f"/bound/_update/{identity}?retry_on_conflict=9", body)
        else:
            action = {"update": {"_id": identity, "retry_on_conflict": 9}}
            filled_front.send("POST", "/bound/_bulk", ndjson(action, body))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upsert, range(80)))
    for identity in range(10):
        source = filled_front.source("bound", str(identity))
        texts = [source[name] for name in ("title", "text") if name in source]
        assert tokens(source, "tokens") == tokens_of("\n".join(texts))


@pytest.mark.parametrize(
    ("query", "extra"),
    [
        ("doc_as_upsert=true", {}),
        ("doc_as_upsert=false", {"doc_as_upsert": "true"}),
        ("retry_on_conflict=-1", {"upsert": {"text": "rare words"}}),
        ("", {"doc_as_upsert": "true", "detect_noop": "false"}),
        ("require_alias=true", {"doc_as_upsert": True}),
        ("require_alias=true&_source=text", {"upsert": {"text": "rare words"}, "scripted_upsert": ""}),
    ],
)
def test_every_way_to_ask_for_an_update_fills_it(bound: FilledFront, query: str, extra: dict[str, Any]) -> None:
    bound.send("POST", "/_aliases", {"actions": [{"add": {"index": "bound", "alias": "bound-alias"}}]})
    for text, status in (("rare words", 201), ("others", 200)):
        answer = bound.send("POST", f"/bound-alias/_update/1?{query}", {"doc": {"text": text}, **extra})
        assert answer[0] == status, answer
        source = bound.source("bound", "1")
        assert source["text"] == text
        assert tokens(source, "tokens") == tokens_of(text)
    bound.asked.clear()
    status, answer = bound.send("POST", "/bound/_update/1?require_alias=true", {"doc": {"text": "unpaid"}})
    assert (status, answer["error"]["type"], bound.asked) == (404, "index_not_found_exception", [])


def test_a_failed_inference_fails_its_item_only(bound: FilledFront) -> None:
    body = ndjson(
        {"index": {"_id": "1"}},
        {"text": "boat"},
        {"index": {}},
        {"text": "please fail"},
        {"update": {"_id": "1"}},
        {"doc": {"text": "fail too"}},
        {"delete": {"_id": "9"}},
    )
    status, answer = bound.send("POST", "/bound/_bulk", body)
    assert (status, answer["errors"], statuses(answer)) == (200, True, [201, 400, 400, 404])
    (about,) = answer["items"][1].values()
    assert list(answer["items"][2]) == ["update"]
    assert about["error"]["type"] == "inference_exception"
    assert about["error"]["reason"] == "Exception when running inference id [sparse] on field [tokens]"
    assert "as asked" in about["error"]["caused_by"]["reason"]
    assert tokens(bound.source("bound", "1"), "tokens") == tokens_of("boat")
    filtered = bound.send("POST", "/bound/_bulk?filter_path=items.*.error.type", body)[1]
    # what the cluster zips for the caller is read all the same
    assert (
        bound.send("POST", "/bound/_bulk?filter_path=items.*.error.type", body, Accept_Encoding="gzip")[1] == filtered
    )
    types = [about["error"]["type"] for item in filtered["items"] for about in item.values()]
    assert types == ["inference_exception", "inference_exception"]
    status, answer = bound.send("PUT", "/bound/_doc/7", {"text": "fail"})
    assert (status, answer["error"]["type"]) == (400, "inference_exception")


def test_documents_are_stored_as_pending_where_the_binding_says_so(filled_front: FilledFront) -> None:
    entry = {"source": "text", "target": "tokens", "inference_id": "sparse", "on_failure": "index_pending"}
    filled_front.index("bound", **mapping(entry, tokens=SPARSE))
    body = ndjson({"index": {"_id": "1"}}, {"text": "fail"}, {"index": {"_id": "2"}}, {"text": "boat"})
    assert statuses(filled_front.send("POST", "/bound/_bulk", body)[1]) == [201, 201]
    source = filled_front.source("bound", "1")
    assert "tokens" not in source
    assert source["sidecar"]["pending"] is True
    assert "as asked" in source["sidecar"]["error"]


def test_passages_lie_in_the_nested_field(filled_front: FilledFront) -> None:
    entry = {"source": "text", "target": "passages.tokens", "inference_id": "sparse", "passages": True}
    entry["chunking_settings"] = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
    nested = {"type": "nested", "properties": {"tokens": SPARSE}}
    filled_front.index("bound", **mapping(entry, passages=nested))
    text = " ".join(f"word{n}" for n in range(15))
    filled_front.send("PUT", "/bound/_doc/1", {"text": text})
    passages = filled_front.source("bound", "1")["passages"]
    assert len(passages) == 2
    for passage in passages:
        assert text[passage["start"] :].startswith(passage["text"])
        assert tokens(passage, "tokens") == tokens_of(passage["text"])


def test_templates_and_aliases_bind_the_indices_behind_them(filled_front: FilledFront) -> None:
    bindings = mapping("text:tokens=sparse", tokens=SPARSE)
    filled_front.send("DELETE", "/born-*")
    template = {"index_patterns": ["born-*"], "template": bindings}
    assert filled_front.send("PUT", "/_index_template/born", template)[0] == 200
    try:
        assert filled_front.send("PUT", "/born-1/_doc/1", {"text": "boat"})[0] == 201
        alias = {"actions": [{"add": {"index": "born-1", "alias": "born", "is_write_index": True}}]}
        filled_front.send("POST", "/_aliases", alias)
        body = ndjson({"index": {"_index": "born", "_id": "2"}}, {"text": "ship"})
        assert statuses(filled_front.send("POST", "/_bulk", body)[1]) == [201]
        date = "/%3Cborn-%7B2026.03.05%7C%7C%2FM%7D%3E/_doc/3"
        assert filled_front.send("PUT", date, {"text": "tug"})[1]["_index"] == "born-2026.03.01"
        assert tokens(filled_front.source("born-1", "1"), "tokens") == tokens_of("boat")
        assert tokens(filled_front.source("born-1", "2"), "tokens") == tokens_of("ship")
        assert tokens(filled_front.source("born-2026.03.01", "3"), "tokens") == tokens_of("tug")
    finally:
        filled_front.send("DELETE", "/born-1,born-2026.03.01")
        filled_front.send("DELETE", "/_index_template/born")


LOCAL = ".elser-2-elasticsearch"


@pytest.mark.parametrize("policy", ["truncate", "fail", "chunk"])
def test_long_texts_are_never_cut_unseen(filled_front: FilledFront, policy: str) -> None:
    entry = {"source": "text", "target": "tokens", "inference_id": LOCAL, "long_texts": policy}
    filled_front.index("bound", **mapping(entry, tokens=SPARSE))
    words = " ".join(f"number{n}" for n in range(700)) + " lighthouse"
    request = urllib.request.Request(
        f"{filled_front.url}/bound/_doc/1",
        json.dumps({"text": words}).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    if policy == "fail":
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert "is longer than the model reads" in json.load(refused.value)["error"]["caused_by"]["reason"]
        return
    with urllib.request.urlopen(request, timeout=60) as answer:
        warnings = answer.headers.get_all("Warning", [])
    found = tokens(filled_front.source("bound", "1"), "tokens")
    if policy == "truncate":
        assert ["longer than the model reads" in warning for warning in warnings] == [True]
        assert "lighthouse" not in found
    else:
        assert warnings == []
        assert "lighthouse" in found


def test_an_update_of_what_cannot_be_read_keeps_all_of_its_sources(filled_front: FilledFront) -> None:
    filled_front.index("bound", **mapping("title,text:tokens=sparse", tokens=SPARSE))
    filled_front.send("PUT", "/bound/_doc/1", {"title": "Harbour", "text": "boat"})
    assert filled_front.send("PUT", "/bound/_settings", {"index.blocks.read": True})[0] == 200
    assert filled_front.send("POST", "/bound/_mget", {"ids": ["1"]})[1]["docs"][0]["error"]["type"] == (
        "cluster_block_exception"
    )
    body = ndjson({"update": {"_id": "1"}}, {"doc": {"text": "ship"}})
    answers = [
        filled_front.send("POST", "/bound/_bulk", body),
        filled_front.send("POST", "/bound/_update/1", {"doc": {"title": "Quay"}}),
    ]
    filled_front.send("PUT", "/bound/_settings", {"index.blocks.read": False})
    assert (answers[0][1]["errors"], answers[1][0]) == (False, 200)
    assert tokens(filled_front.source("bound", "1"), "tokens") == tokens_of("Quay\nship")


async def test_no_document_is_stored_unfilled_for_its_size(filled_front: FilledFront, start_front: StartFront) -> None:
    filled_front.index("bound", **mapping("text:tokens=sparse", tokens=SPARSE))
    url = await start_front(filled_front.node, max_body_size=70_000)
    large = {"text": "boat " * 20_000}

    def attempts() -> list[tuple[int, Any]]:
        put = filled_front.send("PUT", "/bound/_doc/1", large, base=url)
        return [put, filled_front.send("POST", "/bound/_update/1", {"doc": large, "doc_as_upsert": True}, base=url)]

    for status, body in await asyncio.to_thread(attempts):
        assert (status, body) == (413, {"error": "Maximum request body size 70000 exceeded", "status": 413})
    assert filled_front.send("HEAD", "/bound/_doc/1")[0] == 404


def test_what_is_written_in_a_form_that_is_not_read_is_not_stored_unfilled(bound: FilledFront) -> None:
    document = b":)\n\x05\xfa\x83textCboat\xfb"
    line = b":)\n\x05\xfa\x84index\xfa\xfb\xfb\xff"
    types = {"Content_Type": "application/smile", "Accept": "application/json"}
    assert bound.send("PUT", "/other/_doc/1", document, **types)[0] == 201
    for path, body in (("/bound/_doc/1", document), ("/bound/_bulk", line + document + b"\xff"), ("/_bulk", line)):
        status, answer = bound.send("POST", path, body, **types)
        assert (status, answer["error"][:49]) == (406, "Content-Type header [application/smile] is not su")
    assert bound.send("GET", "/bound/_count")[1]["count"] == 0
    bound.send("DELETE", "/other")
