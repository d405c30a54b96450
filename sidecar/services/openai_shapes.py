"""OpenAI's request and answer shapes, which many providers share.

Source: OpenAI API reference, "Create embeddings", "Create chat completion" and "Streaming events".
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sidecar.core.errors import OtherError, SidecarError
from sidecar.core.results import ChatChunk, Completion, CompletionDelta, DenseEmbeddings, StreamItem, Vector
from sidecar.core.tasks import TaskType
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    UnusableAnswerError,
    as_list,
    as_object,
    as_text,
    is_number,
    required,
    unparsable,
)
from sidecar.services.failures import (
    BAD_REQUEST,
    INPUT_VALIDATION,
    METHOD,
    NOT_FOUND,
    SERVER_BUSY,
    TOO_LARGE,
    Failures,
    Words,
    words_of_body,
    words_of_error_object,
    words_of_openai,
)
from sidecar.services.sse import Event, EventDecoder
from sidecar.services.stream_reader import Decoder, EventReader

# --- failures ------------------------------------------------------------------------------------------------

OPENAI_PREFIXES = {
    400: BAD_REQUEST,
    404: NOT_FOUND,
    405: METHOD,
    413: TOO_LARGE,
    422: INPUT_VALIDATION,
    503: SERVER_BUSY,
}
PROMPT_TOO_LONG = "Please reduce your prompt; or completion length."


def rate_limit_details(headers: Mapping[str, str]) -> str:
    def value(name: str) -> str:
        return headers.get(f"x-ratelimit-{name}", "unknown")

    return (
        f". Token limit [{value('limit-tokens')}], remaining tokens [{value('remaining-tokens')}]. "
        f"Request limit [{value('limit-requests')}], remaining requests [{value('remaining-requests')}]"
    )


EMBEDDING_FAILURES = Failures(
    words=words_of_error_object,
    retried=frozenset({429, 500, 503}),
    shortened=frozenset({413}),
    prefixes=OPENAI_PREFIXES,
    too_large_phrase=PROMPT_TOO_LONG,
    rate_limit_details=rate_limit_details,
)
# a chat body cannot be shortened; Elasticsearch repeats a 413 as it is
CHAT_FAILURES = Failures(
    words=words_of_error_object,
    retried=frozenset({413, 500, 503}),
    prefixes=OPENAI_PREFIXES,
    too_large_phrase=PROMPT_TOO_LONG,
    can_shorten=False,
)


def quoting(failures: Failures, chat_type: str | None = None) -> Failures:
    """The family with the provider's whole body as its words, for providers whose error bodies have no one form."""
    return replace(failures, words=words_of_body, stream_words=Words, quotes_chunks=True, chat_type=chat_type)


# --- embeddings ----------------------------------------------------------------------------------------------


