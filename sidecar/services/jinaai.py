"""Jina AI: embeddings of texts and images, with late chunking, and reranking.

Source: Jina AI API reference, "Embeddings" and "Reranker".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sidecar.core.requests import Content, ContentGroup, Input
from sidecar.core.results import DenseEmbeddings, Ranking
from sidecar.core.tasks import ElementType, InputType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, bearer, field_missing, required
from sidecar.services.cohere_shapes import parse_ranking, typed_embeddings
from sidecar.services.contents import require_texts, single_contents
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.failures import INPUT_VALIDATION, Failures, words_of_detail
from sidecar.services.openai_shapes import embedding_items
from sidecar.services.probe_image import PROBE_IMAGE
from sidecar.services.reading import SET_BY_USER
from sidecar.services.setting_kinds import (
    SIMILARITY,
    Choice,
    Flag,
    Int,
    LooseInt,
    PositiveInt,
    RateLimit,
    StageEnd,
    Text,
    Url,
)
from sidecar.services.settings import Listed, Reading, Setting

EMBEDDINGS_URL = "https://api.jina.ai/v1/embeddings"
RERANK_URL = "https://api.jina.ai/v1/rerank"
BATCH_SIZE = 2048
# late chunking reads all inputs of a request as one text, which must fit into the model's 8192 tokens
LATE_CHUNKING_WORDS = 5500
# a model that knows one task only
CLIP_MODEL = "jina-clip-v2"

_TASKS = {
    InputType.INGEST: "retrieval.passage",
    InputType.SEARCH: "retrieval.query",
    InputType.CLASSIFICATION: "classification",
    InputType.CLUSTERING: "separation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredInt(LooseInt):
    """Accepted for its type alone."""

    def read(self, reading: Reading) -> None:
        LooseInt.read(self, reading)


_DIMENSIONS_HELP = (
    "The number of dimensions the resulting embeddings should have. For more information refer to "
    "https://api.jina.ai/{}#tag/embeddings/operation/create_embedding_v1_embeddings_post."
)
_FIRST: tuple[Setting, ...] = (
    RateLimit(requests_per_minute=2000),
    Text(
        name="model_id",
        required=True,
        listed=Listed("Model ID", "The name of the model to use for the inference task."),
    ),
    Url(name="url", until="9.4"),
    StageEnd(),
)
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    *_FIRST,
    replace(SIMILARITY, until="9.4", shown=False),
    replace(
        SIMILARITY,
        since="9.4",
        listed=Listed(
            "Similarity",
            "The similarity measure. One of [cosine, dot_product, l2_norm]. For float embeddings, the default "
            "similarity is dot_product. For bit and binary embeddings, the default similarity is l2_norm.",
            since="9.4",
        ),
    ),
    IgnoredInt(name="dimensions", until="9.4", shown=False),
    PositiveInt(
        name="dimensions",
        since="9.4",
        listed=Listed(
            "Dimensions",
            _DIMENSIONS_HELP.format("docs"),
            older_description=_DIMENSIONS_HELP.format("redoc"),
        ),
    ),
    LooseInt(name="max_input_tokens", mutable=True, until="9.4", shown=False),
    Int(name="max_input_tokens", mutable=True, since="9.4"),
    Choice(
        name="embedding_type",
        choices=("float", "bit", "binary"),
        default="float",
        listed=Listed(
            "Embedding type",
            "The type of embedding to return. One of [float, bit, binary]. bit and binary are equivalent and are "
            "encoded as bytes with signed int8 precision.",
            default="float",
            since="9.4",
        ),
    ),
)
_EMBEDDING_TASK_SETTINGS: tuple[Setting, ...] = (
    Choice(
        name="input_type",
        choices=("ingest", "search", "classification", "clustering", "internal_ingest", "internal_search"),
    ),
    Flag(name="late_chunking", since="9.4"),
)
_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (Flag(name="return_documents"), PositiveInt(name="top_n"))

FAILURES = Failures(
    words=words_of_detail, retried=frozenset({429, 500}), prefixes={400: INPUT_VALIDATION, 422: INPUT_VALIDATION}
)


def request(call: Call, url: str, body: Mapping[str, Any]) -> ProviderRequest:
    headers = bearer(call) | {"Request-Source": "unspecified:elasticsearch"}
    return ProviderRequest.json(call.settings.get("url") or url, body, headers)


def is_bit(settings: Mapping[str, Any]) -> bool:
    return settings.get("embedding_type") in ("bit", "binary")


def similarity(settings: Mapping[str, Any]) -> str:
    return "l2_norm" if is_bit(settings) else "dot_product"


# --- embeddings ----------------------------------------------------------------------------------------------


def task_name(call: Call) -> str | None:
    """Jina's name for the input type; the CLIP model is told of searches only."""
    if call.input_type is None:
        return None
    input_type = call.input_type.public
    is_clip = call.settings["model_id"] == CLIP_MODEL and call.generation.at_least("9.4")
    return None if is_clip and input_type is not InputType.SEARCH else _TASKS.get(input_type)


