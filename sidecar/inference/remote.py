"""Endpoints answered by providers: from a request to a call, and the call that validates a new endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import OtherError, RequestTimeoutError, StatusError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.requests import ChatRequest, InferenceRequest
from sidecar.core.results import Answer, DenseEmbeddings, Ranking, StreamItem
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.calls import Call, no_reasoning
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.reading import SET_BY_USER, dimensions_differ, merge_task_settings
from sidecar.upstream.sender import Sender

PROBE_INPUT = "how big"
PROBE_QUERY = "test query"


class RemoteBackend:
    """Turns requests into calls of a service and sends them."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def forget(self, inference_id: str) -> None:
        """Drop what is kept for an endpoint that is gone."""
        self._sender.forget(inference_id)

    async def perform(self, service: Service, task: RemoteTask, call: Call, request: InferenceRequest) -> Answer:
        """The provider's answer within the request's time.

        Raises:
            RequestTimeoutError: the time ran out.
            SidecarError: the provider's failure.
        """
        call = _with_deadline(call, request)
        try:
            async with asyncio.timeout(request.timeout):
                answer = await self._sender.perform(service.name, task, call)
        except TimeoutError as error:
            raise RequestTimeoutError(request.timeout_text, call.inference_id) from error
        return _with_documents(answer, call)

    async def stream(
        self, service: Service, task: RemoteTask, call: Call, request: InferenceRequest
    ) -> AsyncGenerator[StreamItem, None]:
        """The provider's stream; the request's time bounds the wait for its first item.

        Raises:
            RequestTimeoutError: nothing came in time.
            SidecarError: the provider's failure, before or within the stream.
        """
        call = _with_deadline(call, request)
        async with aclosing(self._sender.stream(service.name, task, call)) as items:
            try:
                async with asyncio.timeout(request.timeout):
                    first = await anext(items, None)
            except TimeoutError as error:
                raise RequestTimeoutError(request.timeout_text, call.inference_id) from error
            if first is None:
                return
            yield first
            async for item in items:
                yield item

    async def probe(self, service: Service, task: RemoteTask, call: Call, request: InferenceRequest) -> Answer | None:
        """One real call on behalf of a new endpoint; a stream is left after its first item.

        Raises:
            SidecarError: the call failed.
        """
        if not call.stream:
            return await self.perform(service, task, call, request)
        async with aclosing(self.stream(service, task, call, request)) as items:
            await anext(items, None)
        return None


def require_time(call: Call, request: InferenceRequest) -> None:
    """A timeout of ``0`` or ``-1`` is over before anything is sent, as in Elasticsearch.

    Raises:
        RequestTimeoutError: there is no time at all.
    """
    if request.timeout <= 0:
        raise RequestTimeoutError(request.timeout_text, call.inference_id)


def _with_deadline(call: Call, request: InferenceRequest) -> Call:
    require_time(call, request)
    return replace(call, deadline=time.monotonic() + request.timeout)


def completed(task: RemoteTask, endpoint: Endpoint, answer: Answer | None) -> Endpoint:
    """The endpoint with what its validation call found out about its vectors.

    Raises:
        StatusError: there is no vector, or it has another size than the settings say.
    """
    if task.dense is not None and answer is not None:
        if not isinstance(answer.result, DenseEmbeddings) or answer.result.dimensions is None:
            cause = OtherError("illegal_state_exception", "Embeddings list is empty")
            raise StatusError("Could not determine embedding size", cause=cause)
        endpoint = _sized(task.dense, endpoint, answer.result.dimensions)
    if task.complete is None:
        return endpoint
    settings, task_settings = dict(endpoint.service_settings), dict(endpoint.task_settings)
    task.complete(settings, task_settings)
    return replace(endpoint, service_settings=settings, task_settings=task_settings)


