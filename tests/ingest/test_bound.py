"""Indices that say in their mappings what is to be filled."""

from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import IllegalArgumentError
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.elastic.bindings import Binding, LongTexts
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.bound import bound_plan_for_writing, bound_plans, plans_of
from sidecar.ingest.indexing import Indexing, IndexJob
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
    assert sorted((name, plan.splitter is not None) for name, plan in plans) == [
        (f"{index}-a", False),
        (f"{index}-a", True),
        (f"{index}-b", False),
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


async def test_what_is_not_bound_or_cannot_be_done_at_once_is_told(client: AsyncElasticsearch, index: str) -> None:
    await client.indices.create(index=index, mappings=mappings([]))
    for ask in (bound_plans, bound_plan_for_writing):
        with pytest.raises(IllegalArgumentError, match="is not bound"):
            await ask(client, WordEmbedder(), index)
    await client.indices.put_mapping(index=index, meta={"sidecar": {"maps": BOTH}})
    with pytest.raises(IllegalArgumentError, match="bound to passages and to other fields"):
        await bound_plan_for_writing(client, WordEmbedder(), index)


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
        (await plans_of(words, [Binding(("text",), target, "dense", long_texts=policy)]))[0]
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
