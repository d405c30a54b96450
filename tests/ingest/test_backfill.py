"""Backfills of real indices with real models, on both lines of Elasticsearch."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import RejectedExecutionError, StatusError
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType, Similarity
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.marker import Marker
from tests.ingest.library import DENSE_MAP, SPARSE_MAP, backfill, fill, is_right, models, sentence, sources, tokens
from tests.ingest.local_embedder import DENSE, SPARSE, LocalEmbedder

COUNT = 40


def notes(count: int = COUNT) -> dict[str, dict[str, Any]]:
    return {str(n): {"text": sentence(n), "n": n} for n in range(count)}


async def test_every_document_gets_its_vectors_and_a_second_run_does_nothing(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, notes(), number_of_shards=2)
    summary = await backfill(client, embedder, index)
    assert (summary.read, summary.written, summary.failed, summary.stopped) == (COUNT, COUNT, 0, None)
    mapping = (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"]
    assert mapping["text_sparse"] == {"type": "sparse_vector", "index_options": {"prune": False}}
    assert mapping["text_dense"]["dims"] == 384
    assert set(mapping) == {"text", "n", "text_sparse", "text_dense", "sidecar"}
    wanted = await models(embedder)
    found = await sources(client, index)
    assert all(is_right(source, wanted) for source in found.values())

    vector = (await embedder.embed(DENSE, [sentence(7)], InputType.INGEST)).vectors[0]  # type: ignore[union-attr]
    knn = {"field": "text_dense", "query_vector": np.asarray(vector).tolist(), "k": 1, "num_candidates": 100}
    assert (await client.search(index=index, knn=knn))["hits"]["hits"][0]["_id"] == "7"
    weights = (await embedder.embed(SPARSE, ["gull"], InputType.SEARCH)).items[0].tokens  # type: ignore[union-attr]
    query = {"sparse_vector": {"field": "text_sparse", "query_vector": weights, "prune": False}}
    best = (await client.search(index=index, query=query))["hits"]["hits"][0]
    assert "gull" in best["_source"]["text"]

    embedder.texts.clear()
    again = await backfill(client, embedder, index)
    assert (again.read, again.written, again.up_to_date, again.passes) == (COUNT, 0, COUNT, 1)
    assert embedder.texts == []


async def test_only_what_changed_is_done_again(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    await fill(client, index, notes(10))
    await backfill(client, embedder, index)
    await client.update(index=index, id="3", doc={"text": "A whole new note about icebergs."})
    await client.index(index=index, id="4", document={"text": "Written anew, vectors and marker are gone."})
    await client.update(index=index, id="5", doc={"n": 500})
    embedder.texts.clear()
    summary = await backfill(client, embedder, index)
    assert (summary.written, summary.up_to_date) == (2, 8)
    assert set(embedder.texts) == {"A whole new note about icebergs.", "Written anew, vectors and marker are gone."}
    wanted = await models(embedder)
    assert all(is_right(source, wanted) for source in (await sources(client, index)).values())


async def test_tokens_of_an_older_text_do_not_stay(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, {"1": {"text": "A lighthouse keeper trims the lamp above the storm and the rocks."}})
    await backfill(client, embedder, index, [SPARSE_MAP])
    before = set(tokens((await sources(client, index))["1"]))
    await client.update(index=index, id="1", doc={"text": "Whales."})
    await backfill(client, embedder, index, [SPARSE_MAP])
    after = set(tokens((await sources(client, index))["1"]))
    expected = (await embedder.embed(SPARSE, ["Whales."], InputType.INGEST)).items[0].tokens  # type: ignore[union-attr]
    assert after <= set(expected)
    assert "lighthouse" in before - after


async def test_a_new_model_makes_new_vectors_and_other_fields_keep_theirs(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, notes(6))
    await backfill(client, embedder, index, [SPARSE_MAP])
    summary = await backfill(client, embedder, index, [DENSE_MAP])
    assert summary.written == 6
    for source in (await sources(client, index)).values():
        assert is_right(source, await models(embedder))
    embedder.revision = "-next"
    summary = await backfill(client, embedder, index, [DENSE_MAP], only_missing=True)
    assert (summary.total, summary.written) == (6, 6)
    stamps = Marker.read((await sources(client, index))["0"]).stamps
    assert stamps["text_dense"].model.endswith("-next")
    assert not stamps["text_sparse"].model.endswith("-next")
    assert (await backfill(client, embedder, index, [DENSE_MAP], only_missing=True)).read == 0


async def test_documents_without_text_are_skipped_and_lost_text_takes_its_vectors_along(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, {"1": {"text": "Tide."}, "2": {"n": 2}, "3": {"text": "  "}, "4": {"text": None}})
    summary = await backfill(client, embedder, index)
    assert (summary.written, summary.no_text) == (1, 3)
    await client.update(index=index, id="1", doc={"text": None})
    summary = await backfill(client, embedder, index)
    assert (summary.read, summary.withheld, summary.cleared) == (4, 1, 0)
    assert "--yes" in str(summary.stopped)
    assert (await client.count(index=index, query={"exists": {"field": "text_dense"}}))["count"] == 1
    summary = await backfill(client, embedder, index, may_clear=True)
    assert (summary.written, summary.cleared) == (0, 1)
    for field in ("text_sparse", "text_dense"):
        assert (await client.count(index=index, query={"exists": {"field": field}}))["count"] == 0
    assert (await backfill(client, embedder, index)).no_text == 4


async def test_arrays_and_dotted_fields(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    documents = {"1": {"body": {"parts": ["Tide.", "Moon."]}}, "2": {"body.parts": "Gull."}}
    await fill(client, index, documents, mappings={"properties": {"body": {"properties": {"parts": {"type": "text"}}}}})
    summary = await backfill(client, embedder, index, [f"body.parts:vectors.sparse={SPARSE}"])
    assert summary.written == 2
    assert sorted(embedder.texts) == ["Gull.", "Tide.\nMoon."]
    assert (await client.count(index=index, query={"exists": {"field": "vectors.sparse"}}))["count"] == 2


async def test_routed_documents_keep_their_shard(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    mappings = {"_routing": {"required": True}, "properties": {"text": {"type": "text"}}}
    await client.indices.create(index=index, mappings=mappings, settings={"number_of_shards": 3})
    for n in range(6):
        await client.index(index=index, id="same", routing=f"r{n}", document={"text": sentence(n)})
    await client.indices.refresh(index=index)
    before = (await client.count(index=index))["count"]
    summary = await backfill(client, embedder, index, [SPARSE_MAP])
    assert summary.written == summary.read == before > 1
    await client.indices.refresh(index=index)
    assert (await client.count(index=index))["count"] == before
    assert (await client.count(index=index, query={"exists": {"field": "text_sparse"}}))["count"] == before


async def test_a_query_narrows_and_an_alias_reaches_all_of_its_indices(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    for part in ("a", "b"):
        await fill(client, f"{index}-{part}", notes(5))
        await client.indices.put_alias(index=f"{index}-{part}", name=f"{index}-all")
    summary = await backfill(client, embedder, f"{index}-all", [SPARSE_MAP], query={"range": {"n": {"gte": 3}}})
    assert (summary.total, summary.written) == (4, 4)
    summary = await backfill(client, embedder, f"{index}-all", [SPARSE_MAP])
    assert (summary.written, summary.up_to_date) == (6, 4)


async def test_dry_run_changes_nothing(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    await fill(client, index, notes(5))
    before = await client.indices.get_mapping(index=index)
    summary = await backfill(client, embedder, index, dry_run=True)
    assert (summary.read, summary.written) == (5, 5)
    assert embedder.texts == []
    assert await client.indices.get_mapping(index=index) == before


class Disturbed(LocalEmbedder):
    """While vectors are made, somebody else changes documents."""

    def __init__(self, client: AsyncElasticsearch, index: str, changes: int) -> None:
        super().__init__()
        self._client, self._index, self._left = client, index, changes

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        answer = await super().embed(inference_id, texts, input_type)
        if self._left:
            self._left = left = self._left - 1  # calls run side by side: each has a number of its own
            for n in (1, 2):
                doc = {"text": f"Changed {left} {n}."}
                await self._client.update(index=self._index, id=str(n), doc=doc, retry_on_conflict=5)
            await self._client.delete(index=self._index, id=str(10 + left))
        return answer


async def test_documents_changed_meanwhile_are_read_again(client: AsyncElasticsearch, index: str) -> None:
    embedder = Disturbed(client, index, changes=3)
    await fill(client, index, notes(30))
    summary = await backfill(client, embedder, index)
    assert summary.conflicts >= 2
    assert summary.unsettled == summary.failed == 0
    found = await sources(client, index)
    assert len(found) == 27
    assert found["1"]["text"].startswith("Changed")
    wanted = await models(embedder)
    assert all(is_right(source, wanted) for source in found.values())
    await embedder.close()


class Choosy(LocalEmbedder):
    """Refuses some texts, answers nonsense for others, is busy at first."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = 2

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        if self.busy:
            self.busy -= 1
            raise RejectedExecutionError("queue full")
        if any("forbidden" in text for text in texts):
            raise StatusError("content refused", status=400)
        answer = await super().embed(inference_id, texts, input_type)
        if isinstance(answer, SparseEmbeddings):
            return answer
        vectors = [
            np.full(384, np.nan, np.float32) if "hole" in text else vector
            for text, vector in zip(texts, answer.vectors, strict=True)
        ]
        return DenseEmbeddings(tuple(vectors))


