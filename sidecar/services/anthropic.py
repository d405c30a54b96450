"""Anthropic's Messages API: completion and chat completion.

Source: Anthropic API reference, "Create a Message", "Errors" and "Rate limits".
"""

from __future__ import annotations

from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.services.anthropic_shapes import (
    FAILURES,
    MessageStream,
    chat_fields,
    check_chat,
    max_tokens,
    parse_message,
    sampling,
)
from sidecar.services.calls import Call, ProviderRequest
from sidecar.services.declaration import RemoteTask, Service
from sidecar.services.setting_kinds import LooseInt, LooseNumber, PositiveInt, RateLimit, Text
from sidecar.services.settings import Listed, Setting

URL = "https://api.anthropic.com/v1/messages"
VERSION = "2023-06-01"

_SETTINGS: tuple[Setting, ...] = (
    Text(
        name="model_id",
        required=True,
        listed=Listed("Model ID", "The name of the model to use for the inference task."),
    ),
    RateLimit(
        requests_per_minute=50,
        listed=Listed(
            "Rate Limit", "By default, the anthropic service sets the number of requests allowed per minute to 50."
        ),
    ),
)
_TASK_SETTINGS: tuple[Setting, ...] = (
    PositiveInt(
        name="max_tokens",
        required=True,
        listed=Listed("Max Tokens", "The maximum number of tokens to generate before stopping."),
    ),
    LooseNumber(name="temperature"),
    LooseNumber(name="top_p"),
    LooseInt(name="top_k"),
)


def request_completion(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text} for text in call.texts],
        "model": call.settings["model_id"],
        "max_tokens": max_tokens(call),
        **sampling(call),
    }
    if call.stream:
        body["stream"] = True
    return ProviderRequest.json(URL, body, headers(call))


def request_chat(call: Call) -> ProviderRequest:
    model = call.chat.model if call.chat and call.chat.model else call.settings["model_id"]
    body = {"model": model, **chat_fields(call), "stream": call.stream, "max_tokens": max_tokens(call)}
    return ProviderRequest.json(URL, body, headers(call))


def headers(call: Call) -> dict[str, str]:
    return {"x-api-key": call.secrets["api_key"], "anthropic-version": VERSION}


def stream(call: Call) -> MessageStream:
    return MessageStream(call, FAILURES)


SERVICE = Service(
    name="anthropic",
    title="Anthropic",
    tasks={
        TaskType.COMPLETION: RemoteTask(
            sending="Failed to send Anthropic chat completions request",
            settings=_SETTINGS,
            task_settings=_TASK_SETTINGS,
            request=request_completion,
            parse=parse_message,
            stream=stream,
            failures=FAILURES,
            single_input="Anthropic chat completions",
            since="8.16",
        ),
        # of 9.5; taken in 9.4 as well, where Elasticsearch itself does not list it
        TaskType.CHAT_COMPLETION: RemoteTask(
            sending="Failed to send Anthropic chat completions request",
            settings=_SETTINGS,
            task_settings=_TASK_SETTINGS,
            check_call=check_chat,
            request=request_chat,
            parse=parse_message,
            stream=stream,
            failures=FAILURES,
            since="9.4",
            listed_since="9.5",
        ),
    },
)
