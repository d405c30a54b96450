"""OpenShift AI model serving (vLLM runtimes). Source: Red Hat OpenShift AI documentation, "Serving models"."""

from __future__ import annotations

from typing import Any

from sidecar.core.results import Ranking
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, plain_bearer, required
from sidecar.services.cohere_shapes import parse_ranking
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import INPUT_VALIDATION, Failures
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    EMBEDDING_FAILURES,
    NO_USAGE_FORM,
    parse_embeddings,
    quoting,
)
from sidecar.services.openai_tasks import ChatProvider, embedding_body
from sidecar.services.reading import SET_BY_USER
from sidecar.services.setting_kinds import SIMILARITY, Flag, MaxInputTokens, PositiveInt, RateLimit, Text, Url
from sidecar.services.settings import Listed

_MODEL = Text(name="model_id", listed=Listed("Model ID", "The name of the model to use for the inference task."))
_URL = Url(name="url", required=True, listed=Listed("URL", "The URL endpoint to use for the requests."))
_RATE_LIMIT = RateLimit(requests_per_minute=3000)
# of another family than OpenShift AI's other tasks, and without the provider's words
_RERANK_FAILURES = Failures(
    words=lambda _: None, retried=frozenset({429, 500}), prefixes={400: INPUT_VALIDATION, 422: INPUT_VALIDATION}
)


def request_embeddings(call: Call) -> ProviderRequest:
    body = embedding_body(call, call.settings.get("model_id"))
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"query": call.query, "documents": call.texts}
    for name in ("top_n", "return_documents"):
        if (value := call.option(name)) is not None:
            body[name] = value
    if model := call.settings.get("model_id"):
        body["model"] = model
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def parse_results(answer: ProviderAnswer, call: Call) -> Ranking:
    """As Cohere's models answer."""
    return parse_ranking(answer, required)


_CHAT = ChatProvider(
    title="OpenShift AI",
    sending="Failed to send OpenShift AI {task} request from inference entity id [{id}]",
    single_input="OpenShift AI completions",
    settings=(_MODEL, _URL, _RATE_LIMIT),
    headers=plain_bearer,
    form=NO_USAGE_FORM,
    failures=quoting(CHAT_FAILURES, "openshift_ai_error"),
)

SERVICE = Service(
    name="openshift_ai",
    title="OpenShift AI",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send OpenShift AI text_embedding request from inference entity id [{id}]",
            settings=(
                _MODEL,
                _URL,
                _RATE_LIMIT,
                PositiveInt(name="dimensions"),
                SIMILARITY,
                MaxInputTokens(characters_per_token=3),
            ),
            shows=frozenset({SET_BY_USER}),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=quoting(EMBEDDING_FAILURES),
            dense=Dense("dot_product"),
            since="9.4",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send OpenShift AI rerank request from inference entity id [{id}]",
            settings=(_MODEL, _URL, _RATE_LIMIT),
            task_settings=(Flag(name="return_documents"), PositiveInt(name="top_n")),
            request=request_rerank,
            parse=parse_results,
            failures=_RERANK_FAILURES,
            since="9.4",
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4"),
    },
)
