"""The application: every room wired to the next, once.

request ── metrics ─┬─ /_sidecar/health/*, /metrics
                    ├─ what is the cluster's, where there is a front ── access log ── envelope ── the front
                    └─ access log ── envelope ── routes of the API
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sidecar.api.bodies import BodyLimits
from sidecar.api.call import CALL
from sidecar.api.keys import API_OPTIONS, INFERENCE, ApiOptions
from sidecar.api.routes import add_routes, middlewares
from sidecar.front import dispatch
from sidecar.front.exchange import EXCHANGE, FRONT
from sidecar.health import HEALTH, LIVE_PATH, READY_PATH, Health, Preloading, get_live, get_ready
from sidecar.resources import Resources, open_front, open_resources
from sidecar.settings import Settings
from sidecar.telemetry import METRICS, Metrics
from sidecar.telemetry.metrics import get_metrics
from sidecar.telemetry.process import ProcessWatch
from sidecar.telemetry.process_collector import ProcessState

SETTINGS: web.AppKey[Settings] = web.AppKey("SETTINGS", Settings)
RESOURCES: web.AppKey[Resources] = web.AppKey("RESOURCES", Resources)
_OPERATIONS = {LIVE_PATH: get_live, READY_PATH: get_ready, "/metrics": get_metrics}


def create_app(settings: Settings) -> web.Application:
    """The service; nothing is opened before it starts.

    Serve it with ``handler_cancellation=True``, so that work nobody waits for ends. Starting raises ``UserError``
    for what the user has to change.
    """
    app = web.Application(
        middlewares=[count_requests, _of_whom(middlewares())],
        client_max_size=settings.max_body_size,
    )
    app[SETTINGS] = settings
    app[METRICS] = Metrics()
    app.cleanup_ctx.append(_resources)
    if settings.front:
        app.cleanup_ctx.append(_front)
        app.on_response_prepare.append(dispatch.leave_clusters_answers)
    app.cleanup_ctx.append(_health)
    app.on_shutdown.append(_stop)
    for path, handler in _OPERATIONS.items():
        app.router.add_get(path, handler)
    limits = BodyLimits(settings.max_body_size, settings.max_bodies_size, settings.body_timeout)
    options = ApiOptions(bodies=limits, model_names=settings.model_names)
    add_routes(app, options, expect_handler=dispatch.give_leave)
    return app


@web.middleware
async def count_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts every request under the template of its route; status 499 for callers that left."""
    started = time.perf_counter()
    status = 499
    try:
        response = await handler(request)
    except web.HTTPException as error:
        status = error.status
        raise
    else:
        status = response.status
        return response
    finally:
        seconds = time.perf_counter() - started
        request.app[METRICS].observe_request(request.method, _template(request), status, seconds)


def _template(request: web.Request) -> str:
    if EXCHANGE in request:
        return request[EXCHANGE].template
    if CALL in request:
        return request[CALL].template
    return request.path if _is_operation(request) else "unknown"


def _is_operation(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in _OPERATIONS


def _of_whom(chain: Sequence[Middleware]) -> Middleware:
    """Whose request it is comes first, then the manners of whoever answers.

    ``chain`` is for the API: probes and scrapes are neither logged nor dressed up as Elasticsearch, and what is the
    cluster's goes to the front.
    """

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        if _is_operation(request):
            return await handler(request)
        if FRONT in request.app and dispatch.is_clusters(request):
            return await dispatch.answer(request)
        for middleware in reversed(chain):
            handler = partial(middleware, handler=handler)
        return await handler(request)

    return around


async def _resources(app: web.Application) -> AsyncIterator[None]:
    async with open_resources(app[SETTINGS], app[METRICS]) as resources:
        app[RESOURCES] = resources
        app[INFERENCE] = resources.inference
        app[API_OPTIONS] = replace(app[API_OPTIONS], generation=resources.generation)
        yield


async def _front(app: web.Application) -> AsyncIterator[None]:
    async with open_front(app[RESOURCES]) as front:
        app[FRONT] = front
        yield


async def _health(app: web.Application) -> AsyncIterator[None]:
    settings, resources = app[SETTINGS], app[RESOURCES]
    preloading = Preloading(resources.models, settings.preload_models, settings.model_threads)
    watch = ProcessWatch(settings.data_path)
    app[HEALTH] = Health(
        resources.registry, preloading, watch, ready_without_endpoints=settings.ready_without_endpoints
    )
    app[METRICS].watch_process(lambda: _process_state(resources, watch))
    preloading.start()
    watch.start()
    yield
    await watch.close()
    await preloading.close()


def _process_state(resources: Resources, watch: ProcessWatch) -> ProcessState:
    health = resources.registry.health()
    return ProcessState(
        store_up=health.serves == "store" and health.blocked is None,
        endpoints=health.endpoints,
        left_aside=len(health.left_aside),
        without_secrets=len({*health.without_secrets, *health.unreadable_secrets}),
        loop_delay=watch.loop_delay,
        upstream_calls=resources.sender.calls_in_flight,
        open_streams=resources.sender.open_streams,
    )


async def _stop(app: web.Application) -> None:
    app[HEALTH].is_stopping = True
