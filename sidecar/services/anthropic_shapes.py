"""Anthropic's Messages form, which Anthropic itself and Google's Model Garden speak.

Source: Anthropic API reference, "Create a Message", "Streaming Messages", "Tool use" and "Errors".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import StatusError, UpstreamError
from sidecar.core.results import ChatChunk, Completion, CompletionDelta, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, as_list, as_object, count_of, field_missing
from sidecar.services.failures import PERMISSION, Failures, words_of_error_object, words_of_openai
from sidecar.services.openai_shapes import parse_stream_json
from sidecar.services.sse import Event, EventDecoder
from sidecar.services.stream_reader import EventReader

# what the provider's own error types mean as HTTP statuses; any other is 500
ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
}
TOOL_CHOICES = {"none": "none", "auto": "auto", "required": "any"}

OVERLOADED = "Received an Anthropic server is temporarily overloaded status code"

# --- failures ------------------------------------------------------------------------------------------------


def rate_limit_details(headers: Mapping[str, str]) -> str:
    """What the rate-limit headers say, ``unknown`` where one is missing."""

    def value(name: str) -> str:
        return headers.get(name, "unknown")

    limits = "anthropic-ratelimit"
    return (
        f". Token limit [{value(f'{limits}-tokens-limit')}], remaining tokens "
        f"[{value(f'{limits}-tokens-remaining')}], tokens reset [{value(f'{limits}-tokens-reset')}]. "
        f"Request limit [{value(f'{limits}-requests-limit')}], remaining requests "
        f"[{value(f'{limits}-requests-remaining')}], request reset [{value(f'{limits}-requests-reset')}]. "
        f"Retry after [{value('retry-after')}]"
    )


FAILURES = Failures(
    words=words_of_error_object,
    retried=frozenset({429, 500, 529}),
    prefixes={403: PERMISSION, 529: OVERLOADED},
    rate_limit_details=rate_limit_details,
    chat_type="anthropic_error",
)


# --- requests ------------------------------------------------------------------------------------------------


def sampling(call: Call) -> dict[str, Any]:
    """``temperature``, ``top_p`` and ``top_k``: the chat request's first, then those of the task settings."""
    values = {name: getattr(call.chat, name, None) for name in ("temperature", "top_p")} | {"top_k": None}
    settings = call.task_settings
    chosen = {name: settings.get(name) if value is None else value for name, value in values.items()}
    return {name: value for name, value in chosen.items() if value is not None}


def max_tokens(call: Call, default: int | None = None) -> int | None:
    """The chat request's limit, else that of the task settings, else ``default``."""
    if call.chat and call.chat.max_completion_tokens is not None:
        return call.chat.max_completion_tokens
    limit: int | None = call.task_settings.get("max_tokens")
    return default if limit is None else limit


def chat_fields(call: Call) -> dict[str, Any]:
    """``system``, ``messages``, sampling and tools of a chat in OpenAI's form, translated.

    Without a chat every input is a user message.

    Raises:
        StatusError: something in the chat has no counterpart.
    """
    chat = call.chat
    if chat is None:
        return {"messages": [{"role": "user", "content": text} for text in call.texts], **sampling(call)}
    fields: dict[str, Any] = {}
    if (system := _system(chat.messages)) is not None:
        fields["system"] = system
    fields["messages"] = [_message(message) for message in chat.messages if message.get("role") != "system"]
    fields |= sampling(call)
    if chat.stop:
        fields["stop_sequences"] = list(chat.stop)
    if chat.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(chat.tool_choice)
    if chat.tools:
        fields["tools"] = [_tool(tool["function"]) for tool in chat.tools]
    return fields


def check_chat(call: Call) -> None:
    """Refuse a chat that cannot be translated.

    Raises:
        StatusError: it says what.
    """
    chat_fields(call)


