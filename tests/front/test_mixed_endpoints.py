"""``semantic_text`` fields of the sidecar's endpoints beside fields that a licensed cluster fills itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import ResourceNotFoundError
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.bound import bound_plan_for_writing
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.summary import Summary
from tests.front.conftest import FilledFront
from tests.front.test_bound_writes import ndjson
from tests.front.test_search_agreement import is_nine
from tests.ingest.word_embedder import WordEmbedder

INDEX = "filled-by-two"
_MINE, _THEIRS = "dense", "of-the-cluster"


@pytest.fixture
def front(filled_front: FilledFront) -> Iterator[FilledFront]:
    """``mine`` is filled by the sidecar, ``theirs`` by the cluster, whose endpoint has the same provider."""
    body = {
        "service": "hugging_face",
        "service_settings": {"api_key": "k", "url": f"{filled_front.services}/dense"},
    }
    made = filled_front.send("PUT", f"/_inference/text_embedding/{_THEIRS}", body, base=filled_front.node)
    assert made[0] == 200, made
    fields = {"mine": _MINE, "theirs": _THEIRS}
    mapped = {name: {"type": "semantic_text", "inference_id": inference_id} for name, inference_id in fields.items()}
    filled_front.index(INDEX, mappings={"properties": {**mapped, "n": {"type": "integer"}}})
    yield filled_front
    filled_front.send("DELETE", f"/{INDEX}")
    filled_front.send("DELETE", f"/_inference/{_THEIRS}?force=true", base=filled_front.node)


def reach(front: FilledFront, identity: str) -> dict[str, int]:
    """For each field with results the end of its chunks, which is that of the text they were made of."""
    search = {"query": {"ids": {"values": [identity]}}, "fields": ["_inference_fields"]}
    hit = front.send("POST", f"/{INDEX}/_search", search, base=front.node)[1]["hits"]["hits"][0]
    found: dict[str, int] = {}
    for name, about in hit["_source"].get("_inference_fields", {}).items():
        chunks = [chunk for own in about["inference"]["chunks"].values() for chunk in own]
        found[name] = max(chunk["end_offset"] for chunk in chunks)
    return found


def test_each_field_alone_is_filled_by_its_own(front: FilledFront) -> None:
    for name in ("mine", "theirs"):
        assert front.send("PUT", f"/{INDEX}/_doc/{name}?refresh=true", {name: "bread"})[0] == 201
        assert reach(front, name) == {name: 5}


def test_a_text_that_the_cluster_embeds_is_never_left_with_the_vectors_of_another(front: FilledFront) -> None:
    path = f"/{INDEX}/_update/1?refresh=true"
    assert front.send("PUT", f"/{INDEX}/_doc/1?refresh=true", {"theirs": "bread"})[0] == 201
    assert front.send("POST", path, {"doc": {"theirs": "lamp keeper"}})[0] == 200
    assert reach(front, "1") == {"theirs": 11}
    assert front.send("POST", path, {"doc": {"n": 1}})[0] == 200
    alone = front.send("POST", path, {"doc": {"mine": "storm"}})[0]
    if not is_nine(front):  # line 8 does not show a reader what the cluster made, so that it could be kept
        assert alone == 400
        lines = ndjson({"update": {"_id": "1"}}, {"doc": {"mine": "storm"}})
        alone = 400 if front.send("POST", f"/{INDEX}/_bulk?refresh=true", lines)[1]["errors"] else 200
    assert alone == 200
    assert reach(front, "1") == {"theirs": 11, "mine": 5}
    status, answer = front.send("POST", path, {"doc": {"theirs": "fog"}})
    assert status == 400
    assert f"by the cluster, which has its endpoint [{_THEIRS}]" in answer["error"]["reason"]
    assert reach(front, "1") == {"theirs": 11, "mine": 5}
    bulk = ndjson(
        {"update": {"_id": "1"}}, {"doc": {"theirs": "fog"}}, {"update": {"_id": "1"}}, {"doc": {"mine": "salt"}}
    )
    assert front.send("POST", f"/{INDEX}/_bulk?refresh=true", bulk)[1]["errors"] is False
    assert reach(front, "1") == {"theirs": 3, "mine": 4}


def test_texts_for_both_are_refused_before_anything_is_embedded(front: FilledFront) -> None:
    both: dict[str, Any] = {"mine": "a boat nobody knows", "theirs": "bread"}
    assert front.send("PUT", f"/{INDEX}/_doc/1", {"n": 1})[0] == 201
    front.asked.clear()
    for method, path, body in (
        ("PUT", f"/{INDEX}/_doc/2", both),
        ("PUT", f"/{INDEX}/_create/2", both),
        ("POST", f"/{INDEX}/_update/1", {"doc": both}),
    ):
        status, answer = front.send(method, path, body)
        assert (status, answer["error"]["type"]) == (400, "illegal_argument_exception")
        assert "field [mine] is filled by the sidecar and field [theirs] by the cluster" in answer["error"]["reason"]
    lines = ndjson(
        {"index": {"_id": "3"}},
        both,
        {"index": {"_id": "4"}},
        {"mine": "a keeper nobody knows"},
        {"update": {"_id": "1"}},
        {"doc": both},
    )
    items = front.send("POST", f"/{INDEX}/_bulk", lines)[1]["items"]
    assert [next(iter(item.values()))["status"] for item in items] == [400, 201, 400]
    assert front.asked == ["a keeper nobody knows"]


class OnlyMine(WordEmbedder):
    """Knows the sidecar's endpoint alone."""

    async def profile(self, inference_id: str) -> EndpointProfile:
        if inference_id != _MINE:
            raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
        return await super().profile(inference_id)


def test_lines_of_a_file_with_texts_for_both_are_told_why(front: FilledFront) -> None:
    async def run() -> Summary:
        async with AsyncElasticsearch(front.node) as client:
            plan = await bound_plan_for_writing(client, OnlyMine(), INDEX)
            lines = [b'{"id":"1","mine":"boat","theirs":"bread"}', b'{"id":"2","mine":"storm"}', b'{"id":"3","n":1}']
            return await Indexing(client, OnlyMine(), IndexJob(INDEX, plan, id_field="id")).run(lines)

    summary = asyncio.run(run())
    assert (summary.written, summary.failed) == (2, 1)
    (reason,) = summary.failures
    assert "boat" not in reason
    assert "fields of the sidecar's endpoints and of the cluster's own, and results are taken or made" in reason
