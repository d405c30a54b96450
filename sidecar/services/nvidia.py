"""NVIDIA NIM retrieval and chat. Source: NVIDIA NIM API reference, "NeMo Retriever" and "LLM APIs"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.core.results import RankedDocument, Ranking
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, is_number, is_whole, plain_bearer, required
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    EMBEDDING_FAILURES,
    NO_USAGE_FORM,
    parse_embeddings,
    quoting,
)
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import SIMILARITY, Choice, MaxInputTokens, RateLimit, Text, Url
from sidecar.services.settings import Listed

EMBEDDINGS_URL = "https://integrate.api.nvidia.com/v1/embeddings"
RERANK_URL = "https://ai.api.nvidia.com/v1/retrieval/nvidia/reranking"
CHAT_URL = "https://integrate.api.nvidia.com/v1/chat/completions"

_MODEL = Text(
    name="model_id",
    required=True,
    listed=Listed(
        "Model ID",
        "The name of the model to use for the inference task. "
        "Refer to the NVIDIA models documentation for the list of available models.",
    ),
)
_RATE_LIMIT = RateLimit(requests_per_minute=3000)
_INPUT_TYPES = {InputType.INGEST: "passage", InputType.SEARCH: "query"}


def _url(default: str) -> Url:
    return Url(name="url", default=default, listed=Listed("URL", "The URL endpoint to use for the requests."))


def request_embeddings(call: Call) -> ProviderRequest:
    kind = call.input_type.public if call.input_type else InputType.SEARCH
    body: dict[str, Any] = {
        "input": call.texts,
        "model": call.settings["model_id"],
        "input_type": _INPUT_TYPES.get(kind, "query"),
    }
    if truncate := call.task_settings.get("truncate"):
        body["truncate"] = truncate
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def request_rerank(call: Call) -> ProviderRequest:
    body = {
        "model": call.settings["model_id"],
        "query": {"text": call.query},
        "passages": [{"text": text} for text in call.texts],
    }
    return ProviderRequest.json(call.settings["url"], body, plain_bearer(call))


def parse_rankings(answer: ProviderAnswer, call: Call) -> Ranking:
    """``{"rankings": [{"index", "logit"}]}``; the service has no ``top_n``, so the cut is made here."""
    body = answer.json()
    rankings = body.get("rankings") if isinstance(body, dict) else None
    if not isinstance(rankings, list):
        raise required("rankings")
    documents = []
    for item in rankings:
        index = item.get("index") if isinstance(item, dict) else None
        if not is_whole(index):
            raise required("index")
        logit = item.get("logit")
        if not is_number(logit):
            raise required("logit")
        documents.append(RankedDocument(index, logit))
    return Ranking(tuple(documents[: call.top_n]))


_CHAT = ChatProvider(
    title="NVIDIA",
    sending="Failed to send NVIDIA {task} request from inference entity id [{id}]",
    single_input="NVIDIA completions",
    settings=(_MODEL, _url(CHAT_URL), _RATE_LIMIT),
    headers=plain_bearer,
    form=NO_USAGE_FORM,
    # unlike its siblings, Elasticsearch's client for NVIDIA does not repeat a chat that is too long
    failures=quoting(replace(CHAT_FAILURES, retried=frozenset({500, 503})), "nvidia_error"),
)
_FAILURES = quoting(EMBEDDING_FAILURES)

SERVICE = Service(
    name="nvidia",
    title="NVIDIA",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send NVIDIA text_embedding request from inference entity id [{id}]",
            settings=(_MODEL, _url(EMBEDDINGS_URL), _RATE_LIMIT, SIMILARITY, MaxInputTokens(characters_per_token=3)),
            task_settings=(
                Choice(name="input_type", choices=("ingest", "internal_ingest", "internal_search", "search")),
                Choice(name="truncate", choices=("end", "none", "start")),
            ),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=_FAILURES,
            dense=Dense("dot_product"),
            input_types=frozenset({InputType.INGEST, InputType.SEARCH}),
            label="NVIDIA",
            since="9.4",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send NVIDIA rerank request from inference entity id [{id}]",
            settings=(_MODEL, _url(RERANK_URL), _RATE_LIMIT),
            request=request_rerank,
            parse=parse_rankings,
            failures=replace(_FAILURES, retried=frozenset({429, 500}), shortened=frozenset()),
            since="9.4",
        ),
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4"),
    },
)
