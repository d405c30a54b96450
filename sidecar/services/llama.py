"""Llama Stack servers. Source: Llama Stack API reference, "Embeddings" and "OpenAI-compatible chat completions"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.core.results import DenseEmbeddings
from sidecar.core.tasks import TaskType
from sidecar.services.calls import PLAIN_JSON, Call, ProviderAnswer, ProviderRequest, plain_bearer
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.hugging_face_shapes import parse_dense
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    EMBEDDING_FAILURES,
    NO_USAGE_FORM,
    parse_embeddings,
    quoting,
)
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import SIMILARITY, MaxInputTokens, PositiveInt, RateLimit, Secret, Text, Url
from sidecar.services.settings import Listed, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Secret):
    """A credential that may be left out, but not be ``null``."""

    def read(self, reading: Reading) -> Any:
        if self.name in reading.values and reading.values[self.name] is None:
            reading.complain(f"[{reading.scope}] does not contain the required setting [{self.name}]")
        return Secret.read(self, reading)


_MODEL = Text(
    name="model_id",
    required=True,
    listed=Listed("Model", "Refer to the Llama models documentation for the list of available models."),
)
_URL = Url(name="url", required=True, listed=Listed("URL", "The URL endpoint to use for the requests."))
_RATE_LIMIT = RateLimit(requests_per_minute=3000)
_SECRETS = (
    Key(
        name="api_key",
        listed=Listed("API Key", "API Key for the provider you're connecting to.", required=True),
    ),
)


def check_key(secrets: dict[str, Any], reading: Reading) -> None:
    """The key is optional; Elasticsearch asks for it all the same when unknown settings are left over."""
    if reading.values and "api_key" not in secrets and not reading.messages:
        reading.complain(f"[{reading.scope}] does not contain the required setting [api_key]")


def headers(call: Call) -> dict[str, str]:
    return plain_bearer(call) if "api_key" in call.secrets else dict(PLAIN_JSON)


def request_embeddings(call: Call) -> ProviderRequest:
    body = {"model_id": call.settings["model_id"], "contents": call.texts}
    return ProviderRequest.json(call.settings["url"], body, headers(call))


def parse(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``{"embeddings": [[...]]}``, or OpenAI's list, which newer servers answer."""
    body = answer.json()
    return parse_embeddings(answer, call) if isinstance(body, dict) and "data" in body else parse_dense(answer, call)


_CHAT = ChatProvider(
    title="Llama",
    sending="Failed to send Llama {task} request from inference entity id [{id}]",
    single_input="Llama completions",
    settings=(_MODEL, _URL, _RATE_LIMIT),
    secrets=_SECRETS,
    check_secrets=check_key,
    headers=headers,
    form=NO_USAGE_FORM,
    failures=quoting(CHAT_FAILURES, "llama_error"),
)

SERVICE = Service(
    name="llama",
    title="Llama",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Llama text_embedding request from inference entity id [{id}]",
            settings=(
                _MODEL,
                _URL,
                PositiveInt(name="dimensions"),
                SIMILARITY,
                MaxInputTokens(characters_per_token=3),
                _RATE_LIMIT,
            ),
            secrets=_SECRETS,
            check_secrets=check_key,
            request=request_embeddings,
            parse=parse,
            failures=quoting(EMBEDDING_FAILURES),
            dense=Dense("dot_product", compares_dimensions=False),
            since="9.4",
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4"),
    },
)
