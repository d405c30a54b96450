"""Writes that the cluster refuses for their parameters, found out before inference is paid for.

Which parameters there are is the cluster's to say: one that looks unusual is asked about, with a write that cannot
succeed, once with it and once without.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sidecar.front.cluster import Answer
from sidecar.front.exchange import Exchange
from sidecar.front.refusals import GUARD
from sidecar.front.request_target import SHAPING, with_parameters, without_shape

WITHOUT_CHANGE = b'{"update":{"_index":"0","_id":"0"}}\n{}\n'
"""A bulk that the cluster refuses whole, before it looks for the index."""

_TIME = re.compile(r"-1|0|\d+(nanos|micros|ms|s|m|h|d)")
_NUMBER = re.compile(r"\d{1,9}")
_LONG = re.compile(r"\d{1,18}")
_SWITCH = re.compile(r"|true|false")
_ANY = re.compile(r".*", re.DOTALL)
_REFRESH = re.compile(r"|true|false|wait_for")
_SHARDS = re.compile(r"all|\d{1,9}")
_EVERYWHERE: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(SHAPING, _ANY),
    "error_trace": _SWITCH,
    "include_source_on_error": _SWITCH,
    "refresh": _REFRESH,
    "require_alias": _SWITCH,
    "routing": _ANY,
    "timeout": _TIME,
    "wait_for_active_shards": _SHARDS,
}
_SHOWN = {"_source": _ANY, "_source_includes": _ANY, "_source_excludes": _ANY}
_STORED = {"pipeline": _ANY, "require_data_stream": _SWITCH}
_COMPARED = {"if_seq_no": _LONG, "if_primary_term": _LONG}
_USUAL: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "_bulk": {**_EVERYWHERE, **_SHOWN, **_STORED, "list_executed_pipelines": _SWITCH},
    "_doc": {
        **_EVERYWHERE,
        **_STORED,
        **_COMPARED,
        "op_type": re.compile("index|create"),
        "version": _LONG,
        "version_type": re.compile("internal|external|external_gte"),
    },
    "_update": {
        **_EVERYWHERE,
        **_SHOWN,
        **_COMPARED,
        "doc_as_upsert": _SWITCH,
        "lang": _ANY,
        "retry_on_conflict": _NUMBER,
    },
}
# What a write meets that asks for the wrong things together, as those that are tried here may.
_OF_THE_WHOLE = "action_request_validation_exception"
_BODIES = {"_bulk": WITHOUT_CHANGE, "_doc": b"{}", "_update": b"{}"}


async def refused_for_parameters(exchange: Exchange, route: str) -> Answer | None:
    """The cluster's refusal of a write by ``route`` (``_bulk``, ``_doc``, ``_update``) for what its address says.

    ``None`` where it has none, or where the parameters are such that nobody need ask.
    """
    usual = _USUAL[route]
    odd = {name for name, value in exchange.parameters.items() if name not in usual or not usual[name].fullmatch(value)}
    if not odd:
        return None
    answer = await _asked(exchange, route)
    told = _reason(answer)
    if told is None or told[1] == _OF_THE_WHOLE or told == _reason(await _asked(exchange, route, without=odd)):
        return None
    return answer


async def _asked(exchange: Exchange, route: str, without: Collection[str] = ()) -> Answer:
    guard = {name: str(value) for name, value in GUARD.items()} if route == "_doc" else {}
    target = with_parameters(without_shape(exchange.target), guard, without={*without, *guard})
    form = "application/x-ndjson" if route == "_bulk" else "application/json"
    return await exchange.call(exchange.request.method, target, _BODIES[route], content_type=form)


def _reason(answer: Answer) -> tuple[int, str, str] | None:
    body = answer.json()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    return answer.status, str(error.get("type")), str(error.get("reason"))
