"""The table of routes, and how they are put into an application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Middleware

from sidecar.api import endpoint_handlers as endpoints
from sidecar.api.bodies import BODIES, Bodies, bodies_in_flight
from sidecar.api.call import CALL, Call
from sidecar.api.compat import COMPAT_ROUTES, own_form
from sidecar.api.inference_handlers import perform_inference, stream_inference
from sidecar.api.keys import API_OPTIONS, ApiOptions
from sidecar.api.middlewares import access_log, envelope
from sidecar.api.rerank_response_handlers import rerank_hits
from sidecar.api.root_handlers import get_root
from sidecar.api.router import OWN_FORMS, Match, Route, Router
from sidecar.api.trained_models import ROUTES as TRAINED_MODEL_ROUTES
from sidecar.api.unfinished_writes import UNFINISHED, unfinished_writes
from sidecar.core.errors import PlainError, ResourceNotFoundError, SidecarError

_ENDPOINT = {
    "GET": endpoints.get_endpoints,
    "POST": perform_inference,
    "PUT": endpoints.put_endpoint,
    "DELETE": endpoints.delete_endpoint,
}
_UPDATE = {"PUT": endpoints.update_endpoint}
# what the Python client of 8.17 sends; Elasticsearch does not take it
_UNLISTED_UPDATE = {"POST": endpoints.update_endpoint}
_STREAM = {"POST": stream_inference}
_SERVICES_OF_TYPE = "/_inference/_services/{task_type}"


async def _nothing_here(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    raise _no_handler(call)


ROUTES = (
    Route("/", {"GET": get_root, "HEAD": get_root}),
    Route("/_inference", {"GET": endpoints.get_endpoints}),
    Route("/_inference/_all", {"GET": endpoints.get_endpoints}),
    Route("/_inference/.diagnostics", {"GET": endpoints.get_diagnostics}, lambda g: g.has_diagnostics),
    Route("/_sidecar/rerank", {"POST": rerank_hits}),
    Route("/_inference/_services", {"GET": endpoints.get_services}, lambda g: g.has_services_route),
    Route(_SERVICES_OF_TYPE, {"GET": endpoints.get_services}, lambda g: g.has_services_route),
    Route("/_inference/{inference_id}", _ENDPOINT, lambda g: g.one_segment_paths),
    Route("/_inference/{inference_id}/_update", _UPDATE, lambda g: g.has_update, unlisted=_UNLISTED_UPDATE),
    Route("/_inference/{inference_id}/_stream", _STREAM, lambda g: g.has_stream),
    Route("/_inference/{task_type}/{inference_id}", _ENDPOINT),
    Route("/_inference/{task_type}/{inference_id}/_update", _UPDATE, lambda g: g.has_update, unlisted=_UNLISTED_UPDATE),
    # Before there was an update, an unrelated route for documents caught this path.
    Route("/_inference/{index}/{id}/_update", {"POST": _nothing_here}, lambda g: not g.has_update),
    Route("/_inference/{task_type}/{inference_id}/_stream", _STREAM, lambda g: g.has_stream),
)

ExpectHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT")
ROUTER: web.AppKey[Router] = web.AppKey("ROUTER", Router)


def middlewares() -> list[Middleware]:
    """The middlewares every application with these routes needs, outermost first."""
    return [access_log, envelope]


def add_routes(
    app: web.Application,
    options: ApiOptions,
    extra: tuple[Route, ...] = (),
    *,
    expect_handler: ExpectHandler | None = None,
) -> None:
    """Adds the API to ``app`` as its last route, since it answers every path.

    ``expect_handler`` answers ``Expect`` headers; without one a body is asked for at once.

    ``app`` must have :func:`middlewares`, the facade under ``INFERENCE``, and a server with
    ``handler_cancellation=True``: handlers of abandoned requests are cancelled, changes of endpoints finish anyway.
    """
    app[API_OPTIONS] = options
    app[BODIES] = Bodies(options.bodies)
    app.cleanup_ctx.append(bodies_in_flight)
    app[OWN_FORMS] = own_form
    app[ROUTER] = Router((*ROUTES, *COMPAT_ROUTES, *TRAINED_MODEL_ROUTES, *extra))
    app[UNFINISHED] = set[asyncio.Task[object]]()
    app.cleanup_ctx.append(unfinished_writes)
    app.router.add_route("*", r"/{path:[\s\S]*}", dispatch, expect_handler=expect_handler)


async def dispatch(request: web.Request) -> web.StreamResponse:
    """Finds the handler of a request and runs it."""
    call = request[CALL]
    match = request.app[ROUTER].find(call.segments, call.generation)
    if match is not None:
        call.template = match.route.template
    handler = match.route.handlers.get(request.method) if match else None
    call.read_trace_flag()
    if handler is None and match is not None:
        handler = match.route.unlisted.get(request.method)
    if match is None or handler is None:
        return _unrouted(call, match)
    if call.has_body:
        call.types.body_format()
    try:
        return await handler(call, _path_values(call, match))
    except SidecarError as error:
        if match.route.on_error is None:
            raise
        call.facts.setdefault("error", error.type)
        return match.route.on_error(call, error)


def _path_values(call: Call, match: Match) -> Mapping[str, str]:
    """The values in the path; Elasticsearch takes them from the query as well, by its names, and the path wins."""
    values = match.values
    if match.route.template == _SERVICES_OF_TYPE:
        call.know("task_type")
    elif (
        "inference_id" in values
        and match.route.template.startswith("/_inference/")
        and call.generation.one_segment_paths
    ):
        if "task_type" not in values and "inference_id" in call.parameters:
            values = {"task_type": values["inference_id"], "inference_id": call.parameters["inference_id"]}
        call.know("task_type_or_id", *(["inference_id"] if "task_type" in values else []))
    return values


def _unrouted(call: Call, match: Match | None) -> web.Response:
    if (in_own_form := own_form(call.segments)) is not None:
        return in_own_form(call, ResourceNotFoundError(f"Invalid URL ({call.request.method} {call.path})"))
    allowed = match.allowed if match else ()
    headers = {"Allow": ",".join(allowed)} if allowed else {}
    method = call.request.method
    if method == "OPTIONS":
        return web.Response(headers={"Content-Type": "text/plain; charset=UTF-8", **headers})
    if match is None:
        raise _no_handler(call)
    shown = ", ".join(allowed)
    if method not in _METHODS:
        raise PlainError(f"Unexpected http method: {method}, allowed: [{shown}]", status=405, headers=headers)
    raise PlainError(
        f"Incorrect HTTP method for uri [{call.request.raw_path}] and method [{method}], allowed: [{shown}]",
        status=405,
        headers=headers,
    )


def _no_handler(call: Call) -> PlainError:
    uri, method = call.request.raw_path, call.request.method
    return PlainError(f"no handler found for uri [{uri}] and method [{method}]", show_status=False)
