"""What happens around every handler.

request -> access log (request id, one line per request)
        -> envelope (target, media types, every error to the body its callers read)
        -> handler
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from sidecar.api.call import CALL, Call
from sidecar.api.router import OWN_FORMS
from sidecar.core.errors import PlainError, SidecarError
from sidecar.telemetry.access_log import logged_request, opaque_id_of
from sidecar.wire.envelopes import render_error
from sidecar.wire.warning_header import warning_header

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

PRODUCT = {"X-elastic-product": "Elasticsearch"}
_log = structlog.get_logger("sidecar.api")


@web.middleware
async def access_log(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request an id for all its log lines and writes one line when it ends; never bodies or credentials."""
    call = request[CALL] = Call.begin(request)
    with logged_request(request, call.path, call.facts) as line:
        try:
            response = await handler(request)
        finally:
            call.close()
        line.status = response.status
        return response


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into the body its caller can read, and adds the headers all answers share."""
    call = request[CALL]
    try:
        call.read_target()
        response = await handler(request)
    except SidecarError as error:
        response = _told(call, error)
    except web.HTTPRequestEntityTooLarge as error:
        response = _told(call, PlainError(str(error.reason), status=413))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _told(call, PlainError(error.reason, status=error.status))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        response = _told(call, unexpected(error))
    if not response.prepared:
        response.headers.update(shared_headers(call, response.status))
    return response


def _told(call: Call, error: SidecarError) -> web.Response:
    """``error`` in the form of its path: that of OpenAI, Cohere or TEI below theirs, else Elasticsearch's."""
    forms = call.request.app.get(OWN_FORMS)
    segments = call.segments or tuple(part for part in call.path.split("/") if part)  # of a target not read yet
    in_own_form = forms(segments) if forms is not None else None
    if in_own_form is None:
        return error_response(call, error)
    call.facts.setdefault("error", error.type if not isinstance(error, PlainError) else "plain")
    return in_own_form(call, error)


def error_response(call: Call, error: SidecarError) -> web.Response:
    """``error`` in Elasticsearch's envelope."""
    status, body = render_error(error, call.generation, with_trace=call.with_trace)
    call.facts.setdefault("error", error.type if not isinstance(error, PlainError) else "plain")
    return with_warnings(call, call.unfiltered(body, status=status, headers=error.headers), error.warnings)


def with_warnings(call: Call, response: web.Response, warnings: Iterable[str]) -> web.Response:
    """``response`` with a ``Warning`` header for each deprecation."""
    for text in warnings:
        response.headers.add("Warning", warning_header(text, call.generation))
    return response


def unexpected(error: Exception) -> SidecarError:
    """A defect of ours: logged whole, told in one sentence."""
    _log.error("unexpected_error", exc_info=error)
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return SidecarError(f"internal error, the log of request [{request_id}] has the cause", status=500)


def shared_headers(call: Call, status: int) -> dict[str, str]:
    """Headers of every answer: the product (but not on 401 and 403, as Elasticsearch does) and the caller's own id."""
    headers = {} if status in (401, 403) else dict(PRODUCT)
    opaque_id = opaque_id_of(call.request)
    if opaque_id is not None:
        headers["X-Opaque-Id"] = opaque_id
    return headers
