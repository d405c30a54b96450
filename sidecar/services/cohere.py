"""Cohere: embeddings of three element types, reranking and completion, by version 2 of its API.

Source: Cohere API reference, "Embed API (v2)", "Rerank API (v2)" and "Chat API (v2)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sidecar.core.results import Completion, DenseEmbeddings, Ranking
from sidecar.core.tasks import ElementType, InputType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, bearer, field_missing
from sidecar.services.cohere_shapes import (
    FAILURES,
    WIRE_TYPES,
    CohereStream,
    first_text,
    parse_embeddings,
    parse_ranking,
)
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.setting_kinds import MAX_INPUT_TOKENS, SIMILARITY, Choice, Flag, PositiveInt, RateLimit, Text, Url
from sidecar.services.settings import Listed, Reading, Setting

BASE_URL = "https://api.cohere.ai"
# a hard limit of the embed route
MAX_TEXTS = 96

_INPUT_TYPES = {
    InputType.INGEST: "search_document",
    InputType.SEARCH: "search_query",
    InputType.CLASSIFICATION: "classification",
    InputType.CLUSTERING: "clustering",
}
_MODEL_LISTED = Listed("Model ID", "The name of the model to use for the inference task.", required=True)
MODEL_REQUIRED = "The [service_settings.model_id] field is required for the Cohere V2 API."


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelId(Text):
    """``model_id``, which older requests for vectors call ``model``; a good new name wins, none is reported here."""

    name: str = "model_id"
    listed: Listed | None = _MODEL_LISTED

    def read(self, reading: Reading) -> Any:
        older = Text(name="model").read(reading)
        model = Text(name=self.name).read(reading)
        if model is None and older is None:
            reading.complain(MODEL_REQUIRED)
        return older if model is None else model


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingType(Choice):
    """The element type of the vectors, kept by its own name; looked at only when the settings before it are right."""

    name: str = "embedding_type"
    choices: tuple[str, ...] = ("binary", "bit", "byte", "float", "int8")
    default: Any = "float"

    def read(self, reading: Reading) -> Any:
        if reading.messages:
            return None
        value = Choice.read(self, reading)
        return {"int8": "byte", "binary": "bit"}.get(value, value)


_URL = Url(name="url")
_MODEL_ID = Text(name="model_id", listed=_MODEL_LISTED)
_RATE_LIMIT = RateLimit(requests_per_minute=10_000)
_INPUT_TYPE = Choice(
    name="input_type",
    choices=("ingest", "search", "classification", "clustering", "internal_ingest", "internal_search"),
)
_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (
    Flag(name="return_documents"),
    PositiveInt(name="top_n"),
    PositiveInt(name="max_chunks_per_doc"),
)


def check_model(values: dict[str, Any], reading: Reading) -> None:
    if "model_id" not in values:
        reading.complain(MODEL_REQUIRED)


def similarity(settings: Mapping[str, Any]) -> str:
    return "l2_norm" if settings.get("embedding_type") == "bit" else "cosine"


def request(call: Call, route: str, body: Mapping[str, Any]) -> ProviderRequest:
    """``url`` replaces scheme, host and port only."""
    address = urlsplit(call.settings.get("url") or BASE_URL)
    headers = bearer(call) | {"Request-Source": "unspecified:elasticsearch"}
    return ProviderRequest.json(f"{address.scheme}://{address.netloc}/v2/{route}", body, headers)


def request_embeddings(call: Call) -> ProviderRequest:
    input_type = (call.input_type or InputType.SEARCH).public
    body: dict[str, Any] = {
        "texts": call.texts,
        "model": call.settings["model_id"],
        "input_type": _INPUT_TYPES.get(input_type, "search_query"),
        "embedding_types": [WIRE_TYPES[ElementType(call.settings["embedding_type"])]],
    }
    if truncate := call.task_settings.get("truncate"):
        body["truncate"] = truncate
    return request(call, "embed", body)


def parse_vectors(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    return parse_embeddings(answer)


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"model": call.settings["model_id"], "query": call.query, "documents": call.texts}
    for name in ("return_documents", "top_n", "max_chunks_per_doc"):
        if (value := call.option(name)) is not None:
            body[name] = value
    return request(call, "rerank", body)


def parse_results(answer: ProviderAnswer, call: Call) -> Ranking:
    return parse_ranking(answer, partial(field_missing, where="Cohere rerank"))


def request_chat(call: Call) -> ProviderRequest:
    messages = [{"role": "user", "content": text} for text in call.texts]
    body = {"messages": messages, "model": call.settings["model_id"], "stream": call.stream}
    return request(call, "chat", body)


def parse_completion(answer: ProviderAnswer, call: Call) -> Completion:
    text = first_text(answer.json())
    if text is None:
        raise field_missing("text", "Cohere chat")
    return Completion((text,))


def stream(call: Call) -> CohereStream:
    return CohereStream()


SERVICE = Service(
    name="cohere",
    title="Cohere",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Cohere embeddings request",
            settings=(
                _URL,
                SIMILARITY,
                PositiveInt(name="dimensions"),
                MAX_INPUT_TOKENS,
                ModelId(),
                _RATE_LIMIT,
                EmbeddingType(),
            ),
            task_settings=(_INPUT_TYPE, Choice(name="truncate", choices=("none", "start", "end"))),
            request=request_embeddings,
            parse=parse_vectors,
            failures=FAILURES,
            dense=Dense("cosine", similarity_of=similarity, compares_dimensions=False),
            input_types=PUBLIC_INPUT_TYPES,
            label="Cohere",
            max_inputs=MAX_TEXTS,
            since="8.13",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send Cohere rerank request",
            settings=(_URL, _MODEL_ID, _RATE_LIMIT),
            check=check_model,
            task_settings=_RERANK_TASK_SETTINGS,
            request=request_rerank,
            parse=parse_results,
            failures=FAILURES,
            since="8.14",
        ),
        TaskType.COMPLETION: RemoteTask(
            sending="Failed to send Cohere completion request",
            settings=(_URL, _RATE_LIMIT, _MODEL_ID),
            check=check_model,
            request=request_chat,
            parse=parse_completion,
            stream=stream,
            failures=FAILURES,
            single_input="Cohere completion",
            since="8.15",
        ),
    },
)