def _system(messages: tuple[dict[str, Any], ...]) -> str | list[dict[str, Any]] | None:
    contents = [message.get("content") for message in messages if message.get("role") == "system"]
    if not contents:
        return None
    if len(contents) == 1 and isinstance(contents[0], str):
        return contents[0]
    return [block for content in contents for block in _blocks(content) if block["type"] == "text"]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        if not message.get("tool_call_id"):
            raise StatusError("Tool messages must have a [tool_call_id] for Anthropic chat completions")
        result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": _blocks(content)}
        return {"role": "user", "content": [result]}
    if role not in ("user", "assistant"):
        raise StatusError(
            f"Role [{role}] is not supported by Anthropic chat completions, "
            "must be one of [assistant, system, tool, user]"
        )
    if role == "assistant" and (calls := message.get("tool_calls")):
        text = _blocks(content) if content else []
        return {"role": role, "content": [*text, *(_tool_use(call) for call in calls)]}
    if isinstance(content, str) and content:
        return {"role": role, "content": content}
    return {"role": role, "content": _blocks(content)}


def _blocks(content: Any) -> list[dict[str, Any]]:
    """Content as blocks; none becomes one empty text."""
    if not content:
        return [{"type": "text", "text": ""}]
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_block(item) for item in content]


def _block(item: Mapping[str, Any]) -> dict[str, Any]:
    if item["type"] == "image_url":
        url = item["image_url"]["url"]
        if url.startswith(("http://", "https://")):
            return {"type": "image", "source": {"type": "url", "url": url}}
        media_type, data = _data_uri(url, "image_url")
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if item["type"] == "file":
        return _document(item["file"])
    return {"type": "text", "text": item["text"]}


def _document(file: Mapping[str, Any]) -> dict[str, Any]:
    media_type, data = _data_uri(file["file_data"], "file")
    if media_type == "application/pdf":
        source = {"type": "base64", "media_type": media_type, "data": data}
    elif media_type == "text/plain":
        source = {"type": "text", "media_type": media_type, "data": _decoded(data)}
    else:
        raise StatusError(
            f"Media type [{media_type}] of [file] is not supported by Anthropic chat completions, "
            "must be one of [application/pdf, text/plain]"
        )
    return {"type": "document", "source": source, "title": file["filename"]}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise StatusError("[file] must hold UTF-8 text in base64") from None


def _data_uri(uri: str, field: str) -> tuple[str, str]:
    """Media type and base64 data of ``data:<type>;base64,<data>``."""
    head, comma, data = uri.partition(",")
    scheme, _, media_type = head.partition(":")
    media_type, *parameters = media_type.split(";")
    if not comma or scheme.lower() != "data" or "base64" not in parameters or not media_type:
        raise StatusError(f"[{field}] must be a base64 data URI for Anthropic chat completions")
    return media_type.lower(), data


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise StatusError(f"Arguments of tool call [{call['id']}] must be a JSON object")
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}


