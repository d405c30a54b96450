"""`sidecar search` with the endpoints that are always there; no server runs."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from tests.ingest.command import run_command


@pytest.fixture
async def environment(tmp_path: Path, elasticsearch: str, client: AsyncElasticsearch) -> dict[str, str]:
    line = (await client.info())["version"]["number"].partition(".")[0]
    own = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return (
        own
        | {"SIDECAR_ELASTICSEARCH_URL": elasticsearch, "SIDECAR_DATA_DIR": str(tmp_path), "COLUMNS": "140"}
        | {"LINE": line}
    )


async def search(environment: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    return await run(environment, "search", *arguments)


async def run(environment: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sidecar", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def index(client: AsyncElasticsearch) -> AsyncIterator[str]:
    """The name of an index that is gone after the test."""
    name = f"search-{uuid4().hex[:10]}"
    yield name
    await client.indices.delete(index=name, ignore_unavailable=True)


QUESTION = "Who looks after the light?"
LISTS = ("--bm25", "text", "--sparse", "text_sparse=.elser-2-elasticsearch")
RERANKED = ("--rerank", ".rerank-v1-elasticsearch", "--size", "3")


async def hits(environment: dict[str, str], *arguments: str) -> list[dict[str, Any]]:
    status, output, errors = await search(environment, *arguments, "--json")
    assert status == 0, errors
    found: list[dict[str, Any]] = json.loads(output)["hits"]
    return found


async def test_without_options_all_fields_are_searched_that_markers_tell_of(
    environment: dict[str, str], library: str
) -> None:
    maps = ("text:text_sparse=.elser-2-elasticsearch", "text:text_dense=.multilingual-e5-small-elasticsearch")
    filled = await run(environment, "backfill", library, "--map", maps[0], "--map", maps[1])
    assert filled[0] == 0, filled
    found = await hits(environment, library, "lunar influence upon seas", "--explain")
    assert found[0]["_id"] == "tide"
    legs = {leg["retriever"]: leg for leg in found[0]["_sidecar"]["legs"]}
    assert {"bm25", "sparse:text_sparse", "dense:text_dense"} <= set(legs)
    # not one word in common: what the default is for
    assert legs["bm25"]["rank"] is None
    assert legs["dense:text_dense"]["adds"] == pytest.approx(0.5)


async def test_the_lists_are_fused_and_reranked(environment: dict[str, str], library: str) -> None:
    found = await hits(environment, library, QUESTION, *LISTS, *RERANKED, "--explain")
    assert found[0]["_id"] == "lamp"
    assert len(found) == 3
    details = found[0]["_sidecar"]
    assert details["relevance"] > found[1]["_sidecar"]["relevance"]
    legs = {leg["retriever"]: leg for leg in details["of"]["legs"]}
    assert {token["token"] for token in legs["sparse:text_sparse"]["tokens"]} >= {"light"}


async def test_linear_is_the_sum_of_what_its_lists_say(environment: dict[str, str], library: str) -> None:
    weights = ("--weight", "bm25:text=2", "--weight", "sparse:text_sparse=3")
    found = await hits(environment, library, "whales that sing", *LISTS, *weights)
    lists = [await hits(environment, library, "whales that sing", *LISTS[n : n + 2]) for n in (0, 2)]
    wanted: dict[str, float] = {}
    for weight, ranking in zip((2, 3), lists, strict=True):
        scores = {hit["_id"]: hit["_score"] for hit in ranking}
        low, high = min(scores.values()), max(scores.values())
        for name, score in scores.items():
            share = (score - low) / (high - low) if high > low else 1.0 if environment["LINE"] == "9" else score
            wanted[name] = wanted.get(name, 0.0) + weight * share
    assert {hit["_id"]: hit["_score"] for hit in found} == pytest.approx(wanted, rel=1e-4, abs=1e-6)


async def test_for_people_it_gives_a_table_and_the_tokens(environment: dict[str, str], library: str) -> None:
    status, output, errors = await search(environment, library, QUESTION, *LISTS, *RERANKED, "--explain")
    assert status == 0, errors
    assert "The keeper of the" in output
    assert "reranked 0." in output
    assert "light " in output


async def test_the_request_can_be_shown_in_place_of_its_answer(environment: dict[str, str], library: str) -> None:
    status, output, _ = await search(environment, library, QUESTION, *LISTS, "--fuse", "rrf", "--show-request")
    assert status == 0
    fused = json.loads(output)["retriever"]["rrf"]
    assert [list(child["retriever"]) for child in fused["retrievers"]] == [["standard"], ["standard"]]


async def test_passages_are_found_and_the_best_one_is_shown(
    environment: dict[str, str], client: AsyncElasticsearch
) -> None:
    index = f"passages-{uuid4().hex[:8]}"
    filler = "Bread rises in a warm room before it is baked. " * 40
    await client.index(index=index, id="1", document={"text": filler + "Humpback whales sing for hours."}, refresh=True)
    await client.index(index=index, id="2", document={"text": filler + "The stock market fell."}, refresh=True)
    maps = ["--map", "text:passages.sparse=.elser-2-elasticsearch"]
    maps += ["--map", "text:passages.dense=.multilingual-e5-small-elasticsearch"]
    filled = await run(environment, "backfill", index, "--passages", *maps)
    assert filled[0] == 0, filled
    await client.indices.refresh(index=index)
    for legs in (("--sparse", "passages.sparse"), ("--dense", "passages.dense")):
        found = await hits(environment, index, "which animals sing", *legs)
        assert found[0]["_id"] == "1"
        passage = found[0]["inner_hits"][f"{legs[0][2:]}:{legs[1]}"]["hits"]["hits"][0]["_source"]["text"]
        assert "whales sing" in passage
    await client.indices.delete(index=index)


async def test_odd_ids_and_half_characters_spoil_nothing(
    environment: dict[str, str], client: AsyncElasticsearch
) -> None:
    index = f"odd-{uuid4().hex[:8]}"
    for name in ("doc[a]", "path[/x]"):
        await client.index(index=index, id=name, document={"text": "placeholder"})
    half = b'{"text": "bad \\ud83d end"}'
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    await client.perform_request("PUT", f"/{index}/_doc/half?refresh=true", headers=headers, body=half)
    status, output, errors = await search(environment, index, "placeholder", "--bm25", "text")
    assert status == 0, errors
    assert "doc[a]" in output
    assert "path[/x]" in output
    status, output, errors = await search(environment, index, "bad", "--bm25", "text")
    assert status == 0, errors
    assert "bad \ufffd end" in output
    assert (await hits(environment, index, "bad", "--bm25", "text"))[0]["_source"] == {"text": "bad \ud83d end"}
    reranked = await hits(environment, index, "bad", "--bm25", "text", "--rerank", ".rerank-v1-elasticsearch")
    assert [hit["_id"] for hit in reranked] == ["half"]
    await client.indices.delete(index=index)


async def test_shards_that_failed_are_told(
    environment: dict[str, str], client: AsyncElasticsearch, library: str
) -> None:
    other = f"{library}-other"
    field = {"type": "dense_vector", "dims": 3, "index": True, "similarity": "cosine"}
    await client.indices.create(index=other, mappings={"properties": {"text_dense": field}})
    await client.index(index=other, id="x", document={"text_dense": [1, 2, 3]}, refresh=True)
    asked = (f"{library}*", "whales", "--dense", "text_dense=.multilingual-e5-small-elasticsearch")
    status, output, errors = await search(environment, *asked, "--json")
    assert status == 0, errors
    assert json.loads(output)["_shards"]["failed"] == 1
    assert "1 of 2 shards failed, hits may be missing" in " ".join(errors.split())
    # Also where the leg is one of several: the page is fetched by another search, whose shards are all well.
    status, output, errors = await search(environment, *asked, "--bm25", "text", "--json")
    assert status == 0, errors
    assert f"[dense:text_dense] lacks hits of shards that failed, index [{other}]" in " ".join(errors.split())
    (warning,) = json.loads(output)["warnings"]
    assert "The query vector has a different number of dimensions [384] than the document vectors [3]" in warning
    await client.indices.delete(index=other)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere", "sea"), "There is no such index: [nowhere]"),
        (("nowhere-*", "sea"), "There is no such index: [nowhere-*]"),
        (("i", "sea", "--sparse", "text="), "write FIELD=ENDPOINT"),
        (("i", "sea", "--weight", "dense:v=2"), "no list of that name"),
    ],
)
def test_mistakes_end_with_a_sentence(
    elasticsearch_9: str, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run_command(tmp_path, "search", *arguments, "--elasticsearch-url", elasticsearch_9)
    assert sentence in " ".join(ended.output.split())
    assert ended.exit_code == 2
    assert isinstance(ended.exception, SystemExit)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bm25", "nope"), "has a field [nope]"),
        (("--dense", "nope=.multilingual-e5-small-elasticsearch"), "has a field [nope]"),
        (("--field", "nope"), "has a field [nope]"),
        (("--dense", "text=.multilingual-e5-small-elasticsearch"), "field [text] is of type [text]"),
        (("--dense", "text"), "field [text] is of type [text]: --dense searches fields of type [dense_vector]"),
        ((*LISTS, "--rerank", "nope"), "Inference endpoint not found [nope]"),
        ((*LISTS, "--filter", '{"term": {"n": "x"}}'), 'For input string: "x"'),
        (("--sparse", "n"), "field [n] is of type [integer]: --sparse searches fields of type [sparse_vector]"),
        (("--size", "80", "--window", "20", *LISTS), "[rank_window_size: 20] be greater than or equal to [size: 80]"),
    ],
)
async def test_what_the_index_does_not_have_is_said(
    environment: dict[str, str], library: str, arguments: tuple[str, ...], sentence: str
) -> None:
    status, _, errors = await search(environment, library, "sea", *arguments)
    assert status == 2
    said = " ".join(errors.split())
    assert sentence in said
    assert "suppressed exceptions" not in said


async def test_a_vector_field_that_nobody_filled_needs_the_name_of_an_endpoint(
    environment: dict[str, str], client: AsyncElasticsearch, index: str
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"tokens": {"type": "sparse_vector"}}})
    status, _, errors = await search(environment, index, "sea", "--sparse", "tokens")
    assert status == 2
    assert "nothing says which endpoint filled [tokens]: write tokens=ENDPOINT" in " ".join(errors.split())


@pytest.mark.parametrize("words", ["content", "content^2,title", "content.en"])
async def test_the_text_that_is_searched_is_shown_and_reranked(
    environment: dict[str, str], client: AsyncElasticsearch, index: str, words: str
) -> None:
    english = {"type": "text", "fields": {"en": {"type": "text", "analyzer": "english"}}}
    await client.indices.create(index=index, mappings={"properties": {"content": english, "title": {"type": "text"}}})
    for name, text in (("1", "whales sing songs"), ("2", "bread")):
        await client.index(index=index, id=name, document={"content": text, "title": "t"}, refresh=True)
    arguments = (index, "how do whales sing", "--bm25", words)
    status, output, errors = await search(environment, *arguments)
    assert (status, "whales sing songs" in output) == (0, True), errors
    plain = await hits(environment, *arguments)
    (best,) = await hits(environment, *arguments, "--rerank", ".rerank-v1-elasticsearch")
    assert best["_id"] == "1"
    assert best["_score"] != plain[0]["_score"]


async def test_a_reranker_without_a_known_text_is_refused(
    environment: dict[str, str], client: AsyncElasticsearch, index: str
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"content": {"type": "text"}}})
    status, _, errors = await search(environment, index, "q", "--bm25", "con*", "--rerank", ".rerank-v1-elasticsearch")
    assert status == 2
    assert "is to be reranked: say --field FIELD" in " ".join(errors.split())
