"""Random mappings, documents and maps, backfilled, changed as applications do, run again in any order and killed.

Whatever happens, no field that is not the sidecar's changes, and in the end every vector that should be there is there
and fits its text. ``INGEST_EXAMPLES`` says how many histories are tried on each line.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from elasticsearch import AsyncElasticsearch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.ingest.summary import Summary
from tests.ingest.word_embedder import WordEmbedder, vector, word

EXAMPLES = int(os.environ.get("INGEST_EXAMPLES", "5"))

PLAIN = ("text:d=dense", "text:s=sparse", "title:meta.d=dense", "text:meta.deep.s=sparse", "flat.a:fd=dense")
EACH = ("sections.t:sections.d=dense", "sections.t:sections.s=sparse")
PASSAGES = ("text:passages.d=dense", "text:passages.s=sparse")
TARGETS = ("d", "s", "fd", "meta.d", "meta.deep.s", "sections.d", "sections.s", "passages", "sidecar")

words = st.text("abc é\U0001f433\ud83d", max_size=6)
texts = st.one_of(words, st.lists(st.one_of(words, st.none()), max_size=3), st.none(), st.integers(0, 99))
scalars = st.one_of(words, st.integers(-(10**20), 10**20), st.floats(-1e9, 1e9).map(float), st.booleans(), st.none())
no_objects = st.one_of(st.none(), words, st.lists(st.fixed_dictionaries({"x": words}), max_size=2))
meta = st.one_of(
    st.fixed_dictionaries({}, optional={"k": words, "deep": st.fixed_dictionaries({}, optional={"x": words})}),
    st.lists(st.fixed_dictionaries({"k": words}), max_size=2),
    st.fixed_dictionaries(
        {"deep": st.one_of(st.none(), words, st.lists(st.fixed_dictionaries({"x": words}), max_size=2))}
    ),
    st.none(),
    words,
)
section = st.fixed_dictionaries({}, optional={"t": texts, "h": words})
sections = st.one_of(st.lists(st.one_of(section, st.none()), max_size=3), section)
documents = st.fixed_dictionaries(
    {},
    optional={
        "text": texts,
        "title": texts,
        "meta": meta,
        "meta.k": words,
        "sections": sections,
        "flat": st.fixed_dictionaries({}, optional={"a": words, "b.c": words}),
        "hidden": st.text("abc", min_size=1, max_size=5),
        "free": st.one_of(scalars, st.fixed_dictionaries({"x.y": scalars})),
    },
)


@dataclass(frozen=True)
class Kind:
    """What sort of index: ``excludes`` leaves a field out of ``_source``, ``flat`` has no objects (``subobjects``)."""

    dynamic: bool
    excludes: bool
    flat: bool

    def mappings(self) -> dict[str, Any]:
        text = {"type": "text"}
        properties: dict[str, Any] = {"text": text, "title": text, "hidden": text, "flat": {"type": "flattened"}}
        body: dict[str, Any] = {"dynamic": False if not self.dynamic else "runtime", "properties": properties}
        if self.flat:
            body["subobjects"] = False
            body["dynamic"] = False
        else:
            properties["sections"] = {"type": "nested", "properties": {"t": text, "h": {"type": "keyword"}}}
        if self.excludes:
            body["_source"] = {"excludes": ["hidden"]}
        return body


@dataclass(frozen=True)
class Step:
    """``name`` is what happens, ``maps`` and ``document`` with what, ``calls`` after how many calls a run is killed."""

    name: str
    maps: tuple[str, ...] = ()
    which: int = 0
    document: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 0


plain_maps = st.sets(st.sampled_from(PLAIN + EACH), min_size=1).map(lambda chosen: tuple(sorted(chosen)))
passage_maps = st.sets(st.sampled_from(PASSAGES), min_size=1).map(lambda chosen: tuple(sorted(chosen)))
maps = st.one_of(plain_maps, plain_maps, passage_maps)
steps = st.one_of(
    st.builds(Step, st.just("backfill"), maps),
    st.builds(Step, st.just("missing"), maps),
    st.builds(Step, st.just("killed"), maps, calls=st.integers(0, 2)),
    st.builds(Step, st.just("rewrite"), which=st.integers(0, 9), document=documents),
    st.builds(Step, st.just("update"), which=st.integers(0, 9), document=st.fixed_dictionaries({"text": texts})),
    st.builds(Step, st.just("put"), which=st.integers(0, 9), document=documents),
)
kinds = st.builds(
    Kind, st.booleans(), st.sampled_from([False, False, False, True]), st.sampled_from([False, False, True])
)


class Killable(WordEmbedder):
    """Sets ``reached`` when it was asked often enough."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls
        self.reached = asyncio.Event()

    async def embed(
        self, inference_id: str, texts: Sequence[str], input_type: InputType
    ) -> SparseEmbeddings | DenseEmbeddings:
        if self.left == 0:
            self.reached.set()
            await asyncio.sleep(60)
        self.left -= 1
        return await super().embed(inference_id, texts, input_type)


