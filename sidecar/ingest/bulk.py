"""How bulks are cut and what their answers mean: plain functions, no client.

Source: Elasticsearch API reference, "Bulk index or delete documents"; statuses as real nodes of 8.19.8 and 9.4.3
give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol, TypeVar


class Sized(Protocol):
    @property
    def size(self) -> int: ...


SizedItem = TypeVar("SizedItem", bound=Sized)


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """How large a bulk may be now: halved when the cluster pushes back, grown by a quarter with every success.

    The ceiling of 10 MB lies in the 5 to 15 MB that Elastic recommends, far below ``http.max_content_length``.
    """

    actions: int = 500
    bytes: int = 10 * 1024 * 1024
    most_actions: int = 500
    most_bytes: int = 10 * 1024 * 1024

    def halved(self) -> BulkLimits:
        return replace(self, actions=max(1, self.actions // 2), bytes=max(64 * 1024, self.bytes // 2))

    def grown(self) -> BulkLimits:
        return replace(
            self,
            actions=min(self.most_actions, self.actions + max(1, self.actions // 4)),
            bytes=min(self.most_bytes, self.bytes + self.bytes // 4),
        )


def cut(actions: Iterable[SizedItem], limits: BulkLimits) -> Iterator[list[SizedItem]]:
    """Bulks in order, each within both limits; an action larger than a bulk goes alone."""
    bulk: list[SizedItem] = []
    held = 0
    for action in actions:
        if bulk and (len(bulk) >= limits.actions or held + action.size > limits.bytes):
            yield bulk
            bulk, held = [], 0
        bulk.append(action)
        held += action.size
    if bulk:
        yield bulk


class Outcome(Enum):
    """What one item of a bulk's answer asks for."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    GONE = "gone"
    RETRY = "retry"
    FAILED = "failed"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    outcome: Outcome
    reason: str = ""


STOPPING_TYPES = {
    "index_not_found_exception": "the index is gone",
    "index_closed_exception": "the index is closed",
    "strict_dynamic_mapping_exception": "the mapping is strict and lacks a field",
    "security_exception": "the user or key may not write",
    "cluster_block_exception": "the index is blocked for writes",
}


# What the cluster says where it adds the results of its own endpoints to a document that brings some.
_RESULTS_TWICE = "Duplicate field '_inference_fields'"
_OF_BOTH = (
    "it has texts for [semantic_text] fields of the sidecar's endpoints and of the cluster's own, and results are taken"
    " or made by Elasticsearch, not both: give the fields endpoints of the sidecar, or of the cluster, or leave the"
    " texts of one kind for an update in a bulk"
)


def read_item(item: Mapping[str, Any]) -> ItemAnswer:
    """``item`` is one element of ``items``: ``{"update": {"status": ..., "error": ...}}``."""
    answer = next(iter(item.values()))
    status = int(answer.get("status", 500))
    if status < 300:
        return ItemAnswer(Outcome.WRITTEN)
    error = answer.get("error") or {}
    kind, reason = str(error.get("type", "")), describe_error(error)
    if kind in STOPPING_TYPES:
        return ItemAnswer(Outcome.STOP, f"{STOPPING_TYPES[kind]}: {reason}")
    if status == 409:
        return ItemAnswer(Outcome.CONFLICT, reason)
    if status == 404:
        gone = kind == "document_missing_exception"
        return ItemAnswer(Outcome.GONE if gone else Outcome.STOP, reason)
    if status in (401, 403):
        return ItemAnswer(Outcome.STOP, reason)
    if status in (429, 502, 503, 504):
        return ItemAnswer(Outcome.RETRY, reason)
    if kind == "illegal_argument_exception" and "immense term" not in reason:
        # Not about this document's values (those are document_parsing_exception): every other would fail as well.
        return ItemAnswer(Outcome.STOP, reason)
    return ItemAnswer(Outcome.FAILED, reason)


def describe_error(error: Mapping[str, Any] | str) -> str:
    """``type: reason`` with the innermost cause, shortened to 500 characters; of a search its first shard's."""
    if isinstance(error, str):
        return error[:300]
    text = f"{error.get('type', 'error')}: {error.get('reason', '')}"
    if _RESULTS_TWICE in text:
        return f"{error.get('type', 'error')}: {_OF_BOTH}"
    cause = error.get("caused_by")
    while isinstance(cause, Mapping):
        if cause.get("reason") and str(cause["reason"]) not in text:
            text += f" ({cause['reason']})"
        cause = cause.get("caused_by")
    for shard in error.get("failed_shards") or ():
        text += f": {describe_error(shard.get('reason') or {})} (index [{shard.get('index')}])"
        break
    return text[:500]
