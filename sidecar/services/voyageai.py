"""Voyage AI: embeddings of three element types, and reranking.

Source: Voyage AI API reference, "Text embedding models" and "Rerankers".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.results import DenseEmbeddings, Ranking
from sidecar.core.tasks import ElementType, InputType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, bearer, required
from sidecar.services.cohere_shapes import WIRE_TYPES, parse_ranking, typed_embeddings
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import INPUT_VALIDATION, Failures, words_of_detail
from sidecar.services.openai_shapes import embedding_items
from sidecar.services.setting_kinds import Choice, Flag, LooseInt, PositiveInt, RateLimit, StageEnd, Text
from sidecar.services.settings import Listed, Setting

EMBEDDINGS_URL = "https://api.voyageai.com/v1/embeddings"
RERANK_URL = "https://api.voyageai.com/v1/rerank"
# what Elasticsearch sends at once while it ingests: by model, so that long texts fit into the tokens of one request
BATCH_SIZE = 7
BATCH_SIZES = {"voyage-3-lite": 30, "voyage-3": 10, "voyage-2": 72, "voyage-02": 72}

_INPUT_TYPES = {InputType.INGEST: "document", InputType.SEARCH: "query"}
_ELEMENT_TYPES = {
    "float": ElementType.FLOAT,
    "int8": ElementType.BYTE,
    "byte": ElementType.BYTE,
    "bit": ElementType.BIT,
    "binary": ElementType.BIT,
}

_FIRST: tuple[Setting, ...] = (
    RateLimit(requests_per_minute=2000),
    Text(
        name="model_id",
        required=True,
        listed=Listed("Model ID", "The name of the model to use for the inference task."),
    ),
    StageEnd(),
)
# of all these GET shows nothing
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    *_FIRST,
    Choice(name="embedding_type", choices=tuple(_ELEMENT_TYPES), default="float", shown=False),
    Choice(name="similarity", choices=("cosine", "dot_product", "l2_norm"), shown=False),
    LooseInt(name="dimensions", shown=False),
    LooseInt(name="max_input_tokens", mutable=True, shown=False),
)
_EMBEDDING_TASK_SETTINGS: tuple[Setting, ...] = (
    Choice(name="input_type", choices=("ingest", "search", "internal_ingest", "internal_search")),
    Flag(name="truncation"),
)
_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (
    Flag(name="return_documents"),
    PositiveInt(name="top_k"),
    Flag(name="truncation"),
)

FAILURES = Failures(
    words=words_of_detail, retried=frozenset({429, 500}), prefixes={400: INPUT_VALIDATION, 422: INPUT_VALIDATION}
)


def request(call: Call, url: str, body: Mapping[str, Any]) -> ProviderRequest:
    """Fields without a value are left out."""
    given = {name: value for name, value in body.items() if value is not None}
    return ProviderRequest.json(url, given, bearer(call) | {"Request-Source": "unspecified:elasticsearch"})


def element_type(call: Call) -> ElementType:
    return _ELEMENT_TYPES[call.settings["embedding_type"]]


def request_embeddings(call: Call) -> ProviderRequest:
    """The size is asked for whenever it is known, be it given or found by the validation call."""
    body = {
        "input": call.texts,
        "model": call.settings["model_id"],
        "input_type": _INPUT_TYPES.get(call.input_type.public) if call.input_type else None,
        "truncation": call.task_settings.get("truncation"),
        "output_dimension": call.settings.get("dimensions"),
        "output_dtype": WIRE_TYPES[element_type(call)],
    }
    return request(call, EMBEDDINGS_URL, body)


def parse_embeddings(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    return typed_embeddings(embedding_items(answer), element_type(call))


def request_rerank(call: Call) -> ProviderRequest:
    body = {
        "model": call.settings["model_id"],
        "query": call.query,
        "documents": call.texts,
        "return_documents": call.option("return_documents"),
        "top_k": call.task_settings.get("top_k") if call.top_n is None else call.top_n,
        "truncation": call.task_settings.get("truncation"),
    }
    return request(call, RERANK_URL, body)


def parse_results(answer: ProviderAnswer, call: Call) -> Ranking:
    return parse_ranking(answer, required, "data")


SERVICE = Service(
    name="voyageai",
    title="Voyage AI",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send VoyageAI embeddings request",
            settings=_EMBEDDING_SETTINGS,
            task_settings=_EMBEDDING_TASK_SETTINGS,
            request=request_embeddings,
            parse=parse_embeddings,
            failures=FAILURES,
            dense=Dense("dot_product"),
            input_types=frozenset(_INPUT_TYPES),
            label="Voyage AI",
            max_inputs=1000,
            batch_size=BATCH_SIZE,
            batch_size_of=lambda settings: BATCH_SIZES.get(settings["model_id"]),
            since="8.19",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send VoyageAI rerank request",
            settings=_FIRST,
            task_settings=_RERANK_TASK_SETTINGS,
            request=request_rerank,
            parse=parse_results,
            failures=FAILURES,
            since="8.19",
        ),
    },
)
