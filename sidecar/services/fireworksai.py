"""Fireworks AI embeddings and chat. Source: Fireworks AI API reference, "Embeddings", "Create Chat Completion"."""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderRequest, bearer
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import Failures, words_of_error_object
from sidecar.services.openai_shapes import OPENAI_FORM, parse_embeddings
from sidecar.services.openai_tasks import ChatProvider, embedding_body
from sidecar.services.setting_kinds import (
    MAX_INPUT_TOKENS,
    SIMILARITY,
    PositiveInt,
    RateLimit,
    Text,
    TextMap,
    Url,
    UrlType,
)
from sidecar.services.settings import Listed

EMBEDDINGS_URL = "https://api.fireworks.ai/inference/v1/embeddings"
CHAT_URL = "https://api.fireworks.ai/inference/v1/chat/completions"

_MODEL = Text(
    name="model_id", required=True, listed=Listed("Model ID", "The model ID to use for Fireworks AI requests.")
)
_URL = Url(name="url", listed=Listed("URL", "The URL of the Fireworks AI endpoint. Useful for on-demand deployments."))
_RATE_LIMIT = RateLimit(requests_per_minute=6000)


def request_embeddings(call: Call) -> ProviderRequest:
    return ProviderRequest.json(call.settings["url"], embedding_body(call, call.settings["model_id"]), bearer(call))


def headers(call: Call) -> dict[str, str]:
    """Credential, then the task's own headers, which may replace it."""
    return bearer(call) | dict(call.task_settings.get("headers") or {})


_CHAT = ChatProvider(
    title="Fireworks AI",
    sending="Failed to send Fireworks AI chat completions request",
    single_input="Fireworks AI chat completions",
    url=CHAT_URL,
    settings=(_MODEL, _URL, _RATE_LIMIT),
    task_settings=(Text(name="user"), TextMap(name="headers")),
    headers=headers,
    form=OPENAI_FORM,
)

SERVICE = Service(
    name="fireworksai",
    title="Fireworks AI",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Fireworks AI embeddings request",
            settings=(
                UrlType(),
                SIMILARITY,
                MAX_INPUT_TOKENS,
                PositiveInt(
                    name="dimensions",
                    listed=Listed(
                        "Dimensions",
                        "The number of dimensions the resulting output embeddings should have. Only supported by some "
                        "models. For more information refer to "
                        "https://docs.fireworks.ai/guides/querying-embeddings-models.",
                    ),
                ),
                _MODEL,
                _RATE_LIMIT,
                replace(_URL, default=EMBEDDINGS_URL),
            ),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=Failures(words=words_of_error_object, retried=frozenset({429, 500})),
            dense=Dense("cosine"),
            batch_size=256,
            since="9.4",
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4"),
    },
)