def make_call(
    task: RemoteTask,
    endpoint: Endpoint,
    secrets: Mapping[str, Any],
    request: InferenceRequest,
    generation: Generation,
) -> Call:
    """The call for a request.

    Raises:
        SidecarError: the service cannot do what the request asks.
    """
    if request.chat is None and task.single_input and len(request.input) > 1:
        raise StatusError(f"{task.single_input} only accepts 1 input")
    if request.chat is not None and request.chat.reasoning and not task.reads_reasoning:
        raise no_reasoning(endpoint.service)
    check_input_type(task, endpoint.task_type, request.input_type)
    task_settings = merge_task_settings(
        task, endpoint.task_settings, request.task_settings, generation, endpoint.service
    )
    call = Call(
        inference_id=endpoint.inference_id,
        task_type=endpoint.task_type,
        settings=endpoint.service_settings,
        task_settings=task_settings,
        secrets=secrets,
        inputs=request.input,
        query=request.query,
        return_documents=request.return_documents,
        top_n=request.top_n,
        input_type=effective_input_type(task, request, task_settings),
        chat=request.chat,
        stream=request.stream,
        generation=generation,
    )
    if endpoint.task_type is TaskType.RERANK and call.query is None:
        raise ValidationError("Rerank task type requires a non-null query field")
    if task.check_call:
        task.check_call(call)
    return call


def check_input_type(task: RemoteTask, task_type: TaskType, input_type: InputType | None) -> None:
    """Refuse a request's input type that the service does not know."""
    if input_type is None or input_type is InputType.UNSPECIFIED or input_type.is_internal:
        return
    if task.input_types is None:
        raise ValidationError(
            f"Invalid input_type [{input_type}]. The input_type option is not supported by this service"
        )
    if input_type not in task.input_types:
        raise ValidationError(f"Input type [{input_type}] is not supported for [{task.label}]")


def effective_input_type(
    task: RemoteTask, request: InferenceRequest, task_settings: Mapping[str, Any]
) -> InputType | None:
    """Request root, then the effective task settings where the task has a setting of that name."""
    if request.input_type not in (None, InputType.UNSPECIFIED):
        return request.input_type
    is_declared = any(setting.name == "input_type" for setting in task.task_settings)
    text = task_settings.get("input_type") if is_declared else None
    return InputType(str(text).lower()) if text else None


def probe_call(task: RemoteTask, endpoint: Endpoint, secrets: Mapping[str, Any], generation: Generation) -> Call:
    """The call that validates an endpoint: an ordinary one, with a fixed input."""
    is_chat = endpoint.task_type is TaskType.CHAT_COMPLETION
    call = Call(
        inference_id=endpoint.inference_id,
        task_type=endpoint.task_type,
        settings=endpoint.service_settings,
        task_settings=endpoint.task_settings,
        secrets=secrets,
        inputs=() if is_chat else (PROBE_INPUT,),
        query=PROBE_QUERY if endpoint.task_type is TaskType.RERANK else None,
        input_type=InputType.INTERNAL_INGEST if endpoint.task_type.is_embedding else None,
        chat=ChatRequest(({"role": "user", "content": PROBE_INPUT},)) if is_chat else None,
        stream=is_chat,
        generation=generation,
    )
    return task.probe(call) if task.probe else call


def _sized(dense: Dense, endpoint: Endpoint, found: int) -> Endpoint:
    settings = dict(endpoint.service_settings)
    wanted = settings.get("dimensions")
    if dense.compares_dimensions and settings.get(SET_BY_USER) and wanted != found:
        raise dimensions_differ(endpoint.inference_id, found, wanted)
    settings["dimensions"] = found
    similarity = dense.similarity_of(settings) if dense.similarity_of else dense.similarity
    if similarity is not None:
        settings.setdefault("similarity", similarity)
    return replace(endpoint, service_settings=settings)


def _with_documents(answer: Answer, call: Call) -> Answer:
    """Texts filled in where the caller wants them and the provider left them out."""
    ranking = answer.result
    if not isinstance(ranking, Ranking) or not call.option("return_documents"):
        return answer
    texts = call.texts
    documents = tuple(
        replace(document, text=texts[document.index])
        if document.text is None and 0 <= document.index < len(texts)
        else document
        for document in ranking.documents
    )
    return replace(answer, result=replace(ranking, documents=documents))
