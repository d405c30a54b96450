"""Local models under Elasticsearch's own service name: what their endpoints accept.

Source: Elasticsearch API reference, "Create an Elasticsearch inference endpoint".
"""

from __future__ import annotations

from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.core.tasks import TaskType
from sidecar.services.allocations import (
    ANSWERED_BY,
    check_allocations,
    check_start,
    merge_allocations,
    threads_and_allocations,
)
from sidecar.services.declaration import Service, Task
from sidecar.services.setting_kinds import SIMILARITY, Choice, Flag, PositiveInt, Text
from sidecar.services.settings import Listed, Reading, Setting


def require_model(settings: dict[str, Any], _: dict[str, Any]) -> None:
    """A model or a deployment must be named.

    Raises:
        IllegalArgumentError: neither is.
    """
    if settings.get("model_id") is None and settings.get("deployment_id") is None:
        raise IllegalArgumentError("Error parsing service settings, model_id must be provided")


def check_rerank(settings: dict[str, Any], reading: Reading) -> None:
    check_allocations(settings, reading)
    if "max_chunks_per_doc" in settings and settings.get("long_document_strategy") != "chunk":
        reading.complain("The [max_chunks_per_doc] setting requires [long_document_strategy] to be set to [chunk]")


_MODEL: tuple[Setting, ...] = (
    Text(
        name="model_id",
        listed=Listed("Model ID", "The name of the model to use for the inference task.", required=True),
    ),
    Text(name="deployment_id"),
)
_SETTINGS = (*threads_and_allocations(), *_MODEL)


def _task(*extra: Setting, rerank: bool = False) -> Task:
    return Task(
        settings=(*_SETTINGS, *extra),
        task_settings=(Flag(name="return_documents", default=True),) if rerank else (),
        prepare=require_model,
        check=check_rerank if rerank else check_allocations,
        check_together=check_start,
        merge_update=merge_allocations,
        shows=frozenset({ANSWERED_BY}),
        ignores_task_settings=not rerank,
    )


SERVICE = Service(
    name="elasticsearch",
    title="Elasticsearch",
    tasks={
        TaskType.TEXT_EMBEDDING: _task(
            SIMILARITY,
            PositiveInt(name="dimensions"),
            Choice(name="element_type", choices=("float",)),
        ),
        TaskType.SPARSE_EMBEDDING: _task(),
        TaskType.RERANK: _task(
            Choice(name="long_document_strategy", choices=("chunk", "truncate"), since="9.4"),
            PositiveInt(name="max_chunks_per_doc", since="9.4"),
            rerank=True,
        ),
    },
)