async def test_failed_documents_are_named_and_do_not_hurt_the_others(client: AsyncElasticsearch, index: str) -> None:
    embedder = Choosy()
    await fill(client, index, {**notes(20), "bad": {"text": "a forbidden word"}, "nan": {"text": "a hole in it"}})
    summary = await backfill(client, embedder, index)
    assert (summary.written, summary.failed) == (20, 2)
    reasons = {example: reason for reason, group in summary.failures.items() for example in group.examples}
    assert "content refused" in reasons["bad"]
    assert "not a finite number" in reasons["nan"]
    assert not summary.ok
    found = await sources(client, index)
    assert "content refused" in found["bad"]["sidecar"]["error"]
    assert "text_sparse" not in found["bad"]
    assert "text_sparse" in found["nan"]
    assert "text_dense" not in found["nan"]
    await client.update(index=index, id="bad", doc={"text": "a good word"})
    await client.update(index=index, id="nan", doc={"text": "filled"})
    summary = await backfill(client, embedder, index)
    assert (summary.written, summary.failed) == (2, 0)
    assert (await sources(client, index))["bad"]["sidecar"].get("error") is None
    await embedder.close()


class Lengthy(LocalEmbedder):
    """Makes vectors of length 1, as its field asks for, and one that is longer."""

    async def profile(self, inference_id: str) -> EndpointProfile:
        return replace(await super().profile(inference_id), similarity=Similarity.DOT_PRODUCT)

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        answer = await super().embed(inference_id, texts, input_type)
        assert isinstance(answer, DenseEmbeddings)
        lengths = [2.0 if "long" in text else 1.0 for text in texts]
        vectors = [
            np.asarray(vector, np.float32) * np.float32(length)
            for vector, length in zip(answer.vectors, lengths, strict=True)
        ]
        return DenseEmbeddings(tuple(vectors))


