"""The bodies that Amazon SageMaker endpoints take and give, by the endpoint's ``api``: ``elastic`` or ``openai``.

Source: Elasticsearch API reference, "Create an Amazon SageMaker inference endpoint"; OpenAI API reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.core.errors import OtherError, SidecarError, UpstreamError
from sidecar.core.results import (
    ChatChunk,
    Completion,
    CompletionDelta,
    DenseEmbeddings,
    RankedDocument,
    Ranking,
    Result,
    SparseEmbedding,
    SparseEmbeddings,
    StreamItem,
)
from sidecar.core.tasks import ElementType, TaskType
from sidecar.services.calls import Call, ProviderAnswer, StreamReader, is_number, required
from sidecar.services.event_stream import Frame, FrameDecoder
from sidecar.services.failures import Failures, status_name
from sidecar.services.openai_shapes import (
    ChatForm,
    ChatStream,
    byte_vector,
    chat_body,
    chat_chunk,
    chat_message,
    chat_options,
    dense_vectors,
    not_a_vector,
    parse_completion,
    parse_embeddings,
    parse_stream_json,
)
from sidecar.services.sse import Event, EventDecoder
from sidecar.services.stream_reader import EventReader

ELASTIC, OPENAI = "elastic", "openai"
# task settings with a place of their own; any other of a request goes to an ``elastic`` endpoint as it is
KNOWN_TASK_SETTINGS = (
    "custom_attributes",
    "enable_explanations",
    "inference_id",
    "session_id",
    "target_variant",
)
DENSE_KEYS = {
    "bfloat16": "text_embedding",
    "bit": "text_embedding_bits",
    "byte": "text_embedding_bytes",
    "float": "text_embedding",
}

# --- requests ------------------------------------------------------------------------------------------------


def body_of(call: Call) -> dict[str, Any]:
    """The body of any call."""
    return _openai_body(call) if call.settings["api"] == OPENAI else _elastic_body(call)


def _texts(call: Call) -> str | list[str]:
    """One text stands alone, several in a list."""
    texts = call.texts
    return texts[0] if len(texts) == 1 else texts


def _openai_body(call: Call) -> dict[str, Any]:
    user = call.task_settings.get("user")
    if call.task_type is not TaskType.TEXT_EMBEDDING:
        return chat_body(call, ChatForm(model=False), None, user)
    body: dict[str, Any] = {"input": _texts(call)}
    if call.query is not None:
        body["query"] = call.query
    if user:
        body["user"] = user
    if (dimensions := call.settings.get("dimensions")) is not None:
        body["dimensions"] = dimensions
    return body


def _elastic_body(call: Call) -> dict[str, Any]:
    chat = call.chat
    if chat is not None:
        body = {"messages": [chat_message(message) for message in chat.messages], **chat_options(call)}
        others = {"max_completion_tokens": chat.max_completion_tokens, "reasoning": chat.reasoning}
        return body | {name: value for name, value in others.items() if value is not None}
    fields: dict[str, Any] = {
        "input": _texts(call),
        "query": call.query,
        "return_documents": call.return_documents,
        "top_n": call.top_n,
        "input_type": call.input_type.public.value if call.input_type else None,
        "task_settings": {k: v for k, v in call.task_settings.items() if k not in KNOWN_TASK_SETTINGS} or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


# --- answers -------------------------------------------------------------------------------------------------


def result_of(answer: ProviderAnswer, call: Call) -> Result:
    """The result in the answer to any call.

    Raises:
        UnusableAnswerError: a field is missing or not what it should be.
    """
    if call.settings["api"] == OPENAI:
        parse = parse_embeddings if call.task_type is TaskType.TEXT_EMBEDDING else parse_completion
        return parse(answer, call)
    body = answer.json()
    if not isinstance(body, dict):
        raise not_a_vector("Failed to parse object: expecting token of type [START_OBJECT]")
    if call.task_type is TaskType.TEXT_EMBEDDING:
        return _dense(body, call.settings["element_type"])
    if call.task_type is TaskType.SPARSE_EMBEDDING:
        return SparseEmbeddings(tuple(_sparse(item) for item in _items(body, "sparse_embedding")))
    if call.task_type is TaskType.RERANK:
        return Ranking(tuple(_ranked(item) for item in _items(body, "rerank")))
    return Completion(tuple(_field(item, "result", str) for item in _items(body, "completion")))


def _items(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = body.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise required(name)
    return items


def _field(item: Mapping[str, Any], name: str, kind: type | tuple[type, ...]) -> Any:
    value = item.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise required(name)
    return value


def _dense(body: Mapping[str, Any], element_type: str) -> DenseEmbeddings:
    items = _items(body, DENSE_KEYS[element_type])
    if DENSE_KEYS[element_type] == "text_embedding":
        return DenseEmbeddings(dense_vectors([item.get("embedding") for item in items]))
    return DenseEmbeddings(tuple(byte_vector(item.get("embedding")) for item in items), ElementType(element_type))


def _sparse(item: Mapping[str, Any]) -> SparseEmbedding:
    tokens = _field(item, "embedding", dict)
    if not all(is_number(weight) for weight in tokens.values()):
        raise not_a_vector("Failed to parse object: expecting token of type [VALUE_NUMBER]")
    return SparseEmbedding(tokens, is_truncated=bool(item.get("is_truncated")))


def _ranked(item: Mapping[str, Any]) -> RankedDocument:
    text = item.get("text")
    score = float(_field(item, "relevance_score", (int, float)))
    return RankedDocument(_field(item, "index", int), score, text if isinstance(text, str) else None)


# --- streams -------------------------------------------------------------------------------------------------


def payload_stream(call: Call, failures: Failures) -> StreamReader:
    """A reader of whole JSON documents from ``elastic`` endpoints, of OpenAI's event stream from the others."""
    if call.settings["api"] == OPENAI:
        return ChatStream(call, failures, "OpenAI", PayloadEvents(call))
    return DocumentStream(call)


