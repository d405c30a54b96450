"""Reads an index page by page in a frozen view: point in time, slices, ``search_after``.

A page is complete or an error: with ``allow_partial_search_results=false`` no shard is left out in silence. A cluster
that is busy, or that a page is too heavy for, gets time and smaller pages.

Source: Elasticsearch API reference, "Open a point in time", "Paginate search results", "Search".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, TypeVar

import orjson
import structlog
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from sidecar.elastic.version import ServerVersion
from sidecar.ingest.backoff import Backoff
from sidecar.ingest.bulk import STOPPING_TYPES, describe_error
from sidecar.ingest.document import Plan, Ref
from sidecar.ingest.marker import MARKER_FIELD
from sidecar.ingest.pages import PageSize
from sidecar.ingest.presence import present_in
from sidecar.ingest.stop import RunStoppedError, stopped_by

log = structlog.get_logger(__name__)

KEEP_ALIVE = "15m"
"""How long the view outlives the last page: a page of 500 documents at one document in 1.8 seconds."""

MOST_REOPENINGS = 20

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Hit:
    """One document as it was read: where and in which state, and the fields asked for.

    ``present`` names the targets of which it holds a vector, ``None`` where the index was not asked. ``unreadable``
    says why the cluster cannot show it.
    """

    ref: Ref
    source: Mapping[str, Any]
    present: frozenset[str] | None = None
    unreadable: str | None = None


Page = list[Hit]


@dataclass(frozen=True, slots=True)
class Fields:
    """What of a document is read: ``vectors`` asks for those that servers from 9.2 on leave out."""

    includes: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    vectors: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """The value of ``_source``."""
        wanted: dict[str, Any] = {"includes": list(self.includes)}
        if self.excludes:
            wanted["excludes"] = list(self.excludes)
        return wanted | ({"exclude_vectors": False} if self.vectors else {})


def fields_of(plan: Plan, version: ServerVersion) -> Fields:
    """The texts, the marker, and whatever stands around the targets, which a write might replace.

    Vectors are left out, except in the user's own nested objects, which are written back whole.
    """
    written = [target for target in plan.targets if "." in target.name and not target.is_bound_by_mapping]
    around = [target.name.partition(".")[0] for target in written]
    each = [target.each for target in plan.targets if target.each]
    vectors = [target.name for target in written if not target.each]
    return Fields(
        tuple(dict.fromkeys((*plan.sources, MARKER_FIELD, *around))),
        tuple(vectors),
        vectors=bool(each) and version.has_vectors_left_out,
    )


async def patiently(ask: Callable[[], Awaitable[Answer]], *, lighten: Callable[[], bool] = lambda: False) -> Answer:
    """What ``ask`` answers, asked again after a wait while the cluster is busy or does not answer.

    ``lighten`` makes the question smaller and says whether it could. Raises what the client raised when neither time
    nor less helps.
    """
    backoff = Backoff()
    while True:
        try:
            return await ask()
        except ApiError as error:
            if error.status_code not in (413, 429, 502, 503, 504):
                raise
            refused: ApiError | TransportError = error
        except TransportError as error:
            refused = error
        if backoff.exhausted or (isinstance(refused, TransportError) and not lighten() and backoff.failures >= 3):
            raise refused
        if isinstance(refused, ApiError):
            lighten()
        log.info("reading_waits_for_cluster", cause=type(refused).__name__)
        await backoff.wait()


class PointInTime:
    """A frozen view of an index, opened on entering and closed on leaving; slices of one run share it.

    A view that expired is opened again by the first slice that notices; ``generation`` tells the others.
    """

    def __init__(self, client: AsyncElasticsearch, index: str) -> None:
        self._client = client.options(max_retries=0)
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
        pit = {"id": self._id, "keep_alive": KEEP_ALIVE}
        answer = await self._client.search(pit=pit, allow_partial_search_results=False, **body)
        self._id = answer.get("pit_id", self._id)
        return dict(answer.body)

    async def one_by_one(self, hits: Sequence[Hit], fields: Fields) -> Page:
        """Documents of a page that cannot be read as a whole, because of one of them.

        They are read as they are by now; one that changed since tells its vectors no more.
        """
        again = await reread(self._client, [hit.ref for hit in hits], fields)
        page = []
        for hit in hits:
            if (reason := again.unreadable.get(hit.ref.key)) is not None:
                page.append(replace(hit, unreadable=reason))
            elif (now := again.found.get(hit.ref.key)) is not None:
                page.append(replace(now, present=hit.present if now.ref == hit.ref else None))
        return page

    async def reopen(self, generation: int) -> None:
        """Opens a new view, unless another slice did since ``generation``."""
        async with self._lock:
            if self.generation == generation:
                if generation >= MOST_REOPENINGS:
                    raise RunStoppedError("the point in time expired again and again; choose a smaller page")
                await self._open()
                self.generation += 1

    async def _open(self) -> None:
        answer = await patiently(lambda: self._client.open_point_in_time(index=self._index, keep_alive=KEEP_ALIVE))
        self._id = answer["id"]

    async def _close(self) -> None:
        if self._id is None:
            return
        try:
            await self._client.options(request_timeout=5, max_retries=0).close_point_in_time(id=self._id)
        except (ApiError, TransportError) as error:
            log.debug("point_in_time_not_closed", cause=type(error).__name__)


@dataclass(frozen=True, slots=True)
class Slice:
    """An independent part of an index: number ``id`` of ``max``. Slices lose and repeat nothing."""

    id: int
    max: int


def page_request(
    query: Mapping[str, Any], fields: Fields, page_size: int, part: Slice, after: Sequence[Any] | None
) -> dict[str, Any]:
    """The search of one page; sorted by ``_shard_doc``, which costs nothing and is unique in a view."""
    request: dict[str, Any] = {
        "size": page_size,
        "query": dict(query),
        "source": fields.source,
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
    view: PointInTime, query: Mapping[str, Any], fields: Fields, page_size: int, part: Slice
) -> AsyncIterator[Page]:
    """The pages of one slice. After an expired view the slice begins again: what is done is up to date by then."""
    after: Sequence[Any] | None = None
    size = PageSize(page_size)
    asked = 0

    async def ask() -> dict[str, Any]:
        nonlocal asked
        asked = size.now
        return await view.search(**page_request(query, fields, asked, part, after))

    while True:
        generation = view.generation
        try:
            answer = await patiently(ask, lighten=size.halve)
        except NotFoundError as error:
            if "search_context_missing_exception" not in str(error.body):
                raise
            log.info("point_in_time_reopened", slice=part.id)
            await view.reopen(generation)
            after = None
            continue
        except ApiError as error:
            if error.status_code != 500:
                raise
            log.warning("page_read_one_by_one", slice=part.id, cause=str(error))
            answer = await view.search(**page_request(query, fields, asked, part, after) | {"source": False})
            page = await view.one_by_one([read_hit(hit, asked=True) for hit in answer["hits"]["hits"]], fields)
        except TransportError as error:
            raise _not_answered(error, asked) from error
        else:
            page = [read_hit(hit, asked=True) for hit in answer["hits"]["hits"]]
        require_all_shards(answer)
        hits = answer["hits"]["hits"]
        if not hits:
            return
        after = hits[-1]["sort"]
        yield page
        if len(hits) < asked:
            return
        size.read(len(hits), weight_of(hits))


def weight_of(hits: Sequence[Any]) -> int:
    """Bytes of the hits' sources, near enough."""
    try:
        return sum(len(orjson.dumps(hit.get("_source"))) for hit in hits)
    except TypeError:  # half surrogates, or numbers beyond 64 bits
        return sum(len(str(hit.get("_source"))) for hit in hits)


