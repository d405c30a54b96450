"""Reads an index page by page in a frozen view: point in time, slices, ``search_after``.

Source: Elasticsearch API reference, "Open a point in time", "Paginate search results".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from sidecar.ingest.document import Ref
from sidecar.ingest.stop import RunStoppedError

log = structlog.get_logger(__name__)

KEEP_ALIVE = "15m"
"""How long the view outlives the last page: a page of 500 documents at one document in 1.8 seconds."""

MOST_REOPENINGS = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """One document as it was read: where and in which state, and the fields asked for."""

    ref: Ref
    source: Mapping[str, Any]


Page = list[Hit]


class PointInTime:
    """A frozen view of an index, opened on entering and closed on leaving; slices of one run share it.

    A view that expired is opened again by the first slice that notices; ``generation`` tells the others.
    """

    def __init__(self, client: AsyncElasticsearch, index: str) -> None:
        self._client = client
        self._index = index
        self._id: str | None = None
        self._lock = asyncio.Lock()
        self.generation = 0

    async def __aenter__(self) -> PointInTime:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def search(self, **body: Any) -> dict[str, Any]:
        """One page; the newest id the server names is used for the next."""
        answer = await self._client.search(pit={"id": self._id, "keep_alive": KEEP_ALIVE}, **body)
        self._id = answer.get("pit_id", self._id)
        return dict(answer.body)

    async def reopen(self, generation: int) -> None:
        """Opens a new view, unless another slice did since ``generation``."""
        async with self._lock:
            if self.generation == generation:
                if generation >= MOST_REOPENINGS:
                    raise RunStoppedError("the point in time expired again and again; choose a smaller page")
                await self._open()
                self.generation += 1

    async def _open(self) -> None:
        answer = await self._client.open_point_in_time(index=self._index, keep_alive=KEEP_ALIVE)
        self._id = answer["id"]

    async def _close(self) -> None:
        if self._id is None:
            return
        try:
            await self._client.options(request_timeout=5, max_retries=0).close_point_in_time(id=self._id)
        except (ApiError, TransportError) as error:
            log.debug("point in time not closed, it expires by itself", error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class Slice:
    """An independent part of an index: number ``id`` of ``max``. Slices lose and repeat nothing."""

    id: int
    max: int


def page_request(
    query: Mapping[str, Any], fields: Sequence[str], page_size: int, part: Slice, after: Sequence[Any] | None
) -> dict[str, Any]:
    """The search of one page; sorted by ``_shard_doc``, which costs nothing and is unique in a view."""
    request: dict[str, Any] = {
        "size": page_size,
        "query": dict(query),
        "source_includes": list(fields),
        "seq_no_primary_term": True,
        "track_total_hits": False,
        "sort": [{"_shard_doc": "asc"}],
    }
    if part.max > 1:
        request["slice"] = {"id": part.id, "max": part.max}
    if after is not None:
        request["search_after"] = list(after)
    return request


async def read_slice(
    view: PointInTime, query: Mapping[str, Any], fields: Sequence[str], page_size: int, part: Slice
) -> AsyncIterator[Page]:
    """The pages of one slice. After an expired view the slice begins again: what is done is up to date by then."""
    after: Sequence[Any] | None = None
    while True:
        generation = view.generation
        try:
            answer = await view.search(**page_request(query, fields, page_size, part, after))
        except NotFoundError as error:
            if "search_context_missing_exception" not in str(error.body):
                raise
            log.info("the point in time expired and is opened again", slice=part.id)
            await view.reopen(generation)
            after = None
            continue
        hits = answer["hits"]["hits"]
        if not hits:
            return
        after = hits[-1]["sort"]
        yield [read_hit(hit) for hit in hits]
        if len(hits) < page_size:
            return


async def reread(
    client: AsyncElasticsearch, refs: Sequence[Ref], fields: Sequence[str]
) -> tuple[dict[tuple[str, str, str | None], Hit], list[Ref]]:
    """The present state of documents, found by key, and those that are gone; needs no refresh."""
    documents = [
        {
            "_index": ref.index,
            "_id": ref.id,
            "_source": {"includes": list(fields)},
            **({"routing": ref.routing} if ref.routing is not None else {}),
        }
        for ref in refs
    ]
    answer = await client.mget(docs=documents)
    found: dict[tuple[str, str, str | None], Hit] = {}
    gone: list[Ref] = []
    for ref, document in zip(refs, answer["docs"], strict=True):
        if document.get("found"):
            found[ref.key] = read_hit(document)
        elif "error" in document:
            raise RunStoppedError(f"document [{ref.id}] cannot be read: {document['error'].get('reason')}")
        else:
            gone.append(ref)
    return found, gone


def read_hit(hit: Mapping[str, Any]) -> Hit:
    """A hit of a search or a document of a multi get."""
    ref = Ref(hit["_index"], hit["_id"], hit.get("_routing"), hit.get("_seq_no"), hit.get("_primary_term"))
    return Hit(ref, hit.get("_source") or {})