def fits_late_chunking(items: list[Content]) -> bool:
    words = 0
    for item in items:
        words += len(item.value.split())
        if item.type != "text" or words > LATE_CHUNKING_WORDS:
            return False
    return True


def request_embeddings(call: Call) -> ProviderRequest:
    """Texts as strings, or as objects for the models that read images too."""
    items = single_contents(call, "jinaai")
    is_multimodal = call.settings.get("multimodal_model", False)
    body: dict[str, Any] = {
        "input": [{item.type: item.value} if is_multimodal else item.value for item in items],
        "model": call.settings["model_id"],
        "embedding_type": "binary" if is_bit(call.settings) else "float",
    }
    if task := task_name(call):
        body["task"] = task
    if (late_chunking := call.task_settings.get("late_chunking")) is not None:
        body["late_chunking"] = late_chunking and fits_late_chunking(items)
    if call.settings.get(SET_BY_USER):
        body["dimensions"] = call.settings["dimensions"]
    return request(call, EMBEDDINGS_URL, body)


def parse_embeddings(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    vectors = embedding_items(answer, partial(field_missing, where="JinaAI embeddings"))
    return typed_embeddings(vectors, ElementType.BIT if is_bit(call.settings) else ElementType.FLOAT)


def check_contents(call: Call) -> None:
    """One text or image per input; images only for a model that reads them.

    Raises:
        StatusError: an input has several items, or is an image for a model of texts.
    """
    contents = single_contents(call, "jinaai")
    if not call.settings.get("multimodal_model"):
        require_texts(contents)


def probe_embedding(call: Call) -> Call:
    """A text, and for a model that reads images a small picture as well."""
    inputs: tuple[Input, ...] = (ContentGroup((Content("text", "text"),)),)
    if call.settings.get("multimodal_model"):
        inputs += (ContentGroup((Content("image", PROBE_IMAGE),)),)
    return replace(call, inputs=inputs)


# --- rerank --------------------------------------------------------------------------------------------------


def request_rerank(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"model": call.settings["model_id"], "query": call.query, "documents": call.texts}
    for name in ("top_n", "return_documents"):
        if (value := call.option(name)) is not None:
            body[name] = value
    return request(call, RERANK_URL, body)


def parse_results(answer: ProviderAnswer, call: Call) -> Ranking:
    return parse_ranking(answer, required)


_TEXT_EMBEDDING = RemoteTask(
    sending="Failed to send JinaAI embeddings request",
    settings=_EMBEDDING_SETTINGS,
    task_settings=_EMBEDDING_TASK_SETTINGS,
    request=request_embeddings,
    parse=parse_embeddings,
    failures=FAILURES,
    dense=Dense("dot_product", similarity_of=similarity),
    input_types=PUBLIC_INPUT_TYPES,
    label="Jina AI",
    batch_size=BATCH_SIZE,
    since="8.18",
)

SERVICE = Service(
    name="jinaai",
    title="Jina AI",
    tasks={
        TaskType.TEXT_EMBEDDING: _TEXT_EMBEDDING,
        TaskType.RERANK: RemoteTask(
            sending="Failed to send JinaAI rerank request",
            settings=_FIRST,
            task_settings=_RERANK_TASK_SETTINGS,
            request=request_rerank,
            parse=parse_results,
            failures=FAILURES,
            since="8.18",
        ),
        TaskType.EMBEDDING: replace(
            _TEXT_EMBEDDING,
            settings=(*_EMBEDDING_SETTINGS, Flag(name="multimodal_model", default=True)),
            check_call=check_contents,
            probe=probe_embedding,
            since="9.4",
        ),
    },
)
