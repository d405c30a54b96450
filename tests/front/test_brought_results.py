"""Documents that bring the results of their ``semantic_text`` fields along: read, changed and written back whole."""

from __future__ import annotations

import copy
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.elastic.bindings import semantic_fields
from sidecar.elastic.version import ServerVersion
from sidecar.ingest.bound import plan_of
from sidecar.ingest.document import Ref, Refusal, digest_of, examine_whole
from sidecar.ingest.marker import MARKER_MAPPING
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import ndjson, statuses
from tests.ingest.word_embedder import WordEmbedder

INDEX = "carrying"
CUT = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
TITLE = {
    "type": "text",
    "copy_to": "meaning",
    "fields": {"dense": {"type": "semantic_text", "inference_id": "dense", "chunking_settings": CUT}},
}
FIELDS = {
    "meaning": {"type": "semantic_text", "inference_id": "sparse", "chunking_settings": CUT},
    "words": {"type": "semantic_text", "inference_id": "sparse"},
    "title": TITLE,
    "n": {"type": "integer"},
}
MARKED = {"properties": {**FIELDS, "sidecar": MARKER_MAPPING}}
DOCUMENT = {"meaning": ["one boat", "two boats"], "words": "three", "title": "Harbour", "n": 1}


@pytest.fixture(scope="module", autouse=True)
def _without_a_rest(filled_front: FilledFront) -> Iterator[None]:
    """A node of 8.19 that has such an index does not answer when the endpoint of its fields is made anew."""
    yield
    filled_front.send("DELETE", f"/{INDEX}")


@pytest.fixture
def front(filled_front: FilledFront) -> FilledFront:
    filled_front.index(INDEX, mappings=MARKED)
    assert filled_front.send("PUT", f"/{INDEX}/_doc/1", DOCUMENT)[0] == 201
    return filled_front


def whole(front: FilledFront, identity: str = "1") -> dict[str, Any]:
    """A document as an application reads it that wants everything there is."""
    front.send("POST", f"/{INDEX}/_refresh")
    body = {"query": {"ids": {"values": [identity]}}, "fields": ["_inference_fields"]}
    source = front.send("POST", f"/{INDEX}/_search", body, base=front.node)[1]["hits"]["hits"][0]["_source"]
    return dict(source)


MINE = {"mine": 2.0}


