"""Listening, and stopping in order: no new connections, requests in flight finish, then everything closes."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from importlib.metadata import version
from typing import Any

import structlog
from aiohttp import web

from sidecar.api.bodies import BODIES, Bodies
from sidecar.app import create_app
from sidecar.connections import CONNECTIONS, ConnectionLimits, Connections, Runner, most_connections
from sidecar.settings import Settings, UserError
from sidecar.telemetry import METRICS

_log = structlog.stdlib.get_logger(__name__)
_SETTLING_SECONDS = 0.05
_CLOSING_SECONDS = 1.0
_SWITCH_SECONDS = 0.001
_COLLECT_SECONDS = 60.0
_YOUNG_OBJECTS = 10_000
_LOOK_SECONDS = 0.1
_FEW_BYTES = 64 * 1024
HTTP_OPTIONS: dict[str, Any] = {
    # Bodies are forwarded as they came; whoever reads one unzips it.
    "auto_decompress": False,
    # Above Elasticsearch's own limits (4 KiB, and 16 KiB of headers), so that it answers what is too long itself.
    "max_line_size": 32 * 1024,
    "max_field_size": 64 * 1024,
}


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once.

    Raises :class:`UserError` for settings that cannot be served.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(number: signal.Signals) -> None:
        _log.info("stopping", signal=number.name, at_most_seconds=settings.shutdown_timeout)
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)

    runner = create_runner(settings)
    collecting: asyncio.Task[None] | None = None
    try:
        await runner.setup()
        collecting = asyncio.create_task(_collect_garbage(runner.app[BODIES]), name="garbage")
        # Threads that read large bodies give way to the loop after 1 ms, not after 5.
        sys.setswitchinterval(_SWITCH_SECONDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
        loop.add_signal_handler(signal.SIGHUP, _stay)
        await _listen(runner, settings)
        await stop.wait()
    finally:
        began_to_stop = loop.time()
        if collecting is not None:
            collecting.cancel()
        await _stop_accepting(runner)
        await runner.drain(_time_to_drain(settings.shutdown_timeout) - (loop.time() - began_to_stop))
        await runner.cleanup()
    _log.info("stopped", seconds=round(loop.time() - began_to_stop, 3))


def create_runner(settings: Settings) -> Runner:
    """The application, ready to be set up and to listen."""
    app = create_app(settings)
    limits = ConnectionLimits(
        idle_timeout=settings.idle_timeout,
        write_timeout=settings.write_timeout,
        most=most_connections(reserve=settings.max_connections),
    )
    app[CONNECTIONS] = Connections(limits, app[METRICS])
    return Runner(app, app[CONNECTIONS], **HTTP_OPTIONS)


async def _collect_garbage(bodies: Bodies) -> None:
    """Keeps the collector from looking at everything in the midst of a request.

    What is there at the start is never looked at again, what a request leaves soon is; all the rest once in a while.
    A body of a hundred thousand objects would otherwise have the collector stop everything for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 10, 1_000_000)
    wait = _COLLECT_SECONDS
    while True:
        await asyncio.sleep(wait)
        wait = _LOOK_SECONDS
        if bodies.in_flight <= _FEW_BYTES:
            gc.collect()
            wait = _COLLECT_SECONDS


def _stay() -> None:
    """A terminal that closes, or a script that asks for a reload, ends nothing."""
    _log.info("hangup_ignored", hint="settings are read at the start; send SIGTERM to stop")


def _time_to_drain(shutdown_timeout: float) -> float:
    """The part of the time to stop in which requests may finish; in the rest everything is closed."""
    return shutdown_timeout - min(_CLOSING_SECONDS, shutdown_timeout / 4)


async def _stop_accepting(runner: web.AppRunner) -> None:
    """No new connections, and those accepted last get their first turn of the loop.

    A connection that aiohttp closes before that turn would neither be read nor ended until ``shutdown_timeout``.
    """
    for site in runner.sites:
        await site.stop()
    await asyncio.sleep(_SETTLING_SECONDS)


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        cause = error.strerror or str(error)
        raise UserError(
            f"Cannot listen on {settings.host}:{settings.port}: {cause}; change SIDECAR_HOST or SIDECAR_PORT."
        ) from None
    host, port = runner.addresses[0][:2]
    _log.info(
        "listening",
        url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
        version=version("elasticsearch-inference-sidecar"),
        api_generation=settings.api_generation,
        store="elasticsearch" if settings.elasticsearch_url else "sqlite",
        data_dir=str(settings.data_path),
        front=settings.front,
    )
    if settings.elasticsearch_url and not settings.front:
        _log.info("cluster_not_in_reach", hint="SIDECAR_FRONT=true passes on what is meant for the cluster")
