"""Callers' connections: none stays open for nothing, none takes the last file handle, and noise is told quietly.

idle, or with half a header    closed after ``idle_timeout`` seconds
not read by its caller         closed after ``write_timeout`` seconds
beyond the most there may be   the one that has been open longest and waits for nothing makes room, else refused
not HTTP                       answered in the envelope, counted, and told in one line that quotes nothing
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import (
    BadHttpMessage,
    BadHttpMethod,
    BadStatusLine,
    HttpProcessingError,
    InvalidHeader,
    LineTooLong,
)
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from sidecar.core.errors import IllegalArgumentError, OtherError, SidecarError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.telemetry import Metrics
from sidecar.wire.envelopes import render_error
from sidecar.wire.json_writer import write_json

_log = structlog.stdlib.get_logger(__name__)
_LOOK_SECONDS = 0.02
# How often a shortage of handles is told.
_QUIET_SECONDS = 60.0
# How long the rest of a body is read that was answered before its end: aiohttp's own time.
_LINGERING_SECONDS = 10.0
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Seconds that a connection may be idle or unread; ``most`` connections at once, ``None`` for no limit."""

    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    most: int | None = None


def most_connections(reserve: int) -> int | None:
    """How many connections the process's file handles allow beside what is open now and ``reserve`` others."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    try:
        now = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        now = 64
    return max(_FEWEST, soft - now - min(reserve, soft // 4))


class Connections:
    """What is known of all callers' connections; health reads it."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.refused = 0
        self.closed_for_room = 0
        self._metrics = metrics
        self._server: web.Server | None = None
        self._told = float("-inf")
        self._short_until = float("-inf")

    @property
    def open(self) -> int:
        """How many connections there are."""
        return 0 if self._server is None else len(self._server._connections)

    @property
    def is_short(self) -> bool:
        """Whether connections had to be closed or refused within the last minute, for want of file handles."""
        return asyncio.get_running_loop().time() < self._short_until

    def attach(self, server: web.Server) -> None:
        """Counts the connections of ``server`` from now on."""
        self._server = server

    def make_room(self) -> bool:
        """Whether one connection more may stay; an idle one is closed for it where there is need."""
        most = self.limits.most
        if most is None or self._server is None or self.open <= most:
            return True
        idle = next((each for each in self._server.connections if isinstance(each, Connection) and each.is_idle), None)
        if idle is None:
            self.refused += 1
        else:
            self.closed_for_room += 1
            idle.force_close()
        self._tell(most)
        return idle is not None

    def malformed(self, cause: str, remote: str | None) -> None:
        """Counts what was not HTTP."""
        self._metrics.malformed_request()
        _log.info("malformed_request", cause=cause, remote=remote)

    def _tell(self, most: int) -> None:
        now = asyncio.get_running_loop().time()
        self._short_until = now + _QUIET_SECONDS
        if now - self._told >= _QUIET_SECONDS:
            self._told = now
            _log.warning(
                "connections_short",
                open=self.open,
                most=most,
                refused=self.refused,
                closed_for_room=self.closed_for_room,
                cause="file handles of the process (ulimit -n)",
            )


CONNECTIONS: web.AppKey[Connections] = web.AppKey("CONNECTIONS", Connections)


class Connection(RequestHandler):
    """One caller's connection."""

    __slots__ = ("_connections", "_unread")

    def __init__(self, server: web.Server, connections: Connections, **options: Any) -> None:
        idle = connections.limits.idle_timeout
        super().__init__(server, keepalive_timeout=idle, lingering_time=min(_LINGERING_SECONDS, idle), **options)
        self._connections = connections
        self._unread: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received, answered or waiting."""
        return not self._request_in_progress and not self._messages

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins; the connection is closed at once where there is no room."""
        super().connection_made(transport)
        if not self._connections.make_room():
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Ends."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on; whoever waits for the rest of a body whose form is broken is told, which aiohttp leaves out."""
        super().data_received(data)
        request = self._current_request
        is_broken = bool(self._messages) and isinstance(self._messages[-1][0], _ErrInfo)
        if is_broken and request is not None and not request.content.is_eof() and request.content.exception() is None:
            request.content.set_exception(BadHttpMessage("the form of the body is broken"))

    def pause_writing(self) -> None:
        """The caller does not read: it has ``write_timeout`` to go on."""
        super().pause_writing()
        self._unread = self._loop.call_later(self._connections.limits.write_timeout, self._give_up)

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._stop_clock()
        super().resume_writing()

    def _stop_clock(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        if self.transport is not None:
            _log.info("caller_stopped_reading", remote=_address(self))
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What was not HTTP is answered as Elasticsearch answers; anything else here is a defect, and logged whole."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._connections.malformed(type(exc).__name__, _address(self))
        status, body = render_error(_unreadable(exc), DEFAULT_GENERATION)
        headers = {"Content-Type": "application/json", "X-elastic-product": "Elasticsearch"}
        response = web.Response(body=write_json(body), status=status, headers=headers)
        response.force_close()
        return response


def _address(connection: RequestHandler) -> str | None:
    peer = connection.peername
    return str(peer[0]) if isinstance(peer, tuple) else peer


def _unreadable(error: HttpProcessingError) -> SidecarError:
    """Says what is wrong without the request's own words, which may hold a secret."""
    match error:
        case LineTooLong():
            return OtherError("too_long_http_line_exception", "a line of the request is too long")
        case BadHttpMethod() | BadStatusLine():
            return IllegalArgumentError("the first line of the request is not HTTP")
        case InvalidHeader():
            return IllegalArgumentError("a header of the request cannot be read")
    return IllegalArgumentError("the request is not HTTP that can be read")


class _Server(web.Server):
    """Makes a :class:`Connection` of each that is accepted."""

    def __init__(self, like: web.Server, connections: Connections, options: dict[str, Any]) -> None:
        super().__init__(
            like.request_handler, request_factory=like.request_factory, handler_cancellation=like.handler_cancellation
        )
        self._made_of = connections
        self._options = options

    def __call__(self) -> RequestHandler:
        return Connection(self, self._made_of, loop=self._loop, **self._options)


class Runner(web.AppRunner):
    """Runs an application whose connections keep ``connections``' limits.

    ``options`` are those of aiohttp's request handler. Cleaning up ends at once what :meth:`drain` has left.
    """

    __slots__ = ("_connections", "_options")

    def __init__(self, app: web.Application, connections: Connections, **options: Any) -> None:
        super().__init__(app, handler_cancellation=True, shutdown_timeout=_LOOK_SECONDS)
        self._connections = connections
        self._options = {"access_log": None, **options}

    async def _make_server(self) -> web.Server:
        server = _Server(await super()._make_server(), self._connections, self._options)
        self._connections.attach(server)
        return server

    async def drain(self, seconds: float) -> None:
        """Waits until every request is answered, ``seconds`` at most; idle connections are closed."""
        server = self.server
        if server is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while server.connections:
                    for connection in server.connections:
                        if isinstance(connection, Connection) and connection.is_idle:
                            connection.force_close()  # aiohttp's close() leaves one that was used before open
                    await asyncio.sleep(_LOOK_SECONDS)
