"""Small documents to embed, and a look at what an index holds of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk

from sidecar.elastic.source import text_at
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.marker import Marker, input_hash
from sidecar.ingest.planning import make_plan
from sidecar.ingest.summary import Summary
from tests.ingest.local_embedder import DENSE, SPARSE, LocalEmbedder

SPARSE_MAP = f"text:text_sparse={SPARSE}"
DENSE_MAP = f"text:text_dense={DENSE}"
_SUBJECTS = ("tide", "harbour", "whale", "lighthouse", "anchor", "current", "reef", "storm", "gull", "compass")


def sentence(number: int) -> str:
    """A short text, different for every number."""
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    return f"Note {number} is about the {subject} and the {_SUBJECTS[number // 10 % len(_SUBJECTS)]}."


async def fill(client: AsyncElasticsearch, index: str, documents: Mapping[str, Any], **settings: Any) -> None:
    """Creates the index, strictly mapped for ``text``, and puts the documents (id to source) into it."""
    mappings = {"dynamic": "strict", "properties": {"text": {"type": "text"}, "n": {"type": "integer"}}}
    await client.indices.create(index=index, mappings=settings.pop("mappings", mappings), settings=settings or None)
    actions: list[dict[str, Any]] = [
        {"_index": index, "_id": name, "_source": source} for name, source in documents.items()
    ]
    await async_bulk(client, actions, refresh=True)


async def backfill(
    client: AsyncElasticsearch,
    embedder: LocalEmbedder,
    index: str,
    maps: Sequence[str] = (SPARSE_MAP, DENSE_MAP),
    *,
    passages: bool = False,
    **job: Any,
) -> Summary:
    plan = await make_plan(embedder, parse_field_maps(list(maps)), passages=passages)
    work = Backfill(client, embedder, BackfillJob(index, plan, pace=Pace(batch_size=16), **job))
    return await work.run()


async def sources(client: AsyncElasticsearch, index: str) -> dict[str, dict[str, Any]]:
    """Every document's source with its vectors, by id."""
    await client.indices.refresh(index=index)
    answer = await client.search(index=index, size=1000, source={"includes": ["*"]})
    return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}


def tokens(source: Mapping[str, Any], field: str = "text_sparse") -> dict[str, float]:
    """The token weights, which line 8 returns as it got them (in an array) and line 9 as an object."""
    value = source[field]
    if isinstance(value, list):
        value = value[0]
    return dict(value)


def is_right(source: Mapping[str, Any], models: Mapping[str, str]) -> bool:
    """True when the marker names every model with the hash of the present text, and the fields are there."""
    text = text_at(source, "text")
    marker = Marker.read(source)
    return text is not None and all(
        name in source
        and marker.stamps.get(name) is not None
        and marker.stamps[name].model == model
        and marker.stamps[name].hash == input_hash(text)
        for name, model in models.items()
    )


async def models(embedder: LocalEmbedder) -> dict[str, str]:
    """Per target field of the usual maps the model that should have made it."""
    return {
        "text_sparse": (await embedder.profile(SPARSE)).model,
        "text_dense": (await embedder.profile(DENSE)).model,
    }
