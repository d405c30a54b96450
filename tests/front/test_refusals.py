"""What the cluster refuses costs no inference, and is answered in the cluster's own words; both lines are the judge."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import SPARSE, mapping, ndjson, statuses, tokens

BOUND, PLAIN = "refused-bound", "refused-plain"
LONG = "x" * 513


@pytest.fixture
def front(filled_front: FilledFront) -> Iterator[FilledFront]:
    """Two indices with one document each, of which only one is bound."""
    filled_front.index(BOUND, **mapping("text:tokens=sparse", tokens=SPARSE))
    filled_front.index(PLAIN, **mapping(tokens=SPARSE))
    for name in (BOUND, PLAIN):
        assert filled_front.send("PUT", f"/{name}/_doc/1", {"n": 1})[0] == 201
    filled_front.asked.clear()
    yield filled_front
    filled_front.send("DELETE", f"/{BOUND},{PLAIN}?ignore_unavailable=true")


def said(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Without what tells the two indices, and two answers of one, apart."""
    text = re.sub(rf"{BOUND}|{PLAIN}", "INDEX", repr(answer[1]))
    text = re.sub(r"'index_uuid': '[\w-]{22}'", "'index_uuid': ''", text)
    return answer[0], re.sub(r"'took': \d+", "'took': 0", text)


def fresh() -> dict[str, str]:
    """A text that no cache knows."""
    return {"text": f"boat {uuid.uuid4().hex}"}


def writes() -> list[tuple[str, str, object]]:
    return [
        ("PUT", "_doc/9", fresh()),
        ("POST", "_doc", fresh()),
        ("PUT", "_create/9", fresh()),
        ("POST", "_update/1", {"doc": fresh()}),
        ("POST", "_update/9", {"doc": fresh(), "doc_as_upsert": True}),
        (
            "POST",
            "_bulk",
            ndjson(
                {"index": {"_id": "8"}},
                fresh(),
                {"create": {"_id": "9"}},
                fresh(),
                {"update": {"_id": "1"}},
                {"doc": fresh()},
                {"delete": {"_id": "7"}},
            ),
        ),
    ]


@pytest.mark.parametrize("block", ["write", "read_only", "read_only_allow_delete"])
def test_a_block_is_told_by_the_cluster(front: FilledFront, block: str) -> None:
    for name in (BOUND, PLAIN):
        front.send("PUT", f"/{name}/_settings", {f"index.blocks.{block}": True})
    for method, path, body in writes():
        through = front.send(method, f"/{BOUND}/{path}", body)
        assert said(through) == said(front.send(method, f"/{PLAIN}/{path}", body, base=front.node))
    assert front.asked == []
    for name in (BOUND, PLAIN):
        front.send("PUT", f"/{name}/_settings", {f"index.blocks.{block}": None})
    assert front.send("PUT", f"/{BOUND}/_doc/9", fresh())[0] == 201
    assert len(front.asked) == 1


def test_a_block_of_the_whole_cluster_and_a_closed_index_as_well(front: FilledFront) -> None:
    for name in (BOUND, PLAIN):
        front.send("POST", f"/{name}/_close")
    for method, path, body in writes():
        through = front.send(method, f"/{BOUND}/{path}", body)
        assert said(through) == said(front.send(method, f"/{PLAIN}/{path}", body, base=front.node))
    for name in (BOUND, PLAIN):
        front.send("POST", f"/{name}/_open?wait_for_active_shards=1")
    assert front.asked == []
    try:
        front.send("PUT", "/_cluster/settings", {"persistent": {"cluster.blocks.read_only_allow_delete": True}})
        for method, path, body in writes():
            through = front.send(method, f"/{BOUND}/{path}", body)
            assert said(through) == said(front.send(method, f"/{PLAIN}/{path}", body, base=front.node))
        assert front.asked == []
    finally:
        front.send("PUT", "/_cluster/settings", {"persistent": {"cluster.blocks.read_only_allow_delete": None}})


