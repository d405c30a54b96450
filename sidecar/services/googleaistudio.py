"""Google AI Studio: Gemini and embedding models behind an API key.

Source: Gemini API reference, "models.batchEmbedContents", "models.generateContent", "models.streamGenerateContent".
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sidecar.core.errors import ValidationError
from sidecar.core.results import Completion, CompletionDelta, DenseEmbeddings, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    ProviderRequest,
    UnusableAnswerError,
    as_object,
    as_objects,
    field_missing,
)
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.google_shapes import TASK_TYPES, GoogleStream, first_text, google_failures, parse_first_text
from sidecar.services.openai_shapes import dense_vectors
from sidecar.services.setting_kinds import SIMILARITY, MaxInputTokens, PositiveInt, RateLimit, Text
from sidecar.services.settings import Listed, Setting

TITLE = "Google AI Studio"
BASE_URL = "https://generativelanguage.googleapis.com/v1/models"
# the provider's own bound on one batch
MAX_INPUTS = 100
# the one model that callers may tell what a text is for
MODEL_WITH_INPUT_TYPES = "embedding-001"

FAILURES = google_failures(TITLE)
_MODEL: Setting = Text(name="model_id", required=True, listed=Listed("Model ID", "ID of the LLM you're using."))
_RATE_LIMIT: Setting = RateLimit(requests_per_minute=360)


def request(call: Call, method: str, body: Any, query: str = "") -> ProviderRequest:
    """A call of ``method``. The key is part of the address, so messages show it without its query."""
    model = quote(call.settings["model_id"], safe="/:@")
    shown = f"{BASE_URL}/{model}:{method}"
    key = quote(call.secrets["api_key"], safe="")
    built = ProviderRequest.json(f"{shown}?key={key}{query}", body)
    return ProviderRequest(built.url, built.body, built.headers, shown_url=shown)


def check_input_type(call: Call) -> None:
    """Raise for an input type with a model that does not know it.

    Raises:
        ValidationError: it does not.
    """
    input_type, model = call.input_type, call.settings["model_id"]
    if input_type is not None and not input_type.is_internal and model != MODEL_WITH_INPUT_TYPES:
        raise ValidationError(f"Invalid value [{input_type}] received. [input_type] is not allowed for model [{model}]")


def request_embeddings(call: Call) -> ProviderRequest:
    """One entry per input; the size is asked for as soon as it is known, also from the validation call."""
    options: dict[str, Any] = {}
    if (dimensions := call.settings.get("dimensions")) is not None:
        options["outputDimensionality"] = dimensions
    if call.input_type and (task_type := TASK_TYPES.get(call.input_type.public)):
        options["taskType"] = task_type
    model = f"models/{call.settings['model_id']}"
    entries = [{"model": model, "content": {"parts": [{"text": text}]}, **options} for text in call.texts]
    return request(call, "batchEmbedContents", {"requests": entries})


def parse_vectors(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``{"embeddings": [{"values": [...]}]}``."""
    body = as_object(answer.json())
    if "embeddings" not in body:
        raise field_missing("embeddings", f"{TITLE} embeddings")
    embeddings = as_objects(body["embeddings"])
    if any("values" not in item for item in embeddings):
        raise field_missing("values", f"{TITLE} embeddings")
    return DenseEmbeddings(dense_vectors([item["values"] for item in embeddings]))


def request_completion(call: Call) -> ProviderRequest:
    body = {
        "contents": [{"parts": [{"text": text}], "role": "user"} for text in call.texts],
        "generationConfig": {"candidateCount": 1},
    }
    if call.stream:
        return request(call, "streamGenerateContent", body, "&alt=sse")
    return request(call, "generateContent", body)


def parse_text(answer: ProviderAnswer, call: Call) -> Completion:
    return parse_first_text(answer, TITLE)


def _deltas(chunk: dict[str, Any]) -> list[StreamItem]:
    """The chunk's text; the last chunk may hold none, only why generating ended."""
    try:
        return [CompletionDelta((first_text(chunk, TITLE),))]
    except UnusableAnswerError:
        return []


def _stream(call: Call) -> GoogleStream:
    return GoogleStream(call, FAILURES, _deltas)


SERVICE = Service(
    name="googleaistudio",
    title=TITLE,
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending=f"Failed to send {TITLE} embeddings request",
            settings=(
                _MODEL,
                MaxInputTokens(characters_per_token=3),
                SIMILARITY,
                PositiveInt(name="dimensions"),
                _RATE_LIMIT,
            ),
            check_call=check_input_type,
            request=request_embeddings,
            parse=parse_vectors,
            failures=FAILURES,
            dense=Dense("dot_product", compares_dimensions=False),
            input_types=PUBLIC_INPUT_TYPES,
            label=TITLE,
            max_inputs=MAX_INPUTS,
            since="8.16",
        ),
        TaskType.COMPLETION: RemoteTask(
            sending=f"Failed to send {TITLE} completion request",
            settings=(_MODEL, _RATE_LIMIT),
            request=request_completion,
            parse=parse_text,
            stream=_stream,
            failures=FAILURES,
            single_input=f"{TITLE} completion",
            since="8.16",
        ),
    },
)
