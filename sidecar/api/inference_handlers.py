"""Handlers that run inference, with and without an event stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.chat_bodies import parse_chat_body
from sidecar.api.endpoint_handlers import find_endpoint, url_task_type
from sidecar.api.inference_bodies import check_query, check_query_of_endpoint, parse_inference_body
from sidecar.api.keys import INFERENCE
from sidecar.api.result_bodies import result_body, result_size, truncated_inputs
from sidecar.api.streams import event_stream, failed_stream
from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import OtherError, SidecarError, StatusError
from sidecar.core.requests import InferenceRequest
from sidecar.core.tasks import ANY_TASK_TYPE, TaskType


async def perform_inference(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Runs inference and answers with the whole result."""
    task_type = _begin(call, values)
    if task_type is TaskType.CHAT_COMPLETION:
        raise _only_streaming()
    await call.body()
    endpoint, request = await _resolve(call, values["inference_id"], task_type, stream=False)
    answer = await call.request.app[INFERENCE].perform(endpoint, request, generation=call.generation)
    build = partial(result_body, answer.result, endpoint.task_type, call.generation)
    call.truncated = truncated_inputs(answer.result)
    return await call.answer_of(result_size(answer.result), build, answer.headers)


async def stream_inference(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Runs inference and answers with server-sent events; its errors are events, too."""
    task_type = _begin(call, values)
    await call.body()
    try:
        endpoint, request = await _resolve(call, values["inference_id"], task_type, stream=True)
    except SidecarError as error:
        known = task_type or call.facts.get("task_type")
        return failed_stream(call, error, is_chat=known == TaskType.CHAT_COMPLETION)
    items = call.request.app[INFERENCE].stream(endpoint, request, generation=call.generation)
    return await event_stream(call, items, is_chat=endpoint.task_type is TaskType.CHAT_COMPLETION)


def _begin(call: Call, values: Mapping[str, str]) -> TaskType | None:
    """What is checked before the body is read; errors here are never events."""
    task_type = url_task_type(values, call.generation)
    call.require_body()
    call.timeout()
    call.refuse_unknown()
    return task_type


async def _resolve(
    call: Call, inference_id: str, task_type: TaskType | None, *, stream: bool
) -> tuple[Endpoint, InferenceRequest]:
    """Endpoint and request: a typed URL reads the body first, any other needs the endpoint to know how to read it."""
    inference = call.request.app[INFERENCE]
    call.facts["endpoint"] = inference_id
    if task_type is not None:
        request = await _parse(call, task_type, task_type)
        endpoint = await find_endpoint(call, inference_id)
        _note(call, endpoint, request)
        if endpoint.task_type is not task_type:
            raise StatusError(
                f"Incompatible task_type, the requested type [{task_type}] "
                f"does not match the model type [{endpoint.task_type}]"
            )
        if task_type is TaskType.RERANK:
            check_query(request)
    else:
        if call.generation.body_before_endpoint:
            await _parse(call, None, None)
        endpoint = await find_endpoint(call, inference_id)
        _note(call, endpoint)
        if endpoint.task_type is TaskType.CHAT_COMPLETION and not stream:
            raise _only_streaming()
        request = await _parse(call, endpoint.task_type, None)
        _note(call, endpoint, request)
        check_query_of_endpoint(request, endpoint.task_type)
    if stream:
        requested = ANY_TASK_TYPE if task_type is None else task_type.value
        inference.check_streaming(endpoint, requested, call.generation)
    timeout = call.timeout(endpoint.task_type)
    return endpoint, replace(request, stream=stream, timeout=timeout.seconds, timeout_text=str(timeout))


async def _parse(call: Call, task_type: TaskType | None, typed: TaskType | None) -> InferenceRequest:
    if task_type is TaskType.CHAT_COMPLETION:
        return await call.read_body(partial(parse_chat_body, generation=call.generation))
    return await call.read_body(
        partial(parse_inference_body, generation=call.generation, task_type=task_type, url_task_type=typed)
    )


def _note(call: Call, endpoint: Endpoint, request: InferenceRequest | None = None) -> None:
    call.facts["task_type"] = endpoint.task_type.value
    if request is not None:
        call.facts["inputs"] = len(request.input)


def _only_streaming() -> SidecarError:
    reason = "The [chat_completion] task type only supports streaming, please try again with the _stream API"
    return OtherError(
        "unified_chat_completion_exception", reason, cause=StatusError(reason), is_elasticsearch_level=True
    )
