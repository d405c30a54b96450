"""Documents as they stand in the cluster, for partial updates whose vectors are made of more than they hold."""

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


async def read_stored(exchange: Exchange, names: Sequence[DocumentName]) -> list[StoredDocument | SidecarError | None]:
    """The documents of these names, in realtime, with the caller's credentials; ``None`` for those that are not there.

    What cannot be read but updated is read by an update. Where that is refused it counts as not there: the write meets
    the same refusal. Where it fails otherwise the cluster's error stands in the document's place, since a write that
    comes a moment later may succeed, with vectors of half of its texts.
    """
    if not names:
        return []
    docs = [
        {"_index": name.index, "_id": name.id} | ({} if name.routing is None else {"routing": name.routing})
        for name in names
    ]
    answer = await exchange.call("POST", "/_mget", orjson.dumps({"docs": docs}))
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
    return await examined(partial, plan, is_partial=True, whole=whole, marker=Marker.read(merged))