async def run(
    client: AsyncElasticsearch, index: str, maps: Sequence[str], embedder: WordEmbedder, **job: Any
) -> Summary:
    plan = await make_plan(embedder, parse_field_maps(list(maps)), passages=maps[0] in PASSAGES)
    work = Backfill(client, embedder, BackfillJob(index, plan, pace=Pace(batch_size=4), may_clear=True, **job))
    return await work.run()


async def stored(client: AsyncElasticsearch, index: str) -> dict[str, dict[str, Any]]:
    await client.indices.refresh(index=index)
    line = int((await client.info())["version"]["number"].partition(".")[0])
    shown: dict[str, Any] = {"exclude_vectors": False} if line > 8 else {"includes": ["*"]}
    answer = await client.search(index=index, size=100, source=shown)
    return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}


def without_ours(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without what the sidecar may write."""
    kept = {name: value for name, value in document.items() if name not in TARGETS}
    if isinstance(value := kept.get("meta"), dict):
        value = {name: item for name, item in value.items() if name != "d"}
        if isinstance(deep := value.get("deep"), dict):
            value["deep"] = {name: item for name, item in deep.items() if name != "s"}
            if not value["deep"]:
                del value["deep"]  # made to hold a target, or empty as before
        kept["meta"] = value
        if not value:
            del kept["meta"]

    def bare(item: Any) -> Any:
        if isinstance(item, list):
            return [bare(part) for part in item]
        return {name: part for name, part in item.items() if name not in ("d", "s")} if isinstance(item, dict) else item

    if "sections" in kept:
        kept["sections"] = bare(kept["sections"])
    return kept


def text_of(value: Any) -> str | None:
    """What is embedded of a value: its parts that are not blank, a line each."""
    parts = [str(part) for part in (value if isinstance(value, list) else [value]) if part is not None]
    return "\n".join(part for part in parts if part.strip()) or None


def sound(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def fits(value: Any, target: str, text: str) -> bool:
    """Whether a stored vector is that of a text."""
    if target.endswith("s"):
        tokens = value[0] if isinstance(value, list) else value
        return set(tokens) == {word(sound(text))}
    return bool(np.allclose(value, vector(sound(text)), atol=1e-3))


def way_is_free(document: Mapping[str, Any], *parents: str) -> bool:
    place: Any = document
    for name in parents:
        if name not in place:
            return True
        place = place[name]
        if not isinstance(place, dict):
            return False
    return True


def check_vectors(document: Mapping[str, Any], done: Sequence[str]) -> None:
    """Every vector of the maps that were ``done`` is there and fits, and none is there without a text."""
    for one in done:
        source, _, target = one.partition("=")[0].partition(":")
        if target.startswith("sections."):
            items = document.get("sections") or []
            for item in items if isinstance(items, list) else [items]:
                if isinstance(item, dict):
                    text, leaf = text_of(item.get("t")), target[-1]
                    assert (text is None) == (item.get(leaf) in (None, [])), (one, item)
                    assert text is None or fits(item[leaf], leaf, text)
            continue
        text = text_of(document.get("flat", {}).get("a") if source == "flat.a" else document.get(source))
        *parents, leaf = target.split(".")
        if not way_is_free(document, *(parents if parents != ["passages"] else ())):
            continue
        place: Any = document
        for name in parents:
            place = place.get(name, {}) if isinstance(place, dict) else place
        if parents == ["passages"]:
            held = [place] if isinstance(place, dict) and place else list(place)
            assert (text is None) == (not held), (one, document)
            assert all(fits(passage[leaf], leaf, passage["text"]) for passage in held), (one, document)
        else:
            found = place.get(leaf) if place else None
            assert (text is None) == (found in (None, [])), (one, document)
            assert text is None or fits(found, leaf, text), (one, document)


async def play(
    client: AsyncElasticsearch, kind: Kind, first: Sequence[Mapping[str, Any]], history: Sequence[Step]
) -> None:
    index = f"ingest-{uuid4().hex[:10]}"
    await client.indices.create(index=index, mappings=kind.mappings(), settings={"number_of_shards": 2})
    try:
        ours: dict[str, Mapping[str, Any]] = {}
        for number, document in enumerate(first):
            await put(client, index, str(number), document, ours)
        for step in history:
            name = str(step.which % max(1, len(first)))
            if step.name in ("rewrite", "update", "put"):
                await change(client, index, kind, name, step, ours)
            else:
                await backfilled(client, index, step)
            found = await stored(client, index)
            kept = {name: without_ours(hide(document, kind)) for name, document in ours.items()}
            assert {name: without_ours(document) for name, document in found.items()} == kept
            await check_search(client, index, ours)
        await check_end(client, index, kind, history)
    finally:
        await client.indices.delete(index=index)


def hide(document: Mapping[str, Any], kind: Kind) -> Mapping[str, Any]:
    return {name: value for name, value in document.items() if not (kind.excludes and name == "hidden")}


async def put(
    client: AsyncElasticsearch, index: str, name: str, document: Mapping[str, Any], ours: dict[str, Mapping[str, Any]]
) -> None:
    """Indexes a document, unless the cluster refuses it."""
    answer = await client.options(ignore_status=400).index(index=index, id=name, document=document, refresh=True)
    if answer.meta.status < 300:
        ours[name] = document


async def change(
    client: AsyncElasticsearch, index: str, kind: Kind, name: str, step: Step, ours: dict[str, Mapping[str, Any]]
) -> None:
    """As an application changes a document: anew, in part, or read, changed and written back."""
    if step.name == "put" or name not in ours:
        await put(client, index, name, step.document, ours)
        return
    if step.name == "update":
        answer = await client.options(ignore_status=400).update(index=index, id=name, doc=step.document, refresh=True)
        if answer.meta.status < 300:
            # What _source leaves out is lost by the application's own hand.
            ours[name] = {**hide(ours[name], kind), **step.document}
        return
    read = (await client.get(index=index, id=name))["_source"]
    written = {**read, "title": step.document.get("title", "changed")}
    answer = await client.options(ignore_status=400).index(index=index, id=name, document=written, refresh=True)
    if answer.meta.status < 300:
        ours[name] = {**hide(ours[name], kind), "title": written["title"]}


async def backfilled(client: AsyncElasticsearch, index: str, step: Step) -> None:
    if step.name != "killed":
        await run(client, index, step.maps, WordEmbedder(), only_missing=step.name == "missing")
        return
    embedder = Killable(step.calls)
    task = asyncio.ensure_future(run(client, index, step.maps, embedder))
    reached = asyncio.ensure_future(embedder.reached.wait())
    await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def check_search(client: AsyncElasticsearch, index: str, ours: Mapping[str, Mapping[str, Any]]) -> None:
    """What is not in ``_source`` can only be seen by searching."""
    words = [str(document["hidden"]) for document in ours.values() if document.get("hidden")]
    for letter in "abc":
        wanted = sum(letter in text for text in words)
        found = await client.count(index=index, query={"wildcard": {"hidden": f"*{letter}*"}})
        assert found["count"] == wanted


async def check_end(client: AsyncElasticsearch, index: str, kind: Kind, history: Sequence[Step]) -> None:
    """All maps once more; then all of the vectors are there."""
    ran = [step.maps for step in history if step.maps]
    for maps in dict.fromkeys(ran):
        summary = await run(client, index, maps, WordEmbedder())
        if summary.stopped is not None:
            refused = "could not be written any more" in summary.stopped
            # Whoever writes [meta] as a text lets ``dynamic: runtime`` make a field of it, which hides those below.
            mapping = (await client.indices.get_mapping(index=index))[index]["mappings"]
            hidden = any(f"behind the runtime field [{name}]" in summary.stopped for name in mapping.get("runtime", {}))
            assert kind.excludes or kind.flat or refused or hidden, summary.stopped
            continue
        again = await run(client, index, maps, WordEmbedder())
        assert (again.written, again.cleared) == (0, 0)
        for name, document in (await stored(client, index)).items():
            if summary.own == summary.kept == 0:
                check_vectors(document, maps)
            assert name


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(kind=kinds, first=st.lists(documents, min_size=1, max_size=5), history=st.lists(steps, min_size=2, max_size=5))
@example(
    kind=Kind(dynamic=True, excludes=False, flat=False),
    first=[{"meta": "", "title": "a"}],
    history=[Step("backfill", ("text:d=dense",)), Step("backfill", ("text:s=sparse", "title:meta.d=dense"))],
)
async def test_nothing_of_the_users_changes_and_every_vector_fits(
    client: AsyncElasticsearch, kind: Kind, first: list[dict[str, Any]], history: list[Step]
) -> None:
    await play(client, kind, first, history)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "\ud83d"])
def test_the_measure_is_sound(text: str) -> None:
    assert not fits(np.asarray(vector("other")).tolist(), "d", text)
    assert fits(np.asarray(vector(sound(text))).tolist(), "d", text)
