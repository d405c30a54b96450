"""Searches whose bodies may name the sidecar's endpoints: rewritten and sent on, or executed here.

body ── a scan for a few words ──► none of them ──► forwarded as it came
                                └► parsed ── what the indices say ── vectors ─┬► rewritten body ──► forwarded
                                                                              └► a tree of ours ──► executed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.front.cluster import Answer
from sidecar.front.exchange import Exchange
from sidecar.front.routes import FrontRoute, route
from sidecar.front.search_bodies import body_bytes, effective_size, json_type, read_body, without_parameters
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.search.bodies import write_object
from sidecar.search.engine import ForeignEndpointError, Outcome, Search, SearchEngine, is_ours
from sidecar.search.executor import Reply
from sidecar.search.failures import with_own_reasons
from sidecar.search.preparation import Preparation, known_vectors
from sidecar.search.rewriting import Rewriter, may_match_semantic_text, may_need_rewriting

_DEFAULT_SIZE = 10
_BODY_PARAMETERS = frozenset({"source", "source_content_type"})
_OWN_PARAMETERS = frozenset({"sidecar.plan", "sidecar.explain"})


@dataclass(frozen=True, slots=True)
class CallerExecutor:
    """Calls on behalf of the caller of one exchange."""

    exchange: Exchange

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        as_shown: bool = False,
    ) -> Reply:
        accept = self.exchange.request.headers.get("Accept") if as_shown else None
        headers = {"Accept": accept} if accept else None
        answer = await self.exchange.call(method, target, body, content_type=content_type, headers=headers)
        return Reply(answer.status, answer.body, answer.headers)


async def search(exchange: Exchange) -> web.StreamResponse:
    """``_search``."""
    index = exchange.values.get("index", "")
    body = await _wanted_body(exchange, index)
    if body is None:
        return await exchange.forward()
    if is_ours(body):
        return await _executed(exchange, index, body)
    return await _rewritten(exchange, index, body)


async def query_only(exchange: Exchange) -> web.StreamResponse:
    """APIs whose body is a query: ``_count``, ``_explain``, ``_validate/query``, ``_delete_by_query``."""
    index = exchange.values.get("index", "")
    body = await _wanted_body(exchange, index)
    return await exchange.forward() if body is None else await _rewritten(exchange, index, body)


async def _executed(exchange: Exchange, index: str, body: dict[str, Any]) -> web.StreamResponse:
    if not await exchange.check_privileges(index or "*", "read"):
        return await exchange.forward()
    engine = SearchEngine(exchange.front.catalog, EndpointEmbedder(exchange.front.inference))
    request = Search(index, body, exchange.parameters)
    try:
        outcome = await engine.search(request, CallerExecutor(exchange), await cluster_version(exchange))
    except ForeignEndpointError:
        return await exchange.forward()
    return _shown(exchange, outcome)


def _shown(exchange: Exchange, outcome: Outcome) -> web.StreamResponse:
    if outcome.reply is None:
        return exchange.respond(outcome.status, outcome.value, warnings=outcome.warnings)
    reply = outcome.reply
    return exchange.pass_on(Answer(reply.status, reply.headers, reply.body), outcome.warnings)  # type: ignore[arg-type]


async def _rewritten(exchange: Exchange, index: str, body: dict[str, Any]) -> web.StreamResponse:
    preparation = Preparation(exchange.front.catalog, EndpointEmbedder(exchange.front.inference))
    scope = await preparation.scope(index, body, await cluster_version(exchange))
    size = effective_size(body, exchange.parameters)
    shown = _DEFAULT_SIZE if size is None else size
    collecting = Rewriter(scope)
    collecting.body(body, shown)
    rewriter = Rewriter(scope)
    if collecting.wants:
        if not await exchange.check_privileges(index or "*", "read"):
            return await exchange.forward()
        vectors = known_vectors(await preparation.vectors(collecting.wants), collecting.wants)
        rewriter = replace(rewriter, vectors=vectors)
    new = rewriter.body(body, shown)
    if "sidecar.plan" in exchange.parameters:
        return exchange.respond(200, orjson.loads(write_object({"forward": new})))
    target = without_parameters(exchange.target, _BODY_PARAMETERS | _OWN_PARAMETERS)
    if new is body:
        is_same = not (_OWN_PARAMETERS & exchange.parameters.keys())
        return await exchange.forward(target=None if is_same else target)
    if not rewriter.planted:
        data = write_object(new)
        return await exchange.forward(data, target=target, headers=json_type(exchange), warnings=rewriter.warnings)
    answer = await exchange.call(exchange.request.method, target, write_object(new))
    if not answer.body:
        return exchange.pass_on(answer)
    value = with_own_reasons(orjson.loads(answer.body), rewriter.planted)
    return exchange.respond(answer.status, value, warnings=rewriter.warnings)


async def _wanted_body(exchange: Exchange, index: str) -> dict[str, Any] | None:
    """The body, parsed, where something in it may be ours."""
    try:
        data = await body_bytes(exchange)
    except SidecarError:
        return None
    return read_body(data) if await may_be_ours(exchange, data, index) else None


async def may_be_ours(exchange: Exchange, data: bytes, index: str) -> bool:
    """Whether a body holds a word of ours, or a ``match`` over indices with ``semantic_text``."""
    if may_need_rewriting(data):
        return True
    if not may_match_semantic_text(data):
        return False
    return any(view.semantic for view in await exchange.front.catalog.resolve(index or "*"))


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


_QUERY = "GET POST"
ROUTES: tuple[FrontRoute, ...] = (
    route(_QUERY, "/_search", search),
    route(_QUERY, "/{index}/_search", search),
    route(_QUERY, "/_count", query_only),
    route(_QUERY, "/{index}/_count", query_only),
    route(_QUERY, "/{index}/_explain/{id}", query_only),
    route(_QUERY, "/_validate/query", query_only),
    route(_QUERY, "/{index}/_validate/query", query_only),
    route("POST", "/{index}/_delete_by_query", query_only),
)
