"""The endpoints that are always there, under Elasticsearch's reserved ids, answered by local models.

Source: Elasticsearch documentation, "Default inference endpoints".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sidecar.core.chunking import DEFAULT_CHUNKING
from sidecar.core.endpoint import Endpoint
from sidecar.core.tasks import TaskType

_SERVICE = "elasticsearch"
_ADAPTIVE = {"enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 32}


def _endpoint(
    inference_id: str,
    task_type: TaskType,
    model_id: str,
    task_settings: Mapping[str, Any],
) -> Endpoint:
    return Endpoint(
        inference_id,
        task_type,
        _SERVICE,
        service_settings={"num_threads": 1, "model_id": model_id, "adaptive_allocations": dict(_ADAPTIVE)},
        task_settings=task_settings,
        chunking_settings=dict(DEFAULT_CHUNKING) if task_type.is_embedding else None,
        is_preconfigured=True,
    )


PRECONFIGURED: Mapping[str, Endpoint] = MappingProxyType(
    {
        endpoint.inference_id: endpoint
        for endpoint in (
            _endpoint(".elser-2-elasticsearch", TaskType.SPARSE_EMBEDDING, ".elser_model_2_linux-x86_64", {}),
            _endpoint(
                ".multilingual-e5-small-elasticsearch",
                TaskType.TEXT_EMBEDDING,
                ".multilingual-e5-small_linux-x86_64",
                {},
            ),
            _endpoint(".rerank-v1-elasticsearch", TaskType.RERANK, ".rerank-v1", {"return_documents": True}),
        )
    }
)