def _tool_choice(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(choice, str):
        return {"type": "tool", "name": choice["function"]["name"]}
    if choice not in TOOL_CHOICES:
        raise StatusError(
            f"Tool choice [{choice}] is not supported by Anthropic chat completions, "
            f"must be one of [{', '.join(sorted(TOOL_CHOICES))}]"
        )
    return {"type": TOOL_CHOICES[choice]}


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    if function.get("strict") is not None:
        raise StatusError("Field [strict] of a function is not supported by Anthropic chat completions")
    tool = {name: function[name] for name in ("name", "description") if function.get(name) is not None}
    return {**tool, "input_schema": function.get("parameters") or {"type": "object"}}


# --- answers -------------------------------------------------------------------------------------------------


def parse_message(answer: ProviderAnswer, call: Call) -> Completion:
    """Every text block is one result; blocks of other types are skipped.

    Raises:
        UnusableAnswerError: a field is missing.
    """
    body = as_object(answer.json())
    if "content" not in body:
        raise field_missing("content", "Anthropic chat completions")
    texts = []
    for block in as_list(body["content"]):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise field_missing("type", "Anthropic chat completions")
        if block["type"] == "text":
            if not isinstance(block.get("text"), str):
                raise field_missing("text", "Anthropic chat completions")
            texts.append(block["text"])
    return Completion(tuple(texts))


class MessageStream(EventReader[Event]):
    """Reads Anthropic's events into completion deltas or OpenAI's chat chunks, whichever the call asks for.

    ``id`` and ``model``, which the provider tells once, are repeated in every chunk. Pings and unknown events are
    skipped.
    """

    def __init__(self, call: Call, failures: Failures) -> None:
        super().__init__(EventDecoder())
        self._call = call
        self._failures = failures
        self._is_chat = call.task_type is TaskType.CHAT_COMPLETION
        self._origin: dict[str, Any] = {}

    def read(self, event: Event) -> list[StreamItem]:
        if event.name not in ("message", "error", *_TRANSLATED):
            return []
        message = parse_stream_json(event.data)
        if event.name == "error" or message.get("type") == "error":
            raise self._failure(message, event.data)
        if not self._is_chat:
            text = _text(message)
            return [CompletionDelta((text,))] if text else []
        chunk = self._chunk(message)
        return [] if chunk is None else [ChatChunk(chunk)]

    def _failure(self, message: Mapping[str, Any], text: str) -> UpstreamError:
        error = message.get("error")
        words = words_of_openai(error) if isinstance(error, dict) else None
        if words is None and self._failures.stream_words:
            words = self._failures.stream_words(text)
        if words is None:
            return UpstreamError(f"Received an error event: {text}", status=500, chat_type=self._failures.chat_type)
        failure = self._failures.stream_error(words, self._call)
        failure.status = ERROR_STATUSES.get(words.type or "", 500)
        return failure

    def _chunk(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        translate = _TRANSLATED.get(str(message.get("type")))
        if message.get("type") == "message_start":
            start = _object(message.get("message"))
            self._origin = {name: start[name] for name in ("id", "model") if start.get(name) is not None}
        translated = translate(message) if translate else None
        if translated is None:
            return None
        choice, usage = translated
        origin = self._origin
        body = {"id": origin.get("id"), "choices": [choice], "model": origin.get("model")}
        body |= {"object": "chat.completion.chunk", "usage": usage}
        return {name: value for name, value in body.items() if value is not None}


_Translated = tuple[dict[str, Any], dict[str, int] | None] | None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(message: Mapping[str, Any]) -> str:
    """The text that an event adds; blank text counts."""
    if message.get("type") == "content_block_start":
        block = _object(message.get("content_block"))
        text = block.get("text") if block.get("type") == "text" else None
    elif message.get("type") == "content_block_delta":
        delta = _object(message.get("delta"))
        text = delta.get("text") if delta.get("type") == "text_delta" else None
    else:
        text = None
    return text if isinstance(text, str) else ""


def _message_start(message: Mapping[str, Any]) -> _Translated:
    start = _object(message.get("message"))
    usage = _object(start.get("usage"))
    choice = _choice(0, {"role": start.get("role")}, start.get("stop_reason"))
    return choice, _usage(usage.get("input_tokens"), usage.get("output_tokens"))


def _message_delta(message: Mapping[str, Any]) -> _Translated:
    usage = _object(message.get("usage"))
    choice = _choice(0, {}, _object(message.get("delta")).get("stop_reason"))
    return choice, _usage(0, usage.get("output_tokens"))


def _block_start(message: Mapping[str, Any]) -> _Translated:
    block = _object(message.get("content_block"))
    if block.get("type") == "text":
        return _choice(message.get("index"), {"content": block.get("text")}), None
    if block.get("type") != "tool_use":
        return None
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False, separators=(",", ":"))
    function = {"arguments": arguments, "name": block.get("name")}
    call = {"index": 0, "id": block.get("id"), "function": function, "type": "function"}
    return _choice(message.get("index"), {"tool_calls": [call]}), None


def _block_delta(message: Mapping[str, Any]) -> _Translated:
    delta = _object(message.get("delta"))
    if delta.get("type") == "text_delta":
        return _choice(message.get("index"), {"content": delta.get("text")}), None
    if delta.get("type") != "input_json_delta":
        return None
    call = {"index": 0, "function": {"arguments": delta.get("partial_json") or ""}, "type": "function"}
    return _choice(message.get("index"), {"tool_calls": [call]}), None


_TRANSLATED = {
    "message_start": _message_start,
    "message_delta": _message_delta,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
}


def _choice(index: Any, delta: Mapping[str, Any], finish_reason: Any = None) -> dict[str, Any]:
    body: dict[str, Any] = {"delta": {name: value for name, value in delta.items() if value is not None}}
    if finish_reason is not None:
        body["finish_reason"] = finish_reason
    return body | {"index": index or 0}


def _usage(prompt: Any, completion: Any) -> dict[str, int]:
    sent, made = count_of(prompt), count_of(completion)
    return {"completion_tokens": made, "prompt_tokens": sent, "total_tokens": sent + made}
