"""What a request says about endpoints, checked before any service is asked, and the refusals that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import OtherError, StatusError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_text
from sidecar.core.requests import InferenceRequest
from sidecar.core.tasks import ANY_TASK_TYPE, TaskType
from sidecar.services.declaration import Service
from sidecar.services.reading import CHUNKING_SETTINGS, cannot_be_updated
from sidecar.services.settings import SERVICE_SETTINGS, TASK_SETTINGS

_UPDATE_KEYS = (SERVICE_SETTINGS, TASK_SETTINGS, "task_type")

_ELSER_DEPRECATED = (
    "The [elser] service is deprecated and will be removed in a future release. "
    "Use the [elasticsearch] service instead, with [model_id] set to [{model}] in the [service_settings]"
)
_MODEL_ID_DEPRECATED = (
    "Putting elasticsearch service inference endpoints (including elser service) without a model_id field "
    "is deprecated and will be removed in a future release. Please specify a model_id field."
)


def resolve_task_type(url: TaskType | None, given: Any, generation: Generation) -> TaskType:
    """The task type of the URL or of the body, which must agree.

    Raises:
        StatusError: it is unknown, missing, ``any``, or they differ.
    """
    if given is None:
        if url is None:
            raise StatusError("model is missing required setting [task_type]")
        return url
    text = given if isinstance(given, str) else java_text(given)
    task_type = TaskType.parse(text)
    if text.strip().lower() == ANY_TASK_TYPE:
        raise StatusError("task_type [any] is not valid type for inference")
    if task_type is None or task_type not in generation.task_types:
        raise StatusError(f"Unknown task_type [{text}]")
    if url is not None and url is not task_type:
        raise StatusError(
            f"Cannot resolve conflicting task_type parameter in the request URL [{url}] and the request body [{text}]"
        )
    return task_type


def check_update_body(body: Mapping[str, Any], generation: Generation) -> None:
    """Refuse an update that is empty or holds what cannot be updated.

    Raises:
        StatusError: in Elasticsearch's words.
    """
    if not body:
        raise StatusError("Request body is empty")
    known = (*_UPDATE_KEYS, CHUNKING_SETTINGS) if generation.update_takes_chunking else _UPDATE_KEYS
    foreign = {name: value for name, value in body.items() if name not in known}
    if "task_type" in body and not isinstance(body["task_type"], str):
        raise StatusError(f"Failed to parse [task_type] in update request [{java_text(body)}]")
    for name, words in ((SERVICE_SETTINGS, "service settings"), (TASK_SETTINGS, "task settings")):
        if name in body and not isinstance(body[name], Mapping):
            raise StatusError(f"Unable to parse {words} in the request [{java_text(body)}]")
    if foreign:
        raise cannot_be_updated(foreign)


def check_query(service: Service, task_type: TaskType, request: InferenceRequest, generation: Generation) -> None:
    """Refuse a query that no reranking asked for, where providers' services of that generation fail on it.

    8.16 itself never sends a call for vectors that has one, and times out; it is answered at once with 8.14's error.

    Raises:
        SidecarError: 500, as in Elasticsearch.
    """
    if request.query is None or task_type is TaskType.RERANK or not generation.fails_on_query_off_rerank:
        return
    if task_type is TaskType.COMPLETION and generation.completion_query_text:
        raise StatusError(generation.completion_query_text, status=500)
    reason = f"{service.title} service does not support inference with query input"
    raise OtherError("unsupported_operation_exception", reason, status=500)


def streaming_refused(service: Service, requested: str, generation: Generation) -> StatusError:
    """The 405 for a stream that cannot be."""
    supported = service.stream_tasks(generation)
    if not supported:
        return StatusError(f"Streaming is not allowed for service [{service.name}].", status=405)
    names = ",".join((*supported, *generation.stream_tasks_besides))
    return StatusError(
        f"Streaming is not allowed for service [{service.name}] and task [{requested}]. Supported tasks: [{names}]",
        status=405,
    )


def service_gone(endpoint: Endpoint) -> StatusError:
    return StatusError(
        f"Unknown service [{endpoint.service}] for inference endpoint [{endpoint.inference_id}].", status=500
    )


def deprecations(service: Service, body: Mapping[str, Any]) -> tuple[str, ...]:
    if service.name != "elser":
        return ()
    settings = body.get(SERVICE_SETTINGS)
    names_model = isinstance(settings, Mapping) and settings.get("model_id")
    deprecated = _ELSER_DEPRECATED.format(model=".elser_model_2")
    return (deprecated,) if names_model else (deprecated, _MODEL_ID_DEPRECATED)
