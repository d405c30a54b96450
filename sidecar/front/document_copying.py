"""``_update_by_query`` and ``_reindex`` onto ``semantic_text`` of the sidecar's endpoints: searched and written here.

Inside the cluster they would fail document by document, for want of an endpoint or a licence. Requests that ask for
more than is done here (slices, tasks, remote sources, throttling) are left to the cluster.
Source: Elasticsearch API reference, "Update documents by query" and "Reindex documents".
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web

from sidecar.core.errors import RelayedError, SidecarError
from sidecar.front.bulk_batches import BatchMaker
from sidecar.front.bulk_lines import BulkAction
from sidecar.front.bulk_writing import BulkWrite
from sidecar.front.exchange import Exchange
from sidecar.front.search_calls import rewritten_inside
from sidecar.front.source_text import read_source
from sidecar.front.write_context import WriteContext
from sidecar.ingest.semantic_field import INFERENCE_FIELDS
from sidecar.wire.body_formats import as_json

_KEEP_SCROLL = "5m"
_BATCH = 1000
_BAD_REQUEST = 400
_UNKNOWN = {
    "type": "illegal_argument_exception",
    "reason": "the script asks of a document for what is not done here; documents before it were written",
}
_STATUS_OF_SHARDS = {"search_context_missing_exception": 404, "index_not_found_exception": 404}
_NO_VERSION = -3  # of a simulated document that was given none
_OF_THE_WRITE = ("timeout", "wait_for_active_shards", "pipeline")
_SHAPE = frozenset({"pretty", "human", "error_trace", "filter_path", "format"})
_PARAMETERS = _SHAPE | {*_OF_THE_WRITE, "refresh", "conflicts", "max_docs", "scroll_size", "wait_for_completion"}
_BY_QUERY = frozenset({"query", "script", "conflicts", "max_docs"})
_REINDEX = frozenset({"source", "dest", "script", "conflicts", "max_docs"})
_SOURCE = frozenset({"index", "query", "size", "_source"})
_DEST = frozenset({"index", "op_type", "pipeline"})


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is read and where it goes; ``into`` is ``None`` where documents are written back in their places."""

    source: str
    query: Any
    filtered: Any
    script: Any
    into: str | None
    operation: str
    pipeline: str | None
    proceeds: bool
    most: int | None
    batch: int
    keeps_inference: bool


@dataclass(slots=True)
class _Count:
    """What came of the documents so far."""

    total: int = 0
    updated: int = 0
    created: int = 0
    deleted: int = 0
    batches: int = 0
    conflicts: int = 0
    noops: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Made:
    """What is written of a document that was found: ``operation`` is ``index``, ``delete`` or ``noop``."""

    operation: str
    source: dict[str, Any]
    index: str
    id: str | None
    routing: str | None


class _LeftToClusterError(Exception):
    """The cluster is to do it, or to say what is wrong with it; ``error`` is what is known of that."""

    def __init__(self, error: Any = None) -> None:
        super().__init__()
        self.error = error


async def copy_documents(exchange: Exchange) -> web.StreamResponse | None:
    """The answer, or ``None`` where the cluster is to do it."""
    copy = await _read(exchange)
    if copy is None:
        return None
    context = await WriteContext.of(exchange)
    plan = await context.plan(copy.into or copy.source)
    if not (plan.semantic or plan.missing):
        return None
    started = time.monotonic()
    count = _Count()
    try:
        await _run(exchange, context, copy, count)
    except _LeftToClusterError as left:
        if not (count.updated or count.created or count.deleted):
            return None
        # What is written already must not be done a second time.
        raise RelayedError(_BAD_REQUEST, {"error": left.error or _UNKNOWN, "status": _BAD_REQUEST}) from left
    if exchange.parameters.get("refresh", "false") in ("", "true"):
        await exchange.call("POST", f"/{quote(copy.into or copy.source, safe='')}/_refresh")
    body: dict[str, Any] = {
        "took": round(1000 * (time.monotonic() - started)),
        "timed_out": False,
        "total": count.total,
        "updated": count.updated,
        **({"created": count.created} if copy.into is not None else {}),
        "deleted": count.deleted,
        "batches": count.batches,
        "version_conflicts": count.conflicts,
        "noops": count.noops,
        "retries": {"bulk": 0, "search": 0},
        "throttled_millis": 0,
        "requests_per_second": -1.0,
        "throttled_until_millis": 0,
        "failures": count.failures,
    }
    status = max((failure["status"] for failure in count.failures), default=200)
    return exchange.respond(status, body, warnings=context.notes)


