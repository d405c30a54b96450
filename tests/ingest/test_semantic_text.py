"""``semantic_text`` fields filled from outside: no endpoint of that name, no call, and on a Basic licence as well."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import orjson
import pytest
from elasticsearch import AsyncElasticsearch, NotFoundError

from sidecar.core.chunking import chunk
from sidecar.core.tasks import InputType, Similarity, TaskType
from sidecar.elastic.fields import copied_from
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.planning import make_plan
from sidecar.ingest.semantic_field import chunks_of, inference_results, read_semantic_field, stretches
from sidecar.ingest.stop import WrongFieldError
from tests.ingest.library import backfill, fill
from tests.ingest.local_embedder import DENSE, SPARSE, LocalEmbedder

MAPS = (f"text:body={SPARSE}", f"text:meta.vector={DENSE}")
CUT = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
LONG = " ".join(f"Note {n} 🐳 tells of the {('tide', 'reef', 'gull')[n % 3]} and the storm." for n in range(6))


def mappings(**body: Any) -> dict[str, Any]:
    vector = {"type": "semantic_text", "inference_id": "nobody-dense", "chunking_settings": CUT}
    return {
        "dynamic": "strict",
        "properties": {
            "text": {"type": "text"},
            "body": {"type": "semantic_text", "inference_id": "nobody", **body},
            "meta": {"properties": {"vector": vector}},
        },
    }


async def results(client: AsyncElasticsearch, index: str, name: str) -> dict[str, Any]:
    """What the index holds of a document's inference, by field."""
    await client.indices.refresh(index=index)
    query = {"ids": {"values": [name]}}
    (hit,) = (await client.search(index=index, query=query, fields=[{"field": "_inference_fields"}]))["hits"]["hits"]
    found = hit["_source"].get("_inference_fields", {})
    return {field: value["inference"]["chunks"][field] for field, value in found.items()}


async def found(client: AsyncElasticsearch, index: str, query: dict[str, Any]) -> list[str]:
    await client.indices.refresh(index=index)
    return [hit["_id"] for hit in (await client.search(index=index, query=query))["hits"]["hits"]]


async def change(client: AsyncElasticsearch, index: str, changes: dict[str, Any]) -> None:
    """As an application may change document 1: in a bulk."""
    answer = await client.bulk(operations=[{"update": {"_index": index, "_id": "1"}}, {"doc": changes}], refresh=True)
    assert not answer["errors"]


def text_of(chunk: dict[str, Any], text: str) -> str:
    """The stretch of a text that a chunk names, in UTF-16 code units."""
    units = text.encode("utf-16-le")
    return units[2 * chunk["start_offset"] : 2 * chunk["end_offset"]].decode("utf-16-le")


