"""Azure AI Studio: models of several makers, deployed as serverless APIs (``token``) or managed ones (``realtime``).

Source: Microsoft Foundry, "Azure AI Model Inference API" (embeddings, chat completions) and "How to deploy Cohere
rerank models"; score routes of managed online endpoints in the Azure Machine Learning documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidecar.core.errors import OtherError, StatusError
from sidecar.core.java_uri import uri_problem
from sidecar.core.results import Completion, Ranking
from sidecar.core.tasks import InputType, TaskType
from sidecar.services import cohere_shapes
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, field_missing, required
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import SERVER_BUSY, TOO_LARGE, Failures, words_of_error_object
from sidecar.services.openai_shapes import PROMPT_TOO_LONG, ChatStream, parse_completion, parse_embeddings
from sidecar.services.openai_tasks import dimensions, embedding_body
from sidecar.services.rate_limit_headers import remaining_limits
from sidecar.services.setting_kinds import (
    SIMILARITY,
    Choice,
    Flag,
    MaxInputTokens,
    Number,
    PositiveInt,
    RateLimit,
    Refused,
    Text,
)
from sidecar.services.settings import Listed, Setting

TOKEN, REALTIME = "token", "realtime"
DEFAULT_MAX_NEW_TOKENS = 64

# which makers offer a task, by kind of endpoint
AVAILABLE: Mapping[TaskType, Mapping[str, frozenset[str]]] = {
    TaskType.TEXT_EMBEDDING: {TOKEN: frozenset({"openai", "cohere"}), REALTIME: frozenset()},
    TaskType.COMPLETION: {
        TOKEN: frozenset({"openai", "meta", "cohere"}),
        REALTIME: frozenset({"mistral", "meta", "microsoft_phi", "databricks"}),
    },
    TaskType.RERANK: {TOKEN: frozenset({"cohere"}), REALTIME: frozenset()},
}
ROUTES = {
    TaskType.TEXT_EMBEDDING: "/v1/embeddings",
    TaskType.COMPLETION: "/v1/chat/completions",
    TaskType.RERANK: "/v1/rerank",
}
INPUT_TYPES = {InputType.INGEST: "document", InputType.SEARCH: "query"}

_SETTINGS: tuple[Setting, ...] = (
    Text(
        name="target",
        required=True,
        listed=Listed("Target", "The target URL of your Azure AI Studio model deployment."),
    ),
    RateLimit(requests_per_minute=240),
    Choice(
        name="endpoint_type",
        required=True,
        choices=(TOKEN, REALTIME),
        listed=Listed("Endpoint Type", "Specifies the type of endpoint that is used in your model deployment."),
    ),
    Choice(
        name="provider",
        required=True,
        choices=("cohere", "databricks", "meta", "microsoft_phi", "mistral", "openai"),
        listed=Listed("Provider", "The model provider for your deployment."),
    ),
)
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    *_SETTINGS,
    SIMILARITY,
    dimensions("https://learn.microsoft.com/en-us/azure/ai-studio/reference/reference-model-inference-embeddings"),
    MaxInputTokens(characters_per_token=3),
    Refused(name="dimensions_set_by_user"),
)
_COMPLETION_TASK_SETTINGS: tuple[Setting, ...] = (
    Number(name="temperature", minimum=0.0, maximum=2.0),
    Number(name="top_p", minimum=0.0, maximum=2.0),
    Flag(name="do_sample"),
    PositiveInt(name="max_new_tokens"),
)
_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (Flag(name="return_documents"), PositiveInt(name="top_n"))

_EMBEDDING_FAILURES = Failures(
    words=words_of_error_object,
    retried=frozenset({429, 500, 503}),
    shortened=frozenset({413}),
    prefixes={413: TOO_LARGE, 503: SERVER_BUSY},
    too_large_phrase=PROMPT_TOO_LONG,
    rate_limit_details=remaining_limits,
)
# neither a chat nor a list of documents can be shortened; Elasticsearch repeats a 413 as it is
_FAILURES = replace(
    _EMBEDDING_FAILURES, retried=frozenset({413, 429, 500, 503}), shortened=frozenset(), can_shorten=False
)


def check_available(task_type: TaskType, settings: Mapping[str, Any]) -> None:
    """Raise for a wrong target, and for a maker that does not offer the task, or not with this kind of endpoint.

    Raises:
        OtherError: the target with its route is no URI; Elasticsearch calls that an error of its own (500).
        StatusError: the maker does not.
    """
    address = address_of(task_type, settings)
    if problem := uri_problem(address):
        reason = f"{problem}: {address}"
        cause = OtherError("u_r_i_syntax_exception", reason)
        raise OtherError("runtime_exception", f"java.net.URISyntaxException: {reason}", cause=cause)
    kinds, provider, kind = AVAILABLE[task_type], settings["provider"], settings["endpoint_type"]
    if not any(provider in makers for makers in kinds.values()):
        raise StatusError(f"The [{task_type}] task type for provider [{provider}] is not available")
    if provider not in kinds[kind]:
        raise StatusError(
            f"The [{kind}] endpoint type with [{task_type}] task type for provider [{provider}] is not available"
        )


def address_of(task_type: TaskType, settings: Mapping[str, Any]) -> str:
    """The target as it stands for OpenAI's models and managed endpoints, with the task's route for all others."""
    target = str(settings["target"])
    if settings["provider"] == "openai" or settings["endpoint_type"] == REALTIME:
        return target
    return target.removesuffix("/") + ROUTES[task_type]


def url(call: Call) -> str:
    return address_of(call.task_type, call.settings)


def headers(call: Call) -> dict[str, str]:
    key = call.secrets["api_key"]
    if call.settings["provider"] == "openai":
        return {"api-key": key}
    return {"Authorization": f"Bearer {key}" if call.settings["endpoint_type"] == REALTIME else key}


def request_embeddings(call: Call) -> ProviderRequest:
    body = embedding_body(call)
    if call.input_type and (input_type := INPUT_TYPES.get(call.input_type.public)):
        body["input_type"] = input_type
    return ProviderRequest.json(url(call), body, headers(call))


def request_completion(call: Call) -> ProviderRequest:
    """Messages on top for serverless deployments, below ``input_data`` for managed ones."""
    messages = [{"content": text, "role": "user"} for text in call.texts]
    names = [setting.name for setting in _COMPLETION_TASK_SETTINGS]
    parameters = {name: call.task_settings[name] for name in names if name in call.task_settings}
    options = {"parameters": parameters} if parameters else {}
    body: dict[str, Any]
    if call.settings["endpoint_type"] == REALTIME:
        body = {"input_data": {"input_string": messages, **options}}
    else:
        body = {"messages": messages, **options}
    if call.stream:
        body["stream"] = True
    return ProviderRequest.json(url(call), body, headers(call))


def parse_answer(answer: ProviderAnswer, call: Call) -> Completion:
    """OpenAI's choices, or ``{"output": "..."}`` of managed endpoints."""
    if call.settings["endpoint_type"] != REALTIME:
        return parse_completion(answer, call)
    body = answer.json()
    output = body.get("output") if isinstance(body, dict) else None
    if not isinstance(output, str):
        raise field_missing("output", "Azure AI Studio completions")
    return Completion((output,))


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"documents": call.texts, "query": call.query}
    for name in ("return_documents", "top_n"):
        if (value := call.option(name)) is not None:
            body[name] = value
    return ProviderRequest.json(url(call), body, headers(call))