def signed(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    """The document with results of sparse fields that no endpoint makes: so it shows whether they are kept."""
    changed = copy.deepcopy(document)
    for field in fields:
        for chunks in changed["_inference_fields"][field]["inference"]["chunks"].values():
            for chunk in chunks:
                chunk["embeddings"] = MINE
    return changed


def tokens(document: dict[str, Any], field: str) -> dict[str, list[Any]]:
    """What the chunks of a sparse field hold, by source."""
    chunks = document.get("_inference_fields", {}).get(field, {}).get("inference", {}).get("chunks", {})
    return {source: [chunk["embeddings"] for chunk in held] for source, held in chunks.items()}


def vector(document: dict[str, Any]) -> list[float]:
    """The one vector of the dense field; 9.4 rounds it to bfloat16 with every write."""
    (chunk,) = document["_inference_fields"]["title.dense"]["inference"]["chunks"]["title"]
    return list(chunk["embeddings"])


def marked(document: dict[str, Any]) -> list[str]:
    return sorted(entry.partition("=")[0] for entry in document["sidecar"]["hash"])


def write(front: FilledFront, how: str, document: dict[str, Any]) -> None:
    if how == "bulk":
        body = ndjson({"index": {"_id": "1"}}, document)
        assert statuses(front.send("POST", f"/{INDEX}/_bulk", body)[1]) == [200]
    elif how == "update":
        assert front.send("POST", f"/{INDEX}/_update/1", {"doc": document})[0] == 200
    elif how == "bulk update":
        body = ndjson({"update": {"_id": "1"}}, {"doc": document})
        assert statuses(front.send("POST", f"/{INDEX}/_bulk", body)[1]) == [200]
    else:
        assert front.send("PUT", f"/{INDEX}/_doc/1", document)[0] == 200


@pytest.mark.parametrize("how", ["doc", "bulk", "update", "bulk update"])
def test_results_of_another_text_are_made_anew(front: FilledFront, how: str) -> None:
    read = signed(whole(front), "meaning", "words")
    write(front, how, {**read, "meaning": ["one boat", "three boats"]})
    after = whole(front)
    assert tokens(after, "meaning") == {
        "meaning": [tokens_of("one boat"), tokens_of("three boats")],
        "title": [tokens_of("Harbour")],
    }
    assert tokens(after, "words") == {"words": [MINE]}
    assert vector(after) == pytest.approx(vector(read), rel=5e-3)
    assert marked(after) == ["meaning", "title.dense", "words"]


@pytest.mark.parametrize("how", ["doc", "bulk", "update", "bulk update"])
def test_results_of_the_same_text_are_kept(front: FilledFront, how: str) -> None:
    read = signed(whole(front), "meaning", "words")
    write(front, how, {**read, "n": 2})
    after = whole(front)
    assert (tokens(after, "words"), tokens(after, "meaning")) == (tokens(read, "words"), tokens(read, "meaning"))
    assert vector(after) == pytest.approx(vector(read), rel=5e-3)
    assert (after["sidecar"], after["n"]) == (read["sidecar"], 2)


def test_a_source_that_is_copied_counts(front: FilledFront) -> None:
    read = signed(whole(front), "meaning", "words")
    write(front, "doc", {**read, "title": "Tower"})
    after = whole(front)
    assert tokens(after, "meaning")["title"] == [tokens_of("Tower")]
    assert tokens(after, "words") == {"words": [MINE]}
    assert vector(after) != pytest.approx(vector(read), rel=5e-3)


@pytest.mark.parametrize("gone", [{}, {"meaning": None, "title": None}, {"meaning": "  ", "title": ""}])
def test_results_of_a_text_that_is_gone_go(front: FilledFront, gone: dict[str, Any]) -> None:
    read = signed(whole(front), "meaning", "words")
    kept = {name: value for name, value in read.items() if name not in ("meaning", "title")}
    write(front, "doc", {**kept, **gone})
    after = whole(front)
    assert after["_inference_fields"].keys() == {"words"}
    assert tokens(after, "words") == {"words": [MINE]}
    assert marked(after) == ["words"]
    write(front, "doc", {**after, "words": None})
    last = whole(front)
    assert "_inference_fields" not in last
    assert marked(last) == []


def test_without_a_marker_results_are_the_users_own(front: FilledFront) -> None:
    read = signed(whole(front), "meaning", "words")
    del read["sidecar"]
    write(front, "doc", {**read, "meaning": "another", "words": "a longer text"})
    after = whole(front)
    assert (tokens(after, "words"), tokens(after, "meaning")) == (tokens(read, "words"), tokens(read, "meaning"))
    assert "sidecar" not in after


def test_chunks_that_reach_beyond_the_text_are_told(front: FilledFront) -> None:
    read = whole(front)
    del read["sidecar"]
    warnings = warned(front, {**read, "words": "one"})
    assert ["field [words]" in warning and "reach beyond" in warning for warning in warnings] == [True]
    assert tokens(whole(front), "words") == {"words": [tokens_of("three")]}
    assert warned(front, read) == []


def warned(front: FilledFront, document: dict[str, Any]) -> list[str]:
    data = json.dumps(document).encode()
    path, sent = f"{front.url}/{INDEX}/_doc/1", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(path, data, sent, method="PUT"), timeout=60) as answer:
        return list(answer.headers.get_all("Warning", []))


@pytest.mark.parametrize("how", ["update", "bulk update"])
def test_an_update_that_brings_results_has_them_kept_and_no_marker_claims_them(front: FilledFront, how: str) -> None:
    own = signed(whole(front), "words")["_inference_fields"]["words"]
    write(front, how, {"words": "four", "_inference_fields": {"words": own}})
    after = whole(front)
    assert tokens(after, "words") == {"words": [MINE]}
    assert marked(after) == ["meaning", "title.dense"]
    write(front, how, {"_inference_fields": {"meaning": signed(after, "meaning")["_inference_fields"]["meaning"]}})
    after = whole(front)
    assert tokens(after, "meaning") == {"meaning": [MINE, MINE], "title": [MINE]}
    # Like Elasticsearch, an update by id makes the results of all fields anew that it does not bring.
    assert marked(after) == ["title.dense", *(["words"] if how == "update" else [])]


