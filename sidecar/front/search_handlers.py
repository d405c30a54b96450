"""Searches whose bodies may name the sidecar's endpoints: rewritten and sent on, or executed here.

body ── a scan for a few words ──► none of them ──► forwarded as it came
                                └► parsed ── what the indices say ── vectors ──► rewritten body ──► forwarded
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.front.exchange import Exchange
from sidecar.front.routes import FrontRoute, route
from sidecar.front.search_bodies import body_bytes, effective_size, json_type, read_body, without_source
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.search.bodies import write_object
from sidecar.search.failures import with_own_reasons
from sidecar.search.preparation import Preparation, known_vectors
from sidecar.search.rewriting import Rewriter, may_match_semantic_text, may_need_rewriting

_DEFAULT_SIZE = 10


async def search(exchange: Exchange) -> web.StreamResponse:
    """``_search``."""
    return await _rewritten(exchange, lambda body: body)


async def query_only(exchange: Exchange) -> web.StreamResponse:
    """APIs whose body is a query: ``_count``, ``_explain``, ``_validate/query``, ``_delete_by_query``."""
    return await _rewritten(exchange, lambda body: body)


async def _rewritten(exchange: Exchange, part: Callable[[dict[str, Any]], dict[str, Any]]) -> web.StreamResponse:
    index = exchange.values.get("index", "")
    body = await _wanted_body(exchange, index)
    if body is None:
        return await exchange.forward()
    preparation = _preparation(exchange)
    scope = await preparation.scope(index, body, await cluster_version(exchange))
    size = effective_size(body, exchange.parameters)
    collecting = Rewriter(scope)
    collecting.body(body, size)
    vectors = {}
    if collecting.wants:
        if not await exchange.check_privileges(index or "*", "read"):
            return await exchange.forward()
        vectors = known_vectors(await preparation.vectors(collecting.wants), collecting.wants)
    rewriter = Rewriter(scope, vectors)
    new = rewriter.body(body, _DEFAULT_SIZE if size is None else size)
    if new is body:
        return await exchange.forward()
    target = without_source(exchange.target)
    if not rewriter.planted:
        return await exchange.forward(
            write_object(new), target=target, headers=json_type(exchange), warnings=rewriter.warnings
        )
    answer = await exchange.call(exchange.request.method, target, write_object(new))
    if not answer.body:
        return exchange.pass_on(answer)
    return exchange.respond(
        answer.status, with_own_reasons(orjson.loads(answer.body), rewriter.planted), warnings=rewriter.warnings
    )


async def _wanted_body(exchange: Exchange, index: str) -> dict[str, Any] | None:
    """The body, parsed, where something in it may be ours."""
    try:
        data = await body_bytes(exchange)
    except SidecarError:
        return None
    if may_need_rewriting(data) or (
        may_match_semantic_text(data)
        and any(view.semantic for view in await exchange.front.catalog.resolve(index or "*"))
    ):
        return read_body(data)
    return None


async def cluster_version(exchange: Exchange) -> ServerVersion:
    """The cluster's version, asked once; the newest known where the caller may not ask."""
    front = exchange.front
    if front.version is None:
        answer = await exchange.call("GET", "/")
        if answer.status != 200:
            return NEWEST
        front.version = ServerVersion.parse(answer.json()["version"]["number"])
    return front.version


def _preparation(exchange: Exchange) -> Preparation:
    return Preparation(exchange.front.catalog, EndpointEmbedder(exchange.front.inference))


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
