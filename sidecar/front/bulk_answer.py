"""The answer to a bulk, with the items that failed before they reached the cluster in their places.

A document whose inference failed is replaced in the cluster's bulk by an action that cannot succeed, so that items keep
their places, and so that an index that is missing, closed or forbidden is still told of first.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.core.errors import SidecarError
from sidecar.core.generations import Generation
from sidecar.front.bulk_lines import BulkAction
from sidecar.front.refusals import GUARD, OF_THE_GUARD, ConflictingSettingsError, VersionConflictError
from sidecar.wire.envelopes import render_error

_VALIDATION = "Validation Failed: "
_LAST_COMPLAINT = re.compile(r"\d+: script or doc is missing;$")
_KEPT = ("_index", "_id", "routing", "_routing", "require_alias")


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that the front answers: ``index`` and ``id`` as its answer names them."""

    operation: str
    index: str
    id: str
    status: int
    error: Mapping[str, Any]

    def answer(self) -> dict[str, Any]:
        """The element of ``items``."""
        about = {"_index": self.index, "_id": self.id, "status": self.status, "error": self.error}
        return {self.operation: about}


def described(error: SidecarError, generation: Generation) -> tuple[int, Mapping[str, Any]]:
    """Status and ``error`` of an item that ``error`` befell."""
    status, body = render_error(error, generation)
    told = body["error"]
    if not isinstance(told, Mapping):  # of a request as a whole, in the short form
        told = {"type": error.type, "reason": error.reason}
    return status, {name: value for name, value in told.items() if name != "root_cause"}


def failed_item(action: BulkAction, index: str, error: SidecarError, generation: Generation) -> FailedItem:
    """The item of an ``action`` that ``error`` befell."""
    given = action.meta.get("_id")
    identity = uuid.uuid4().hex[:20] if given is None else str(given)
    told = error.within(identity) if isinstance(error, ConflictingSettingsError) else error
    status, about = described(told, generation)
    return FailedItem(action.operation, index, identity, status, about)


def placeholder(action: BulkAction, identity: str | None = None) -> bytes:
    """What stands in the cluster's bulk where an ``action`` stood; ``identity`` is the id that its answer names."""
    meta = {name: action.meta[name] for name in _KEPT if name in action.meta}
    meta |= {} if identity is None else {"_id": identity}
    meta |= GUARD  # the update fails, whether or not there is a document
    return orjson.dumps({"update": meta}) + b'\n{"doc":{}}\n'


def without_last_complaint(body: dict[str, Any]) -> dict[str, Any] | None:
    """A refusal of a whole bulk without what it says of the last action; ``None`` where it says nothing else."""
    error = body["error"]
    for about in (error, *error.get("root_cause", ())):
        reason = str(about.get("reason"))
        if not reason.startswith(_VALIDATION):
            continue
        left = _LAST_COMPLAINT.sub("", reason)
        if left == _VALIDATION:
            return None
        about["reason"] = left
    return body


def merged(body: dict[str, Any], failed: Mapping[int, FailedItem]) -> dict[str, Any]:
    """The cluster's answer with ``failed`` items, by their places, in place of what stands there for them."""
    items = body.get("items")
    if not isinstance(items, list):
        return body
    for place, item in failed.items():
        if place < len(items):
            items[place] = _item(item, items[place])
    if failed:
        body["errors"] = any("error" in about for one in items for about in one.values())
    return body


def _item(item: FailedItem, standing: Mapping[str, Any]) -> dict[str, Any]:
    ((_, about),) = standing.items()
    error = about.get("error") or {}
    if error and error.get("type") not in OF_THE_GUARD:
        return {item.operation: about}
    answer = item.answer()
    if error and item.error.get("type") == error.get("type") == VersionConflictError.type:
        answer[item.operation]["error"] = {**error, "reason": item.error["reason"]}
    return answer
