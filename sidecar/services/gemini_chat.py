"""Chats with Gemini models on Vertex AI: OpenAI's form to Google's and back.

Source: Vertex AI API reference, "Generate content with the Gemini API", "Function calling" and "Thinking".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.core.errors import StatusError
from sidecar.core.results import ChatChunk, Completion, CompletionDelta, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer, count_of, field_missing
from sidecar.services.failures import Failures
from sidecar.services.google_shapes import GoogleStream

NAME = "Google VertexAI ChatCompletion"
ROLES = {"user": "user", "assistant": "model"}
EFFORTS = ("minimal", "low", "medium", "high")
# stands for the signature that a function call had when the model made it, which callers cannot give back
NO_SIGNATURE = "skip_thought_signature_validator"

# --- requests ------------------------------------------------------------------------------------------------


def chat_body(call: Call) -> dict[str, Any]:
    """The body of ``generateContent``; without a chat every input is a user message.

    Raises:
        StatusError: something in the chat has no counterpart.
    """
    chat = call.chat
    messages: Iterable[Mapping[str, Any]]
    messages = chat.messages if chat else [{"role": "user", "content": text} for text in call.texts]
    messages = list(messages)
    body: dict[str, Any] = {"contents": _contents(messages)}
    if config := _generation_config(call):
        body["generationConfig"] = config
    if chat and chat.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool["function"]) for tool in chat.tools]}]
    if chat and chat.tool_choice is not None and (tool_config := _tool_config(chat.tool_choice)):
        body["toolConfig"] = tool_config
    if system := _system(messages):
        body["systemInstruction"] = {"parts": system}
    return body


def check_chat(call: Call) -> None:
    """Refuse a chat that cannot be translated.

    Raises:
        StatusError: it says what.
    """
    chat_body(call)


def _contents(messages: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The turns. Results of functions that follow one another are one turn, as the model's calls were."""
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    after_tool = False
    for message in messages:
        role = message.get("role")
        if role == "system":
            continue
        if role == "tool":
            part = _function_response(message, names)
            if after_tool:
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
            after_tool = True
            continue
        after_tool = False
        calls = message.get("tool_calls") or []
        names |= {call["id"]: call["function"]["name"] for call in calls}
        contents.append({"role": _role(role), "parts": [*_texts(message.get("content")), *_function_calls(calls)]})
    return contents


def _role(role: Any) -> str:
    if role not in ROLES:
        raise StatusError(f"Role [{role}] not supported by {NAME}. Supported roles: [{', '.join(ROLES)}]")
    return ROLES[role]


def _texts(content: Any) -> list[dict[str, Any]]:
    """Text parts; empty texts are left out."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    for item in content:
        if item.get("type") != "text":
            raise StatusError(f"Content type [{item.get('type')}] not supported by {NAME}. Supported types: [text]")
    return [{"text": item["text"]} for item in content if item["text"]]


def _system(messages: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for message in messages:
        if message.get("role") != "system":
            continue
        texts = _texts(message.get("content"))
        if not texts:
            raise StatusError(f"System message cannot be empty for {NAME}")
        parts += texts
    return parts


def _function_calls(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for number, call in enumerate(calls):
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except ValueError:
            raise StatusError(f"Arguments of tool call [{call['id']}] must be a JSON object") from None
        part: dict[str, Any] = {"functionCall": {"name": function["name"], "args": arguments, "id": call["id"]}}
        if number == 0:
            part["thoughtSignature"] = NO_SIGNATURE
        parts.append(part)
    return parts


def _function_response(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A function's result; its name is that of the call that it answers."""
    call_id = message.get("tool_call_id")
    if not call_id:
        raise StatusError(f"Tool messages must have a [tool_call_id] for {NAME}")
    text = "".join(part["text"] for part in _texts(message.get("content")))
    try:
        response = json.loads(text)
    except ValueError:
        response = None
    if not isinstance(response, dict):
        response = {"output": text}
    return {"functionResponse": {"name": names.get(call_id, call_id), "id": call_id, "response": response}}


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    return {name: function[name] for name in ("name", "description", "parameters") if function.get(name) is not None}


def _tool_config(choice: str | Mapping[str, Any]) -> dict[str, Any] | None:
    if not isinstance(choice, str):
        names = [choice["function"]["name"]]
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": names}}
    if choice != "auto":
        raise StatusError(f"Tool choice value [{choice}] not supported by {NAME}. Supported values: [auto]")
    return None