def parse_ranking(answer: ProviderAnswer, call: Call) -> Ranking:
    """As Cohere's models answer."""
    return cohere_shapes.parse_ranking(answer, required)


def complete(settings: dict[str, Any], task_settings: dict[str, Any]) -> None:
    """Completions are bounded from the first call on that is not a validation."""
    task_settings.setdefault("max_new_tokens", DEFAULT_MAX_NEW_TOKENS)


def _stream(call: Call) -> ChatStream:
    return ChatStream(call, _FAILURES)


SERVICE = Service(
    name="azureaistudio",
    title="Azure AI Studio",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Azure AI Studio embeddings request",
            settings=_EMBEDDING_SETTINGS,
            task_settings=(Text(name="user"),),
            check_endpoint=lambda settings, secrets: check_available(TaskType.TEXT_EMBEDDING, settings),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=_EMBEDDING_FAILURES,
            dense=Dense("dot_product"),
            input_types=frozenset(INPUT_TYPES),
            label="Azure AI Studio",
            batch_size=2048,
            since="8.16",
        ),
        TaskType.COMPLETION: RemoteTask(
            sending="Failed to send Azure AI Studio completion request",
            settings=_SETTINGS,
            task_settings=_COMPLETION_TASK_SETTINGS,
            check_endpoint=lambda settings, secrets: check_available(TaskType.COMPLETION, settings),
            request=request_completion,
            parse=parse_answer,
            stream=_stream,
            failures=_FAILURES,
            complete=complete,
            since="8.16",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send Azure AI Studio rerank request",
            settings=_SETTINGS,
            task_settings=_RERANK_TASK_SETTINGS,
            check_endpoint=lambda settings, secrets: check_available(TaskType.RERANK, settings),
            request=request_rerank,
            parse=parse_ranking,
            failures=_FAILURES,
            since="9.4",
        ),
    },
)