def require_all_shards(answer: Mapping[str, Any]) -> None:
    """Raises :class:`RunStoppedError` when a part of the index was not read, with its cause."""
    shards = answer.get("_shards") or {}
    if answer.get("timed_out"):
        raise RunStoppedError("Elasticsearch ended a search before it had read everything (timed_out)")
    if not shards.get("failed"):
        return
    failure: Mapping[str, Any] = next(iter(shards.get("failures") or ()), {})
    raise RunStoppedError(
        f"[{shards['failed']}] of [{shards.get('total')}] shards failed, the first of index [{failure.get('index')}]:"
        f" {describe_error(failure.get('reason') or {})}"
    )


def _not_answered(error: TransportError, documents: int) -> RunStoppedError:
    return RunStoppedError(f"{stopped_by(error, 'reading')}; the last page asked for [{documents}] documents")


@dataclass(slots=True)
class Reread:
    """Documents by key, those that are gone, and those that cannot be read, with the reason."""

    found: dict[tuple[str, str, str | None], Hit] = field(default_factory=dict)
    gone: list[Ref] = field(default_factory=list)
    unreadable: dict[tuple[str, str, str | None], str] = field(default_factory=dict)


async def reread(client: AsyncElasticsearch, refs: Sequence[Ref], fields: Fields) -> Reread:
    """The present state of documents; needs no refresh."""
    client = client.options(max_retries=0)
    result = Reread()
    size = PageSize(most=max(1, len(refs)))
    waiting = list(refs)

    async def ask() -> Mapping[str, Any]:
        docs = [_wanted(ref, fields) for ref in waiting[: size.now]]
        # In a multi get the parameter is taken for all documents or not at all, and the client does not know it.
        parameters = {"_source_exclude_vectors": "false"} if fields.vectors else None
        headers = {"accept": "application/json", "content-type": "application/json"}
        answer = await client.perform_request(
            "POST", "/_mget", params=parameters, headers=headers, body={"docs": docs}, endpoint_id="mget"
        )
        return dict(answer.body)

    while waiting:
        try:
            answer = await patiently(ask, lighten=size.halve)
        except TransportError as error:
            raise _not_answered(error, size.now) from error
        documents = answer["docs"]
        for ref, document in zip(waiting[: len(documents)], documents, strict=True):
            if document.get("found"):
                result.found[ref.key] = read_hit(document)
            elif fault := document.get("error"):
                if fault.get("type") in STOPPING_TYPES:
                    raise RunStoppedError(f"document [{ref.id}] cannot be read: {describe_error(fault)}")
                result.unreadable[ref.key] = describe_error(fault)
            else:
                result.gone.append(ref)
        waiting = waiting[len(documents) :]
        size.read(len(documents), weight_of(documents))
    return result


def _wanted(ref: Ref, fields: Fields) -> dict[str, Any]:
    routing = {} if ref.routing is None else {"routing": ref.routing}
    wanted = {name: value for name, value in fields.source.items() if name != "exclude_vectors"}
    return {"_index": ref.index, "_id": ref.id, "_source": wanted, **routing}


def read_hit(hit: Mapping[str, Any], *, asked: bool = False) -> Hit:
    """A hit of a search, which was ``asked`` what is present, or a document of a multi get."""
    ref = Ref(hit["_index"], hit["_id"], hit.get("_routing"), hit.get("_seq_no"), hit.get("_primary_term"))
    return Hit(ref, hit.get("_source") or {}, present_in(hit) if asked else None)
