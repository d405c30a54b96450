"""DeepSeek chat. Source: DeepSeek API reference, "Create Chat Completion"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.core.java_uri import uri_refusal
from sidecar.core.tasks import TaskType
from sidecar.services.declaration import Service
from sidecar.services.openai_shapes import MAX_TOKENS_FORM
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import Secret, Text
from sidecar.services.settings import Listed, Reading, unknown_settings

CHAT_URL = "https://api.deepseek.com/chat/completions"

_KEY = Secret(
    name="api_key",
    listed=Listed(
        "API Key",
        "The DeepSeek API authentication key. For more details about generating DeepSeek API keys, "
        "refer to https://api-docs.deepseek.com.",
        required=True,
    ),
)


def check_settings(values: dict[str, Any], reading: Reading) -> None:
    """The address comes first and is reported alone, or not at all where anything is left unread beside it.

    Elasticsearch reports a bad key among the service settings.

    Raises:
        SidecarError: the address is no URI.
    """
    if refusal := uri_refusal(values.get("url", CHAT_URL)):
        raise unknown_settings(reading.values, reading.service, reading.generation) if reading.values else refusal
    key = Reading(dict(reading.values), reading.scope, reading.generation, reading.service)
    replace(_KEY, required=True).read(key)
    reading.messages.extend(key.messages)


_CHAT = ChatProvider(
    title="DeepSeek",
    sending="Failed to send deepseek completions request",
    single_input=None,
    url=CHAT_URL,
    settings=(
        Text(
            name="model_id",
            required=True,
            listed=Listed("Model ID", "The name of the model to use for the inference task."),
        ),
        Text(name="url", listed=Listed("URL", "The URL endpoint to use for the requests.", default=CHAT_URL)),
    ),
    secrets=(_KEY,),
    check=check_settings,
    form=MAX_TOKENS_FORM,
    ignores_task_settings=True,
)

SERVICE = Service(
    name="deepseek",
    title="DeepSeek",
    settings_first=True,
    tasks={
        TaskType.COMPLETION: replace(_CHAT.task(TaskType.COMPLETION, "8.19"), ignores_top_level=True),
        TaskType.CHAT_COMPLETION: replace(
            replace(_CHAT, sending="Failed to send deepseek chat completions request").task(
                TaskType.CHAT_COMPLETION, "8.19"
            ),
            ignores_top_level=True,
        ),
    },
)
