"""Indices that say in their mappings what is to be filled."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import IllegalArgumentError
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.elastic.bindings import Binding, LongTexts
from sidecar.elastic.version import NEWEST
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.bound import bound_plan_for_writing, bound_plans, left_empty, plan_of
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.planning import make_plan
from tests.ingest.command import run_command
from tests.ingest.test_data_safety import TEXT, whole
from tests.ingest.word_embedder import WordEmbedder, vector

PLAIN = ["title,text:d=dense"]
BOTH: list[Any] = [*PLAIN, {"source": "text", "target": "passages.s", "inference_id": "sparse", "passages": True}]


def mappings(maps: list[Any]) -> dict[str, Any]:
    return {"_meta": {"sidecar": {"maps": maps}}, "properties": {"text": TEXT, "title": TEXT}}


async def test_a_bound_index_needs_no_maps(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder()
    await client.indices.create(index=f"{index}-a", mappings=mappings(BOTH))
    await client.indices.create(index=f"{index}-b", mappings=mappings(PLAIN))
    await client.indices.create(index=f"{index}-c", mappings={"properties": {"text": TEXT}})
    for name in "abc":
        await client.index(index=f"{index}-{name}", id="1", document={"title": "One", "text": "two"}, refresh=True)
    plans = await bound_plans(client, words, f"{index}-*")
    assert sorted((name, [target.passages for target in plan.targets]) for name, plan in plans) == [
        (f"{index}-a", [False, True]),
        (f"{index}-b", [False]),
    ]
    for name, plan in plans:
        assert (await Backfill(client, words, BackfillJob(name, plan)).run()).ok
    first, second, third = [(await whole(client, f"{index}-{name}"))["1"] for name in "abc"]
    assert first["d"] == second["d"] == pytest.approx(list(vector("One\ntwo")))
    assert first["passages"][0]["text"] == "two"
    assert third == {"title": "One", "text": "two"}
    meta = (await client.indices.get_mapping(index=f"{index}-a"))[f"{index}-a"]["mappings"]["_meta"]
    assert meta["sidecar"]["maps"] == BOTH


async def test_documents_of_a_file_get_what_the_index_is_bound_to(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder()
    await client.indices.create(index=index, mappings=mappings(PLAIN))
    plan = await bound_plan_for_writing(client, words, index)
    work = Indexing(client, words, IndexJob(index, plan, id_field="id"))
    assert (await work.run([b'{"id":"1","title":"One","text":"two"}'])).written == 1
    assert (await whole(client, index))["1"]["d"] == pytest.approx(list(vector("One\ntwo")))


async def test_fields_that_a_file_leaves_empty_are_told(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    words = WordEmbedder()
    await client.indices.create(index=index, mappings=mappings(BOTH))
    plan = await make_plan(words, parse_field_maps(["text:other=dense"]))
    assert await left_empty(client, index, plan) == ("d", "passages.s")
    assert await left_empty(client, index, await bound_plan_for_writing(client, words, index)) == ()
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"id": "1", "text": "two"}\n')
    wanted = ["--map", "text:tokens=.elser-2-elasticsearch", "--elasticsearch-url", elasticsearch]
    ended = await asyncio.to_thread(run_command, tmp_path, "index", index, str(lines), *wanted)
    assert ended.exit_code == 0, ended.output
    assert f"[{index}] is also bound to fill d, passages.s" in ended.output


async def test_a_binding_of_a_text_that_no_mapping_knows_is_told(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"text": TEXT}})
    wanted = ["--map", "txt,text:tokens=.elser-2-elasticsearch", "--elasticsearch-url", elasticsearch]
    ended = await asyncio.to_thread(run_command, tmp_path, "bind", index, *wanted)
    assert ended.exit_code == 0, ended.output
    assert f"[txt] is in no mapping of [{index}] yet" in ended.output
    assert "[text]" not in ended.output


async def test_a_file_goes_into_passages_and_other_fields_at_once(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder()
    await client.indices.create(index=index, mappings=mappings(BOTH))
    plan = await bound_plan_for_writing(client, words, index)
    lines = [b'{"id":"1","title":"One","text":"two","n":1.10,"passages":"own"}', b'{"id":"2","title":"Three","n":2}']
    work = Indexing(client, words, IndexJob(index, plan, id_field="id"))
    summary = await work.run(lines)
    assert (summary.written, summary.failed) == (1, 1)  # what stands in the passages' field is told, and not lost
    lines[0] = lines[0].replace(b',"passages":"own"', b"")
    assert (await Indexing(client, words, IndexJob(index, plan, id_field="id")).run(lines)).written == 1
    found = await whole(client, index)
    assert found["1"]["d"] == pytest.approx(list(vector("One\ntwo")))
    assert (found["1"]["n"], [passage["text"] for passage in found["1"]["passages"]]) == (1.10, ["two"])
    assert found["2"]["d"] == pytest.approx(list(vector("Three")))
    assert "passages" not in found["2"]
    words.texts.clear()
    assert (await Indexing(client, words, IndexJob(index, plan, id_field="id")).run(lines)).up_to_date == 2
    ((name, plan),) = await bound_plans(client, words, index)
    assert (await Backfill(client, words, BackfillJob(name, plan)).run()).up_to_date == 2
    assert words.texts == []


CUT = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}


def meaningful() -> dict[str, Any]:
    """A field of its own with a source that is copied to it, and one under a text.

    Not both of one text: 8.19.8 forgets ``copy_to`` as soon as the field below is filled.
    """
    meaning = {"type": "semantic_text", "inference_id": "dense", "chunking_settings": CUT}
    below = {"type": "semantic_text", "inference_id": "sparse"}
    return {
        "meaning": meaning,
        "title": {**TEXT, "copy_to": "meaning"},
        "line": {**TEXT, "fields": {"meaning": below}},
        "n": {"type": "integer"},
    }


async def chunks(client: AsyncElasticsearch, index: str, identity: str) -> dict[str, dict[str, list[Any]]]:
    """The stretches of every chunk that the index holds of a document, by field and source."""
    await client.indices.refresh(index=index)
    query, fields = {"ids": {"values": [identity]}}, [{"field": "_inference_fields"}]
    (hit,) = (await client.search(index=index, query=query, fields=fields))["hits"]["hits"]
    return {
        name: {
            source: [(chunk["start_offset"], chunk["end_offset"]) for chunk in held]
            for source, held in entry["inference"]["chunks"].items()
        }
        for name, entry in hit["_source"].get("_inference_fields", {}).items()
    }


async def test_documents_without_their_semantic_text_get_it(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder()
    await client.indices.create(index=index, mappings={"properties": {"title": TEXT, "line": TEXT}})
    long = " ".join(f"word{n}" for n in range(12))
    for identity, title in (("1", ["🐳 one", long]), ("2", " "), ("3", "two")):
        await client.index(index=index, id=identity, document={"title": title, "line": title})
    await client.indices.put_mapping(index=index, properties=meaningful())
    ((name, plan),) = await bound_plans(client, words, index)
    summary = await Backfill(client, words, BackfillJob(name, plan, may_clear=True)).run()
    assert (summary.stopped, summary.written, summary.no_text, summary.failed) == (None, 2, 1, 0)
    end = 7 + len(long)
    assert await chunks(client, index, "1") == {
        "meaning": {"title": [(0, 6), (7, 7 + long.index(" word10")), (7 + long.index(" word9"), end)]},
        "line.meaning": {"line": [(0, 6), (7, end)]},
    }
    words.texts.clear()
    for only_missing in (False, True):
        again = await Backfill(client, words, BackfillJob(name, plan, only_missing=only_missing)).run()
        assert again.written == 0
    assert words.texts == []
    # what a bulk takes away goes with its chunks; another source is left alone
    await client.bulk(operations=[{"update": {"_index": index, "_id": "3"}}, {"doc": {"n": 2}}], refresh=True)
    assert (await chunks(client, index, "3"))["meaning"] == {"title": [(0, 3)]}


async def test_files_bring_the_semantic_text_of_their_documents(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder()
    await client.indices.create(index=index, mappings={"properties": meaningful()})
    plan = await bound_plan_for_writing(client, words, index)
    lines = [
        b'{"id":"1","title":"one","line":"four","meaning":["two",true]}',
        b'{"id":"2","n":1,"title":""}',
        b'{"id":"3","title":"REFUSE"}',
        b'{"id":"4","meaning":{"a":1}}',
    ]
    summary = await Indexing(client, words, IndexJob(index, plan, id_field="id")).run(lines)
    assert (summary.stopped, summary.written, summary.failed) == (None, 2, 2)
    assert any("expected [String|Number|Boolean] got [HashMap]" in reason for reason in summary.failures)
    assert any("content refused" in reason for reason in summary.failures)
    assert await chunks(client, index, "1") == {
        "meaning": {"meaning": [(0, 3), (4, 8)], "title": [(0, 3)]},
        "line.meaning": {"line": [(0, 4)]},
    }
    assert (await client.get(index=index, id="1", source_includes=["meaning"]))["_source"] == {"meaning": ["two", True]}
    assert await chunks(client, index, "2") == {}
    again = await Indexing(client, words, IndexJob(index, plan, id_field="id")).run(lines[:2])
    assert (again.written, again.up_to_date) == (0, 2)
    ((name, plan),) = await bound_plans(client, words, index)
    assert (await Backfill(client, words, BackfillJob(name, plan)).run()).written == 0


async def test_what_is_not_bound_is_told(client: AsyncElasticsearch, index: str) -> None:
    await client.indices.create(index=index, mappings=mappings([]))
    for ask in (bound_plans, bound_plan_for_writing):
        with pytest.raises(IllegalArgumentError, match="is not bound"):
            await ask(client, WordEmbedder(), index)


class Short(WordEmbedder):
    """Reads ten characters of a text."""

    async def embed(self, inference_id: str, texts: Any, input_type: InputType) -> SparseEmbeddings | DenseEmbeddings:
        answer = await super().embed(inference_id, texts, input_type)
        assert isinstance(answer, DenseEmbeddings)
        return DenseEmbeddings(answer.vectors, is_truncated=tuple(len(text) > 10 for text in texts))


async def test_long_texts_fail_or_are_cut_as_the_binding_says(client: AsyncElasticsearch, index: str) -> None:
    await client.indices.create(index=index, mappings={"properties": {"text": TEXT}})
    long = "one two three four. " * 100
    for name, text in (("short", "one"), ("long", long)):
        await client.index(index=index, id=name, document={"text": text}, refresh=True)
    words = Short()
    counted, failing, cut = [
        await plan_of(words, index, ((Binding(("text",), target, "dense", long_texts=policy),), ()), NEWEST)
        for target, policy in (("a", LongTexts.TRUNCATE), ("b", LongTexts.FAIL), ("c", LongTexts.CHUNK))
    ]
    summary = await Backfill(client, words, BackfillJob(index, counted)).run()
    assert (summary.written, summary.truncated_texts) == (2, 1)
    summary = await Backfill(client, words, BackfillJob(index, failing)).run()
    assert (summary.written, summary.failed_for_good) == (1, 1)
    assert "is longer than the model reads" in summary.commonest_failure
    words.texts.clear()
    assert (await Backfill(client, words, BackfillJob(index, cut)).run()).written == 2
    assert len(words.texts) > 1
    assert long not in words.texts
