"""A parsed inference request, free of HTTP and of any provider's form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sidecar.core.tasks import InputType


@dataclass(frozen=True, slots=True)
class Content:
    """One item of an ``embedding`` input: ``type`` is ``text`` or ``image``, ``value`` a text or a data URI."""

    type: str
    value: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class ContentGroup:
    """One input of an ``embedding`` request; several items are embedded into one vector."""

    items: tuple[Content, ...]


Input: TypeAlias = str | ContentGroup


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A validated ``chat_completion`` body: the fields as the caller wrote them, JSON types only.

    ``messages`` items keep OpenAI's keys (``role``, ``content``, ``tool_call_id``, ``tool_calls``, ``reasoning``,
    ``reasoning_details``); ``stop`` is always a list.
    """

    messages: tuple[dict[str, Any], ...]
    model: str | None = None
    max_completion_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    temperature: float | None = None
    top_p: float | None = None
    tool_choice: str | dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    reasoning: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a caller asks of an endpoint; ``None`` means "not given".

    ``timeout`` is in seconds, ``timeout_text`` as the caller wrote it. ``task_settings`` override stored ones.
    """

    input: tuple[Input, ...] = ()
    query: str | None = None
    return_documents: bool | None = None
    top_n: int | None = None
    input_type: InputType | None = None
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    chat: ChatRequest | None = None
    stream: bool = False
    timeout: float = 30.0
    timeout_text: str = "30s"

    @property
    def texts(self) -> tuple[str, ...]:
        """The inputs as text; an ``embedding`` item of one text counts as that text."""
        return tuple(
            item if isinstance(item, str) else " ".join(part.value for part in item.items) for item in self.input
        )
