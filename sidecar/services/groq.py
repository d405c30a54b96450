"""Groq chat. Source: Groq API reference, "Create chat completion"."""

from __future__ import annotations

from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, bearer
from sidecar.services.declaration import Service
from sidecar.services.openai_shapes import OPENAI_FORM
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import RateLimit, Secret, Text, TextMap, Url
from sidecar.services.settings import Listed

CHAT_URL = "https://api.groq.com/openai/v1/chat/completions"


def headers(call: Call) -> dict[str, str]:
    """Credential, organization, then the task's own headers."""
    sent = bearer(call)
    if organization := call.settings.get("organization_id"):
        sent["Groq-Organization"] = organization
    return sent | dict(call.task_settings.get("headers") or {})


_CHAT = ChatProvider(
    title="Groq",
    sending="Failed to send Groq chat completions request",
    single_input="Groq chat completions",
    url=CHAT_URL,
    settings=(
        Text(name="model_id", required=True, listed=Listed("Model ID", "The Groq model ID to use for this endpoint.")),
        Text(
            name="organization_id",
            listed=Listed("Organization ID", "Optional Groq organization identifier to scope API usage."),
        ),
        Url(
            name="url",
            listed=Listed("URL", "The absolute URL of the Groq chat completions endpoint.", default=CHAT_URL),
        ),
        RateLimit(
            requests_per_minute=1000,
            listed=Listed("Rate Limit", "Default number of requests per minute allowed for the Groq API."),
        ),
    ),
    secrets=(
        Secret(
            name="api_key",
            required=True,
            listed=Listed("API Key", "The Groq API key. Generate keys from https://console.groq.com/keys."),
        ),
    ),
    task_settings=(
        Text(name="user"),
        TextMap(
            name="headers",
            listed=Listed("Custom Headers", "Additional headers to include with Groq requests.", updatable=True),
        ),
    ),
    headers=headers,
    form=OPENAI_FORM,
)

SERVICE = Service(
    name="groq", title="Groq", tasks={TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4")}
)
