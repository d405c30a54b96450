"""Amazon Bedrock's Converse form: requests, answers and the frames of its stream.

Source: Amazon Bedrock API reference, "Converse" and "ConverseStream"; User Guide, "Call a tool with the Converse API".
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.core.errors import OtherError, StatusError, UpstreamError
from sidecar.core.results import ChatChunk, Completion, CompletionDelta, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.services.aws import error_type
from sidecar.services.calls import Call, ProviderAnswer, UnusableAnswerError, count_of
from sidecar.services.event_stream import Frame, FrameDecoder, broken
from sidecar.services.failures import client_status, status_name
from sidecar.services.stream_reader import EventReader

# user and assistant must alternate, and the user begins; these texts stand in where they would not
OPENING = "Hi"
INTERLUDE = "Please continue."

FINISH_REASONS = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
EXCEPTION_STATUSES = {
    "accessDeniedException": 403,
    "internalServerException": 500,
    "modelErrorException": 424,
    "modelNotReadyException": 429,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "resourceNotFoundException": 404,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}

# --- requests ------------------------------------------------------------------------------------------------


def converse_body(call: Call) -> dict[str, Any]:
    """The body of a ``completion`` or ``chat_completion`` call.

    Raises:
        StatusError: something in the chat has no counterpart.
    """
    chat = call.chat
    if chat is None:
        body: dict[str, Any] = {"messages": [_turn("user", [{"text": text}]) for text in call.texts]}
    else:
        with_tools = chat.tool_choice != "none"
        body = {"messages": _turns(chat.messages, with_tools), "system": _system(chat.messages)}
        if chat.tools and with_tools:
            body["toolConfig"] = _tool_config(chat.tools, chat.tool_choice)
    if config := _inference_config(call):
        body["inferenceConfig"] = config
    if (top_k := call.task_settings.get("top_k")) is not None:
        body["additionalModelRequestFields"] = {"top_k": top_k}
    return body


def check_chat(call: Call) -> None:
    """Refuse a chat that cannot be translated.

    Raises:
        StatusError: it says what.
    """
    if call.chat:
        converse_body(call)


def _inference_config(call: Call) -> dict[str, Any]:
    chat, settings = call.chat, call.task_settings
    config = {
        "maxTokens": settings.get("max_new_tokens"),
        "temperature": settings.get("temperature"),
        "topP": settings.get("top_p"),
    }
    if chat:
        given = {"maxTokens": chat.max_completion_tokens, "temperature": chat.temperature, "topP": chat.top_p}
        config |= {name: value for name, value in given.items() if value is not None}
        config["stopSequences"] = list(chat.stop) if chat.stop else None
    return {name: value for name, value in config.items() if value is not None}


def _turn(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": content}


def _system(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [block for message in messages if message.get("role") == "system" for block in _texts(message)]


def _turns(messages: Iterable[Mapping[str, Any]], with_tools: bool) -> list[dict[str, Any]]:
    """The messages as alternating turns, messages of one role joined."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, content = _role_and_content(message, with_tools)
        if not content:
            continue
        if not turns and role == "assistant":
            turns.append(_turn("user", [{"text": OPENING}]))
        if turns and turns[-1]["role"] == role:
            if _holds_result(turns[-1]["content"]) == _holds_result(content):
                turns[-1]["content"] += content
                continue
            turns.append(_turn("assistant", [{"text": INTERLUDE}]))
        turns.append(_turn(role, content))
    return turns


def _holds_result(content: list[dict[str, Any]]) -> bool:
    return any("toolResult" in block for block in content)


def _role_and_content(message: Mapping[str, Any], with_tools: bool) -> tuple[str, list[dict[str, Any]]]:
    role = str(message.get("role"))
    if role == "system":
        return role, []
    if role == "tool":
        if not message.get("tool_call_id"):
            raise StatusError("Tool messages must have a [tool_call_id] for Amazon Bedrock chat completions")
        result = {"toolResult": {"toolUseId": message["tool_call_id"], "content": _texts(message)}}
        return "user", [result] if with_tools else []
    if role not in ("user", "assistant"):
        raise StatusError(
            f"Role [{role}] is not supported by Amazon Bedrock chat completions, "
            "must be one of [assistant, system, tool, user]"
        )
    content = _texts(message)
    if role == "assistant" and with_tools:
        content += [_tool_use(tool_call) for tool_call in message.get("tool_calls") or ()]
    return role, content


