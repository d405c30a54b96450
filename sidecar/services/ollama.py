"""Models of an Ollama server, on the same machine or elsewhere; Elasticsearch has no such service.

Source: Ollama API reference, "Generate embeddings" and "Generate a chat message".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidecar.core.results import ChatChunk, Completion, CompletionDelta, DenseEmbeddings, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.services.calls import (
    PLAIN_JSON,
    Call,
    ProviderAnswer,
    ProviderRequest,
    as_list,
    as_object,
    as_objects,
    as_text,
    is_whole,
    plain_bearer,
    required,
)
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import Failures, Words, words_of_body
from sidecar.services.json_lines import LineDecoder
from sidecar.services.openai_shapes import dense_vectors, parse_stream_json
from sidecar.services.reading import SET_BY_USER
from sidecar.services.setting_kinds import MAX_INPUT_TOKENS, SIMILARITY, PositiveInt, RateLimit, Secret, Text, Url
from sidecar.services.settings import Listed, Setting
from sidecar.services.stream_reader import EventReader

BASE_URL = "http://localhost:11434"

_MODEL = Text(name="model_id", required=True, listed=Listed("Model", "A model that the server has."))
_URL = Url(
    name="url", default=BASE_URL, listed=Listed("URL", "The server's address, without a path.", default=BASE_URL)
)
# the server is the user's own, and has a queue of its own
_RATE_LIMIT = RateLimit(requests_per_minute=6000)
_SECRETS = (Secret(name="api_key", listed=Listed("API Key", "For a server behind one, such as ollama.com.")),)


def words_of_text(text: str) -> Words | None:
    """``{"error": "the words"}``."""
    try:
        body = json.loads(text)
    except ValueError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return Words(error) if isinstance(error, str) else None


def words(answer: ProviderAnswer) -> Words | None:
    return words_of_text(answer.text) or words_of_body(answer)


FAILURES = Failures(words=words, stream_words=words_of_text, retried=frozenset({429, 502, 503}))


def _post(call: Call, path: str, body: Mapping[str, Any]) -> ProviderRequest:
    headers = plain_bearer(call) if "api_key" in call.secrets else dict(PLAIN_JSON)
    return ProviderRequest.json(call.settings["url"].rstrip("/") + path, body, headers)


# --- embeddings ----------------------------------------------------------------------------------------------


def request_embeddings(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"model": call.settings["model_id"], "input": call.texts}
    if call.settings.get(SET_BY_USER):
        body["dimensions"] = call.settings["dimensions"]
    return _post(call, "/api/embed", body)


def parse_embeddings(answer: ProviderAnswer, _call: Call) -> DenseEmbeddings:
    body = as_object(answer.json())
    if "embeddings" not in body:
        raise required("embeddings")
    return DenseEmbeddings(dense_vectors(as_list(body["embeddings"])))


# --- chat ----------------------------------------------------------------------------------------------------


def request_chat(call: Call) -> ProviderRequest:
    chat = call.chat
    messages = map(_message, chat.messages) if chat else ({"role": "user", "content": text} for text in call.texts)
    body: dict[str, Any] = {
        "model": (chat.model if chat else None) or call.settings["model_id"],
        "messages": list(messages),
        "stream": call.stream,
    }
    if chat:
        if chat.tools:
            body["tools"] = list(chat.tools)
        options = {
            "num_predict": chat.max_completion_tokens,
            "stop": list(chat.stop) if chat.stop else None,
            "temperature": chat.temperature,
            "top_p": chat.top_p,
        }
        if given := {name: value for name, value in options.items() if value is not None}:
            body["options"] = given
    return _post(call, "/api/chat", body)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAI message as Ollama takes it: text parts as one text, the arguments of tool calls as objects."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content if isinstance(part, Mapping))
    body: dict[str, Any] = {"role": message["role"], "content": content}
    if calls := message.get("tool_calls"):
        body["tool_calls"] = [
            {"function": {"name": call["function"]["name"], "arguments": _arguments(call["function"]["arguments"])}}
            for call in calls
        ]
    return body


def _arguments(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return {}


def parse_completion(answer: ProviderAnswer, _call: Call) -> Completion:
    body = as_object(answer.json())
    if "message" not in body:
        raise required("message")
    return Completion((as_text(as_object(body["message"]).get("content") or ""),))


class OllamaStream(EventReader[str]):
    """Reads the lines of a streamed chat into completion deltas or OpenAI's chat chunks."""

    def __init__(self, call: Call) -> None:
        super().__init__(LineDecoder())
        self._call = call
        self._is_chat = call.task_type is TaskType.CHAT_COMPLETION
        self._called_tools = 0

    def read(self, event: str) -> list[StreamItem]:
        if (found := words_of_text(event)) is not None:
            raise FAILURES.stream_error(found, self._call)
        line = parse_stream_json(event)
        message = as_object(line.get("message") or {})
        if not self._is_chat:
            text = as_text(message.get("content") or "")
            return [CompletionDelta((text,))] if text else []
        return [ChatChunk(self._chunk(line, message))]

    def _chunk(self, line: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": as_text(message.get("content") or ""), "role": "assistant"}
        if calls := message.get("tool_calls"):
            delta["tool_calls"] = [self._tool_call(as_object(call.get("function"))) for call in as_objects(calls)]
        choice: dict[str, Any] = {"delta": delta, "index": 0}
        body: dict[str, Any] = {
            "id": str(line.get("created_at", "")),
            "choices": [choice],
            "model": line.get("model"),
            "object": "chat.completion.chunk",
        }
        if line.get("done"):
            choice["finish_reason"] = "tool_calls" if self._called_tools else line.get("done_reason", "stop")
            read, written = _count(line, "prompt_eval_count"), _count(line, "eval_count")
            body["usage"] = {"completion_tokens": written, "prompt_tokens": read, "total_tokens": read + written}
        return body

    def _tool_call(self, function: Mapping[str, Any]) -> dict[str, Any]:
        number, self._called_tools = self._called_tools, self._called_tools + 1
        shown = {"arguments": json.dumps(function.get("arguments") or {}), "name": function.get("name")}
        return {"index": number, "id": f"call_{number}", "function": shown, "type": "function"}


def _count(line: Mapping[str, Any], name: str) -> int:
    count = line.get(name)
    return count if is_whole(count) else 0


_SETTINGS: tuple[Setting, ...] = (_MODEL, _URL)
_SENDING = "Failed to send Ollama {task} request from inference entity id [{id}]"

_CHAT = RemoteTask(
    sending=_SENDING,
    settings=(*_SETTINGS, _RATE_LIMIT),
    secrets=_SECRETS,
    request=request_chat,
    parse=parse_completion,
    stream=OllamaStream,
    failures=FAILURES,
)

SERVICE = Service(
    name="ollama",
    title="Ollama",
    in_elasticsearch=False,
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending=_SENDING,
            settings=(*_SETTINGS, PositiveInt(name="dimensions"), SIMILARITY, MAX_INPUT_TOKENS, _RATE_LIMIT),
            secrets=_SECRETS,
            request=request_embeddings,
            parse=parse_embeddings,
            failures=FAILURES,
            dense=Dense("cosine"),
        ),
        TaskType.COMPLETION: replace(_CHAT, single_input="Ollama completions"),
        TaskType.CHAT_COMPLETION: _CHAT,
    },
)
