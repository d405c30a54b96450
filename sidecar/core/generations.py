"""What differs between generations of the Inference API, in one table.

A generation is chosen by ``SIDECAR_API_GENERATION`` (default 9.4) and per request by the header
``X-Inference-Api-Generation``, both by its name or by any version from 8.11
on (:func:`generation_of`). Code asks a :class:`Generation` for a feature or a wording; it never compares versions.
Source: Elasticsearch's API specification, branches 8.11 to 9.5, and answers of real nodes of 8.14.1, 8.16.1, 8.19.8
and 9.4.3; 8.11, 8.12 and what 9.5 adds follow the documentation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from sidecar.core.tasks import TaskType

_EMBED_RERANK_COMPLETE = frozenset(
    {TaskType.TEXT_EMBEDDING, TaskType.SPARSE_EMBEDDING, TaskType.RERANK, TaskType.COMPLETION}
)


@dataclass(frozen=True, slots=True, eq=False)  # one object per generation: identity is equality, and quick
class Generation:
    """One generation's names, routes, shapes and wordings; the defaults are those of 9.4."""

    name: str
    version: str
    task_types: frozenset[TaskType] = frozenset(TaskType)

    # --- routes and parameters
    one_segment_paths: bool = True
    has_update: bool = True
    update_without_task_type: bool = True
    has_stream: bool = True
    stream_without_task_type: bool = True
    has_services_route: bool = True
    has_diagnostics: bool = True
    put_timeout: bool = True
    update_timeout: bool = False
    delete_force: bool = True
    has_preconfigured: bool = True

    # --- shapes
    id_field: str = "inference_id"
    list_wrapper: str = "endpoints"
    shows_empty_task_settings: bool = False
    shows_rate_limit: bool = True
    has_chunking_settings: bool = True
    delete_lists_references: bool = True
    index_text_has_leading_space: bool = False
    rerank_null_text: bool = False
    single_sparse_map: bool = False
    service_elser_echoed: bool = False

    # --- behaviour
    collects_setting_errors: bool = True
    update_validates: bool = True
    update_keeps_chunking: bool = True
    update_takes_chunking: bool = False
    validates_at_create: frozenset[TaskType] = frozenset(TaskType)
    wraps_validation_failure: bool = True
    timeout_status: int = 429
    completion_timeout_seconds: int = 30
    zero_timeout_is_default: bool = False
    rejects_query_off_rerank: bool = True
    fails_on_query_off_rerank: bool = False
    rerank_input_fields: bool = True
    least_top_n: int | None = None
    sentence_chunk_limit: int | None = None
    unparsable_answer_status: int = 400
    body_before_endpoint: bool = False
    query_before_task_type: bool = True
    chat_multimodal: bool = True
    names_end_of_input: bool = True
    detects_body_format: bool = False
    stream_failure_status: int | None = None
    stream_tasks_besides: tuple[str, ...] = ()
    chat_code_from_status: bool = True
    compatible_versions: tuple[int, int] = (9, 8)

    # --- wordings
    action_name: str = "cluster:internal/xpack/inference"
    timeout_text: str = "Request timed out after [{timeout}] for inference id [{inference_id}]"
    input_missing: str = "Field [input] cannot be null"
    input_empty: str = "Field [input] cannot be an empty array"
    endpoint_noun: str = "Inference endpoint"
    configuration_noun: str = "Configuration"
    bound_article: str = ""
    completion_query_text: str | None = None
    stream_error_type: str = "UnifiedChatCompletionErrorResponse"

    def at_least(self, version: str) -> bool:
        """True when this generation is ``version`` (``"8.19"``) or newer; for the declarations of services only."""
        return _number(self.name) >= _number(version)


@cache  # every call compares, and there are a handful of names
def _number(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("."))


G9_4 = Generation("9.4", "9.4.3")

