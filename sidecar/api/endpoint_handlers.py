"""Handlers that manage endpoints: create, update, get, delete, describe services."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from sidecar.api.call import DEFAULT_TIMEOUT, Call
from sidecar.api.keys import INFERENCE
from sidecar.api.middlewares import with_warnings
from sidecar.api.unfinished_writes import finish
from sidecar.core.endpoint import Endpoint, is_valid_inference_id
from sidecar.core.errors import ActionRequestValidationError, ResourceNotFoundError, StatusError
from sidecar.core.generations import Generation
from sidecar.core.tasks import ANY_TASK_TYPE, TaskType
from sidecar.wire.body_formats import parse_mapping

_WILDCARDS = ("_all", "*")


def url_task_type(values: Mapping[str, str], generation: Generation) -> TaskType | None:
    """The task type a path names; ``None`` for none and for ``any``. Raises ``StatusError`` for unknown ones."""
    text = values.get("task_type")
    if text is None or text.strip().lower() == ANY_TASK_TYPE:
        return None
    task_type = TaskType.parse(text)
    if task_type is None or task_type not in generation.task_types:
        raise StatusError(f"Unknown task_type [{text}]")
    return task_type


async def find_endpoint(call: Call, inference_id: str) -> Endpoint:
    """The endpoint of that id, as far as the generation knows it; raises ``ResourceNotFoundError``."""
    endpoint = await call.request.app[INFERENCE].find(inference_id)
    if endpoint.is_preconfigured and not call.generation.has_preconfigured:
        raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
    return endpoint


async def get_endpoints(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """One endpoint, or all of them (of a task type), in the same wrapper."""
    task_type = url_task_type(values, call.generation)
    call.refuse_unknown()
    inference = call.request.app[INFERENCE]
    inference_id = values.get("inference_id", "_all")
    if inference_id in _WILDCARDS:
        found = await inference.endpoints(task_type)
        found = [endpoint for endpoint in found if _is_known(endpoint, call.generation)]
    else:
        found = [await find_endpoint(call, inference_id)]
        _require_task_type(found[0], task_type, call.generation)
    shown = [inference.shown(endpoint, call.generation) for endpoint in found]
    return call.answer({call.generation.list_wrapper: shown})


async def put_endpoint(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Creates an endpoint."""
    task_type = url_task_type(values, call.generation)
    if call.generation.put_timeout:
        call.timeout()
    call.require_body()
    call.refuse_unknown()
    inference_id = values["inference_id"]
    _require_valid_id(inference_id)
    inference = call.request.app[INFERENCE]
    if inference.is_reserved(inference_id):
        raise StatusError(
            f"[{inference_id}] is a reserved inference ID. Cannot create a new inference endpoint with a reserved ID."
        )
    body = await call.read_body(partial(parse_mapping, generation=call.generation))
    timeout = call.timeout(task_type or TaskType.parse(str(body.get("task_type"))))
    created = await finish(
        call.request.app,
        inference.create(
            inference_id,
            task_type,
            body,
            generation=call.generation,
            timeout=timeout.seconds,
            timeout_text=str(timeout),
        ),
    )
    call.facts |= {"endpoint": inference_id, "task_type": created.endpoint.task_type.value}
    return with_warnings(call, call.answer(inference.shown(created.endpoint, call.generation)), created.warnings)


async def update_endpoint(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Changes what may change of an endpoint."""
    task_type = url_task_type(values, call.generation)
    call.require_body()
    timeout = call.timeout(task_type) if call.generation.update_timeout else DEFAULT_TIMEOUT
    call.refuse_unknown()
    inference_id = values["inference_id"]
    if "task_type" not in values and not call.generation.update_without_task_type:
        raise StatusError("Inference ID must be provided in the path")
    body = await call.read_body(partial(parse_mapping, generation=call.generation))
    _require_valid_id(inference_id)
    inference = call.request.app[INFERENCE]
    updated = await finish(
        call.request.app,
        inference.update(
            inference_id,
            task_type,
            body,
            generation=call.generation,
            timeout=timeout.seconds,
            timeout_text=str(timeout),
        ),
    )
    call.facts |= {"endpoint": inference_id, "task_type": updated.task_type.value}
    return call.answer(inference.shown(updated, call.generation))


async def delete_endpoint(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Deletes an endpoint, or says with ``dry_run`` what stands against it."""
    task_type = url_task_type(values, call.generation)
    dry_run = force = False
    if call.generation.delete_force:
        dry_run, force = call.flag("dry_run"), call.flag("force")
    call.refuse_unknown()
    inference_id = values["inference_id"]
    inference = call.request.app[INFERENCE]
    if not await inference.is_left_aside(inference_id):
        _require_task_type(await find_endpoint(call, inference_id), task_type, call.generation)
    call.facts["endpoint"] = inference_id
    deletion = await finish(
        call.request.app,
        inference.delete(inference_id, task_type, dry_run=dry_run, force=force, generation=call.generation),
    )
    body: dict[str, Any] = {"acknowledged": deletion.acknowledged}
    if call.generation.delete_lists_references:
        body |= {"pipelines": list(deletion.pipelines), "indexes": list(deletion.indexes)}
    if deletion.error_message is not None:
        body["error_message"] = deletion.error_message
    return call.answer(body)


async def get_services(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """The services with their settings, a bare array."""
    task_type = url_task_type(values, call.generation)
    call.refuse_unknown()
    return call.answer(call.request.app[INFERENCE].describe_services(task_type, call.generation))


async def get_diagnostics(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    """What the node is busy with, keyed by its name."""
    call.refuse_unknown()
    endpoints = await call.request.app[INFERENCE].endpoints(None)
    return call.answer({call.options.node_name: {"inference_endpoint_registry": {"endpoint_count": len(endpoints)}}})


def _is_known(endpoint: Endpoint, generation: Generation) -> bool:
    return endpoint.task_type in generation.task_types and (
        generation.has_preconfigured or not endpoint.is_preconfigured
    )


def _require_task_type(endpoint: Endpoint, task_type: TaskType | None, generation: Generation) -> None:
    if task_type is not None and task_type is not endpoint.task_type:
        raise StatusError(
            f"Requested task type [{task_type}] does not match the {generation.endpoint_noun.lower()}'s "
            f"task type [{endpoint.task_type}]"
        )


def _require_valid_id(inference_id: str) -> None:
    if not is_valid_inference_id(inference_id):
        raise ActionRequestValidationError(
            f"Invalid inference_id; '{inference_id}' can contain lowercase alphanumeric (a-z and 0-9), hyphens or "
            "underscores; must start and end with alphanumeric"
        )
