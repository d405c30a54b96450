"""What the cluster is sure to refuse, found out before inference is paid for, and let the cluster say it.

Nothing here decides in the cluster's place, and no document is sent without its vectors because it will be refused
anyway: a block may be lifted in that very moment. What is sent instead are writes that cannot succeed, guarded by a
sequence number that no document has. They meet every refusal that the real one would meet, in the cluster's words.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sidecar.core.errors import IllegalArgumentError, OtherError, SidecarError
from sidecar.front.cluster import Answer
from sidecar.front.exchange import Exchange

NEVER = 9_007_199_254_740_991
"""No document has a sequence number like this one."""
GUARD: Mapping[str, int] = {"if_seq_no": NEVER, "if_primary_term": 1}
OF_THE_GUARD = frozenset(
    {"document_missing_exception", "version_conflict_engine_exception", "illegal_argument_exception"}
)
"""What a guarded write meets where nothing else is in its way."""
LONGEST_ID = 512
_WITHOUT_RIGHTS = "security_exception"
_OF_THE_PLACE = ("routing", "require_alias", "require_data_stream", "timeout", "pipeline")


class VersionConflictError(SidecarError):
    """A document of that id is there already."""

    type = "version_conflict_engine_exception"
    default_status = 409


class MixedEndpointsError(IllegalArgumentError):
    """A document with texts for ``semantic_text`` fields of the sidecar's endpoints and of the cluster's."""

    def __init__(self, ours: str, theirs: str, inference_id: str) -> None:
        super().__init__(
            f"field [{ours}] is filled by the sidecar and field [{theirs}] by the cluster, which has its endpoint"
            f" [{inference_id}]; Elasticsearch takes a document's inference results or makes them, not both: give them"
            " endpoints of the sidecar, or of the cluster, or write one text after the other, as updates of bulks"
        )


class ConflictingSettingsError(OtherError):
    """The vectors that an endpoint makes are others than those that a ``semantic_text`` field is mapped for."""

    def __init__(self, name: str) -> None:
        reason = "Check that the inference_id is not using different model settings"
        conflict = f"Mapper for [{name}] conflicts with existing mapper:\n\tConflict in parameter [model_settings]: "
        super().__init__(
            "document_parsing_exception",
            f"Incompatible model settings for field [{name}]. {reason}",
            cause=IllegalArgumentError(conflict),
            is_elasticsearch_level=True,
        )

    def within(self, identity: str) -> SidecarError:
        """What Elasticsearch says of the document with this id, but for places in its text."""
        reason = (
            "failed to parse field [_inference_fields] of type [_inference_fields] in document with id"
            f" '{identity}'. Preview of field's value: 'null'"
        )
        return OtherError(self.type, reason, cause=self, is_elasticsearch_level=True)


def already_exists(identity: str, version: int) -> VersionConflictError:
    """What Elasticsearch says to ``create`` of a document that is there."""
    return VersionConflictError(
        f"[{identity}]: version conflict, document already exists (current version [{version}])"
    )


def changed_meanwhile(index: str) -> SidecarError:
    """For what the cluster refused a moment ago and does not any more; clients send such items again by themselves."""
    reason = f"index [{index}] has just begun to take documents: send it again"
    return OtherError("es_rejected_execution_exception", reason, status=429)


def is_too_long(identity: str | None) -> bool:
    """Whether Elasticsearch refuses an id for its length in bytes."""
    return identity is not None and len(identity.encode("utf-8", "surrogatepass")) > LONGEST_ID


async def refuses(exchange: Exchange, index: str) -> bool:
    """Whether the cluster refuses every document for ``index``, tried with one that cannot succeed.

    Where the caller may not update, that is not known; what each may do is asked of the cluster elsewhere.
    """
    meta = {"_index": index, "_id": uuid.uuid4().hex[:20], **GUARD}
    line = orjson.dumps({"update": meta}) + b'\n{"doc":{}}\n'
    answer = await exchange.call("POST", "/_bulk", line, content_type="application/x-ndjson")
    if answer.status != 200:
        return bool(_type(answer) != _WITHOUT_RIGHTS)
    ((about,),) = (item.values() for item in answer.json()["items"])
    return (about.get("error") or {}).get("type") not in OF_THE_GUARD | {_WITHOUT_RIGHTS}


async def refusal(exchange: Exchange, route: str, body: bytes) -> Answer | None:
    """The cluster's refusal of a single write by ``route`` (``_doc``, ``_update``); ``None`` where it has none."""
    identity = exchange.values.get("id", uuid.uuid4().hex[:20])
    kept = {name: exchange.parameters[name] for name in _OF_THE_PLACE if name in exchange.parameters}
    query = urlencode({**kept, **GUARD})
    target = f"/{quote(exchange.values['index'], safe='')}/{route}/{quote(identity, safe='')}?{query}"
    answer = await exchange.call("POST" if route == "_update" else "PUT", target, body)
    return None if _type(answer) in OF_THE_GUARD or answer.status < 300 else answer


def _type(answer: Answer) -> Any:
    error = answer.json().get("error")
    return error.get("type") if isinstance(error, dict) else None


async def refusal_of_existing(exchange: Exchange, identity: str) -> dict[str, Any] | None:
    """The cluster's answer to a ``create`` of a document that is there; ``None`` where none is seen."""
    (version,) = await versions(exchange, [DocumentPlace(exchange.values["index"], identity, _routing(exchange))])
    if not isinstance(version, int):
        return None
    target = f"/{quote(exchange.values['index'], safe='')}/_doc/{quote(identity, safe='')}"
    kept = {} if _routing(exchange) is None else {"routing": _routing(exchange)}
    answer = await exchange.call("PUT", f"{target}?{urlencode({**kept, **GUARD})}", b"{}")
    body = answer.json()
    if _type(answer) != VersionConflictError.type:
        return None
    reason = already_exists(identity, version).reason
    for error in (body["error"], *body["error"].get("root_cause", ())):
        error["reason"] = reason
    return dict(body)


def _routing(exchange: Exchange) -> str | None:
    return exchange.parameters.get("routing")


@dataclass(frozen=True, slots=True)
class DocumentPlace:
    """Where a document would lie."""

    index: str
    id: str
    routing: str | None = None


MISSING = "missing"
"""In place of a version: there is no such document."""


async def versions(exchange: Exchange, places: list[DocumentPlace]) -> list[int | str | None]:
    """The versions of documents, :data:`MISSING` for those that are not there, ``None`` where it cannot be known."""
    if not places:
        return []
    docs = [
        {"_index": place.index, "_id": place.id, "_source": False}
        | ({} if place.routing is None else {"routing": place.routing})
        for place in places
    ]
    answer = await exchange.call("POST", "/_mget", orjson.dumps({"docs": docs}))
    found = answer.json().get("docs", []) if answer.status == 200 else []
    if len(found) != len(places):
        return [None] * len(places)
    return [_version(one) for one in found]


def _version(found: Mapping[str, Any]) -> int | str | None:
    if found.get("found"):
        return int(found["_version"])
    return None if "error" in found else MISSING
