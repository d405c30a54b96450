"""What the cluster says against the form of a body, which it reads whole before anything in it runs.

A search that fails here, because of an endpoint or a window, would have failed earlier in the cluster where a later
part of it cannot be read; and a body that was rewritten has its mistakes in other places. So when something failed
the cluster is asked about the body as it came, over an index that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

from aiohttp import web

from sidecar.core.errors import ActionRequestValidationError, SidecarError, XContentParseError
from sidecar.front.exchange import Exchange
from sidecar.front.search_bodies import body_bytes
from sidecar.front.stand_in import StandIn, stand_in, status_of
from sidecar.search.bodies import read_object
from sidecar.search.own_parameters import OWN_PARAMETERS
from sidecar.search.retrievers.parsing import kinds_of
from sidecar.search.retrievers.tree import OURS
from sidecar.wire.json_scanner import JsonScanner

NOWHERE = "sidecar-no-such-index"
_APIS = ("_search", "_async_search", "_count", "_explain")
_NOT_ASKED = frozenset(
    {"ignore_unavailable", "allow_no_indices", "expand_wildcards", "filter_path", "pretty", "format", "source"}
    | {"source_content_type", "wait_for_completion_timeout", "keep_on_completion", "keep_alive", "error_trace"}
    | OWN_PARAMETERS
)
_PLACE = re.compile(r"^\[(\d+):(\d+)\]")
# What rewriting replaces and a cluster without the modules cannot read.
_REWRITTEN = re.compile(
    r"unknown (?:query|field|retriever) \[(?:text_expansion|sparse_vector|semantic|text_embedding|embedding)\]"
)
_END = 1 << 60


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the cluster says of a body, as said of the caller's own."""

    status: int
    error: Mapping[str, Any]

    def body(self) -> dict[str, Any]:
        return {"error": self.error, "status": self.status}


async def first_complaint(exchange: Exchange, failure: SidecarError | None = None) -> web.Response | None:
    """The cluster's answer to a body that it cannot read; ``None`` where it can, or finds it worse only behind
    ``failure``.

    Raises:
        aiohttp.ClientError: no node answers; shown as 503.
    """
    parts = exchange.path.split("/")
    api = next((name for name in parts if name in _APIS), None)
    if "template" in parts:
        return None  # its body is no search
    try:
        data = await body_bytes(exchange)
    except SidecarError:
        return None
    if api is None:
        return None
    target = _target(exchange, api)
    found = await complaint_about(exchange, data, target, failure)
    if found is None:
        return None
    shown = _with_path(found.body(), unquote(target.partition("?")[0]), unquote(exchange.path))
    return exchange.respond(found.status, shown, filtered=False)


async def complaint_about(
    exchange: Exchange, data: bytes, target: str, failure: SidecarError | None = None
) -> Complaint | None:
    """The cluster's complaint about the text of a search's body, asked at ``target``, raw path and query.

    ``None`` as for :func:`first_complaint`.

    Raises:
        aiohttp.ClientError: no node answers; shown as 503.
    """
    body = read_object(data)
    if body is None or "pit" in body:
        return None
    asked = stand_in(data) if kinds_of(body.get("retriever")) & OURS else StandIn(data, data)
    answer = await exchange.call("POST", target, asked.text)
    if answer.status not in (400, 500):
        return None
    error = answer.json().get("error")
    if not isinstance(error, Mapping) or _is_of_another_kind(error, asked, failure):
        return None
    shown = asked.own(error)
    place = _place(shown)
    if failure is not None and place is not None and _place_of(failure, asked, data) < place:
        return None
    return Complaint(status_of(shown, answer.status), shown)


async def refuse_broken_tree(exchange: Exchange) -> None:
    """Raises what is wrong with a body that is no JSON and names a retriever of ours, which the cluster may not have.

    Raises:
        XContentParseError: as said.
    """
    try:
        data = await body_bytes(exchange)
    except SidecarError:
        return  # of a format that the cluster alone reads, or finds at fault itself
    check_text_of_tree(data)


def check_text_of_tree(data: bytes) -> None:
    """Raises what is wrong with a text that is no JSON and names a retriever of ours.

    Raises:
        XContentParseError: as said.
    """
    if not any(f'"{kind}"'.encode() in data for kind in OURS - {"auto"}):
        return
    scanner = JsonScanner(data)
    while scanner.next() is not None:
        pass


def _target(exchange: Exchange, api: str) -> str:
    path = f"/{NOWHERE}/{'_search' if api == '_async_search' else api}"
    if api == "_explain":
        path += "/" + quote(exchange.values.get("id", "_"), safe="")
    kept = {name: value for name, value in exchange.parameters.items() if name not in _NOT_ASKED}
    return f"{path}?{urlencode(kept)}" if kept else path


def _with_path(value: Any, asked: str, own: str) -> Any:
    """What was said of the path that was asked, said of the caller's own."""
    if isinstance(value, Mapping):
        return {name: _with_path(item, asked, own) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_path(item, asked, own) for item in value]
    return value.replace(f"request [{asked}]", f"request [{own}]") if isinstance(value, str) else value


def _is_of_another_kind(error: Mapping[str, Any], asked: StandIn, failure: SidecarError | None) -> bool:
    is_validation = error.get("type") == "action_request_validation_exception"
    if is_validation and (asked.kinds or isinstance(failure, ActionRequestValidationError)):
        return True
    return is_of_rewriting(error)


def is_of_rewriting(error: Mapping[str, Any]) -> bool:
    """Whether a cluster complains of what rewriting replaces, which it cannot read without the modules."""
    return _REWRITTEN.search(str(error)) is not None


def _place(error: Mapping[str, Any]) -> tuple[int, int] | None:
    """Line and column of the deepest cause that has them."""
    found = None
    node: Any = error
    while isinstance(node, Mapping):
        match = _PLACE.match(str(node.get("reason")))
        if match:
            found = (int(match[1]), int(match[2]))
        elif isinstance(node.get("line"), int):
            found = (node["line"], node["col"])
        node = node.get("caused_by")
    return found


def _place_of(failure: SidecarError, asked: StandIn, data: bytes) -> tuple[int, int]:
    """Where a failure of ours stands: one without a place at the end of its retriever, one of another kind nowhere."""
    if not failure.is_of_the_form:
        return (_END, 0)
    match = _PLACE.match(str(failure.reason)) if isinstance(failure, XContentParseError) else None
    if match:
        return (int(match[1]), int(match[2]))
    before = data[: asked.end]
    return (before.count(b"\n") + 1, len(before) - before.rfind(b"\n"))
