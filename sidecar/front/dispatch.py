"""Whose request is it, and what happens around every answer of the front.

request ─┬─ /_inference, /compat, /v1, /v2, /_sidecar, /metrics, ... ── the sidecar's own routes
         └─ everything else ── access log ── errors to the envelope ─┬─ a handler of the table
                                                                     └─ forwarded
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import structlog
from aiohttp import web
from elasticsearch import ApiError, TransportError

from sidecar.core.errors import IllegalArgumentError, OtherError, PlainError, SidecarError
from sidecar.elastic.client import failure_text
from sidecar.front import index_handlers, search_handlers, trained_model_handlers, write_handlers
from sidecar.front.exchange import EXCHANGE, FRONT, Exchange, FrontHandler
from sidecar.front.forwarding import leave_as_it_is
from sidecar.front.routes import FrontRoute, FrontRoutes
from sidecar.telemetry.access_log import logged_request
from sidecar.wire.path_codec import split_path

_log = structlog.stdlib.get_logger(__name__)
_OWN_FIRST_SEGMENTS = frozenset({"_inference", "compat", "_sidecar", "metrics"})
_VERSIONS = frozenset({"v1", "v2"})
# base URLs of the sidecar's own by lane, and Azure's; no route of Elasticsearch has such a second segment
_OWN_BASES = frozenset(
    {("openai", "deployments")} | {(lane, base) for lane in ("search", "ingest") for base in ("v1", "v2", "openai")}
)
_ROUTES = FrontRoutes(
    (
        *write_handlers.ROUTES,
        *search_handlers.ROUTES,
        *index_handlers.ROUTES,
        *trained_model_handlers.ROUTES,
    )
)
_HTTP_METHODS_THAT_READ = frozenset({"GET", "HEAD", "OPTIONS"})
# What, in a path, changes mappings, aliases, templates, pipelines or which indices there are.
_CHANGING = frozenset(
    {"_mapping", "_mappings", "_settings", "_alias", "_aliases", "_index_template", "_component_template", "_template"}
    | {"_ingest", "_data_stream", "_rollover", "_open", "_close", "_clone", "_shrink", "_split", "_restore", "_reset"}
    | {"_migrate", "_migration", "_create_from", "_downsample", "_mount", "_block", "_reindex", "_ilm"}
)


def routes() -> Iterable[FrontRoute]:
    """What the handlers of the front look at."""
    return _ROUTES


def is_clusters(request: web.Request) -> bool:
    """Whether a request is the front's to answer; the others are of the sidecar's own routes."""
    path = request.raw_path.partition("?")[0]
    segments = _segments(path)
    if segments is None or not segments:
        return True
    return not _is_own(segments) or _ROUTES.find(request.method, segments) is not None


def _is_own(segments: tuple[str, ...]) -> bool:
    if segments[0] in _VERSIONS:  # indices may have such names; what follows one begins with an underscore
        return len(segments) > 1 and not segments[1].startswith("_")
    return segments[0] in _OWN_FIRST_SEGMENTS or segments[:2] in _OWN_BASES


async def give_leave(request: web.Request) -> web.StreamResponse | None:
    """What ``Expect`` gets before any handler runs: nothing where the cluster, or whoever reads the body, decides.

    Raises ``HTTPExpectationFailed`` for what nobody here understands.
    """
    if FRONT in request.app and is_clusters(request):
        return None
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {request.headers['Expect']}")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None


async def leave_clusters_answers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal ``on_response_prepare``: the front's answers carry no more headers than the cluster's."""
    if EXCHANGE in request:
        leave_as_it_is(response)


async def answer(request: web.Request) -> web.StreamResponse:
    """Answers a request that is the front's."""
    exchange = request[EXCHANGE] = Exchange(request, request.app[FRONT])
    with logged_request(request, exchange.path, exchange.facts) as line:
        try:
            response = await (await _handler(exchange))(exchange)
        except Exception as error:
            if exchange.has_begun:
                raise  # An answer is on its way already; it ends with its connection.
            response = exchange.respond_error(_as_error(error))
        line.status = response.status
        return response


async def forward(exchange: Exchange) -> web.StreamResponse:
    """The handler of everything that nobody looks at."""
    return await exchange.forward()


def changes_indices(method: str, segments: tuple[str, ...]) -> bool:
    """Whether a request may change what the catalog knows: mappings, settings, aliases, templates, pipelines."""
    if method in _HTTP_METHODS_THAT_READ or not segments:
        return False
    names_an_index = len(segments) == 1 and (not segments[0].startswith("_") or segments[0] == "_all")
    return names_an_index or segments == ("_cluster", "settings") or not _CHANGING.isdisjoint(segments)


async def _handler(exchange: Exchange) -> FrontHandler:
    if not exchange.target.startswith("/"):
        # Behind the address of a node, "@elsewhere/" would name another host.
        raise PlainError(f"the request target must begin with a slash, not [{exchange.target}]")
    segments = _segments(exchange.path)
    if segments is None:
        return forward
    exchange.changes_indices = changes_indices(exchange.request.method, segments)
    match = _ROUTES.find(exchange.request.method, segments)
    if match is None or exchange.request.headers.get("Expect", "100-continue").lower() != "100-continue":
        return forward  # what else is expected the cluster refuses
    await exchange.front.learn_generation()
    try:
        exchange.read_target()
    except SidecarError:
        return forward  # The cluster refuses it in its own words.
    exchange.values = match.values
    exchange.template = match.route.template
    return match.route.handler


def _segments(path: str) -> tuple[str, ...] | None:
    """The decoded segments of a path, ``None`` where it is broken."""
    try:
        return split_path(path)
    except SidecarError:
        return None


def _as_error(error: Exception) -> SidecarError:
    if isinstance(error, SidecarError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return IllegalArgumentError("the request target holds bytes that are no UTF-8: write them as %XX")
    if isinstance(error, web.HTTPException):
        return PlainError(error.reason, status=error.status)
    if isinstance(error, ApiError):
        return OtherError(
            "cluster_unavailable_exception",
            f"Elasticsearch does not tell the sidecar what it needs: {failure_text(error)}",
            status=503,
        )
    if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError, TransportError)):
        return OtherError(
            "cluster_unavailable_exception",
            "Elasticsearch does not answer",
            status=503,
            cause=OtherError("connect_exception", str(error) or type(error).__name__),
        )
    _log.error("unexpected_error", exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return SidecarError(f"internal error, the log of request [{request_id}] has the cause", status=500)