async def test_what_elasticsearch_refuses_is_recorded_with_the_document(client: AsyncElasticsearch, index: str) -> None:
    embedder = Lengthy()
    await fill(client, index, {**notes(5), "x": {"text": "a long vector"}})
    summary = await backfill(client, embedder, index, [DENSE_MAP])
    assert (summary.written, summary.failed) == (5, 1)
    (reason,) = summary.failures
    assert "document_parsing_exception" in reason
    assert "unit-length" in reason
    refused = (await sources(client, index))["x"]
    assert "text_dense" not in refused
    assert "Preview of invalid vector" in refused["sidecar"]["error"]
    assert "Preview" not in reason
    await embedder.close()


@pytest.mark.parametrize(
    ("field", "one_map", "sentence"),
    [
        ({"type": "keyword"}, SPARSE_MAP, "mapped as [keyword]"),
        ({"type": "dense_vector", "dims": 8}, SPARSE_MAP, "mapped as [dense_vector]"),
        ({"type": "dense_vector", "dims": 8}, DENSE_MAP.replace("text_dense", "text_sparse"), "[8] dims"),
        ({"type": "object"}, SPARSE_MAP, "mapped as [object]"),
    ],
)
async def test_a_field_of_another_kind_is_refused_before_anything_is_done(
    client: AsyncElasticsearch,
    embedder: LocalEmbedder,
    index: str,
    *,
    field: dict[str, Any],
    one_map: str,
    sentence: str,
) -> None:
    await fill(client, index, {}, mappings={"properties": {"text": {"type": "text"}, "text_sparse": field}})
    summary = await backfill(client, embedder, index, [one_map])
    assert summary.stopped is not None
    assert sentence in summary.stopped