def _texts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content as text blocks, empty ones dropped."""
    content = message.get("content") or []
    if isinstance(content, str):
        return [{"text": content}]
    for item in content:
        if item["type"] != "text":
            raise StatusError(
                f"Content of type [{item['type']}] is not supported by Amazon Bedrock chat completions, "
                "must be one of [text]"
            )
    return [{"text": item["text"]} for item in content if item["text"]]


def _tool_use(tool_call: Mapping[str, Any]) -> dict[str, Any]:
    function = tool_call["function"]
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise StatusError(f"Arguments of tool call [{tool_call['id']}] must be a JSON object")
    return {"toolUse": {"toolUseId": tool_call["id"], "name": function["name"], "input": arguments}}


def _tool_config(tools: Iterable[Mapping[str, Any]], choice: str | Mapping[str, Any] | None) -> dict[str, Any]:
    config: dict[str, Any] = {"tools": [_tool(tool["function"]) for tool in tools]}
    if isinstance(choice, str):
        choices: dict[str, Any] = {"auto": {"auto": {}}, "required": {"any": {}}}
        if choice not in choices:
            raise StatusError(
                f"Tool choice [{choice}] is not supported by Amazon Bedrock chat completions, "
                "must be one of [auto, none, required]"
            )
        config["toolChoice"] = choices[choice]
    elif choice is not None:
        config["toolChoice"] = {"tool": {"name": choice["function"]["name"]}}
    return config


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    spec = {name: function[name] for name in ("name", "description") if function.get(name)}
    return {"toolSpec": {**spec, "inputSchema": {"json": function.get("parameters") or {"type": "object"}}}}


# --- answers -------------------------------------------------------------------------------------------------


def parse_converse(answer: ProviderAnswer, call: Call) -> Completion:
    """Every text of the message; content of other kinds is skipped.

    Raises:
        UnusableAnswerError: there is no message.
    """
    try:
        body = answer.json()
        content = body["output"]["message"]["content"]
        return Completion(tuple(block["text"] for block in content if isinstance(block.get("text"), str)))
    except UnusableAnswerError as error:
        raise _unusable(call, error.cause.reason or "") from None
    except (AttributeError, KeyError, TypeError):
        raise _unusable(call, "Failed to find required field [output] in Amazon Bedrock converse response") from None


def _unusable(call: Call, reason: str) -> UnusableAnswerError:
    error = UpstreamError(
        f"Failed to send request from inference entity id [{call.inference_id}]",
        status=500,
        cause=OtherError("illegal_state_exception", reason, status=500),
    )
    return UnusableAnswerError(error, is_whole=True)


class ConverseStream(EventReader[Frame]):
    """Reads the frames into completion deltas or OpenAI's chat chunks, whichever the call asks for."""

    def __init__(self, call: Call) -> None:
        super().__init__(FrameDecoder())
        self._is_chat = call.task_type is TaskType.CHAT_COMPLETION
        self._origin = {"id": f"unified-{uuid.uuid4()}", "model": model_of(call)}

    def read(self, event: Frame) -> list[StreamItem]:
        if event.kind != "event":
            raise stream_failure(event)
        body = _payload(event)
        if not self._is_chat:
            text = _object(body.get("delta")).get("text") if event.name == "contentBlockDelta" else None
            return [CompletionDelta((text,))] if text and isinstance(text, str) else []
        translated = _EVENTS[event.name](body) if event.name in _EVENTS else None
        if translated is None:
            return []
        origin = {"id": self._origin["id"], "model": self._origin["model"], "object": "chat.completion.chunk"}
        return [ChatChunk({**origin, **translated})]


def model_of(call: Call) -> str:
    """The model of the chat request, else that of the endpoint."""
    model: str = call.chat.model if call.chat and call.chat.model else call.settings["model"]
    return model


def stream_failure(frame: Frame) -> UpstreamError:
    """What an exception frame says, with the status that the same exception has outside of streams."""
    status = EXCEPTION_STATUSES.get(frame.name, 500)
    try:
        body = json.loads(frame.payload)
    except ValueError:
        body = frame.payload.decode("utf-8", "replace")
    message = body.get("message", body.get("Message")) if isinstance(body, dict) else body
    shown = client_status(status)
    error = UpstreamError(
        f"{message} (Service: bedrock, Status Code: {status}, Request ID: null)",
        status=shown,
        upstream_status=status,
        chat_type=error_type(frame.name),
        chat_code=status_name(shown),
    )
    error.type = error_type(frame.name)
    return error


def _payload(frame: Frame) -> Mapping[str, Any]:
    try:
        body = json.loads(frame.payload or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise broken(f"[{frame.name}] holds no JSON object")
    return body


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _choice(delta: Mapping[str, Any], index: Any = 0, finish_reason: str | None = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"delta": delta}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    return {"choices": [choice | {"index": index or 0}]}


def _message_start(event: Mapping[str, Any]) -> dict[str, Any]:
    return _choice({"role": event.get("role") or "assistant"})


def _block_start(event: Mapping[str, Any]) -> dict[str, Any] | None:
    tool = _object(_object(event.get("start")).get("toolUse"))
    if not tool:
        return None
    call = {"index": 0, "id": tool.get("toolUseId"), "function": {"name": tool.get("name")}, "type": "function"}
    return _choice({"role": "assistant", "tool_calls": [call]}, event.get("contentBlockIndex"))


def _block_delta(event: Mapping[str, Any]) -> dict[str, Any] | None:
    delta = _object(event.get("delta"))
    if isinstance(delta.get("text"), str):
        return _choice({"content": delta["text"]}, event.get("contentBlockIndex"))
    tool = _object(delta.get("toolUse"))
    if not isinstance(tool.get("input"), str):
        return None
    call = {"index": 0, "function": {"arguments": tool["input"]}, "type": "function"}
    return _choice({"tool_calls": [call]}, event.get("contentBlockIndex"))


def _message_stop(event: Mapping[str, Any]) -> dict[str, Any]:
    return _choice({}, finish_reason=FINISH_REASONS.get(str(event.get("stopReason")), "stop"))


def _metadata(event: Mapping[str, Any]) -> dict[str, Any] | None:
    usage = _object(event.get("usage"))
    if not usage:
        return None

    def count(name: str) -> int:
        return count_of(usage.get(name))

    counts: dict[str, Any] = {
        "completion_tokens": count("outputTokens"),
        "prompt_tokens": count("inputTokens") + count("cacheReadInputTokens") + count("cacheWriteInputTokens"),
        "total_tokens": count("totalTokens"),
    }
    if usage.get("cacheReadInputTokens") is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": count("cacheReadInputTokens")}
    return {"usage": counts}


_EVENTS = {
    "messageStart": _message_start,
    "contentBlockStart": _block_start,
    "contentBlockDelta": _block_delta,
    "messageStop": _message_stop,
    "metadata": _metadata,
}
