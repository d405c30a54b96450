"""AI21 chat. Source: AI21 Studio API reference, "Jamba chat completions"."""

from __future__ import annotations

from sidecar.core.tasks import TaskType
from sidecar.services.calls import plain_bearer
from sidecar.services.declaration import Service
from sidecar.services.openai_shapes import CHAT_FAILURES, MAX_TOKENS_FORM, quoting
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import RateLimit, Text
from sidecar.services.settings import Listed

_CHAT = ChatProvider(
    title="AI21",
    sending="Failed to send AI21 {task} request from inference entity id [{id}]",
    single_input="AI21 completions",
    url="https://api.ai21.com/studio/v1/chat/completions",
    settings=(
        Text(
            name="model_id",
            required=True,
            listed=Listed(
                "Model", "Refer to the AI21 models documentation for the list of available inference models."
            ),
        ),
        RateLimit(requests_per_minute=200),
    ),
    headers=plain_bearer,
    form=MAX_TOKENS_FORM,
    failures=quoting(CHAT_FAILURES, "ai21_error"),
)

SERVICE = Service(
    name="ai21",
    title="AI21",
    tasks={
        TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4"),
        TaskType.CHAT_COMPLETION: _CHAT.task(TaskType.CHAT_COMPLETION, "9.4"),
    },
)