class Payloads:
    """A decoder of the payloads that frames carry, to be joined or taken each by itself."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._frames = FrameDecoder()

    def feed(self, data: bytes) -> Iterator[bytes]:
        for frame in self._frames.feed(data):
            if frame.kind != "event":
                raise stream_failure(self._call, frame)
            if frame.name == "PayloadPart":
                yield frame.payload

    def finish(self) -> tuple[bytes, ...]:
        return tuple(frame.payload for frame in self._frames.finish())


class PayloadEvents:
    """A decoder of the event stream that the payloads are when joined; its events end where they like."""

    def __init__(self, call: Call) -> None:
        self._payloads = Payloads(call)
        self._events = EventDecoder()

    def feed(self, data: bytes) -> Iterator[Event]:
        for payload in self._payloads.feed(data):
            yield from self._events.feed(payload)

    def finish(self) -> Iterator[Event]:
        yield from self._events.finish()
        self._payloads.finish()


class DocumentStream(EventReader[bytes]):
    """Reads payloads that are one JSON document each, in the form of the Inference API's own streams."""

    def __init__(self, call: Call) -> None:
        super().__init__(Payloads(call))
        self._call = call

    def read(self, event: bytes) -> list[StreamItem]:
        document = parse_stream_json(event.decode("utf-8", "replace"))
        if self._call.task_type is TaskType.CHAT_COMPLETION:
            return [ChatChunk(chat_chunk(document, self._call))]
        deltas = tuple(item["delta"] for item in _deltas(document) if item.get("delta"))
        return [CompletionDelta(deltas)] if deltas else []


def _deltas(document: Mapping[str, Any]) -> list[Any]:
    items = document.get("completion")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise OtherError("illegal_argument_exception", "Required [completion]")
    return items


def stream_failure(call: Call, frame: Frame) -> SidecarError:
    """What an exception frame says; its message is the cause."""
    try:
        body = json.loads(frame.payload)
    except ValueError:
        body = frame.payload.decode("utf-8", "replace")
    message = body.get("Message", body.get("message")) if isinstance(body, dict) else body
    cause = OtherError("sage_maker_runtime_exception", f"{message} (Service: SageMakerRuntime)", status=500)
    return UpstreamError(
        f"Received an error from SageMaker for [{call.inference_id}]",
        status=500,
        cause=cause,
        chat_type="error",
        chat_code=status_name(500),
    )
