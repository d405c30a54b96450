"""One line per request, never bodies or credentials."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web

CLIENT_CLOSED_REQUEST = 499
_log = structlog.get_logger("sidecar.api")


@dataclass(slots=True)
class RequestLine:
    """What is not known before the answer; a request that nobody waits for any more keeps this status."""

    status: int = CLIENT_CLOSED_REQUEST


@contextmanager
def logged_request(request: web.Request, path: str, facts: Mapping[str, object]) -> Iterator[RequestLine]:
    """Gives the request an id for all its log lines and writes its line at the end; ``facts`` are read then."""
    started = time.perf_counter()
    line = RequestLine()
    opaque_id = opaque_id_of(request)
    # Never unbound: aiohttp runs each request in a task, and so in a context, of its own.
    structlog.contextvars.bind_contextvars(request_id=secrets.token_hex(16))
    try:
        yield line
    finally:
        _log.info(
            "request",
            method=request.method,
            path=path,
            status=line.status,
            ms=round((time.perf_counter() - started) * 1000, 3),
            **({"opaque_id": opaque_id} if opaque_id is not None else {}),
            **facts,
        )


def opaque_id_of(request: web.Request) -> str | None:
    """The caller's id of the request; bytes in it that are not UTF-8 become question marks."""
    opaque_id = request.headers.get("X-Opaque-Id")
    return None if opaque_id is None else opaque_id.encode("utf-8", "replace").decode()
