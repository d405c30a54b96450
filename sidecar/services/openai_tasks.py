"""Chat tasks of providers that speak OpenAI's chat API, made from the few things in which they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderRequest, bearer
from sidecar.services.declaration import RemoteTask
from sidecar.services.failures import Failures
from sidecar.services.openai_shapes import CHAT_FAILURES, ChatForm, ChatStream, chat_body, parse_completion
from sidecar.services.settings import API_KEY, Reading, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatProvider:
    """A provider with OpenAI's chat route.

    ``title`` starts its messages; ``url`` is where chats go when the endpoint has no ``url`` of its own. ``model`` is
    the setting that names the model. ``headers`` default to the bearer credential; ``completion_failures`` to
    ``failures``, for providers whose completions read error bodies in another way.
    """

    title: str
    sending: str
    single_input: str | None
    settings: tuple[Setting, ...]
    form: ChatForm
    url: str | None = None
    model: str = "model_id"
    failures: Failures = CHAT_FAILURES
    completion_failures: Failures | None = None
    headers: Callable[[Call], dict[str, str]] = bearer
    secrets: tuple[Setting, ...] = (API_KEY,)
    task_settings: tuple[Setting, ...] = ()
    check: Callable[[dict[str, Any], Reading], None] | None = None
    check_secrets: Callable[[dict[str, Any], Reading], None] | None = None
    ignores_task_settings: bool = False

    def task(self, task_type: TaskType, since: str) -> RemoteTask:
        """The ``completion`` or ``chat_completion`` task."""
        is_completion = task_type is TaskType.COMPLETION
        failures = (self.completion_failures or self.failures) if is_completion else self.failures

        def request(call: Call) -> ProviderRequest:
            url = call.settings.get("url") or self.url or ""
            body = chat_body(call, self.form, call.settings.get(self.model), call.task_settings.get("user"))
            return ProviderRequest.json(url, body, self.headers(call))

        def stream(call: Call) -> ChatStream:
            return ChatStream(call, failures, self.title)

        return RemoteTask(
            sending=self.sending,
            settings=self.settings,
            secrets=self.secrets,
            check=self.check,
            check_secrets=self.check_secrets,
            task_settings=self.task_settings,
            ignores_task_settings=self.ignores_task_settings,
            request=request,
            parse=parse_completion,
            stream=stream,
            failures=failures,
            single_input=self.single_input if is_completion else None,
            since=since,
        )