def test_a_block_that_is_lifted_behind_the_back_stores_nothing_unfilled(front: FilledFront) -> None:
    front.send("PUT", f"/{BOUND}/_settings", {"index.blocks.write": True})
    assert front.send("PUT", f"/{BOUND}/_doc/9", fresh())[0] == 403
    front.send("PUT", f"/{BOUND}/_settings", {"index.blocks.write": None}, base=front.node)
    assert front.send("PUT", f"/{BOUND}/_doc/9", {"text": "boat"})[0] == 201
    assert tokens(front.source(BOUND, "9"), "tokens") == tokens_of("boat")


def test_indices_that_are_not_made_by_themselves(front: FilledFront) -> None:
    template = {"index_patterns": ["refused-made-*"], "template": mapping("text:tokens=sparse", tokens=SPARSE)}
    front.send("PUT", "/_index_template/refused", template)
    try:
        front.send("PUT", "/_cluster/settings", {"persistent": {"action.auto_create_index": "+refused-made-b,-*"}})
        for method, path, body in writes():
            through = front.send(method, f"/refused-made-a/{path}", body)
            assert said(through) == said(front.send(method, f"/refused-made-a/{path}", body, base=front.node))
        assert front.asked == []
        assert front.send("PUT", "/refused-made-b/_doc/1", {"text": "boat"})[0] == 201
        assert tokens(front.source("refused-made-b", "1"), "tokens") == tokens_of("boat")
    finally:
        front.send("PUT", "/_cluster/settings", {"persistent": {"action.auto_create_index": None}})
        front.send("DELETE", "/refused-made-b?ignore_unavailable=true")
        front.send("DELETE", "/_index_template/refused")


def test_what_is_there_is_not_created_and_what_is_not_there_not_updated(front: FilledFront) -> None:
    single = [
        ("PUT", "_create/1", fresh()),
        ("PUT", "_doc/1?op_type=create", fresh()),
        ("POST", "_update/9", {"doc": fresh()}),
    ]
    lines = [{"create": {"_id": "1"}}, fresh(), {"update": {"_id": "9"}}, {"doc": fresh()}]
    for method, path, body in [*single, ("POST", "_bulk", ndjson(*lines))]:
        through = front.send(method, f"/{BOUND}/{path}", body)
        assert said(through) == said(front.send(method, f"/{PLAIN}/{path}", body, base=front.node))
    assert front.asked == []


def test_what_the_bulk_itself_makes_or_deletes_is_there_or_not(front: FilledFront) -> None:
    one, two = fresh(), fresh()
    lines = [
        {"delete": {"_id": "1"}},
        {"create": {"_id": "1"}},
        one,
        {"index": {"_id": "9"}},
        {"n": 1},
        {"update": {"_id": "9"}},
        {"doc": two},
        {"create": {"_id": "9"}},
        {"n": 2},
    ]
    assert statuses(front.send("POST", f"/{BOUND}/_bulk", ndjson(*lines))[1]) == [200, 201, 201, 200, 409]
    assert tokens(front.source(BOUND, "1"), "tokens") == tokens_of(one["text"])
    assert tokens(front.source(BOUND, "9"), "tokens") == tokens_of(two["text"])


def test_what_is_wrong_with_a_request_is_said_before_it_costs(front: FilledFront) -> None:
    bulks = [
        ndjson({"index": {"_id": "8"}}, fresh(), {"index": {"_id": LONG}}, fresh()),
        ndjson({"index": {"_id": "8"}}, fresh(), {"delete": {"_id": "1"}}, {"nonsense": {"_id": "7"}}, fresh()),
    ]
    requests = [("POST", "_bulk", body) for body in bulks]
    requests += [("PUT", f"_doc/{LONG}", fresh()), ("POST", f"_update/{LONG}", {"doc": fresh()})]  # type: ignore[list-item]
    for method, path, body in requests:
        through = front.send(method, f"/{BOUND}/{path}", body)
        assert through[0] == 400
        assert said(through) == said(front.send(method, f"/{PLAIN}/{path}", body, base=front.node))
    assert front.asked == []
    assert front.source(BOUND, "1") == {"n": 1}
    assert front.source(BOUND, "8") == {}


_PLACE = '"_index":"INDEX","_id":"1"'


