"""Files of JSON lines, indexed with their vectors."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Existing, Indexing, IndexJob
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.ingest.summary import Summary
from tests.ingest.library import DENSE_MAP, SPARSE_MAP, backfill, is_right, models, sentence, sources
from tests.ingest.local_embedder import LocalEmbedder


def lines(*documents: dict[str, Any]) -> list[bytes]:
    return [orjson.dumps(document) + b"\n" for document in documents]


def notes(count: int) -> list[bytes]:
    return lines(*({"id": f"n{n}", "text": sentence(n)} for n in range(count)))


async def index_lines(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str, raw: Iterable[bytes], **job: Any
) -> Summary:
    plan = await make_plan(embedder, parse_field_maps([SPARSE_MAP, DENSE_MAP]))
    options: dict[str, Any] = {"id_field": "id", "pace": Pace(batch_size=16)} | job
    work = Indexing(client, embedder, IndexJob(index, plan, **options))
    return await work.run(raw)


async def test_a_file_is_indexed_with_vectors_and_a_second_time_nothing_happens(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    raw = notes(25)
    summary = await index_lines(client, embedder, index, raw, page_size=10)
    assert (summary.read, summary.written, summary.stopped) == (25, 25, None)
    found = await sources(client, index)
    assert set(found) == {f"n{n}" for n in range(25)}
    wanted = await models(embedder)
    assert all(is_right(source, wanted) for source in found.values())
    mapping = (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"]
    assert mapping["text_sparse"]["type"] == "sparse_vector"
    embedder.texts.clear()
    again = await index_lines(client, embedder, index, raw)
    assert (again.written, again.up_to_date) == (0, 25)
    assert embedder.texts == []
    assert (await backfill(client, embedder, index)).up_to_date == 25


async def test_bad_lines_are_named_by_number_and_the_others_indexed(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    raw = [*notes(2), b"{broken\n", b"\n", *lines({"text": "no id"}, {"id": "last", "text": ""})]
    summary = await index_lines(client, embedder, index, raw)
    assert (summary.read, summary.written, summary.failed) == (5, 3, 2)
    examples = {example for group in summary.failures.values() for example in group.examples}
    assert examples == {"line 3", "line 5"}
    assert set(await sources(client, index)) == {"n0", "n1", "last"}


async def test_changed_lines_replace_their_documents_or_leave_them(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await index_lines(client, embedder, index, notes(4))
    changed = lines({"id": "n1", "text": "Another text."}, {"id": "n2", "text": sentence(2), "extra": 1})
    kept = await index_lines(client, embedder, index, changed, existing=Existing.KEEP)
    assert (kept.written, kept.up_to_date) == (0, 2)
    summary = await index_lines(client, embedder, index, changed)
    assert (summary.written, summary.up_to_date) == (2, 0)
    found = await sources(client, index)
    assert found["n1"]["text"] == "Another text."
    assert found["n2"]["extra"] == 1
    wanted = await models(embedder)
    assert all(is_right(source, wanted) for source in found.values())


async def test_without_an_id_field_the_content_is_the_id(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    raw = lines({"text": "Tide."}, {"text": "Moon."})
    await index_lines(client, embedder, index, raw, id_field=None)
    summary = await index_lines(client, embedder, index, raw, id_field=None)
    assert summary.up_to_date == 2
    assert len(await sources(client, index)) == 2


@pytest.mark.parametrize("as_stream", [False, True])
async def test_of_several_lines_with_one_id_the_last_is_indexed_in_every_run(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str, *, as_stream: bool
) -> None:
    versions = [{"id": "a", "text": f"Version {n}."} for n in range(4)]
    raw = lines(versions[0], {"id": "b", "text": "Tide."}, *versions[1:])
    for _ in range(3):
        summary = await index_lines(client, embedder, index, iter(raw) if as_stream else raw, page_size=2)
        assert summary.ok
        assert summary.read == 5
        assert (await sources(client, index))["a"]["text"] == "Version 3."
    if not as_stream:
        assert (summary.written, summary.up_to_date, summary.repeated) == (0, 2, 3)


async def test_what_elasticsearch_refuses_is_named_by_line(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"n": {"type": "integer"}}})
    raw = lines({"id": "a", "text": "Tide.", "n": 1}, {"id": "b", "text": "Moon.", "n": "no number"})
    summary = await index_lines(client, embedder, index, raw)
    assert (summary.written, summary.failed) == (1, 1)
    ((reason, group),) = summary.failures.items()
    assert "document_parsing_exception" in reason
    assert group.examples == ["line 2"]


async def test_documents_are_routed_as_the_alias_says(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    alias = f"{index}-alias"
    await client.indices.create(index=index, settings={"number_of_shards": 3}, aliases={alias: {"routing": "r1"}})
    raw = lines({"id": "a", "text": "sea"}, {"id": "b", "text": "sand", "r": "r1"}, {"id": "c", "text": "s", "r": "x"})
    assert (await index_lines(client, embedder, alias, raw[:1])).written == 1
    summary = await index_lines(client, embedder, alias, raw[1:], routing_field="r")
    assert (summary.written, summary.failed) == (1, 1)
    await client.index(index=alias, id="wanted", document={"text": "through the alias"}, refresh=True)
    found = {hit["_id"]: hit.get("_routing") for hit in (await client.search(index=index))["hits"]["hits"]}
    assert found == {"a": "r1", "b": "r1", "wanted": "r1"}
    assert (await index_lines(client, embedder, alias, raw[:1])).up_to_date == 1


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize(
    "actions", [("create", "index", "create"), ("create", "create"), ("index", "create"), ("create", "index", "index")]
)
async def test_lines_that_keep_what_is_there_give_way_as_in_a_bulk(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str, actions: tuple[str, ...], *, as_stream: bool
) -> None:
    raw = lines(*(line for n, name in enumerate(actions) for line in ({name: {"_id": "a"}}, {"text": f"Version {n}."})))
    await client.bulk(index=f"{index}-bulk", operations=[orjson.loads(line) for line in raw])
    wanted = (await sources(client, f"{index}-bulk"))["a"]
    for _ in range(2):
        summary = await index_lines(client, embedder, index, iter(raw) if as_stream else raw, id_field=None)
        assert (summary.read, summary.ok) == (len(actions), True)
        assert (await sources(client, index))["a"]["text"] == wanted["text"]


@pytest.mark.parametrize("as_stream", [False, True])
async def test_a_source_that_neither_lines_nor_mapping_know_is_told(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str, *, as_stream: bool
) -> None:
    raw = lines({"id": "1", "txt": "Tide."}, {"id": "2", "txt": "Reef."})
    summary = await index_lines(client, embedder, index, iter(raw) if as_stream else raw)
    assert str(summary.stopped).startswith(f"source [text] is in no line and in no mapping of [{index}]")
    assert summary.written == (2 if as_stream else 0)
    await client.indices.put_mapping(index=index, properties={"text": {"type": "text"}})
    summary = await index_lines(client, embedder, index, raw)
    assert summary.ok
    assert "no text in [text], so no vector in [text_dense]" in summary.notes or as_stream
    assert (await index_lines(client, embedder, f"{index}-null", lines({"id": "1", "text": None}))).ok
