"""Calls of recorded endpoints, for services without a sidecar around them."""

from __future__ import annotations

import functools

from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.requests import ChatRequest
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call
from sidecar.services.catalogue import Catalogue
from sidecar.services.declaration import RemoteTask
from sidecar.services.reading import read_endpoint
from tests.services.recordings import Recording


@functools.cache
def catalogue() -> Catalogue:
    return Catalogue.discover()


def sample_call(case: Recording) -> tuple[RemoteTask, Call]:
    """A call of the endpoint that the case creates, and the task that it is for."""
    service, task_type = catalogue().get(case.service), TaskType(case.task_type)
    assert service is not None
    task = service.tasks[task_type]
    assert isinstance(task, RemoteTask)
    body = {name: value for name, value in case.create["body"].items() if name != "service"}
    draft = read_endpoint(service, task_type, "id", body, DEFAULT_GENERATION)
    is_chat = task_type is TaskType.CHAT_COMPLETION
    call = Call(
        inference_id="id",
        task_type=task_type,
        settings=draft.endpoint.service_settings,
        task_settings=draft.endpoint.task_settings,
        secrets=draft.secrets,
        inputs=() if is_chat else ("first text", "second text"),
        query="query" if task_type is TaskType.RERANK else None,
        chat=ChatRequest(({"role": "user", "content": "Hi"},)) if is_chat else None,
        stream=is_chat,
    )
    return task, call
