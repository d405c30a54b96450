"""Tasks of providers that speak OpenAI's API, made from the few things in which they differ.

Source: OpenAI API reference, "Create embeddings" and "Create chat completion".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderRequest, bearer
from sidecar.services.declaration import RemoteTask
from sidecar.services.failures import Failures
from sidecar.services.openai_shapes import CHAT_FAILURES, ChatForm, ChatStream, chat_body, parse_completion
from sidecar.services.reading import SET_BY_USER
from sidecar.services.setting_kinds import API_KEY, PositiveInt
from sidecar.services.settings import Listed, Reading, Setting

# --- embeddings ----------------------------------------------------------------------------------------------


def dimensions(page: str) -> PositiveInt:
    """The size of vectors, explained on the provider's ``page``."""
    description = "The number of dimensions the resulting embeddings should have. For more information refer to "
    return PositiveInt(name="dimensions", listed=Listed("Dimensions", f"{description}{page}."))


def embedding_body(call: Call, model: str | None = None) -> dict[str, Any]:
    """The inputs, the model where one is named, the caller's ``user`` and the size where the endpoint chose one."""
    body: dict[str, Any] = {"input": call.texts}
    if model:
        body["model"] = model
    if user := call.task_settings.get("user"):
        body["user"] = user
    if call.settings.get(SET_BY_USER):
        body["dimensions"] = call.settings["dimensions"]
    return body


# --- chat ----------------------------------------------------------------------------------------------------


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