@pytest.mark.parametrize("how", ["update", "bulk update"])
def test_an_update_says_of_which_text_its_results_are(front: FilledFront, how: str) -> None:
    write(front, how, {"words": "four"})
    new = whole(front)
    assert tokens(new, "words") == {"words": [tokens_of("four")]}
    assert marked(new) == ["meaning", "title.dense", "words"]
    write(front, "doc", {**new, "words": "three"})  # as it was at first
    assert tokens(whole(front), "words") == {"words": [tokens_of("three")]}
    write(front, how, {"title": "Tower"})
    read = signed(whole(front), "meaning")
    assert tokens(whole(front), "meaning")["title"] == [tokens_of("Tower")]
    write(front, "doc", read)
    assert tokens(whole(front), "meaning")["title"] == [MINE]
    write(front, how, {"words": None})
    assert marked(whole(front)) == ["meaning", "title.dense"]


async def test_the_hashes_are_those_of_a_backfill(front: FilledFront) -> None:
    document = whole(front)
    version = ServerVersion.parse(front.send("GET", "/")[1]["version"]["number"])
    plan = await plan_of(WordEmbedder(), INDEX, ((), semantic_fields(MARKED)), version)
    named = sorted(f"{target.name}={digest_of(document, target, plan)}" for target in plan.targets)
    assert sorted(document["sidecar"]["hash"]) == named
    origins = sorted(f"{target.name}={target.map.source}" for target in plan.targets)
    assert sorted(document["sidecar"]["source"]) == origins
    # and so a file is judged alike, but that its endpoints are of another model here
    kept = {**document, "sidecar": {**document["sidecar"]}}
    kept["sidecar"]["model"] = [f"{target.name}={target.profile.model}" for target in plan.targets]
    found = examine_whole(Ref(INDEX, "1"), kept, plan)
    assert not isinstance(found, Refusal)
    assert found.pieces == {}
    assert found.marker.stamps.keys() == {"meaning", "title.dense", "words"}
    found = examine_whole(Ref(INDEX, "1"), {**kept, "words": "four", "title": None}, plan)
    assert not isinstance(found, Refusal)
    assert found.pieces.keys() == {"meaning", "words"}
    assert found.document is not None
    assert "_inference_fields" not in found.document


def test_a_document_keeps_its_marker_true_where_the_index_maps_none(filled_front: FilledFront) -> None:
    filled_front.index(INDEX, mappings={"dynamic": False, "properties": FIELDS})
    filled_front.send("PUT", f"/{INDEX}/_doc/1", {"words": "one"})
    assert "sidecar" not in whole(filled_front)
    filled_front.index(INDEX, mappings=MARKED)
    filled_front.send("PUT", f"/{INDEX}/_doc/1", {"words": "one"})
    read = signed(whole(filled_front), "words")
    filled_front.index(INDEX, mappings={"dynamic": False, "properties": FIELDS})
    for text, expected in (("one", MINE), ("two", tokens_of("two"))):
        filled_front.send("PUT", f"/{INDEX}/_doc/1", {**read, "words": text})
        assert tokens(whole(filled_front), "words") == {"words": [expected]}
    changed = signed(whole(filled_front), "words")
    for text, expected in (("two", MINE), ("one", tokens_of("one"))):
        filled_front.send("PUT", f"/{INDEX}/_doc/1", {**changed, "words": text})
        assert tokens(whole(filled_front), "words") == {"words": [expected]}


@pytest.mark.parametrize("blank", ["", "  ", [], ["", " "]])
def test_blank_texts_stand_beside_others(front: FilledFront, blank: Any) -> None:
    document = {"words": "three", "meaning": blank}
    body = ndjson({"index": {"_id": "2"}}, document, {"create": {"_id": "3"}}, document)
    assert statuses(front.send("POST", f"/{INDEX}/_bulk", body)[1]) == [201, 201]
    read = signed(whole(front, "3"), "words")
    assert (read["meaning"], read["_inference_fields"].keys()) == (blank, {"words"})
    assert front.send("PUT", f"/{INDEX}/_doc/3", read)[0] == 200
    assert tokens(whole(front, "3"), "words") == {"words": [MINE]}
