"""The deprecated name of sparse local endpoints.

Source: Elasticsearch API reference, "Create an ELSER inference endpoint".
"""

from __future__ import annotations

from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.services.allocations import (
    ANSWERED_BY,
    check_allocations,
    check_start,
    merge_allocations,
    threads_and_allocations,
)
from sidecar.services.declaration import Service, Task
from sidecar.services.setting_kinds import Text

DEFAULT_MODEL = ".elser_model_2"


def name_model(settings: dict[str, Any], _: dict[str, Any]) -> None:
    """The model may be left out."""
    settings.setdefault("model_id", DEFAULT_MODEL)


SERVICE = Service(
    name="elser",
    title="ELSER",
    listed=False,
    tasks={
        TaskType.SPARSE_EMBEDDING: Task(
            settings=(*threads_and_allocations(), Text(name="model_id")),
            prepare=name_model,
            check=check_allocations,
            check_together=check_start,
            merge_update=merge_allocations,
            shows=frozenset({ANSWERED_BY}),
            ignores_task_settings=True,
        )
    },
)
