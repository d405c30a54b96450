"""What search handlers share: whether a body may be ours, its rewriting, its execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.elastic.index_catalog import SEARCHED
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.front.cluster import Answer
from sidecar.front.exchange import Exchange
from sidecar.front.places import place_in
from sidecar.front.search_bodies import accepted, batch_size, body_bytes, json_for, read_body
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.search.bodies import write_object
from sidecar.search.endpoint_words import may_match_semantic_text, may_need_rewriting
from sidecar.search.engine import DEFAULT_SIZE, Outcome, Search
from sidecar.search.executor import Reply
from sidecar.search.own_parameters import OWN_PARAMETERS
from sidecar.search.preparation import Preparation, known_vectors
from sidecar.search.rewriting import Planted, Rewriter

BODY_PARAMETERS = frozenset({"source", "source_content_type"})
OF_A_HEADER = (
    *("preference", "routing", "search_type", "ignore_unavailable", "allow_no_indices", "expand_wildcards"),
    *("request_cache", "allow_partial_search_results"),
)
"""Parameters of a search that a multi search has in the header of each."""
DELETES = "indices:data/write/delete/byquery"
"""Privileges are named by the actions themselves, which several named ones grant."""
_UPDATES, _INDEXES = "indices:data/write/update/byquery", "indices:data/write/index"


@dataclass(frozen=True, slots=True)
class CallerExecutor:
    """Calls on behalf of the caller of one exchange; ``is_plain``: always for JSON, whatever the caller wants."""

    exchange: Exchange
    is_plain: bool = False

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        as_shown: bool = False,
    ) -> Reply:
        accept = accepted(self.exchange) if as_shown and not self.is_plain else None
        headers = {"Accept": accept} if accept else None
        if accept:
            content_type = json_for(accept, content_type.removeprefix("application/"))
        answer = await self.exchange.call(method, target, body, content_type=content_type, headers=headers)
        return Reply(answer.status, answer.body, answer)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A body with vectors; ``is_changed`` false where it is as it was."""

    body: dict[str, Any]
    is_changed: bool
    planted: list[Planted] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def searched(exchange: Exchange) -> str:
    """The index expression of a search: that of its path, or the parameter that stands for it; ``""``: everything."""
    return exchange.values.get("index") or exchange.parameters.get("index", "")


async def rewritten(
    exchange: Exchange,
    index: str,
    body: dict[str, Any],
    size: int | None,
    expand_wildcards: str | None = None,
    *,
    changes: tuple[str, str] | None = None,
) -> Rewritten:
    """``body`` over ``index`` (an expression) with vectors in the place of texts; ``size`` as it was asked for.

    ``expand_wildcards`` is that of one search of several, ``None``: the request's. ``changes``: the expression that the
    request also writes to, and the privilege that it takes.
    Where the caller may not read the index, or not change it, it stays as it is: the cluster refuses it.

    Raises:
        SidecarError: an endpoint failed, or a clause is refused.
    """
    preparation = preparation_of(exchange)
    scope = await preparation.scope(
        index, body, await cluster_version(exchange), expand_wildcards or expanded(exchange)
    )
    if scope.foreign:
        exchange.facts["foreign_endpoints"] = list(scope.foreign)  # the log tells a slip of the pen by it
    shown = DEFAULT_SIZE if size is None else size
    collecting = Rewriter(scope)
    collecting.body(body, shown)
    rewriter = Rewriter(scope)
    if collecting.wants or collecting.unknown:
        if not await exchange.may_search(index, _point_in_time(body)):
            return Rewritten(body, is_changed=False)
        await preparation.refuse_unknown(collecting)
        if changes is not None:
            changed, privilege = changes
            names = [name for view in scope.views for name in view.names]
            if not await exchange.may_change(changed, names, privilege):
                return Rewritten(body, is_changed=False)
        vectors = known_vectors(await preparation.vectors(collecting.wants), collecting.wants)
        rewriter = replace(rewriter, vectors=vectors)
    new = rewriter.body(body, shown)
    warnings = [*rewriter.warnings, *scope.complaints] if new is not body else rewriter.warnings
    return Rewritten(new, new is not body, rewriter.planted, warnings)


