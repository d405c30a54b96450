"""Documents of all shapes keep what is theirs, whatever a backfill does, on both lines."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch, BadRequestError

from sidecar.core.results import DenseEmbeddings, SparseEmbedding, SparseEmbeddings
from sidecar.core.tasks import InputType, Similarity
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.ingest.summary import Summary
from tests.ingest.library import fill, sources
from tests.ingest.word_embedder import DIMENSIONS, WordEmbedder, vector, word

VECTOR = {"type": "dense_vector", "dims": DIMENSIONS}
TEXT = {"type": "text"}
PLAIN = {"properties": {"text": TEXT}}


@pytest.fixture
def words() -> WordEmbedder:
    return WordEmbedder()


async def run(
    client: AsyncElasticsearch,
    embedder: WordEmbedder,
    index: str,
    maps: Sequence[str],
    *,
    passages: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    **job: Any,
) -> Summary:
    plan = await make_plan(embedder, parse_field_maps(list(maps)), passages=passages)
    plan = replace(plan, overwrite=overwrite, retry_failed=retry_failed)
    return await Backfill(client, embedder, BackfillJob(index, plan, pace=Pace(batch_size=16), **job)).run()


async def whole(client: AsyncElasticsearch, index: str) -> dict[str, dict[str, Any]]:
    """Every document with its vectors, by id."""
    await client.indices.refresh(index=index)
    shown: dict[str, Any] = {"exclude_vectors": False} if await line_of(client) > 8 else {"includes": ["*"]}
    answer = await client.search(index=index, size=1000, source=shown)
    return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}


async def line_of(client: AsyncElasticsearch) -> int:
    return int((await client.info())["version"]["number"].partition(".")[0])


async def count(client: AsyncElasticsearch, index: str, query: dict[str, Any]) -> int:
    await client.indices.refresh(index=index)
    found: int = (await client.count(index=index, query=query))["count"]
    return found


async def read_change_write(client: AsyncElasticsearch, index: str, name: str, **change: Any) -> None:
    """As applications do it; what line 9 leaves out of reads is left out here on both lines."""
    source = (await client.get(index=index, id=name))["_source"]
    for field in ("d", "s"):
        source.pop(field, None)
    for passage in source.get("passages", []):
        passage.pop("d", None)
    await client.index(index=index, id=name, document={**source, **change}, refresh=True)


def stamps(source: Mapping[str, Any]) -> set[str]:
    return {entry.partition("=")[0] for entry in source.get("sidecar", {}).get("model", [])}


PARENTS: dict[str, Any] = {
    "objects": [{"k": "a"}, {"k": "b"}],
    "empty": [],
    "null": None,
    "text": "words",
    "number": 5,
    "boolean": True,
}


async def test_what_is_no_object_is_not_replaced_by_one(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    parents = {name: value for name, value in PARENTS.items() if name in ("objects", "empty", "null")}
    documents = {name: {"text": name, "meta": value} for name, value in parents.items()}
    documents |= {"object": {"text": "o", "meta": {"k": "a"}}, "none": {"text": "n"}}
    documents |= {f"deep {name}": {"text": name, "meta": {"deep": value}} for name, value in parents.items()}
    await fill(client, index, documents, mappings={"dynamic": False, "properties": {"text": TEXT}})
    summary = await run(client, words, index, ["text:meta.deep.d=dense"])
    assert (summary.written, summary.failed, summary.stopped) == (2, 6, None)
    assert summary.failed_for_good == 6
    found = await whole(client, index)
    for name in documents.keys() - {"object", "none"}:
        assert found[name] == documents[name]
    assert found["object"]["meta"]["k"] == "a"
    assert found["object"]["meta"]["deep"]["d"] == pytest.approx(np.asarray(vector("o")).tolist())


@pytest.mark.parametrize("name", ["text", "number", "boolean"])
async def test_a_mapping_that_would_shut_documents_out_is_not_made(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, name: str
) -> None:
    documents = {"1": {"text": "t", "meta": {"k": 1}}, "2": {"meta": PARENTS[name]}, "3": {"meta": [{"k": 1}]}}
    mappings = {"dynamic": False, "properties": {"text": TEXT}}
    await fill(client, index, documents, mappings=mappings)
    summary = await run(client, words, index, ["text:meta.d=dense"])
    assert "document [2]" in str(summary.stopped)
    assert (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"].keys() == {"text"}
    await client.index(index=index, id="2", document=documents["2"], refresh=True)
    await client.index(index=index, id="2", document={"meta": {"deep": PARENTS[name]}}, refresh=True)
    assert "in [meta.deep]" in str((await run(client, words, index, ["text:meta.deep.d=dense"])).stopped)
    await client.index(index=index, id="2", document={"d": "mine"}, refresh=True)
    assert "would become a vector" in str((await run(client, words, index, ["text:d=dense"])).stopped)
    assert (await run(client, words, index, ["text:e=dense"])).written == 1


async def test_each_of_the_users_nested_objects_gets_its_own_vector(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    nested = {"type": "nested", "properties": {"h": {"type": "keyword"}, "t": TEXT, "own": VECTOR}}
    sections = [{"h": "A", "t": "one", "own": [1, 2, 3, 4]}, {"h": "B"}, {"h": "C", "t": ["two", "three"]}, None]
    await fill(
        client,
        index,
        {"1": {"sections": sections}, "2": {"sections": {"t": "alone"}}, "3": {"n": 1}},
        mappings={"properties": {"sections": nested}},
    )
    maps = ["sections.t:sections.d=dense", "sections.t:sections.s=sparse"]
    summary = await run(client, words, index, maps)
    assert (summary.written, summary.no_text, summary.ok) == (2, 1, True)
    found = await whole(client, index)
    first, second, third, last = found["1"]["sections"]
    assert (first["h"], first["t"], second, third["t"], last) == ("A", "one", {"h": "B"}, ["two", "three"], None)
    assert first["own"] == pytest.approx([1, 2, 3, 4])
    assert first["d"] == pytest.approx(np.asarray(vector("one")).tolist())
    assert third["d"] == pytest.approx(np.asarray(vector("two\nthree")).tolist())
    assert isinstance(found["2"]["sections"], dict)
    wanted = {"nested": {"path": "sections", "query": {"exists": {"field": "sections.s"}}}}
    assert await count(client, index, wanted) == 2
    assert (await run(client, words, index, maps)).up_to_date == 2

    # One object loses its text, one its vector: the document is made anew.
    changed = [{"h": "A"}, {"h": "C", "t": "two"}]
    await client.index(index=index, id="1", document={**found["1"], "sections": changed}, refresh=True)
    assert (await run(client, words, index, maps)).written == 1
    first, second = (await whole(client, index))["1"]["sections"]
    assert first == {"h": "A"}
    assert second["d"] == pytest.approx(np.asarray(vector("two")).tolist())


async def test_passages_never_replace_what_is_not_theirs(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {
        "properties": {
            "text": TEXT,
            "mixed": {"type": "nested", "properties": {"heading": {"type": "keyword"}, "d": VECTOR}},
            "alike": {"type": "nested", "properties": {"text": TEXT, "d": VECTOR, "other": VECTOR}},
        }
    }
    own = {"text": "mine", "other": [1, 2, 3, 4]}
    documents = {
        "1": {"text": "whales", "mixed": [{"heading": "A"}], "alike": [{"text": "mine"}]},
        "2": {"text": "ships", "alike": [own]},
        "3": {"text": "tides"},
    }
    await fill(client, index, documents, mappings=mappings)
    summary = await run(client, words, index, ["text:mixed.d=dense"], passages=True)
    assert "[mixed] of index" in str(summary.stopped)
    assert "[heading]" in str(summary.stopped)
    summary = await run(client, words, index, ["text:alike.d=dense"], passages=True)
    assert (summary.written, summary.failed) == (1, 2)
    found = await whole(client, index)
    assert {name: found[name].get("alike") for name in ("1", "2")} == {"1": [{"text": "mine"}], "2": [own]}
    assert found["3"]["alike"][0]["text"] == "tides"


async def test_marked_documents_without_their_vectors_are_found(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    await fill(
        client, index, {"1": {"text": "whales"}, "2": {"text": "ships"}}, mappings={"properties": {"text": TEXT}}
    )
    maps = ["text:d=dense", "text:s=sparse"]
    for more in ({}, {"only_missing": True}):
        await run(client, words, index, maps)
        await read_change_write(client, index, "1", price=2)
        assert await count(client, index, {"exists": {"field": "d"}}) == 1
        words.texts.clear()
        summary = await run(client, words, index, maps, **more)
        assert (summary.written, words.texts) == (1, ["whales", "whales"])
        assert await count(client, index, {"bool": {"must": [{"exists": {"field": f}} for f in "ds"]}}) == 2
        assert (await whole(client, index))["1"]["price"] == 2


@pytest.mark.parametrize("date_detection", [True, False])
async def test_markers_that_were_copied_into_an_unmapped_index_are_read(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, date_detection: bool
) -> None:
    await fill(client, index, {"1": {"text": "whales"}, "2": {"text": "ships"}}, mappings=PLAIN)
    await run(client, words, index, ["text:d=dense"])
    copy = f"{index}-copy"
    await client.indices.create(index=copy, mappings={"date_detection": date_detection})
    await client.reindex(source={"index": index, "_source": ["text", "sidecar"]}, dest={"index": copy}, refresh=True)
    guessed = (await client.indices.get_mapping(index=copy))[copy]["mappings"]["properties"]["sidecar"]["properties"]
    assert guessed["model"]["type"] == "text"
    assert (await run(client, words, copy, ["text:d=dense"])).written == 2
    assert await count(client, copy, {"exists": {"field": "d"}}) == 2
    assert (await run(client, words, copy, ["text:d=dense"], only_missing=True)).read == 0


async def test_a_marker_mapped_as_what_holds_none_is_refused(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {"properties": {"text": TEXT, "sidecar": {"properties": {"model": {"type": "long"}}}}}
    await fill(client, index, {"1": {"text": "whales"}}, mappings=mappings)
    summary = await run(client, words, index, ["text:d=dense"])
    assert "[model] in it is mapped as [long]" in (summary.stopped or "")


async def test_the_index_that_is_missing_among_several_is_named(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    await fill(client, index, {"1": {"text": "whales"}}, mappings=PLAIN)
    summary = await run(client, words, f"{index},{index}-none", ["text:d=dense"])
    assert summary.stopped == f"index [{index}-none] does not exist"


@pytest.mark.parametrize("more", [{"include_in_parent": True}, {"include_in_root": True, "dynamic": "strict"}])
async def test_what_a_nested_field_repeats_elsewhere_stays_when_a_field_is_added(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, more: dict[str, Any]
) -> None:
    nested = {"type": "nested", "properties": {"text": TEXT}, **more}
    await fill(client, index, {"1": {"a": [{"text": "whales"}]}}, mappings={"properties": {"a": nested}})
    summary = await run(client, words, index, ["a.text:a.s=sparse"])
    assert (summary.stopped, summary.written) == (None, 1)
    after = (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"]["a"]
    assert {name: after[name] for name in more} == more
    assert await count(client, index, {"match": {"a.text": "whales"}}) == 1  # in the root document as well


async def test_passages_without_vectors_are_found_and_a_second_field_can_be_added(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    await fill(
        client, index, {"1": {"text": "whales"}, "2": {"text": "ships"}}, mappings={"properties": {"text": TEXT}}
    )
    await run(client, words, index, ["text:passages.d=dense"], passages=True)
    await read_change_write(client, index, "1", price=2)
    assert (await run(client, words, index, ["text:passages.d=dense"], passages=True)).written == 1
    both = ["text:passages.d=dense", "text:passages.s=sparse"]
    assert (await run(client, words, index, both, passages=True)).written == 2
    assert stamps((await whole(client, index))["1"]) == {"passages.d", "passages.s"}
    # One field alone replaces the passages: the marker no longer says that the other is there.
    await client.update(index=index, id="2", doc={"text": "boats"}, refresh=True)
    summary = await run(client, words, index, ["text:passages.s=sparse"], passages=True)
    assert (summary.written, sum(summary.notes.values())) == (1, 1)
    assert stamps((await whole(client, index))["2"]) == {"passages.s"}
    assert (await run(client, words, index, both, passages=True)).written == 1


async def test_vectors_that_no_marker_claims_stay_unless_told_otherwise(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {"properties": {"text": TEXT, "d": VECTOR}}
    await fill(client, index, {"1": {"text": "whales", "d": [4, 3, 2, 1]}, "2": {"text": "ships"}}, mappings=mappings)
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.own, summary.ok) == (1, 1, False)
    assert (await whole(client, index))["1"]["d"] == pytest.approx([4, 3, 2, 1])
    summary = await run(client, words, index, ["text:d=dense"], overwrite=True)
    assert (summary.written, summary.ok) == (1, True)


async def test_only_the_same_source_clears(client: AsyncElasticsearch, words: WordEmbedder, index: str) -> None:
    mappings = {"properties": {"title": TEXT, "body": TEXT}}
    documents = {"1": {"title": "a"}, "2": {"title": "b", "body": "c"}}
    await fill(client, index, documents, mappings=mappings)
    await run(client, words, index, ["title:d=dense"])
    summary = await run(client, words, index, ["body:d=dense"], may_clear=True)
    assert (summary.written, summary.cleared, summary.kept) == (1, 0, 1)
    assert await count(client, index, {"exists": {"field": "d"}}) == 2
    await client.update(index=index, id="1", doc={"title": None}, refresh=True)
    summary = await run(client, words, index, ["title:d=dense"], may_clear=True)
    assert (summary.written, summary.cleared) == (1, 1)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("txet", "is in no mapping"),
        ("name.en", "is a multi-field, whose text is that of [name]"),
        ("other", "is an alias of [text]"),
        ("all", "gets its text from [name] (copy_to)"),
        ("computed", "is a runtime field"),
        ("flat", "is a flattened object"),
        ("deep", "is an object"),
        ("when", "holds a range"),
        ("sidecar.model", "is the marker"),
    ],
)
async def test_sources_without_text_stop_the_run_before_it_begins(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, *, source: str, reason: str
) -> None:
    mappings = {
        "properties": {
            "text": TEXT,
            "name": {"type": "text", "copy_to": "all", "fields": {"en": TEXT}},
            "all": TEXT,
            "other": {"type": "alias", "path": "text"},
            "flat": {"type": "flattened"},
            "deep": {"properties": {"k": TEXT}},
            "when": {"type": "date_range"},
        },
        "runtime": {"computed": {"type": "keyword", "script": "emit('x')"}},
    }
    await fill(client, index, {"1": {"text": "whales", "name": "n", "flat": {"a": "whale"}}}, mappings=mappings)
    summary = await run(client, words, index, [f"{source}:d=dense"])
    assert reason in str(summary.stopped)
    assert "d" not in (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"]
    assert (await run(client, words, index, ["flat.a:d=dense"])).written == 1


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        ({"excludes": ["body"]}, {}),
        ({"includes": ["text", "sidecar.*"]}, {}),
        ({"enabled": False}, {}),
        ({}, {"index.mapping.source.mode": "disabled"}),
    ],
)
async def test_documents_that_source_does_not_hold_whole_are_not_written(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, *, rule: dict[str, Any], setting: dict[str, Any]
) -> None:
    mappings: dict[str, Any] = {"properties": {"text": TEXT, "body": TEXT}} | ({"_source": rule} if rule else {})
    await fill(client, index, {"1": {"text": "whales", "body": "plankton"}}, mappings=mappings, **setting)
    summary = await run(client, words, index, ["text:d=dense"])
    assert "_source" in str(summary.stopped)
    assert await count(client, index, {"match": {"body": "plankton"}}) == 1
    summary = await run(client, words, index, ["text:d=dense"], accept_source_loss=True)
    partial = "excludes" in rule or "includes" in rule
    assert (summary.stopped is None, summary.written) == (partial, int(partial))
    if partial:
        summary = await run(client, words, index, ["body:d=dense"], accept_source_loss=True)
        assert "is left out of _source" in str(summary.stopped)


async def test_an_index_that_a_query_fails_on_stops_the_run(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    await fill(
        client, f"{index}-a", {"1": {"text": "a", "day": 1}}, mappings={"properties": {"day": {"type": "integer"}}}
    )
    await fill(client, f"{index}-b", {"1": {"text": "b", "day": "2024-01-05"}}, mappings=PLAIN)
    query = {"range": {"day": {"gte": "2020-01-01"}}}
    summary = await run(client, words, f"{index}-*", ["text:d=dense"], query=query)
    assert f"the first of index [{index}-a]" in str(summary.stopped)
    assert summary.read == 0
    assert (
        await run(client, words, f"{index}-none-*", ["text:d=dense"])
    ).stopped == f"no index matches [{index}-none-*]"


async def test_one_document_fails_alone_and_is_not_paid_twice(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    documents = {
        "half": {"text": "bad \ud83d end"},
        "refused": {"text": "REFUSE"},
        "broken": {"text": "BREAK"},
        "good": {"text": "whales"},
    }
    await client.indices.create(index=index, mappings=PLAIN)
    for name, document in documents.items():
        await client.index(index=index, id=name, document=document)
    words.batch_size = 16
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.failed, summary.failed_for_good, summary.stopped) == (2, 2, 1, None)
    assert "bad \ufffd end" in words.texts
    words.texts.clear()
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.up_to_date, summary.failed_before, summary.failed) == (2, 1, 1)
    assert set(words.texts) == {"BREAK"}
    summary = await run(client, words, index, ["text:d=dense"], retry_failed=True)
    assert (summary.failed_before, summary.failed) == (0, 2)
    await client.update(index=index, id="refused", doc={"text": "fine"})
    assert (await run(client, words, index, ["text:d=dense"])).written == 1
    assert (await sources(client, index))["half"]["text"] == "bad \ud83d end"


async def test_bad_documents_in_front_do_not_keep_the_good_ones_waiting(client: AsyncElasticsearch, index: str) -> None:
    words = WordEmbedder(similarity=Similarity.DOT_PRODUCT)
    documents = {f"{n:04}": {"text": f"LONG {n}" if n < 250 else f"good {n}"} for n in range(300)}
    mappings = {"properties": {"text": TEXT, "d": {**VECTOR, "similarity": "dot_product"}}}
    await fill(client, index, documents, mappings=mappings)
    summary = await run(client, words, index, ["text:d=dense"], slices=1)
    assert (summary.written, summary.failed, summary.stopped, len(summary.failures)) == (50, 250, None, 1)
    words.texts.clear()
    summary = await run(client, words, index, ["text:d=dense"], slices=1)
    assert (summary.up_to_date, summary.failed_before, words.texts) == (50, 250, [])


async def test_a_field_for_vectors_of_length_1_wants_an_endpoint_that_makes_them(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {"properties": {"text": TEXT, "d": {**VECTOR, "similarity": "dot_product"}}}
    await fill(client, index, {"1": {"text": "a"}}, mappings=mappings)
    summary = await run(client, words, index, ["text:d=dense"])
    assert "has similarity [dot_product], which takes vectors of length 1" in str(summary.stopped)


async def test_dotted_names_are_written_where_they_are(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    vectors = {"v": {"properties": {"d": VECTOR, "s": {"type": "sparse_vector"}}}}
    maps = ["text:v.d=dense", "text:v.s=sparse"]
    await fill(client, index, {}, mappings={"properties": {"text": TEXT, **vectors}})
    document = {"text": "old", "v.d": [1, 2, 3, 4], "v.s": {"old": 1.0}}
    await client.index(index=index, id="1", document=document, refresh=True)
    assert (await run(client, words, index, maps)).own == 1
    assert (await run(client, words, index, maps, overwrite=True)).written == 1
    await client.update(index=index, id="1", doc={"text": "new"}, refresh=True)
    assert (await run(client, words, index, maps)).written == 1
    query = {"sparse_vector": {"field": "v.s", "query_vector": {"old": 1.0, word("old"): 1.0}}}
    assert await count(client, index, query) == 0
    knn = {"field": "v.d", "query_vector": np.asarray(vector("new")).tolist(), "k": 1, "num_candidates": 5}
    (hit,) = (await client.search(index=index, knn=knn))["hits"]["hits"]
    assert hit["_score"] == pytest.approx(1.0, abs=1e-3)


async def test_a_field_of_the_markers_name_is_the_users_own(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    documents = {"1": {"text": "a", "sidecar": "left"}, "2": {"text": "b", "sidecar": {"wheel": 1}}}
    await fill(client, index, documents, mappings={"dynamic": False, "properties": {"text": TEXT}})
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.failed) == (0, 2)
    assert await whole(client, index) == documents


class Tokenless(WordEmbedder):
    """Finds no token in some texts."""

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        self.texts += texts
        return SparseEmbeddings(tuple(SparseEmbedding({} if "empty" in text else {"a": 1.0}) for text in texts))


async def test_semantic_text_without_its_chunks_is_found_and_one_without_tokens_is_done(
    client: AsyncElasticsearch, index: str
) -> None:
    words = Tokenless()
    field = {"type": "semantic_text", "inference_id": "nobody"}
    documents = {"1": {"text": "full"}, "2": {"text": "empty"}}
    await fill(client, index, documents, mappings={"properties": {"text": TEXT, "b": field}})
    assert (await run(client, words, index, ["text:b=sparse"])).written == 2
    assert (await run(client, words, index, ["text:b=sparse"])).up_to_date == 2
    assert sorted(words.texts) == ["empty", "full"]
    marker = (await client.get(index=index, id="1"))["_source"]["sidecar"]
    await client.index(index=index, id="1", document={"text": "full", "sidecar": marker}, refresh=True)
    for only_missing in (True, False):
        summary = await run(client, words, index, ["text:b=sparse"], only_missing=only_missing)
        assert summary.written == int(only_missing)
    assert await count(client, index, {"exists": {"field": "b"}}) == 1


async def test_an_object_of_a_nested_field_without_its_vector_is_missing_one(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    nested = {"type": "nested", "properties": {"t": TEXT}}
    await fill(client, index, {"1": {"s": [{"t": "one"}, {"t": "two"}]}}, mappings={"properties": {"s": nested}})
    await run(client, words, index, ["s.t:s.d=dense"])
    source = (await whole(client, index))["1"]
    del source["s"][1]["d"]
    await client.index(index=index, id="1", document=source, refresh=True)
    assert (await run(client, words, index, ["s.t:s.d=dense"], only_missing=True)).written == 1
    assert "d" in (await whole(client, index))["1"]["s"][1]


async def test_names_in_a_users_query_are_no_vectors_and_fields_without_an_index_have_them(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {"properties": {"text": TEXT, "d": {**VECTOR, "index": False}}}
    await fill(client, index, {"1": {"text": "whales"}}, mappings=mappings)
    query = {"match_all": {"_name": "d"}}
    assert (await run(client, words, index, ["text:d=dense"], query=query)).written == 1
    assert (await run(client, words, index, ["text:d=dense"], query=query)).up_to_date == 1
    await read_change_write(client, index, "1", price=2)
    assert (await run(client, words, index, ["text:d=dense"], query=query)).written == 1


async def test_what_the_index_never_saw_is_not_replaced(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    held: dict[str, Any] = {
        "text": "mine",
        "zero": 0,
        "false": False,
        "blank": "",
        "array": [1, "a"],
        "object": {"k": 1},
    }
    free: dict[str, Any] = {"null": None, "nulls": [None], "empty": [], "nothing": {}}
    documents = {name: {"text": name, "d": value} for name, value in (held | free).items()} | {"none": {"text": "n"}}
    await fill(client, index, documents, mappings={"dynamic": False, "properties": {"text": TEXT}})
    # Dynamic from now on: nothing says any more that documents hold what the mapping does not know.
    await client.indices.put_mapping(index=index, dynamic="true", properties={"d": VECTOR})
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.failed, summary.stopped) == (len(free) + 1, len(held), None)
    found = await whole(client, index)
    assert {name: found[name] for name in held} == {name: documents[name] for name in held}
    assert await count(client, index, {"exists": {"field": "d"}}) == len(free) + 1
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.up_to_date, summary.failed) == (0, len(free) + 1, len(held))
    assert (await run(client, words, index, ["text:d=dense"], overwrite=True)).written == len(held)
    assert await count(client, index, {"exists": {"field": "d"}}) == len(documents)


async def test_a_name_that_only_documents_know_is_not_mapped(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    await fill(
        client, index, {"1": {"text": "t", "m": "mine"}}, mappings={"dynamic": False, "properties": {"text": TEXT}}
    )
    await client.indices.put_mapping(index=index, dynamic="true")
    for target in ("m", "m.d"):
        summary = await run(client, words, index, [f"text:{target}=dense"])
        assert "document [1] of index" in str(summary.stopped)
    assert await whole(client, index) == {"1": {"text": "t", "m": "mine"}}
    await client.update(index=index, id="1", doc={"text": "it can be written still"})


@pytest.mark.parametrize(
    ("mappings", "target", "reason"),
    [
        ({"subobjects": False, "properties": {"text": TEXT}}, "m", "has the field [m.k] below it"),
        ({"properties": {"text": TEXT, "m": {"type": "object", "subobjects": False}}}, "m.k", "[m.k.l] below it"),
        ({"dynamic": "runtime", "subobjects": False, "properties": {"text": TEXT}}, "m", "[m.k] below it"),
        ({"properties": {"text": TEXT}, "runtime": {"m": {"type": "keyword"}}}, "m", "behind the runtime field [m]"),
        ({"properties": {"text": TEXT}, "runtime": {"m": {"type": "keyword"}}}, "m.d", "behind the runtime field [m]"),
    ],
)
async def test_a_target_with_the_name_of_other_fields_is_refused(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, mappings: dict[str, Any], target: str, reason: str
) -> None:
    document: dict[str, Any] = {"text": "t", "m": {"k": {"l": "mine"}} if target == "m.k" else {"k": "mine"}}
    document = {"text": "t", "m": "mine"} if "runtime" in mappings else document
    await fill(client, index, {"1": document}, mappings=mappings)
    before = (await client.indices.get_mapping(index=index))[index]
    summary = await run(client, words, index, [f"text:{target}=dense"])
    assert reason in str(summary.stopped)
    assert await whole(client, index) == {"1": document}
    assert (await client.indices.get_mapping(index=index))[index] == before


async def test_a_document_that_the_cluster_cannot_show_fails_alone(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    mappings = {"properties": {"s": {"type": "nested", "properties": {"b": TEXT, "v": VECTOR}}}}
    documents: dict[str, Any] = {str(n): {"s": [{"b": f"note {n}"}, {"b": "ships"}]} for n in range(40)}
    # From 9.2 on vectors are put back into what is read, and that of a nested field under a dotted name fails.
    await fill(client, index, {**documents, "dots": {"s.b": "whales"}}, mappings=mappings)
    asked = await client.perform_request(
        "POST",
        "/_mget",
        params={"_source_exclude_vectors": "false"} if await line_of(client) > 8 else None,
        headers={"accept": "application/json", "content-type": "application/json"},
        body={"docs": [{"_index": index, "_id": "dots"}]},
    )
    fails = "error" in asked.body["docs"][0]
    summary = await run(client, words, index, ["s.b:s.v=dense"])
    assert (summary.read, summary.written, summary.stopped) == (41, 40, None)
    assert (summary.failed, summary.no_text) == ((1, 0) if fails else (0, 1))
    assert (await client.get(index=index, id="dots"))["_source"] == {"s.b": "whales"}
    query = {"nested": {"path": "s", "query": {"exists": {"field": "s.v"}}}}
    assert await count(client, index, query) == 40
    assert (await run(client, words, index, ["s.b:s.v=dense"])).up_to_date == 40


@pytest.mark.parametrize("parameter", ["include_in_parent", "include_in_root"])
async def test_a_nested_field_that_is_also_kept_above_takes_no_vector_for_each_object(
    client: AsyncElasticsearch, words: WordEmbedder, index: str, parameter: str
) -> None:
    nested = {"type": "nested", parameter: True, "properties": {"b": TEXT, "v": VECTOR}}
    await fill(client, index, {"1": {"s": [{"b": "a"}, {"b": "b"}]}}, mappings={"properties": {"s": nested}})
    with pytest.raises(BadRequestError, match="more than once"):
        await client.index(index=index, document={"s": [{"v": [1, 0, 0, 0]}, {"v": [0, 1, 0, 0]}]})
    summary = await run(client, words, index, ["s.b:s.v=dense"])
    assert f"({parameter}): that can hold one vector" in str(summary.stopped)
    assert "sidecar" not in (await client.indices.get_mapping(index=index))[index]["mappings"]["properties"]


async def test_a_marker_under_dotted_names_is_not_paid_for_again_and_again(
    client: AsyncElasticsearch, words: WordEmbedder, index: str
) -> None:
    document = {"text": "whales", "sidecar.model": ["d=old@1"], "sidecar.hash": ["d=0"], "sidecar.source": ["d=text"]}
    await fill(client, index, {"1": document}, mappings=PLAIN)
    assert (await run(client, words, index, ["text:d=dense"])).written == 1
    summary = await run(client, words, index, ["text:d=dense"])
    assert (summary.written, summary.up_to_date) == (0, 1)
