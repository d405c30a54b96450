"""Whose request is it, and what happens around every answer of the front.

request ─┬─ /_inference, /compat, /v1, /v2/rerank, /_sidecar, /metrics ── the sidecar's own routes
         └─ everything else ── access log ── errors to the envelope ─┬─ a handler of the table
                                                                     └─ forwarded
"""

from __future__ import annotations

import asyncio

import aiohttp
import structlog
from aiohttp import web

from sidecar.core.errors import OtherError, PlainError, SidecarError
from sidecar.front import search_handlers, write_handlers
from sidecar.front.exchange import EXCHANGE, FRONT, Exchange, FrontHandler
from sidecar.front.routes import FrontMatch, FrontRoutes
from sidecar.telemetry.access_log import logged_request
from sidecar.wire.path_codec import split_path

_log = structlog.stdlib.get_logger(__name__)
_OWN_FIRST_SEGMENTS = frozenset({"_inference", "compat", "v1", "_sidecar", "metrics"})
_OWN_PATHS = frozenset({("v2", "rerank")})
_ROUTES = FrontRoutes((*write_handlers.ROUTES, *search_handlers.ROUTES))


def is_clusters(request: web.Request) -> bool:
    """Whether a request is the front's to answer; the others are of the sidecar's own routes."""
    path = request.raw_path.partition("?")[0]
    segments = _segments(path)
    if segments is None or not segments:
        return True
    is_own = segments[0] in _OWN_FIRST_SEGMENTS or segments in _OWN_PATHS
    return not is_own or _ROUTES.find(request.method, segments) is not None


async def answer(request: web.Request) -> web.StreamResponse:
    """Answers a request that is the front's."""
    exchange = request[EXCHANGE] = Exchange(request, request.app[FRONT])
    with logged_request(request, exchange.path, exchange.facts) as line:
        try:
            response = await _handler(exchange)(exchange)
        except Exception as error:
            if not isinstance(error, (SidecarError, web.HTTPException)) and _has_begun(request):
                raise
            response = exchange.respond_error(_as_error(error))
        line.status = response.status
        return response


async def forward(exchange: Exchange) -> web.StreamResponse:
    """The handler of everything that nobody looks at."""
    return await exchange.forward()


def _handler(exchange: Exchange) -> FrontHandler:
    match = _match(exchange)
    if match is None:
        return forward
    try:
        exchange.read_target()
    except SidecarError:
        return forward  # The cluster refuses it in its own words.
    exchange.values = match.values
    exchange.template = match.route.template
    return match.route.handler


def _match(exchange: Exchange) -> FrontMatch | None:
    segments = _segments(exchange.path)
    return None if segments is None else _ROUTES.find(exchange.request.method, segments)


def _segments(path: str) -> tuple[str, ...] | None:
    """The decoded segments of a path, ``None`` where it is broken."""
    try:
        return split_path(path)
    except SidecarError:
        return None


def _has_begun(request: web.Request) -> bool:
    return request.writer.output_size > 0


def _as_error(error: Exception) -> SidecarError:
    if isinstance(error, SidecarError):
        return error
    if isinstance(error, web.HTTPException):
        return PlainError(error.reason, status=error.status)
    if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError)):
        return OtherError(
            "cluster_unavailable_exception",
            "Elasticsearch does not answer",
            status=503,
            cause=OtherError("connect_exception", str(error) or type(error).__name__),
        )
    _log.error("unexpected error", exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return SidecarError(f"internal error, the log of request [{request_id}] has the cause", status=500)
