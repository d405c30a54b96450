"""Server-sent events: ``event: message``, one line of JSON as data, ``[DONE]`` at the end.

    first item awaited -> its error, if any, is the answer's status
                       -> headers, first event, next item, ... [DONE]
                       -> an error between events is one ``event: error``, without [DONE]

Source: Elasticsearch API reference, "Perform streaming inference"; WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.middlewares import shared_headers, unexpected
from sidecar.api.result_bodies import event_body
from sidecar.core.errors import SidecarError, UpstreamError
from sidecar.core.results import StreamItem, StreamStart
from sidecar.wire.envelopes import render_chat_error, render_error
from sidecar.wire.json_writer import write_json
from sidecar.wire.media_types import EVENT_STREAM

_END = b"event: message\ndata: [DONE]\n\n"


async def event_stream(call: Call, items: AsyncGenerator[StreamItem, None], *, is_chat: bool) -> web.StreamResponse:
    """Sends ``items`` as they come, one at a time: the next is asked for when the client has taken the last.

    When the client leaves, the handler is cancelled and ``items`` is closed, which ends the provider's call.
    """
    async with aclosing(items):
        headers = {"Content-Type": EVENT_STREAM, **shared_headers(call, 200)}
        try:
            item = await anext(items, None)
            if isinstance(item, StreamStart):
                headers |= item.headers
                item = await anext(items, None)
        except SidecarError as error:
            return failed_stream(call, error, is_chat=is_chat)
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        try:
            while item is not None:
                body = event_body(item)
                await response.write(_event("message", call.filter.apply(body) if call.filter else body))
                item = await anext(items, None)
            await response.write(_END)
        except ConnectionError:
            call.facts["abandoned"] = True
            return response
        except SidecarError as error:
            await response.write(_event("error", _error_body(call, error, is_chat)[1]))
        except Exception as error:
            await response.write(_event("error", _error_body(call, unexpected(error), is_chat)[1]))
        await response.write_eof()
        return response


def failed_stream(call: Call, error: SidecarError, *, is_chat: bool) -> web.Response:
    """The answer when there is an error before the first event: its status, and itself as the only event."""
    status, body = _error_body(call, error, is_chat)
    if error.is_within_stream:
        status = 200
    if isinstance(error, UpstreamError) and call.generation.stream_failure_status is not None:
        status = call.generation.stream_failure_status
    call.facts.setdefault("error", error.type)
    return web.Response(
        body=_event("error", body), status=status, headers={"Content-Type": EVENT_STREAM} | error.headers
    )


def _error_body(call: Call, error: SidecarError, is_chat: bool) -> tuple[int, Any]:
    if is_chat:
        return render_chat_error(error, call.generation)
    return render_error(error, call.generation, with_trace=call.with_trace)


def _event(name: str, body: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + write_json(body) + b"\n\n"
