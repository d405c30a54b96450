"""The ``query_vector_builder`` of a ``knn`` or ``diversify``: which text, by which endpoint.

Source: Elasticsearch's query DSL reference, "Knn", and its retriever reference, "Diversify retriever".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import IllegalArgumentError, SidecarError, XContentParseError


def builder_text(builder: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Text and endpoint of a ``query_vector_builder``; no text where it is of another kind or not well formed."""
    if len(builder) != 1:
        return None, None
    ((kind, body),) = builder.items()
    if not isinstance(body, dict):
        return None, None
    if kind == "text_embedding" and body.keys() <= {"model_id", "model_text"}:
        text, inference_id = body.get("model_text"), body.get("model_id")
    elif kind == "embedding" and body.keys() <= {"inference_id", "input", "timeout"}:
        text, inference_id = _one_text(body.get("input")), body.get("inference_id")
        if inference_id is None:
            return None, None
    else:
        return None, None
    if not isinstance(text, str) or not isinstance(inference_id, str | None):
        return None, None
    return text, inference_id


def _one_text(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        if value.get("type") == "text" and value.get("format", "text") == "text":
            return value.get("value")
        return None
    return value


def only_one() -> SidecarError:
    return XContentParseError(
        "Failed to build [knn] after last required field arrived",
        cause=IllegalArgumentError("only one of [query_vector] and [query_vector_builder] must be provided"),
    )