@pytest.mark.parametrize(
    "line",
    [
        '{"index":{PLACE},"x":1}',
        '{"index":{PLACE},"delete":{PLACE}}',
        '{"index":{PLACE},"index":{PLACE}}',
        '{"index":{PLACE,"_id":"1"}}',
        '{"index":{PLACE,"_inference_fields":{}}}',
        '{"index":{PLACE,"_inference_fields":null}}',
        '{"index":{PLACE,"_type":"_doc"}}',
        '{"index":{PLACE,"pipeline":{}}}',
        '{"index":{PLACE,"routing":["a"]}}',
        '{"index":{PLACE,"version":"abc"}}',
        '{"index":{PLACE,"version":3}}',
        '{"index":{PLACE,"version_type":"foo"}}',
        '{"index":{PLACE,"if_seq_no":1}}',
        '{"index":{PLACE,"dynamic_templates":3}}',
        '{"create":{PLACE,"_inference_fields":null}}',
        '{"update":{PLACE},"x":1}',
        '{"update":{PLACE,"_inference_fields":null}}',
        '{"update":{PLACE,"dynamic_templates":{"a":"b"}}}',
        '{"update":{PLACE,"retry_on_conflict":3,"if_seq_no":1,"if_primary_term":1}}',
    ],
)
def test_an_action_line_is_refused_whatever_becomes_of_its_document(front: FilledFront, line: str) -> None:
    line = line.replace("PLACE", _PLACE)
    for text in ("please fail", "boat"):
        document = {"doc": {"text": text}} if "update" in line else {"text": text}
        for before in ([], [{"index": {"_index": "INDEX", "_id": "2"}}, {"text": "lamp"}]):
            body = ndjson(*before, line.encode(), document, {"delete": {"_index": "INDEX", "_id": "3"}})
            answers = []
            for index, base in ((BOUND, front.url), (PLAIN, front.node)):
                sent = body.replace(b"INDEX", index.encode())
                status, answer = front.send("POST", "/_bulk", sent, base=base)
                whole = status, answer.get("error", {}).get("type"), re.findall(r"^[^\n]*", reason_of(answer))[0]
                answers.append(re.sub(f"{BOUND}|{PLAIN}", "INDEX", repr(whole)))
                stored = front.send("POST", f"/{index}/_mget", {"ids": ["1", "2"]})[1]["docs"]
                is_refused = status == 400
                assert not is_refused or [one.get("_version") for one in stored] == [1, None]
                front.index(index, **mapping(*(["text:tokens=sparse"] if index == BOUND else []), tokens=SPARSE))
                front.send("PUT", f"/{index}/_doc/1", {"n": 1})
            assert answers[0] == answers[1]


def reason_of(answer: Any) -> str:
    return str(answer.get("error", {}).get("reason"))


@pytest.mark.parametrize(
    "odd",
    [
        "colour=red",
        "refresh=perhaps",
        "timeout=long",
        "wait_for_active_shards=some",
        "require_alias=maybe",
        "op_type=x",
    ],
)
def test_a_parameter_that_the_cluster_refuses_costs_nothing(front: FilledFront, odd: str) -> None:
    for method, path, body in writes():
        where = f"{path}{'&' if '?' in path else '?'}{odd}"
        expected = front.send(method, f"/{PLAIN}/{where}", body, base=front.node)
        if expected[0] != 400:
            continue  # an operation that takes it
        assert said(front.send(method, f"/{BOUND}/{where}", body)) == said(expected)
    assert front.asked == []


def test_parameters_that_only_look_odd_are_taken(front: FilledFront) -> None:
    for place, (method, path) in enumerate(
        [("PUT", "_doc/20"), ("PUT", "_create/21"), ("POST", "_update/1"), ("POST", "_bulk")]
    ):
        source: object = fresh()
        if path.startswith("_update"):
            source = {"doc": source}
        elif path == "_bulk":
            source = ndjson({"index": {"_id": "22"}}, fresh())
        status, answer = front.send(
            method, f"/{BOUND}/{path}?timeout=1000000micros&refresh=&wait_for_active_shards=%2B1", source
        )
        assert status in (200, 201), answer
        assert len(front.asked) == place + 1
