"""DeepSeek chat. Source: DeepSeek API reference, "Create Chat Completion"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.services.declaration import Service
from sidecar.services.openai_shapes import MAX_TOKENS_FORM
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import Secret, Text, Url
from sidecar.services.settings import Listed, Reading

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


def require_key(_: dict[str, Any], reading: Reading) -> None:
    """Elasticsearch reports a missing key among the service settings."""
    if reading.values.get("api_key") is None:
        reading.complain(f"[{reading.scope}] does not contain the required setting [api_key]")


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
        Url(name="url", listed=Listed("URL", "The URL endpoint to use for the requests.", default=CHAT_URL)),
    ),
    secrets=(_KEY,),
    check=require_key,
    form=MAX_TOKENS_FORM,
    ignores_task_settings=True,
)

SERVICE = Service(
    name="deepseek",
    title="DeepSeek",
    settings_first=True,
    tasks={
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "8.19"),
        TaskType.CHAT_COMPLETION: replace(_CHAT, sending="Failed to send deepseek chat completions request").task(
            TaskType.CHAT_COMPLETION, "8.19"
        ),
    },
)
