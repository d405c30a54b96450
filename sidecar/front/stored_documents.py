"""Documents as they stand in the cluster, for partial updates whose vectors are made of more than they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.front.document_merging import merge
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examine
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


async def read_stored(exchange: Exchange, names: Sequence[DocumentName]) -> list[StoredDocument | None]:
    """The documents of these names, in realtime, with the caller's credentials; ``None`` for those that are not there.

    What cannot be read is not there either: the write is then judged by the cluster alone.
    """
    if not names:
        return []
    docs = [
        {"_index": name.index, "_id": name.id} | ({} if name.routing is None else {"routing": name.routing})
        for name in names
    ]
    answer = await exchange.call("POST", "/_mget", orjson.dumps({"docs": docs}))
    found = answer.json().get("docs", []) if answer.status == 200 else []
    if len(found) != len(names):
        return [None] * len(names)
    return [_stored(one) for one in found]


def _stored(found: dict[str, Any]) -> StoredDocument | None:
    if not found.get("found") or not isinstance(found.get("_source"), dict):
        return None
    return StoredDocument(found["_index"], found["_source"], found["_seq_no"], found["_primary_term"])


def examine_with_stored(partial: SourceText, stored: StoredDocument, plan: WritePlan) -> Filling:
    """What a partial document wants, of the texts that the whole document will have.

    Raises:
        SidecarError: a value that Elasticsearch refuses to embed, or a text that cannot be cut.
    """
    merged, _ = merge(stored.source, partial.document)
    whole = SourceText(orjson.dumps(merged), merged)
    return examine(partial, plan, is_partial=True, whole=whole, marker=Marker.read(merged))