async def test_a_missing_index_and_a_blocked_one_stop_the_run_with_a_sentence(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    summary = await backfill(client, embedder, index)
    assert summary.stopped == f"index [{index}] does not exist"
    await fill(client, index, notes(3))
    await backfill(client, embedder, index, [SPARSE_MAP])
    await client.indices.put_settings(index=index, settings={"index.blocks.write": True})
    stopped = (await backfill(client, embedder, index, [SPARSE_MAP.replace("text:", "n:")])).stopped
    assert stopped is not None
    assert "blocked" in stopped


async def test_a_cancelled_run_counts_what_it_wrote_and_the_next_one_ends_it(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str
) -> None:
    await fill(client, index, notes(120))
    task = asyncio.ensure_future(backfill(client, embedder, index, [SPARSE_MAP], page_size=20))
    while not embedder.texts:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    summary = await backfill(client, embedder, index, [SPARSE_MAP])
    assert summary.written + summary.up_to_date == 120
    assert summary.ok


async def test_long_texts_become_passages(client: AsyncElasticsearch, embedder: LocalEmbedder, index: str) -> None:
    long = " ".join(f"Sentence number {n} tells of the {('tide', 'reef', 'gull')[n % 3]}." for n in range(120))
    await fill(client, index, {"1": {"text": long}, "2": {"text": "Short and about icebergs."}})
    maps = [f"text:passages.sparse={SPARSE}", f"text:passages.dense={DENSE}"]
    summary = await backfill(client, embedder, index, maps, passages=True)
    assert (summary.written, summary.failed, summary.stopped) == (2, 0, None)
    found = await sources(client, index)
    passages = found["1"]["passages"]
    assert len(passages) > 1
    assert all(long[p["start"] :].startswith(p["text"]) for p in passages)
    vector = (await embedder.embed(DENSE, ["icebergs"], InputType.SEARCH)).vectors[0]  # type: ignore[union-attr]
    knn = {"field": "passages.dense", "query_vector": np.asarray(vector).tolist(), "k": 1, "num_candidates": 50}
    assert (await client.search(index=index, knn=knn))["hits"]["hits"][0]["_id"] == "2"
    assert (await backfill(client, embedder, index, maps, passages=True)).up_to_date == 2
    await client.update(index=index, id="1", doc={"text": "Now it is short."})
    await backfill(client, embedder, index, maps, passages=True)
    remaining = (await sources(client, index))["1"]["passages"]
    assert len([remaining] if isinstance(remaining, dict) else remaining) == 1


class SlowSeparator(LocalEmbedder):
    """Its endpoints cut texts at an expression that backtracks without end on some of them."""

    async def profile(self, inference_id: str) -> EndpointProfile:
        how = {"strategy": "recursive", "max_chunk_size": 10, "separators": ["(a|a)+$"]}
        return replace(await super().profile(inference_id), chunking_settings=how)


async def test_a_separator_that_takes_too_long_fails_its_document_and_holds_up_nothing_else(
    client: AsyncElasticsearch, index: str
) -> None:
    embedder = SlowSeparator()
    await fill(client, index, {"1": {"text": "w " * 20 + "a" * 60 + "!"}, "2": {"text": "The tide falls. " * 5}})
    gaps = [0.0]

    async def watch_the_loop() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            gaps.append(loop.time() - before)

    watch = asyncio.create_task(watch_the_loop())
    try:
        summary = await backfill(client, embedder, index, [f"text:passages.sparse={SPARSE}"], passages=True)
    finally:
        watch.cancel()
        await embedder.close()
    assert (summary.written, summary.failed, summary.stopped) == (1, 1, None)
    (reason,) = summary.failures
    assert reason == "Separator [(a|a)+$] took longer than 2 seconds on one text"
    assert Marker.read((await sources(client, index))["1"]).error == reason
    assert max(gaps) < 1
