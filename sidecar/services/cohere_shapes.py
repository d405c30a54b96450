"""Cohere's answer shapes, some of which other providers share.

Source: Cohere API reference, "Embed API (v2)", "Rerank API (v2)", "Chat API (v2)" and "Streaming"; v1 chat events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sidecar.core.errors import OtherError, StatusError
from sidecar.core.results import CompletionDelta, DenseEmbeddings, RankedDocument, Ranking, StreamItem
from sidecar.core.tasks import ElementType
from sidecar.services.calls import (
    ProviderAnswer,
    UnusableAnswerError,
    as_object,
    field_missing,
    is_number,
    is_whole,
    unexpected_token,
)
from sidecar.services.failures import Failures, words_of_message
from sidecar.services.openai_shapes import byte_vector, dense_vector, parse_stream_json
from sidecar.services.stream_reader import EventReader

# --- failures ------------------------------------------------------------------------------------------------

TOO_MANY_TEXTS = "invalid request: total number of texts must be at most"


class CohereFailures(Failures):
    """Cohere's family, which tells too many texts from other bad requests by the provider's words."""

    def prefix(self, answer: ProviderAnswer) -> str:
        words = self.words(answer) if answer.status == 400 else None
        if words is not None and TOO_MANY_TEXTS in words.message:
            return "Received a texts array too large response"
        return super().prefix(answer)


FAILURES = CohereFailures(words=words_of_message, retried=frozenset({429, 500}))

# --- embeddings ----------------------------------------------------------------------------------------------

WIRE_TYPES = {ElementType.FLOAT: "float", ElementType.BYTE: "int8", ElementType.BIT: "binary"}


def parse_embeddings(answer: ProviderAnswer) -> DenseEmbeddings:
    """``{"embeddings": {"float" | "int8" | "binary": [[...]]}}``, or v1's plain ``{"embeddings": [[...]]}``.

    Raises:
        UnusableAnswerError: a field is missing or not what it should be.
    """
    body = as_object(answer.json())
    if "embeddings" not in body:
        raise field_missing("embeddings", "Cohere embeddings")
    embeddings = body["embeddings"]
    if isinstance(embeddings, list):
        return typed_embeddings(embeddings, ElementType.FLOAT)
    if not isinstance(embeddings, dict):
        raise unexpected_token("START_OBJECT", embeddings)
    element_types = {name: element_type for element_type, name in WIRE_TYPES.items()}
    for name, vectors in embeddings.items():
        if name in element_types:
            return typed_embeddings(vectors, element_types[name])
    reason = (
        "Failed to find a supported embedding type in the Cohere embeddings response. "
        "Supported types are [binary, float, int8]"
    )
    raise UnusableAnswerError(OtherError("illegal_state_exception", reason), status=500)


def typed_embeddings(vectors: Any, element_type: ElementType) -> DenseEmbeddings:
    """A list of vectors of one element type; ``byte`` and ``bit`` hold signed bytes.

    Raises:
        UnusableAnswerError: it is no list of vectors of that type.
    """
    if not isinstance(vectors, list):
        raise unexpected_token("START_ARRAY", vectors)
    read = dense_vector if element_type is ElementType.FLOAT else byte_vector
    return DenseEmbeddings(tuple(read(vector) for vector in vectors), element_type)


# --- rerank --------------------------------------------------------------------------------------------------


def parse_ranking(
    answer: ProviderAnswer, missing: Callable[[str], UnusableAnswerError], list_name: str = "results"
) -> Ranking:
    """``{"results": [{"index": n, "relevance_score": x, "document": {"text": "..."} or "..."}]}``, order kept.

    ``missing`` makes the error for a field that is not there, by its name; further keys are ignored.

    Raises:
        UnusableAnswerError: a field is missing or not what it should be.
    """
    body = answer.json()
    items = body.get(list_name) if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise missing(list_name)
    return Ranking(tuple(_ranked(item, missing) for item in items))


def _ranked(item: Any, missing: Callable[[str], UnusableAnswerError]) -> RankedDocument:
    index = item.get("index") if isinstance(item, dict) else None
    if not is_whole(index):
        raise missing("index")
    score = item.get("relevance_score")
    if not is_number(score):
        raise missing("relevance_score")
    document = item.get("document")
    text = document.get("text") if isinstance(document, dict) else document
    return RankedDocument(index, score, text if isinstance(text, str) else None)


# --- completion ----------------------------------------------------------------------------------------------


def first_text(value: Any) -> str | None:
    """The first string called ``text`` anywhere in ``value``, in document order: it fits v1 and v2 answers."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, dict):
            if isinstance(current.get("text"), str):
                text: str = current["text"]
                return text
            stack.extend(reversed(list(current.values())))
        elif isinstance(current, list):
            stack.extend(reversed(current))
    return None


SKIPPED_V1_EVENTS = frozenset(
    {
        "stream-start",
        "search-queries-generation",
        "search-results",
        "citation-generation",
        "tool-calls-generation",
        "tool-calls-chunk",
    }
)
STREAM_FAILURES = {"ERROR": 500, "ERROR_TOXIC": 500, "ERROR_LIMIT": 429, "TIMEOUT": 500}


class CohereStream(EventReader[str]):
    """Reads v1's JSON lines and v2's server-sent events alike: in both, one line holds one whole JSON object."""

    def __init__(self) -> None:
        super().__init__(_Lines())

    def read(self, event: str) -> list[StreamItem]:
        body = _event(event)
        delta = _delta(body) if body else None
        return [CompletionDelta((delta,))] if delta else []


class _Lines:
    """A decoder of lines, the last one with or without an end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def finish(self) -> list[str]:
        line, self._rest = self._rest, b""
        return [line.decode("utf-8", "replace")]


def _event(line: str) -> dict[str, Any] | None:
    """The object of a line, ``None`` for the lines of an event stream that hold none."""
    text = line.strip()
    if not text or text.startswith((":", "event:", "id:", "retry:")):
        return None
    text = text.removeprefix("data:").strip()
    return None if not text or text.lower() == "[done]" else parse_stream_json(text)


def _delta(event: Mapping[str, Any]) -> str | None:
    """The text that an event adds.

    Raises:
        SidecarError: the event ends the stream with a failure, or is none of Cohere's.
    """
    if "event_type" in event:
        return _delta_of_v1(event)
    match event.get("type"):
        case "content-delta":
            return first_text(event.get("delta"))
        case "message-end":
            delta = event.get("delta")
            _check_end(delta if isinstance(delta, dict) else {})
            return None
        case str():
            return None
    raise OtherError("illegal_state_exception", f"Unknown event found: {json.dumps(event)}", status=500)


def _delta_of_v1(event: Mapping[str, Any]) -> str | None:
    kind = event["event_type"]
    if kind == "text-generation":
        text = event.get("text")
        return text if isinstance(text, str) else None
    if kind == "stream-end":
        _check_end(event)
    elif str(kind) not in SKIPPED_V1_EVENTS:
        raise OtherError("i_o_exception", f"Unknown eventType found: {kind}", status=500)
    return None


def _check_end(end: Mapping[str, Any]) -> None:
    """Raise when a stream did not end well."""
    status = STREAM_FAILURES.get(str(end.get("finish_reason")))
    if status is not None:
        message = end.get("error") or first_text(end.get("response")) or end["finish_reason"]
        raise StatusError(f"Cohere stopped the stream due to an error: {message}", status=status)