async def check(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    await fill(client, index, {"1": {"text": LONG}, "2": {"text": "Icebergs."}}, mappings=mappings())
    summary = await backfill(client, embedder, index, MAPS)
    assert (summary.written, summary.failed, summary.stopped) == (2, 0, None)

    chunks = await results(client, index, "1")
    assert [text_of(chunk, LONG) for chunk in chunks["body"]] == [LONG]
    cut = [text_of(chunk, LONG) for chunk in chunks["meta.vector"]]
    assert len(cut) > 4
    assert all(piece in embedder.texts for piece in cut)

    weights = (await embedder.embed(SPARSE, ["iceberg"], InputType.SEARCH)).items[0].tokens  # type: ignore[union-attr]
    sparse = {"sparse_vector": {"field": "body", "query_vector": weights, "prune": False}}
    assert (await found(client, index, sparse))[0] == "2"
    vector = (await embedder.embed(DENSE, [cut[3]], InputType.SEARCH)).vectors[0]  # type: ignore[union-attr]
    knn = {"knn": {"field": "meta.vector", "query_vector": np.asarray(vector).tolist()}}
    highlight = {"fields": {"meta.vector": {"type": "semantic", "number_of_fragments": 1}}}
    (best, *_) = (await client.search(index=index, query=knn, highlight=highlight))["hits"]["hits"]
    assert (best["_id"], best["highlight"]) == ("1", {"meta.vector": [cut[3]]})

    embedder.texts.clear()
    assert (await backfill(client, embedder, index, MAPS)).up_to_date == 2
    assert embedder.texts == []


async def test_a_field_is_filled_and_found(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    await check(client, embedder, index)


@pytest.fixture
async def basic_client(elasticsearch_basic: str) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(elasticsearch_basic, request_timeout=60) as client:
        yield client


async def test_no_licence_is_needed(basic_client: AsyncElasticsearch, embedder: LocalEmbedder) -> None:
    index = f"ingest-{uuid4().hex[:10]}"
    try:
        await check(basic_client, embedder, index)
    finally:
        await basic_client.indices.delete(index=index)


async def test_changed_and_lost_texts_take_their_chunks_along(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, {"1": {"text": "Icebergs."}}, mappings=mappings())
    await backfill(client, embedder, index, MAPS)
    before = (await results(client, index, "1"))["meta.vector"]
    await change(client, index, {"text": "The gull."})
    assert (await backfill(client, embedder, index, MAPS[:1])).written == 1
    chunks = await results(client, index, "1")
    assert [chunk["end_offset"] for chunk in chunks["body"]] == [len("The gull.")]
    # The other field keeps what it has; 9.x rebuilds vectors from their quantised form.
    assert chunks["meta.vector"][0]["embeddings"] == pytest.approx(before[0]["embeddings"], abs=0.02)
    await change(client, index, {"text": None})
    assert (await backfill(client, embedder, index, MAPS, may_clear=True)).cleared == 1
    assert await results(client, index, "1") == {}
    assert await found(client, index, {"exists": {"field": "body"}}) == []


async def test_an_update_alone_asks_for_the_endpoint(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    # Elasticsearch's own way, told in docs/elasticsearch.md.
    await fill(client, index, {"1": {"text": "Icebergs."}}, mappings=mappings())
    await backfill(client, embedder, index, MAPS)
    with pytest.raises(NotFoundError, match=r"Inference id \[nobody"):
        await client.update(index=index, id="1", doc={"text": "The gull."})


async def test_documents_of_a_file_bring_their_chunks_along(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await client.indices.create(index=index, mappings=mappings())
    plan = await make_plan(embedder, parse_field_maps(list(MAPS)))
    work = Indexing(client, embedder, IndexJob(index, plan, id_field="text"))
    summary = await work.run([orjson.dumps({"text": text}) for text in ("Icebergs.", "The gull.")])
    assert (summary.written, summary.failed, summary.stopped) == (2, 0, None)
    assert len((await results(client, index, "Icebergs."))["body"]) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {
                "body": {
                    "model_settings": {
                        "task_type": "text_embedding",
                        "dimensions": 4,
                        "similarity": "cosine",
                        "element_type": "float",
                    }
                }
            },
            r"holds vectors with \[task_type\] \[text_embedding\], but endpoint \[splade-tiny\] makes \[sparse_embed",
        ),
        ({"text": {"copy_to": "body"}}, r"gets its text from \[text\] \(copy_to\)"),
    ],
)
async def test_a_field_that_cannot_be_filled_is_named(
    client: AsyncElasticsearch,
    embedder: LocalEmbedder,
    index: str,
    changes: dict[str, dict[str, Any]],
    sentence: str,
) -> None:
    mapped = mappings()
    for name, settings in changes.items():
        mapped["properties"][name] |= settings
    await client.indices.create(index=index, mappings=mapped)
    summary = await backfill(client, embedder, index, MAPS[:1])
    assert summary.stopped is not None
    with pytest.raises(WrongFieldError, match=sentence):
        raise WrongFieldError(summary.stopped)


async def test_the_older_form_is_refused(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    legacy = {"index.mapping.semantic_text.use_legacy_format": True}
    await client.indices.create(index=index, mappings=mappings(), settings=legacy)
    summary = await backfill(client, embedder, index, MAPS)
    assert "keeps its [semantic_text] fields in the form of older versions" in str(summary.stopped)


async def test_passages_and_other_kinds_of_fields_beside_it_are_refused(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await client.indices.create(index=f"{index}-one", mappings=mappings())
    summary = await backfill(client, embedder, f"{index}-*", [MAPS[1]], passages=True)
    assert "which holds passages by itself" in str(summary.stopped)
    await client.indices.create(index=f"{index}-two", mappings={"properties": {"text": {"type": "text"}}})
    summary = await backfill(client, embedder, f"{index}-*", MAPS)
    assert re.match(rf"field \[body\] is another one in index \[{index}-\w+\] than in ", str(summary.stopped))
    assert (
        "body" not in (await client.indices.get_mapping(index=f"{index}-two"))[f"{index}-two"]["mappings"]["properties"]
    )


def test_fields_that_are_copied_are_found_wherever_they_are() -> None:
    deep = {"parts": {"properties": {"title": {"type": "text", "copy_to": ["all", "body"]}}}}
    assert copied_from({"properties": deep}, "body") == "parts.title"
    assert copied_from({"properties": {"text": {"type": "text", "copy_to": "body"}}}, "body") == "text"
    assert copied_from({"properties": deep}, "parts") is None


PROFILE = EndpointProfile("d", TaskType.TEXT_EMBEDDING, "1", 3, Similarity.COSINE)


def test_what_the_mapping_fixes_is_kept() -> None:
    fixed = {"task_type": "text_embedding", "dimensions": 3, "similarity": "dot_product", "element_type": "float"}
    mapped = {"type": "semantic_text", "inference_id": "x", "model_settings": fixed | {"service": "openai"}}
    field = read_semantic_field("field [body]", mapped, PROFILE, NEWEST)
    assert (field.inference_id, field.model_settings) == ("x", fixed)
    with pytest.raises(WrongFieldError, match=r"\[dimensions\] \[3\], but endpoint \[d\] makes \[4\]"):
        read_semantic_field("field [body]", mapped, replace(PROFILE, dimensions=4), NEWEST)


UNCUT = EndpointProfile("s", TaskType.SPARSE_EMBEDDING, "1")


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        (ServerVersion(8, 19), {"strategy": "word", "max_chunk_size": 250, "overlap": 100}),
        (ServerVersion(9, 4), {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1}),
    ],
)
def test_texts_are_cut_as_the_cluster_does_where_nobody_says_how(version: ServerVersion, settings: Any) -> None:
    text = "".join(f"{'tide ' * 49}ends. " for _ in range(20))
    field = read_semantic_field("body", {"inference_id": "x"}, UNCUT, version)
    found = [(one.start, one.end) for one in stretches("body", "body", text, field.splitter)]
    assert found == [(one.start, one.end) for one in chunk(text, settings)]
    assert len(found) > 2


def test_chunks_without_tokens_are_left_out() -> None:
    field = read_semantic_field("body", {"inference_id": "x"}, UNCUT, NEWEST)
    held = [*stretches("body", "body", ["🐳", " ", "tide"], field.splitter)]
    made = inference_results(field.inference_id, field.model_settings, chunks_of(held, [[{}], [{"tide": 1.0}]]))
    assert made == {
        "inference": {
            "inference_id": "x",
            "model_settings": {"task_type": "sparse_embedding"},
            "chunks": {"body": [{"start_offset": 5, "end_offset": 9, "embeddings": {"tide": 1.0}}]},
        }
    }
