"""``_ml/trained_models`` on the wire, by which client libraries look for models and ask for vectors.

Source: Elasticsearch reference, "Infer trained model API"; what langchain, llama-index and haystack send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import ActionRequestValidationError, IllegalArgumentError, StatusError
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import DenseEmbeddings, Result, SparseEmbeddings
from sidecar.core.tasks import InputType, TaskType
from sidecar.core.time_values import parse_time_value

_CONFIGURATIONS = {
    TaskType.SPARSE_EMBEDDING: "text_expansion",
    TaskType.TEXT_EMBEDDING: "text_embedding",
    TaskType.EMBEDDING: "text_embedding",
    TaskType.RERANK: "text_similarity",
}
DEFAULT_TIMEOUT = "10s"
"""Elasticsearch's own for this call."""


def read_infer_body(fields: Mapping[str, Any], timeout: str | None) -> InferenceRequest:
    """The request for ``{"docs": [{"text_field": "..."}]}``.

    Nothing in it tells a question from a document: endpoints that tell them apart are asked as for a document.

    Raises:
        ActionRequestValidationError: there is no document.
        IllegalArgumentError: a document does not hold just one text.
    """
    docs = fields.get("docs")
    if not isinstance(docs, list) or not docs:
        raise ActionRequestValidationError("at least one document is required ")
    texts = []
    for doc in docs:
        values = [value for value in doc.values() if isinstance(value, str)] if isinstance(doc, dict) else []
        if len(values) != 1:
            raise IllegalArgumentError("each document of [docs] must hold one field with a text")
        texts.append(values[0])
    patience = parse_time_value(timeout or DEFAULT_TIMEOUT, "timeout")
    return InferenceRequest(
        input=tuple(texts),
        input_type=InputType.INTERNAL_INGEST,
        timeout=patience.seconds,
        timeout_text=str(patience),
    )


def infer_body(result: Result, endpoint: Endpoint) -> dict[str, Any]:
    """``{"inference_results": [{"predicted_value": ...}]}``, in order: vectors, or objects of token weights.

    A result of a text that was cut has ``is_truncated`` beside it.

    Raises:
        StatusError: the endpoint makes no embeddings.
    """
    values: list[Any]
    if isinstance(result, SparseEmbeddings):
        values = [item.tokens for item in result.items]
    elif isinstance(result, DenseEmbeddings):
        values = list(result.vectors)
    else:
        raise StatusError(f"[{endpoint.inference_id}] is a {endpoint.task_type} endpoint; it makes no embeddings")
    rows: list[dict[str, Any]] = [{"predicted_value": value} for value in values]
    for position in result.truncated:
        rows[position]["is_truncated"] = True
    return {"inference_results": rows}


def trained_model_body(name: str, endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint under the ``name`` that was asked for, as ``GET _ml/trained_models`` shows a model."""
    kind = _CONFIGURATIONS.get(endpoint.task_type)
    config = {
        "model_id": name,
        "model_type": "pytorch",
        "created_by": "sidecar",
        "description": f"inference endpoint [{endpoint.inference_id}]",
        "tags": [],
        "input": {"field_names": ["text_field"]},
        **({"inference_config": {kind: {}}} if kind else {}),
    }
    return {"count": 1, "trained_model_configs": [config]}