def parse_embeddings(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``{"data": [{"embedding": [...] or base64, "index": n}]}``, sorted by ``index`` when every item has one.

    Raises:
        UnusableAnswerError: a field is missing or not what it should be.
    """
    return DenseEmbeddings(dense_vectors(embedding_items(answer)))


def embedding_items(answer: ProviderAnswer, missing: Callable[[str], UnusableAnswerError] = required) -> list[Any]:
    """The ``embedding`` values of an OpenAI list, in input order; ``missing`` makes the error for a missing field."""
    body = answer.json()
    items = body.get("data") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise missing("data")
    if any(not isinstance(item, dict) or "embedding" not in item for item in items):
        raise missing("embedding")
    if all(isinstance(item.get("index"), int) for item in items):
        items = sorted(items, key=lambda item: int(item["index"]))
    return [item["embedding"] for item in items]


def dense_vectors(values: Sequence[Any]) -> tuple[Vector, ...]:
    """:func:`dense_vector` of each; arrays of numbers, all of one length, are read at once."""
    stacked = _stacked(values)
    if stacked is None:
        return tuple(dense_vector(value) for value in values)
    # True and false would have become these two.
    for position in map(int, np.flatnonzero(((stacked == 0) | (stacked == 1)).any(axis=1))):
        dense_vector(values[position])
    return tuple(stacked)


def _stacked(values: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    """Arrays of numbers as the rows of one; ``None`` for what must be looked at one by one, integers alone too.

    By way of ``struct`` in a quarter of the time that numpy takes to look through lists.
    """
    if not values or not all(type(value) is list and len(value) == len(values[0]) for value in values):
        return None
    if all(type(number) is int for number in values[0]):
        return None
    packed = struct.Struct(f"{len(values[0])}d").pack
    try:
        return np.frombuffer(b"".join([packed(*value) for value in values])).reshape(len(values), -1)
    except (struct.error, OverflowError):
        return None


def dense_vector(value: Any) -> Vector:
    """A float vector from a JSON array or from base64 of little-endian float32."""
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return np.frombuffer(raw, dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise not_a_vector(f"Failed to decode base64 embedding: {error}") from None
    if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
        raise not_a_vector("Failed to parse object: expecting an array of numbers")
    return value


def byte_vector(value: Any) -> list[int]:
    """A vector of signed bytes.

    Raises:
        UnusableAnswerError: a value is no integer between -128 and 127.
    """
    if not isinstance(value, list):
        raise not_a_vector("Failed to parse object: expecting an array of numbers")
    for item in value:
        if not is_number(item):
            raise not_a_vector("Failed to parse object: expecting an array of numbers")
        if not -128 <= item <= 127:
            raise UnusableAnswerError(
                OtherError("illegal_argument_exception", f"Value [{item}] is out of range for a byte")
            )
    return [int(item) for item in value]


def not_a_vector(reason: str) -> UnusableAnswerError:
    return UnusableAnswerError(OtherError("parsing_exception", reason))


# --- chat ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChatForm:
    """Which of OpenAI's dialects a provider speaks.

    ``tokens`` is the name of the token limit, ``usage`` whether a stream asks for its usage chunk, ``model`` whether
    the body names the model.
    """

    tokens: str = "max_completion_tokens"
    usage: bool = True
    model: bool = True


OPENAI_FORM = ChatForm()
MAX_TOKENS_FORM = ChatForm(tokens="max_tokens")
NO_USAGE_FORM = ChatForm(tokens="max_tokens", usage=False)


def chat_body(call: Call, form: ChatForm, model: str | None, user: str | None = None) -> dict[str, Any]:
    """The chat body of a ``completion`` or ``chat_completion`` call; the request's model wins over ``model``."""
    chat = call.chat
    messages: Iterable[Mapping[str, Any]]
    messages = chat.messages if chat else ({"content": text, "role": "user"} for text in call.texts)
    body: dict[str, Any] = {"messages": [chat_message(message) for message in messages]}
    if form.model and (name := (chat.model if chat and chat.model else model)):
        body["model"] = name
    if chat and chat.max_completion_tokens is not None:
        body[form.tokens] = chat.max_completion_tokens
    body["n"] = 1
    if chat:
        body.update(chat_options(call))
    body["stream"] = call.stream
    if call.stream and form.usage:
        body["stream_options"] = {"include_usage": True}
    if user:
        body["user"] = user
    return body


def chat_options(call: Call) -> dict[str, Any]:
    """The sampling and tool fields of a chat request that were given and are not empty."""
    chat = call.chat
    if chat is None:
        return {}
    options: dict[str, Any] = {
        "stop": list(chat.stop) if chat.stop else None,
        "temperature": chat.temperature,
        "tool_choice": chat.tool_choice,
        "tools": list(chat.tools) if chat.tools else None,
        "top_p": chat.top_p,
    }
    return {name: value for name, value in options.items() if value is not None}


MESSAGE_FIELDS = ("content", "role", "tool_call_id", "tool_calls", "reasoning", "reasoning_details")


def chat_message(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: message[name]
        for name in MESSAGE_FIELDS
        if message.get(name) is not None and not (name == "tool_calls" and not message[name])
    }


def parse_completion(answer: ProviderAnswer, call: Call) -> Completion:
    """Every ``choices[].message.content``.

    Raises:
        UnusableAnswerError: a field is missing.
    """
    body = answer.json()
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        raise required("choices")
    results = []
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise required("message")
        content = message.get("content")
        results.append("" if content is None else as_text(content))
    return Completion(tuple(results))


class ChatStream(EventReader[Event]):
    """Reads OpenAI's event stream into completion deltas or chat chunks, whichever the call asks for.

    ``service`` names the provider in messages. ``decoder`` is for event streams that come wrapped in something else.
    """

    def __init__(
        self, call: Call, failures: Failures, service: str = "OpenAI", decoder: Decoder[Event] | None = None
    ) -> None:
        super().__init__(decoder or EventDecoder())
        self._call = call
        self._failures = failures
        self._service = service
        self._is_chat = call.task_type is TaskType.CHAT_COMPLETION

    def read(self, event: Event) -> list[StreamItem]:
        if event.data.strip().lower() == "[done]":
            return []
        if not self._is_chat:
            chunk = parse_stream_json(event.data)
            if "error" in chunk and "choices" not in chunk and (told := self._failure(event.data)) is not None:
                raise told
            deltas = completion_deltas(chunk, self._service)
            return [CompletionDelta(tuple(deltas))] if deltas else []
        if event.name == "error":
            raise self._failure(event.data) or self._failures.unreadable_stream_error(self._call)
        try:
            chunk = parse_stream_json(event.data)
            error = self._failure(event.data) if "error" in chunk else None
            if error is None:
                return [ChatChunk(chat_chunk(chunk, self._call))]
        except (SidecarError, UnusableAnswerError):
            error = self._failure(event.data) if self._failures.quotes_chunks else None
            if error is None:
                raise
        raise error

    def _failure(self, data: str) -> SidecarError | None:
        """What an error event says; ``None`` when it cannot be read as one."""
        try:
            words = (self._failures.stream_words or words_of_openai_event)(data)
        except SidecarError:
            return None
        return None if words is None else self._failures.stream_error(words, self._call)


def words_of_openai_event(data: str) -> Words | None:
    """What OpenAI's error object in an event says.

    Elasticsearch reads it only with all fields as OpenAI types them, and loses the words of servers that send the
    status as a number in ``code``, as vLLM does.
    """
    error = parse_stream_json(data).get("error")
    if isinstance(error, str) and error:
        return Words(error)
    if not isinstance(error, dict) or not isinstance(error.get("type"), str):
        return None
    if not isinstance(error.get("param"), str | None) or not isinstance(error.get("code"), str | int | None):
        return None
    return words_of_openai(error)


def words_of_event(data: str) -> Words | None:
    """What an error event says whose error object has a message at least."""
    chunk = parse_stream_json(data)
    error = chunk.get("error", chunk)
    return words_of_openai(error) if isinstance(error, dict) else None


def parse_stream_json(text: str) -> dict[str, Any]:
    """The JSON object of one event.

    Raises:
        SidecarError: it is not a JSON object.
    """
    try:
        chunk = ProviderAnswer(200, {}, text.encode()).json()
    except UnusableAnswerError as error:
        raise error.cause from None
    if not isinstance(chunk, dict):
        raise unparsable(text.encode(), ValueError("expected an object")).cause
    return chunk


def completion_deltas(chunk: Mapping[str, Any], service: str) -> list[str]:
    """The non-empty texts of a chunk.

    Raises:
        SidecarError: the chunk has no ``choices``.
        UnusableAnswerError: something in it has another type than it should.
    """
    if not isinstance(chunk.get("choices"), list):
        reason = f"Failed to find required field [choices] in {service} chat completions response"
        raise OtherError("illegal_state_exception", reason, status=500)
    contents = [_object(choice.get("delta")).get("content") for choice in _objects(chunk["choices"])]
    texts = [as_text(content) for content in contents if content is not None]
    return [text for text in texts if text]


def chat_chunk(chunk: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """A chunk as callers see it: known fields only, null ones left out.

    Raises:
        UnusableAnswerError: a field is missing, or something in it has another type than it should.
    """
    needed = ["id", "choices", *([] if call.generation.at_least("9.4") else ["model", "object"])]
    missing = [name for name in needed if chunk.get(name) is None]
    if missing:
        raise required(", ".join(missing))
    body: dict[str, Any] = {"id": chunk["id"], "choices": [_choice(c, call) for c in _objects(chunk["choices"])]}
    body |= {"model": chunk.get("model"), "object": chunk.get("object")}
    if isinstance(usage := chunk.get("usage"), dict):
        body["usage"] = _usage(usage, call)
    return body


def _object(value: Any) -> Mapping[str, Any]:
    """``value``, empty when it is ``null``."""
    return {} if value is None else as_object(value)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [_object(item) for item in as_list(value)]


def _choice(choice: Mapping[str, Any], call: Call) -> dict[str, Any]:
    delta = _object(choice.get("delta"))
    names = ["content", "refusal", "role", *(["reasoning"] if call.generation.at_least("9.4") else [])]
    shown = {name: delta[name] for name in names if delta.get(name) is not None}
    if calls := delta.get("tool_calls"):
        shown["tool_calls"] = [_tool_call(call) for call in _objects(calls)]
    if (details := delta.get("reasoning_details")) and call.generation.at_least("9.4"):
        shown["reasoning_details"] = details
    body: dict[str, Any] = {"delta": shown}
    if choice.get("finish_reason") is not None:
        body["finish_reason"] = choice["finish_reason"]
    body["index"] = choice.get("index", 0)
    return body


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"index": call.get("index", 0)}
    if call.get("id") is not None:
        body["id"] = call["id"]
    if isinstance(function := call.get("function"), dict):
        body["function"] = {name: function[name] for name in ("arguments", "name") if function.get(name) is not None}
    body["type"] = call.get("type")  # written even when it is null, as Elasticsearch does
    return body


def _usage(usage: Mapping[str, Any], call: Call) -> dict[str, Any]:
    body: dict[str, Any] = {name: usage.get(name, 0) for name in ("completion_tokens", "prompt_tokens", "total_tokens")}
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict) and details.get("cached_tokens") is not None and call.generation.at_least("9.4"):
        body["prompt_tokens_details"] = {"cached_tokens": details["cached_tokens"]}
    reasoning = usage.get("completion_tokens_details")
    if (
        isinstance(reasoning, dict)
        and reasoning.get("reasoning_tokens") is not None
        and call.generation.at_least("9.4")
    ):
        body["completion_tokens_details"] = {"reasoning_tokens": reasoning["reasoning_tokens"]}
    return body