async def rewritten_inside(exchange: Exchange) -> bytes | None:
    """The body of ``_update_by_query`` or ``_reindex`` with its query rewritten; ``None`` where it stays as it is."""
    index = exchange.values.get("index")
    body = await wanted_body(exchange, index or "*")
    if body is None:
        return None
    source = body if index is not None else body.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("query"), dict) or "remote" in source:
        return None
    named = source.get("index", "") if index is None else index
    expression = ",".join(named) if isinstance(named, list) else str(named)
    changes = None if index is None else (index, _UPDATES)
    if index is None and isinstance(body.get("dest"), dict):
        changes = str(body["dest"].get("index", "")), _INDEXES
    asked = source.get("size") if index is None else None
    size = batch_size(body, exchange.parameters, asked)
    new = await rewritten(exchange, expression, {"query": source["query"]}, size, changes=changes)
    if not new.is_changed:
        return None
    whole = {**source, "query": new.body["query"]}
    return write_object(whole if index is not None else {**body, "source": whole})


async def executed(
    exchange: Exchange,
    index: str,
    body: dict[str, Any],
    parameters: Mapping[str, str],
    *,
    data: bytes = b"",
    is_plain: bool = False,
) -> Outcome | None:
    """The answer to a search with a tree of ours; ``None`` where the caller may not read the index.

    ``data`` is the text of the body, for the places that messages name.

    Raises:
        SidecarError: whatever goes wrong, ``ForeignEndpointError`` where the search is the cluster's after all.
    """
    if not await exchange.may_search(index, _point_in_time(body)):
        return None
    search = Search(index, body, parameters, place_in(data))
    executor = CallerExecutor(exchange, is_plain)
    return await exchange.front.searches.search(search, executor, await cluster_version(exchange))


async def refusal(exchange: Exchange, index: str, parameters: Mapping[str, str]) -> dict[str, Any] | None:
    """What the cluster says to a caller who may not search ``index``; ``None``: nothing against it.

    Of a tree of ours it would say that it does not know, or is not licensed for, the retriever.
    """
    path = f"/{quote(index, safe='')}/_search?" if index else "/_search?"
    given = {name: value for name, value in parameters.items() if name in OF_A_HEADER}
    answer = await exchange.call("POST", path + urlencode(given), b'{"size":0}')
    return {"error": answer.json().get("error"), "status": answer.status} if answer.status in (403, 404) else None


async def refused(exchange: Exchange, index: str, body: Mapping[str, Any]) -> web.StreamResponse:
    """The answer to a tree of ours over what the caller may not search: the cluster's, in its own words."""
    said = None if _point_in_time(body) else await refusal(exchange, index, exchange.parameters)
    return await exchange.forward() if said is None else exchange.respond(said["status"], said)


def _point_in_time(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    pit = body.get("pit")
    return pit if isinstance(pit, Mapping) else None


def shown(exchange: Exchange, outcome: Outcome) -> web.StreamResponse:
    """An outcome as the caller's answer."""
    if outcome.reply is None:
        return exchange.respond(outcome.status, outcome.value, warnings=outcome.warnings)
    origin: Answer = outcome.reply.origin
    return exchange.pass_on(replace(origin, body=outcome.reply.body), outcome.warnings)


async def wanted_body(exchange: Exchange, index: str) -> dict[str, Any] | None:
    """The body, parsed, where something in it may be ours or something is asked that the cluster does not know."""
    try:
        data = await body_bytes(exchange)
    except SidecarError:
        return None
    asks_us = not OWN_PARAMETERS.isdisjoint(exchange.parameters)
    return read_body(data or b"{}") if asks_us or await may_be_ours(exchange, data, index) else None


def expanded(exchange: Exchange) -> str:
    """What patterns of the request stand for."""
    return exchange.parameters.get("expand_wildcards", SEARCHED)


async def may_be_ours(exchange: Exchange, data: bytes, index: str, expand_wildcards: str | None = None) -> bool:
    """Whether a body holds a word of ours, or a ``match`` over indices with ``semantic_text``."""
    if may_need_rewriting(data):
        return True
    if not may_match_semantic_text(data):
        return False
    body = (read_body(data) or {}) if b'"pit"' in data else {}
    views = await preparation_of(exchange).views(index, body, expand_wildcards or expanded(exchange))
    return any(view.semantic for view in views)


async def cluster_version(exchange: Exchange) -> ServerVersion:
    """The cluster's version, asked once; the newest known where the caller may not ask."""
    front = exchange.front
    if front.version is None:
        answer = await exchange.call("GET", "/")
        if answer.status != 200:
            return NEWEST
        value: Mapping[str, Any] = answer.json()
        front.version = ServerVersion.parse(value["version"]["number"])
    return front.version


def preparation_of(exchange: Exchange) -> Preparation:
    return Preparation(exchange.front.catalog, EndpointEmbedder(exchange.front.inference))