async def _read(exchange: Exchange) -> _Copy | None:
    parameters = exchange.parameters
    if not _PARAMETERS.issuperset(parameters) or parameters.get("wait_for_completion", "true") not in ("", "true"):
        return None
    try:
        # Its query may be one that only the sidecar can make executable.
        data = await rewritten_inside(exchange) or as_json(await exchange.body(), exchange.types.body_format())
        source = read_source(data or b"{}")
    except SidecarError:
        return None
    if source is None:
        return None
    body = source.document
    index = exchange.values.get("index")
    read = body.get("source") if index is None else {"index": index, "query": body.get("query")}
    into = body.get("dest") if index is None else {}
    known = _BY_QUERY if index is not None else _REINDEX
    if not known.issuperset(body) or not isinstance(read, dict) or not isinstance(into, dict):
        return None
    if not _SOURCE.issuperset(read) or not _DEST.issuperset(into):
        return None
    names = [read["index"]] if isinstance(read.get("index"), str) else read.get("index")
    most, batch = body.get("max_docs", parameters.get("max_docs")), parameters.get("scroll_size", read.get("size"))
    if (
        not isinstance(names, list)
        or not names
        or not all(str(one or "").isdecimal() for one in (most or 1, batch or 1))
    ):
        return None
    target = into.get("index")
    if index is None and not isinstance(target, str):
        return None
    filtered = read.get("_source")
    return _Copy(
        source=",".join(map(str, names)),
        query=read.get("query"),
        filtered=filtered,
        script=body.get("script"),
        into=target,
        operation=str(into.get("op_type", "index")),
        pipeline=into.get("pipeline"),
        proceeds=body.get("conflicts", parameters.get("conflicts")) == "proceed",
        most=int(most) if most else None,
        batch=int(batch) if batch else _BATCH,
        keeps_inference=isinstance(filtered, dict) and filtered.get("exclude_vectors") is False,
    )


async def _run(exchange: Exchange, context: WriteContext, copy: _Copy, count: _Count) -> None:
    search: dict[str, Any] = {"size": copy.batch, "seq_no_primary_term": True, "track_total_hits": True}
    search["sort"] = ["_doc"]
    if copy.into is None:
        search["version"] = True
    if copy.query is not None:
        search["query"] = copy.query
    shown = {"exclude_vectors": False} if context.version.since(None, (9, 2)) else None
    if isinstance(copy.filtered, dict):
        shown = {**(shown or {}), **copy.filtered}
    elif copy.filtered is not None:
        shown = {**(shown or {}), "includes": copy.filtered}
    if shown is not None:
        search["_source"] = shown
    # A part of the documents must not pass for all of them.
    target = f"/{quote(copy.source, safe=',*')}/_search?scroll={_KEEP_SCROLL}&allow_partial_search_results=false"
    answer = await exchange.call("POST", target, orjson.dumps(search))
    scroll = None
    done = 0
    try:
        while answer.status == 200:
            body = answer.json()
            scroll = body["_scroll_id"]
            count.failures += _unread(body)
            if count.failures:
                return
            hits = body["hits"]["hits"]
            count.total = (
                body["hits"]["total"]["value"] if copy.most is None else min(copy.most, body["hits"]["total"]["value"])
            )
            hits = hits if copy.most is None else hits[: copy.most - done]
            if not hits:
                return
            done += len(hits)
            count.batches += 1
            await _write(exchange, context, copy, hits, count)
            if count.failures:
                return
            again = orjson.dumps({"scroll": _KEEP_SCROLL, "scroll_id": scroll})
            answer = await exchange.call("POST", "/_search/scroll", again)
        raise _LeftToClusterError((answer.json() or {}).get("error"))  # the search is refused: the cluster says why
    finally:
        if scroll is not None:
            await exchange.call("DELETE", "/_search/scroll", orjson.dumps({"scroll_id": scroll}))


