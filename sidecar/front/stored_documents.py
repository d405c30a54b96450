"""Documents as they stand in the cluster, for partial updates whose vectors are made of more than they hold.

A document that was written a moment ago, and no refresh since, is read out of the cluster's log of writes, where
``_inference_fields`` are not shown. The cluster's own updates read it there as well, and store it without the chunks of
what they do not change (seen on 8.19.8 and 9.4.3, with the trial licence too): these are made again by the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sidecar.core.errors import RelayedError, SidecarError
from sidecar.front.cluster import Answer
from sidecar.front.document_merging import merge
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examined
from sidecar.front.source_text import SourceText
from sidecar.front.targets import WritePlan
from sidecar.ingest.marker import Marker
from sidecar.ingest.semantic_field import INFERENCE_FIELDS
from sidecar.ingest.semantic_values import texts_of, value_at

_WITH_RESULTS = {
    "stored_fields": INFERENCE_FIELDS,  # so do the cluster's own updates read
    "_source": "true",
    "filter_path": f"-docs._source.{INFERENCE_FIELDS}.**.chunks",
}


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with the sequence number and primary term at which it was read."""

    index: str
    source: dict[str, Any]
    seq_no: int
    primary_term: int


@dataclass(frozen=True, slots=True)
class DocumentName:
    """What names a document."""

    index: str
    id: str
    routing: str | None = None


async def read_stored(
    exchange: Exchange, names: Sequence[DocumentName], *, shows_results: bool = False, shows_vectors: bool = False
) -> list[StoredDocument | SidecarError | None]:
    """The documents of these names, in realtime, with the caller's credentials; ``None`` for those that are not there.

    What cannot be read but updated is read by an update. Where that is refused it counts as not there: the write meets
    the same refusal. Where it fails otherwise the cluster's error stands in the document's place, since a write that
    comes a moment later may succeed, with vectors of half of its texts. With ``shows_results``
    ``_inference_fields`` are in the sources, without their chunks; with ``shows_vectors`` vectors are, which 9.2 and
    later do not show unasked.
    """
    if not names:
        return []
    docs = [
        {"_index": name.index, "_id": name.id} | ({} if name.routing is None else {"routing": name.routing})
        for name in names
    ]
    query = _WITH_RESULTS if shows_results else {}
    if shows_vectors:
        query = {**query, "_source_exclude_vectors": "false"}
    target = f"/_mget?{urlencode(query)}" if query else "/_mget"
    answer = await exchange.call("POST", target, orjson.dumps({"docs": docs}))
    if answer.status == HTTPStatus.FORBIDDEN:
        return [await _read_by_update(exchange, name) for name in names]
    if answer.status != HTTPStatus.OK:
        return [_relayed(answer)] * len(names)
    return [
        await _read_by_update(exchange, name) if _is_there_unread(one) else _stored(one)
        for name, one in zip(names, answer.json()["docs"], strict=True)
    ]


async def _read_by_update(exchange: Exchange, name: DocumentName) -> StoredDocument | SidecarError | None:
    try:
        return _stored(await shown_by_update(exchange, name))
    except RelayedError as error:
        return error


def _is_there_unread(found: Mapping[str, Any]) -> bool:
    """Whether the document may be there although it was not read; an update would make an index that is missing."""
    return "error" in found and found["error"].get("type") != "index_not_found_exception"


def _relayed(answer: Answer) -> RelayedError:
    return RelayedError(answer.status, answer.json() or {"error": None})


async def shown_by_update(
    exchange: Exchange, name: DocumentName, shown: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A document in the form of the get API, with the caller's right to update alone; empty where there is none.

    An update that changes nothing shows the source to whoever may update, vectors included, ``_inference_fields`` not.
    ``shown`` are its parameters that say what of the source (default: all).

    Raises:
        RelayedError: the cluster does not refuse it, and cannot do it now.
    """
    query = dict(shown or {"_source": "true"}) | ({} if name.routing is None else {"routing": name.routing})
    path = f"/{quote(name.index, safe='')}/_update/{quote(name.id, safe='')}"
    answer = await exchange.call("POST", f"{path}?{urlencode(query)}", b'{"doc":{}}')
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _relayed(answer)
    if answer.status != HTTPStatus.OK:
        return {}
    body = dict(answer.json())
    return {**body, **body.get("get", {}), "_version": body["_version"]}


def _stored(found: dict[str, Any]) -> StoredDocument | None:
    if not found.get("found") or not isinstance(found.get("_source"), dict):
        return None
    return StoredDocument(found["_index"], found["_source"], found["_seq_no"], found["_primary_term"])


async def examined_with_stored(partial: SourceText, stored: StoredDocument, plan: WritePlan) -> Filling:
    """What a partial document wants, of the texts that the whole document will have.

    Raises:
        SidecarError: a value that Elasticsearch refuses to embed, or a text that cannot be cut.
    """
    merged, _ = merge(stored.source, partial.document)
    whole = SourceText(orjson.dumps(merged), merged)
    lost = _lost(stored, plan)
    marker = Marker.read(merged)
    return await examined(partial, plan, is_partial=True, whole=whole, before=stored.source, marker=marker, lost=lost)


def _lost(stored: StoredDocument, plan: WritePlan) -> frozenset[str]:
    """The ``semantic_text`` fields of a document that has text for them and does not show their results."""
    shown = stored.source.get(INFERENCE_FIELDS)
    results = shown if isinstance(shown, dict) else {}
    return frozenset(
        target.name
        for target in plan.semantic
        if target.name not in results and any(_has_text(target.name, stored.source, path) for path in target.sources)
    )


def _has_text(name: str, source: Mapping[str, Any], path: str) -> bool:
    try:
        return any(text.strip() for text in texts_of(name, value_at(source, path)))
    except SidecarError:
        return False  # in the form of 8.15 to 8.17 results stand beside the text, in an object
