"""OpenAI's chats over ``chat_completion`` endpoints: ``/v1/chat/completions``, streamed or whole.

Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.chat_bodies import parse_chat_body
from sidecar.api.compat_bodies import read_fields
from sidecar.api.compat_forms import inference_id_of, text_field
from sidecar.api.endpoint_handlers import find_endpoint
from sidecar.api.keys import INFERENCE
from sidecar.api.openai_form import openai_error
from sidecar.api.openai_messages import chat_fields
from sidecar.api.router import Route
from sidecar.core.errors import SidecarError, StatusError
from sidecar.core.results import ChatChunk, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.wire.json_writer import write_json
from sidecar.wire.media_types import EVENT_STREAM


async def chat_completions(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    """A chat; with ``stream`` as events of chunks, ended by ``[DONE]``."""
    call.know("api-version")
    fields = await read_fields(call)
    model = text_field(fields, "model")
    heeded = chat_fields(fields)
    endpoint = await find_endpoint(call, inference_id_of(call, model))
    call.facts |= {"endpoint": endpoint.inference_id, "task_type": endpoint.task_type.value}
    if endpoint.task_type is not TaskType.CHAT_COMPLETION:
        raise StatusError(
            f"Endpoint [{endpoint.inference_id}] has task type [{endpoint.task_type}], chats need [chat_completion]"
        )
    request = parse_chat_body(orjson.dumps(heeded), call.generation)
    items = call.request.app[INFERENCE].stream(endpoint, request, generation=call.generation)
    if fields.get("stream") is True:
        return await _streamed(call, items, model, tells_usage=_tells_usage(fields))
    async with aclosing(items):
        chunks = [item.body async for item in items if isinstance(item, ChatChunk)]
    return call.unfiltered(whole_chat(chunks, model))


def _tells_usage(fields: Mapping[str, Any]) -> bool:
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


async def _streamed(
    call: Call, items: AsyncGenerator[StreamItem, None], model: str, *, tells_usage: bool
) -> web.StreamResponse:
    """The chunks as they come. An error before the first is the answer, one between them is the last event.

    The chunk of the usage, which has no choices, is for those alone who ask for it: others look into the first choice.
    """
    async with aclosing(items):
        chunk = await _next(items)
        response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM})
        await response.prepare(call.request)
        try:
            while chunk is not None:
                if tells_usage or chunk.body.get("choices"):
                    await response.write(_event(_complete(chunk.body, model)))
                chunk = await _next(items)
            await response.write(b"data: [DONE]\n\n")
        except SidecarError as error:
            call.facts["error"] = error.type
            described = {"message": error.sentence, "type": error.type, "param": None, "code": None}
            await response.write(_event({"error": described}))
        await response.write_eof()
        return response


async def _next(items: AsyncGenerator[StreamItem, None]) -> ChatChunk | None:
    async for item in items:
        if isinstance(item, ChatChunk):
            return item
    return None


def _event(body: Any) -> bytes:
    return b"data: " + write_json(body) + b"\n\n"


def _complete(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A chunk with all that OpenAI's clients insist on, and without the nulls that they take for values."""
    shown = {"object": "chat.completion.chunk", "created": int(time.time()), "model": model, **body}
    shown["choices"] = [
        {"finish_reason": None, **choice, "delta": _without_nulls(choice.get("delta") or {})}
        for choice in body.get("choices", ())
    ]
    return shown


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def whole_chat(chunks: Iterable[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """One answer out of the chunks of a stream."""
    shown: dict[str, Any] = {"id": "", "object": "chat.completion", "created": int(time.time()), "model": model}
    contents: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    finish = "stop"
    for chunk in chunks:
        shown["id"] = shown["id"] or chunk.get("id", "")
        if "usage" in chunk:
            shown["usage"] = chunk["usage"]
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta", {})
            contents.append(delta.get("content") or "")
            finish = choice.get("finish_reason") or finish
            for part in delta.get("tool_calls", ()):
                _merge_call(calls.setdefault(part.get("index", 0), {}), part)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(contents) or None}
    if calls:
        message["tool_calls"] = [calls[number] for number in sorted(calls)]
    shown["choices"] = [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}]
    return shown


def _merge_call(known: dict[str, Any], part: Mapping[str, Any]) -> None:
    known.setdefault("type", "function")
    if part.get("id"):
        known["id"] = part["id"]
    function = known.setdefault("function", {"name": "", "arguments": ""})
    piece = part.get("function") or {}
    function["name"] += piece.get("name") or ""
    function["arguments"] += piece.get("arguments") or ""


ROUTES: tuple[Route, ...] = tuple(
    Route(template, {"POST": chat_completions}, on_error=openai_error)
    for template in ("/v1/chat/completions", "/openai/deployments/{deployment}/chat/completions")
)
