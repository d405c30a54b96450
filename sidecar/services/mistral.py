"""Mistral: embeddings, and chat in OpenAI's form.

Source: Mistral API reference, "Embeddings" and "Chat".
"""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.results import DenseEmbeddings
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, bearer, plain_bearer
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import SERVER_BUSY, TOO_LARGE
from sidecar.services.openai_shapes import CHAT_FAILURES, EMBEDDING_FAILURES, NO_USAGE_FORM, parse_embeddings, quoting
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.rate_limit_headers import remaining_limits
from sidecar.services.setting_kinds import SIMILARITY, MaxInputTokens, PositiveInt, RateLimit, Text
from sidecar.services.settings import Listed

EMBEDDINGS_URL = "https://api.mistral.ai/v1/embeddings"
CHAT_URL = "https://api.mistral.ai/v1/chat/completions"

_MODEL = Text(
    name="model",
    required=True,
    listed=Listed(
        "Model",
        "Refer to the Mistral models documentation for the list of available inference models.",
        older_description="Refer to the Mistral models documentation for the list of available text embedding models.",
    ),
)
_MAX_INPUT_TOKENS = MaxInputTokens(
    characters_per_token=3,
    listed=Listed(
        "Maximum Input Tokens",
        "Allows you to specify the maximum number of tokens per input.",
        tasks=(TaskType.TEXT_EMBEDDING, TaskType.COMPLETION, TaskType.CHAT_COMPLETION),
    ),
)
_RATE_LIMIT = RateLimit(requests_per_minute=240)
# none of the four forms of error body of this route is OpenAI's, so nothing is quoted
_EMBEDDING_FAILURES = replace(
    EMBEDDING_FAILURES, prefixes={413: TOO_LARGE, 503: SERVER_BUSY}, rate_limit_details=remaining_limits
)

_CHAT = ChatProvider(
    title="Mistral",
    sending="Failed to send Mistral {task} request from inference entity id [{id}]",
    single_input="Mistral completions",
    settings=(_MODEL, _RATE_LIMIT),
    headers=plain_bearer,
    form=NO_USAGE_FORM,
    url=CHAT_URL,
    model="model",
    failures=quoting(CHAT_FAILURES, "mistral_error"),
)


def request_embeddings(call: Call) -> ProviderRequest:
    body = {"model": call.settings["model"], "input": call.texts, "encoding_format": "float"}
    return ProviderRequest.json(EMBEDDINGS_URL, body, bearer(call))


def parse_vectors(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    return parse_embeddings(answer, call)


SERVICE = Service(
    name="mistral",
    title="Mistral",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Mistral text_embedding request from inference entity id [{id}]",
            settings=(_MODEL, SIMILARITY, _MAX_INPUT_TOKENS, _RATE_LIMIT, PositiveInt(name="dimensions")),
            request=request_embeddings,
            parse=parse_vectors,
            failures=_EMBEDDING_FAILURES,
            dense=Dense("dot_product", compares_dimensions=False),
            batch_size=96,
            since="8.15",
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "8.19"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "8.19"),
    },
)
