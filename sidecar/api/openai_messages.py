"""What a client of OpenAI's chats sends, in the words of Elasticsearch's chats, which know fewer and take no ``null``.

Source: OpenAI API reference, "Create chat completion"; Elasticsearch API reference, "Perform chat completion
inference".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import StatusError

_HEEDED = ("messages", "stop", "temperature", "top_p", "tool_choice", "tools", "max_completion_tokens")
_OF_MESSAGE = ("role", "content", "tool_call_id", "tool_calls")
# These ask for an answer of another form, which nothing here would give: to leave them out would be to answer wrongly.
# What else clients send (user, seed, store, ...) changes no answer's form.
_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "web_search_options": (),
}
_WITHOUT_PLACE = ("audio", "function_call")


def chat_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that mean something to Elasticsearch's chats.

    Raises ``StatusError`` 422 for what asks for an answer that these cannot give.
    """
    for name, plain in _PLAIN.items():
        if (value := fields.get(name)) is not None and value not in plain:
            only = f"must be {plain[0]}" if name == "n" else "is not supported"
            raise StatusError(f"[{name}] {only}", status=422)
    heeded = {name: fields[name] for name in _HEEDED if fields.get(name) is not None}
    if "max_completion_tokens" not in heeded and fields.get("max_tokens") is not None:
        heeded["max_completion_tokens"] = fields["max_tokens"]
    if isinstance(messages := heeded.get("messages"), list):
        heeded["messages"] = [_message(item) if isinstance(item, dict) else item for item in messages]
    return heeded


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without what has no place: a participant's ``name``, and what SDKs keep beside an answer of before."""
    for name in _WITHOUT_PLACE:
        if message.get(name) is not None:
            raise StatusError(f"[{name}] of a message is not supported", status=422)
    kept = {name: message[name] for name in _OF_MESSAGE if message.get(name) is not None}
    if "content" not in kept and message.get("refusal") is not None:
        kept["content"] = message["refusal"]
    if isinstance(parts := kept.get("content"), list):
        kept["content"] = [_part(part) if isinstance(part, dict) else part for part in parts]
    return kept


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    return {name: value for name, value in part.items() if value is not None}