def _unread(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What failed of a page on some shards, with which the work ends before any of the page is written."""
    failures = (found.get("_shards") or {}).get("failures") or ()
    return [
        {**one, "status": _STATUS_OF_SHARDS.get(str((one.get("reason") or {}).get("type")), 500)} for one in failures
    ]


async def _write(
    exchange: Exchange, context: WriteContext, copy: _Copy, hits: Sequence[Mapping[str, Any]], count: _Count
) -> None:
    made = await _scripted(exchange, copy, hits)
    actions = []
    for hit, one in zip(hits, made, strict=True):
        if one.operation == "noop":
            count.noops += 1
            continue
        meta: dict[str, Any] = {"_index": one.index}
        if one.id is not None:
            meta["_id"] = one.id
        if one.routing is not None:
            meta["routing"] = one.routing
        if copy.into is None:
            meta |= {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
        if one.operation == "delete":
            actions.append(BulkAction("delete", meta, orjson.dumps({"delete": meta}) + b"\n"))
            continue
        if copy.pipeline is not None:
            meta["pipeline"] = copy.pipeline
        head = orjson.dumps({copy.operation: meta}) + b"\n"
        actions.append(BulkAction(copy.operation, meta, head, orjson.dumps(one.source) + b"\n"))
    if not actions:
        return
    maker = BatchMaker(exchange, context)
    batch = await maker.current(await maker.prepare(actions))
    parameters = {name: exchange.parameters[name] for name in _OF_THE_WRITE if name in exchange.parameters}
    target = f"/_bulk?{urlencode(parameters)}" if parameters else "/_bulk"
    answer = await exchange.call("POST", target, batch.data, content_type="application/x-ndjson")
    body = answer.json()
    if answer.status != 200:
        error = body.get("error")
        count.failures.append({"index": copy.into or copy.source, "cause": error, "status": answer.status})
        return
    for item in BulkWrite(exchange, context).settled(batch, body)["items"]:
        for about in item.values():
            _account(copy, about, count)


def _account(copy: _Copy, about: Mapping[str, Any], count: _Count) -> None:
    if "error" not in about:
        result = about.get("result")
        count.created += result == "created"
        count.updated += result == "updated"
        count.deleted += result == "deleted"
        count.noops += result == "noop"
        return
    is_conflict = about["status"] == 409
    count.conflicts += is_conflict
    if not (is_conflict and copy.proceeds):
        count.failures.append(
            {"index": about["_index"], "id": about["_id"], "cause": about["error"], "status": about["status"]}
        )


async def _scripted(exchange: Exchange, copy: _Copy, hits: Sequence[Mapping[str, Any]]) -> list[_Made]:
    """What is to be written of every document, behind the script where there is one.

    Raises:
        _LeftToClusterError: it fails, or asks for what is not done here.
    """
    found = []
    for hit in hits:
        source = dict(hit.get("_source") or {})
        if not copy.keeps_inference:
            source.pop(INFERENCE_FIELDS, None)
        found.append(_Made("index", source, copy.into or hit["_index"], hit["_id"], hit.get("_routing")))
    if copy.script is None:
        return found
    script = {"source": copy.script} if isinstance(copy.script, str) else copy.script
    docs = [_draft(one, hit.get("_version")) for one, hit in zip(found, hits, strict=True)]
    body = {"pipeline": {"processors": [{"script": script}]}, "docs": docs}
    answer = await exchange.call("POST", "/_ingest/pipeline/_simulate", orjson.dumps(body))
    made = answer.json().get("docs", []) if answer.status == 200 else []
    if len(made) != len(docs) or any("doc" not in one for one in made):
        raise _LeftToClusterError(next((one["error"] for one in made if "error" in one), None))
    results = []
    for one, hit, doc in zip(found, hits, (one["doc"] for one in made), strict=True):
        source = doc["_source"].get("_source")
        operation = doc["_source"].get("op")
        if not isinstance(source, dict) or operation not in ("index", "delete", "noop"):
            raise _LeftToClusterError
        if doc["_version"] != str(hit.get("_version", _NO_VERSION)):
            raise _LeftToClusterError
        result = _Made(operation, dict(source), doc["_index"], doc.get("_id"), doc.get("_routing"))
        if copy.into is None and (result.index, result.id, result.routing) != (one.index, one.id, one.routing):
            raise _LeftToClusterError  # only copies may get another name
        results.append(result)
    return results


def _draft(one: _Made, version: int | None) -> dict[str, Any]:
    """A document for the simulation of a pipeline, under the names by which scripts of these APIs know it."""
    doc: dict[str, Any] = {"_index": one.index, "_id": one.id, "_source": {"_source": one.source, "op": "index"}}
    if one.routing is not None:
        doc["_routing"] = one.routing
    if version is not None:
        doc["_version"] = version
    return doc