G9_5 = replace(
    G9_4,
    name="9.5",
    version="9.5.0",
    update_timeout=True,
    update_takes_chunking=True,
    completion_timeout_seconds=120,
    zero_timeout_is_default=True,
    least_top_n=1,
)

G8_19 = replace(
    G9_4,
    name="8.19",
    version="8.19.8",
    task_types=_EMBED_RERANK_COMPLETE | {TaskType.CHAT_COMPLETION},
    stream_without_task_type=False,
    update_validates=False,
    update_keeps_chunking=False,
    timeout_status=408,
    timeout_text="Request timed out after [{timeout}]",
    rejects_query_off_rerank=False,
    sentence_chunk_limit=300,
    chat_multimodal=False,
    chat_code_from_status=False,
    compatible_versions=(8, 7),
    unparsable_answer_status=500,
    bound_article="a ",
    stream_error_type="ErrorResponse",
)

G8_16 = replace(
    G8_19,
    name="8.16",
    version="8.16.1",
    task_types=_EMBED_RERANK_COMPLETE,
    update_without_task_type=False,
    stream_without_task_type=True,
    has_services_route=False,
    put_timeout=False,
    has_preconfigured=False,
    index_text_has_leading_space=True,
    fails_on_query_off_rerank=True,
    completion_query_text="Invalid inference input type",
    rerank_input_fields=False,
    body_before_endpoint=True,
    names_end_of_input=False,
    detects_body_format=True,
    stream_failure_status=200,
    stream_tasks_besides=("any",),
    timeout_status=500,
    timeout_text="Request timed out waiting to be sent after [{timeout}]",
    validates_at_create=frozenset({TaskType.TEXT_EMBEDDING, TaskType.SPARSE_EMBEDDING, TaskType.COMPLETION}),
    action_name="cluster:monitor/xpack/inference",
    configuration_noun="Model configuration",
)

G8_14 = replace(
    G8_16,
    name="8.14",
    version="8.14.1",
    has_update=False,
    has_diagnostics=False,
    has_stream=False,
    delete_force=False,
    id_field="model_id",
    list_wrapper="models",
    shows_empty_task_settings=True,
    shows_rate_limit=False,
    has_chunking_settings=False,
    delete_lists_references=False,
    rerank_null_text=True,
    service_elser_echoed=True,
    collects_setting_errors=False,
    validates_at_create=frozenset({TaskType.TEXT_EMBEDDING}),
    wraps_validation_failure=False,
    endpoint_noun="Model",
    query_before_task_type=False,
    completion_query_text=None,
    input_missing="missing input",
    input_empty="input array is empty",
)

G8_12 = replace(
    G8_14,
    name="8.12",
    version="8.12.2",
    task_types=frozenset({TaskType.TEXT_EMBEDDING, TaskType.SPARSE_EMBEDDING}),
    one_segment_paths=False,
)

G8_11 = replace(G8_12, name="8.11", version="8.11.4", single_sparse_map=True)

GENERATIONS: dict[str, Generation] = {g.name: g for g in (G8_11, G8_12, G8_14, G8_16, G8_19, G9_4, G9_5)}
DEFAULT_GENERATION = G9_4
OLDEST_VERSION = "8.11"
GENERATION_HEADER = "X-Inference-Api-Generation"


def generation_of(version: str) -> Generation | None:
    """The generation that speaks what Elasticsearch ``version`` does: ``"9.2"``, ``"8.17.3"``, or a generation's name.

    It is the nearest of the same line, of two the newer. ``None`` for what is no version, or one without an Inference
    API (before 8.11).
    """
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?(?:-SNAPSHOT)?", version.strip())
    if match is None:
        return None
    asked = (int(match[1]), int(match[2]))
    line = [generation for generation in GENERATIONS.values() if _number(generation.name)[0] == asked[0]]
    if not line or asked < _number(OLDEST_VERSION):
        return None
    return min(line, key=lambda g: (abs(_number(g.name)[1] - asked[1]), -_number(g.name)[1]))