def _generation_config(call: Call) -> dict[str, Any]:
    chat, limit = call.chat, call.task_settings.get("max_tokens")
    options: dict[str, Any] = {}
    if chat:
        limit = limit if chat.max_completion_tokens is None else chat.max_completion_tokens
        options = {"stopSequences": list(chat.stop) if chat.stop else None, "temperature": chat.temperature}
    options["maxOutputTokens"] = limit
    if chat:
        options["topP"] = chat.top_p
    options["thinkingConfig"] = _thinking(call)
    return {name: value for name, value in options.items() if value is not None}


def _thinking(call: Call) -> dict[str, Any] | None:
    """The effort that the request asks for, else the endpoint's own budget."""
    reasoning = call.chat.reasoning if call.chat else None
    effort = reasoning.get("effort") if reasoning else None
    if reasoning and effort:
        if effort not in EFFORTS:
            raise StatusError(
                f"Reasoning effort [{effort}] not supported by {NAME}. Supported values: [{', '.join(EFFORTS)}]"
            )
        return {"thinkingLevel": effort.upper(), "includeThoughts": not reasoning.get("exclude")}
    budget = (call.task_settings.get("thinking_config") or {}).get("thinking_budget")
    return None if budget is None else {"thinkingBudget": budget}


# --- answers -------------------------------------------------------------------------------------------------


def parse_completion(answer: ProviderAnswer, call: Call) -> Completion:
    """The texts of every candidate.

    Raises:
        UnusableAnswerError: there are no candidates.
    """
    body = answer.json()
    candidates = body.get("candidates") if isinstance(body, dict) else None
    if not isinstance(candidates, list):
        raise field_missing("candidates", NAME)
    return Completion(tuple(_delta(candidate, False).get("content", "") for candidate in _objects(candidates)))


def stream(call: Call, failures: Failures) -> GoogleStream:
    """A reader of completion deltas or chat chunks, whichever the call asks for."""
    if call.task_type is TaskType.CHAT_COMPLETION:
        has_reasoning = bool(call.chat and call.chat.reasoning)
        return GoogleStream(call, failures, lambda chunk: [ChatChunk(chat_chunk(chunk, has_reasoning))])
    return GoogleStream(call, failures, _deltas)


def _deltas(chunk: dict[str, Any]) -> list[StreamItem]:
    texts = [_delta(candidate, False).get("content") for candidate in _objects(chunk.get("candidates"))]
    return [CompletionDelta(tuple(text for text in texts if text))] if any(texts) else []


def chat_chunk(chunk: Mapping[str, Any], has_reasoning: bool) -> dict[str, Any]:
    """A chunk in OpenAI's form. ``has_reasoning`` callers get thoughts apart, and counted as completion tokens."""
    body: dict[str, Any] = {
        "id": chunk.get("responseId"),
        "choices": [_choice(candidate, has_reasoning) for candidate in _objects(chunk.get("candidates"))],
        "model": chunk.get("modelVersion"),
        "object": "chat.completion.chunk",
    }
    if isinstance(usage := chunk.get("usageMetadata"), dict):
        body["usage"] = {
            "completion_tokens": count_of(usage.get("candidatesTokenCount"))
            + (count_of(usage.get("thoughtsTokenCount")) if has_reasoning else 0),
            "prompt_tokens": count_of(usage.get("promptTokenCount")),
            "total_tokens": count_of(usage.get("totalTokenCount")),
        }
    return {name: value for name, value in body.items() if value is not None}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; a list that is not there is empty."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _choice(candidate: Mapping[str, Any], has_reasoning: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"delta": _delta(candidate, has_reasoning)}
    if candidate.get("finishReason") is not None:
        body["finish_reason"] = candidate["finishReason"]
    return body | {"index": candidate.get("index") or 0}


def _delta(candidate: Mapping[str, Any], has_reasoning: bool) -> dict[str, Any]:
    content = candidate.get("content")
    content = content if isinstance(content, dict) else {}
    parts = _objects(content.get("parts"))
    thoughts = [part for part in parts if has_reasoning and part.get("thought") is True]
    body: dict[str, Any] = {}
    if text := _joined(part for part in parts if part not in thoughts):
        body["content"] = text
    if content.get("role") is not None:
        body["role"] = content["role"]
    if reasoning := _joined(thoughts):
        body["reasoning"] = reasoning
    calls = [part["functionCall"] for part in parts if isinstance(part.get("functionCall"), dict)]
    if calls:
        body["tool_calls"] = [_tool_call(number, call) for number, call in enumerate(calls)]
    return body


def _joined(parts: Iterable[Mapping[str, Any]]) -> str:
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _tool_call(index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    name = call.get("name")
    arguments = json.dumps(call.get("args") or {}, ensure_ascii=False, separators=(",", ":"))
    function = {"arguments": arguments, "name": name}
    return {"index": index, "id": call.get("id") or name, "function": function, "type": "function"}
