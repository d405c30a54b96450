"""Whether a ``semantic_text`` field can be searched with the vectors of the endpoint that it names for queries."""

from __future__ import annotations

from sidecar.core.tasks import TaskType
from sidecar.elastic.bindings import SemanticText
from sidecar.search.scope import SearchScope


def why_unsearchable(scope: SearchScope, name: str, field: SemanticText) -> str | None:
    """Why the field cannot be searched with that endpoint's vectors, in Elasticsearch's words; ``None`` where it can.

    The sidecar has the endpoint that the field names for queries.
    """
    searching = scope.endpoints[field.search_inference_id]
    filled = scope.endpoints.get(field.inference_id)
    settings = field.model_settings or {}
    task = TaskType(settings["task_type"]) if settings.get("task_type") else None
    expected = task or (filled.task_type if filled else searching.task_type)
    question = f"Is the search inference endpoint [{field.search_inference_id}] compatible with the inference endpoint"
    if not (searching.is_sparse or searching.is_dense):
        return None
    if (expected is TaskType.SPARSE_EMBEDDING) != searching.is_sparse:
        want, got = _result_name(expected), _result_name(searching.task_type)
        return (
            f"Field [{name}] expected query inference results to be of type [{want}], got [{got}]. "
            f"{question} [{field.inference_id}]?"
        )
    dimensions = settings.get("dimensions")
    if dimensions and searching.dimensions and dimensions != searching.dimensions:
        return (
            f"Field [{name}] expected query inference results with {dimensions} dimensions, "
            f"got {searching.dimensions} dimensions. {question} [{field.inference_id}]?"
        )
    return None


def _result_name(task_type: TaskType) -> str:
    return "text_expansion_result" if task_type is TaskType.SPARSE_EMBEDDING else "text_embedding_result"
