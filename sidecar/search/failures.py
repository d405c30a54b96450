"""Failures of shards and legs, in the words that Elasticsearch has for the clause that was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.core.errors import RelayedError, SidecarError
from sidecar.search.rewriting import Planted

_ILLEGAL = "illegal_argument_exception"


def with_own_reasons(answer: Any, planted: Sequence[Planted]) -> Any:
    """An answer in which the shards of ``planted`` clauses fail with the reasons of those that they stand for."""
    reasons = {one.index: one.reason for one in planted}
    return _replaced(answer, reasons) if reasons else answer


def _replaced(value: Any, reasons: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, reasons) for item in value]
    if not isinstance(value, dict):
        return value
    reason = _planted_reason(value, reasons)
    if reason is not None:
        return {"type": _ILLEGAL, "reason": reason}
    new: dict[str, Any] = {}
    for name, item in value.items():
        if name in ("hits", "aggregations"):
            new[name] = item
            continue
        new[name] = _replaced(item, reasons)
        if name == "caused_by" and isinstance(item, dict):
            own = _planted_reason(item, reasons)
            if own is not None:
                new[name] = {"type": _ILLEGAL, "reason": own, "caused_by": {"type": _ILLEGAL, "reason": own}}
    if value.get("type") == "search_phase_execution_exception" and "caused_by" not in value:
        failed = [shard.get("reason") for shard in new.get("failed_shards") or () if isinstance(shard, dict)]
        planted = [{"type": _ILLEGAL, "reason": text} for text in reasons.values()]
        first = next((shard for shard in failed if shard in planted), None)
        if first is not None:
            new["caused_by"] = {**first, "caused_by": first}
    return new


def _planted_reason(value: Mapping[str, Any], reasons: Mapping[str, str]) -> str | None:
    if value.get("type") != "query_shard_exception" or value.get("index") not in reasons:
        return None
    text = str(value.get("reason", ""))
    ours = "does not support match_phrase queries" in text or "must be type [sparse_vector]" in text
    return reasons[value["index"]] if ours else None


def partial(label: str, answer: Mapping[str, Any]) -> str | None:
    """What is missing from a leg of which shards failed, ``None`` where none did.

    The fused page is fetched by a search of its own, whose shards say nothing of the legs'.
    """
    failures = (answer.get("_shards") or {}).get("failures") or ()
    reasons = dict.fromkeys(
        f"index [{failure.get('index')}]: {(failure.get('reason') or {}).get('reason')}" for failure in failures
    )
    return f"[{label}] lacks hits of shards that failed, {'; '.join(reasons)}" if reasons else None


def described(error: SidecarError) -> dict[str, Any]:
    """An error of ours as it stands below another one."""
    if isinstance(error, RelayedError):
        return dict(error.body["error"]) if isinstance(error.body["error"], Mapping) else {"reason": error.reason}
    shown: dict[str, Any] = {"type": error.type, "reason": error.reason, **error.metadata}
    if error.cause is not None:
        shown["caused_by"] = described(error.cause)
    return shown
