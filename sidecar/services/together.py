"""Together AI: embeddings, rerankers and chats of open models; Elasticsearch has no such service.

Source: Together AI API reference, "Create an embedding", "Create a rerank request", "Create chat completion".
"""

from __future__ import annotations

from typing import Any

from sidecar.core.results import Ranking
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, bearer, required
from sidecar.services.cohere_shapes import parse_ranking
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.openai_shapes import CHAT_FAILURES, EMBEDDING_FAILURES, MAX_TOKENS_FORM, parse_embeddings
from sidecar.services.openai_tasks import ChatProvider, embedding_body
from sidecar.services.setting_kinds import MAX_INPUT_TOKENS, SIMILARITY, Flag, PositiveInt, RateLimit, Text, Url
from sidecar.services.settings import Listed

BASE_URL = "https://api.together.xyz/v1"

_MODEL = Text(name="model_id", required=True, listed=Listed("Model ID", "The name of the model to use."))
_URL = Url(name="url", listed=Listed("URL", f"The whole address, where it is not below {BASE_URL}."))
_RATE_LIMIT = RateLimit(requests_per_minute=600)


def request_embeddings(call: Call) -> ProviderRequest:
    url = call.settings.get("url") or f"{BASE_URL}/embeddings"
    return ProviderRequest.json(url, embedding_body(call, call.settings["model_id"]), bearer(call))


def request_ranking(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"model": call.settings["model_id"], "query": call.query, "documents": call.texts}
    for name in ("top_n", "return_documents"):
        if (value := call.option(name)) is not None:
            body[name] = value
    return ProviderRequest.json(call.settings.get("url") or f"{BASE_URL}/rerank", body, bearer(call))


def parse_results(answer: ProviderAnswer, _call: Call) -> Ranking:
    return parse_ranking(answer, required)


_CHAT = ChatProvider(
    title="Together AI",
    sending="Failed to send Together AI chat completions request",
    single_input="Together AI chat completions",
    url=f"{BASE_URL}/chat/completions",
    settings=(_MODEL, _URL, _RATE_LIMIT),
    failures=CHAT_FAILURES,
    form=MAX_TOKENS_FORM,
)

SERVICE = Service(
    name="together",
    title="Together AI",
    in_elasticsearch=False,
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Together AI embeddings request",
            settings=(_MODEL, _URL, SIMILARITY, MAX_INPUT_TOKENS, _RATE_LIMIT),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=EMBEDDING_FAILURES,
            dense=Dense("cosine"),
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send Together AI rerank request",
            settings=(_MODEL, _URL, _RATE_LIMIT),
            task_settings=(PositiveInt(name="top_n"), Flag(name="return_documents")),
            request=request_ranking,
            parse=parse_results,
            failures=EMBEDDING_FAILURES,
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "8.11"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "8.11"),
    },
)
