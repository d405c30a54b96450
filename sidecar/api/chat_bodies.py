"""Bodies of ``POST /_inference/chat_completion/.../_stream``: OpenAI's chat completion form.

Source: Elasticsearch API reference, "Perform chat completion inference on the service".
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from sidecar.core.errors import (
    ActionRequestValidationError,
    IllegalArgumentError,
    XContentParseError,
)
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_trim
from sidecar.core.requests import ChatRequest, InferenceRequest
from sidecar.wire import object_parser as declare
from sidecar.wire.body_formats import read_body
from sidecar.wire.object_parser import Field, ObjectParser
from sidecar.wire.token_reader import Token, TokenReader

_TEXT_OR_ARRAY = frozenset({Token.STRING, Token.START_ARRAY})
_TEXT_OR_OBJECT = frozenset({Token.STRING, Token.START_OBJECT})
_DETAILS = ("auto", "low", "high")
_EFFORTS = ("xhigh", "high", "medium", "low", "minimal", "none")
_DETAIL_FIELDS: dict[str, Set[str]] = {
    "reasoning.encrypted": {"data"},
    "reasoning.summary": {"summary"},
    "reasoning.text": {"text", "signature"},
}
_SUMMARIES = ("auto", "concise", "detailed")


def parse_chat_body(data: bytes, generation: Generation) -> InferenceRequest:
    """The chat request in ``data``.

    Raises ``XContentParseError``, ``IllegalArgumentError`` without ``messages`` and ``ActionRequestValidationError``
    when there are none.
    """
    parser = _MULTIMODAL if generation.chat_multimodal else _TEXT_ONLY
    fields = read_body(data, parser.parse)
    if not fields["messages"]:
        raise ActionRequestValidationError("Field [messages] cannot be an empty array")
    return InferenceRequest(chat=ChatRequest(**fields), stream=True)


# --- content -------------------------------------------------------------------------------------------------


def _read_text_content(scanner: TokenReader) -> str | list[Any]:
    if scanner.token is Token.STRING:
        return scanner.text()
    items = []
    while scanner.next() is not Token.END_ARRAY:
        items.append(_CONTENT_OBJECT.parse(scanner))
    return items


def _read_content(scanner: TokenReader) -> str | list[Any]:
    if scanner.token is Token.STRING:
        return scanner.text()
    return list(declare.nested_list("content", _read_content_object).read(scanner))


def _read_content_object(scanner: TokenReader) -> dict[str, Any]:
    """An item of text, image or file; it is read whole before it is judged, as Elasticsearch does."""
    if scanner.token is not Token.START_OBJECT:
        raise XContentParseError(f"[{scanner.location}] Expected START_OBJECT but was: {scanner.token}")
    item: dict[str, Any] = scanner.value()
    kind = item.get("type")
    if not isinstance(kind, str) or _choice(kind) not in ("text", "image_url", "file"):
        raise IllegalArgumentError(f"Unrecognized type [{kind}], must be one of [text, image_url, file]")
    kind = _choice(kind)
    if kind == "text":
        _require(item, "text", str)
    else:
        inner = _require(item, kind, dict)
        if kind == "image_url":
            _require(inner, "url", str)
            detail = inner.get("detail")
            if detail is not None:
                if _choice(str(detail)) not in _DETAILS:
                    raise IllegalArgumentError(f"Unrecognized detail [{detail}], must be one of [auto, low, high]")
                item[kind] = {**inner, "detail": _choice(str(detail))}
            _refuse_others(inner, {"url", "detail"})
        else:
            _require(inner, "file_data", str)
            _require(inner, "filename", str)
            _refuse_others(inner, {"file_data", "filename"})
    _refuse_others(item, {"type", kind})
    return {**item, "type": kind}


def _require(item: Mapping[str, Any], name: str, kind: type) -> Any:
    value = item.get(name)
    if not isinstance(value, kind):
        raise IllegalArgumentError(f"Required [{name}]")
    return value


def _refuse_others(item: Mapping[str, Any], known: Set[str]) -> None:
    for name in item:
        if name not in known:
            raise IllegalArgumentError(f"unknown field [{name}]")


# --- tools and reasoning ----------------------------------------------------------------------------------


def _read_tool_choice(scanner: TokenReader) -> str | dict[str, Any]:
    if scanner.token is Token.STRING:
        return scanner.text()
    choice: dict[str, Any] = _TOOL_CHOICE.parse(scanner)
    return choice


def _read_reasoning(scanner: TokenReader) -> dict[str, Any]:
    reasoning: dict[str, Any] = _REASONING.parse(scanner)
    if "effort" not in reasoning and not reasoning.get("enabled"):
        raise IllegalArgumentError("Required one of fields [effort, enabled], but none were specified.")
    _lower_choice(reasoning, "effort", _EFFORTS)
    _lower_choice(reasoning, "summary", _SUMMARIES)
    return reasoning


def _checked_detail(detail: dict[str, Any]) -> dict[str, Any]:
    """A detail with nothing but what its type has, and at least one field that is only its own."""
    own = _DETAIL_FIELDS.get(detail["type"])
    if own is None:
        raise IllegalArgumentError(
            f"Unrecognized type [{detail['type']}], must be one of [{', '.join(_DETAIL_FIELDS)}]"
        )
    if not own & detail.keys():
        raise IllegalArgumentError(f"Required one of fields [{', '.join(sorted(own))}], but none were specified.")
    _refuse_others(detail, own | {"type", "id", "format", "index"})
    return detail


def _choice(text: str) -> str:
    """One of a few words, which may be written in capitals and with blanks around it."""
    return java_trim(text).lower()


def _lower_choice(fields: dict[str, Any], name: str, allowed: tuple[str, ...]) -> None:
    if name in fields:
        value = _choice(fields[name])
        if value not in allowed:
            raise IllegalArgumentError(f"Unrecognized {name} [{value}], must be one of [{', '.join(allowed)}]")
        fields[name] = value


_FUNCTION_CALL = ObjectParser(
    "tool_call_function_field", [declare.text("arguments", required=True), declare.text("name", required=True)]
)
_TOOL_CALL = ObjectParser(
    "tool_call",
    [
        declare.text("id", required=True),
        declare.nested("function", _FUNCTION_CALL, required=True),
        declare.text("type", required=True),
    ],
)
_CONTENT_OBJECT = ObjectParser(
    "content_object", [declare.text("text", required=True), declare.text("type", required=True)]
)
_FUNCTION = ObjectParser(
    "tool_function_field",
    [
        declare.text("description"),
        declare.text("name", required=True),
        declare.mapping("parameters"),
        declare.boolean("strict"),
    ],
)
_TOOL = ObjectParser(
    "tool", [declare.text("type", required=True), declare.nested("function", _FUNCTION, required=True)]
)
_TOOL_CHOICE_FUNCTION = ObjectParser("tool_choice_function_field", [declare.text("name", required=True)])
_TOOL_CHOICE = ObjectParser(
    "tool_choice",
    [declare.text("type", required=True), declare.nested("function", _TOOL_CHOICE_FUNCTION, required=True)],
)
_REASONING = ObjectParser(
    "reasoning",
    [
        declare.text("effort"),
        declare.boolean("enabled"),
        declare.boolean("exclude"),
        declare.text("summary"),
    ],
)
_REASONING_DETAIL = ObjectParser(
    "reasoning_detail",
    [
        declare.text("type", required=True),
        *map(declare.text, ("id", "format", "data", "signature", "summary", "text")),
        declare.integer("index", bits=64),
    ],
    _checked_detail,
)


def _request_parser(*, multimodal: bool) -> ObjectParser:
    message = [
        Field("content", _TEXT_OR_ARRAY, _read_content if multimodal else _read_text_content),
        declare.text("role", required=True),
        declare.text("tool_call_id"),
        declare.nested_list("tool_calls", _TOOL_CALL.parse),
    ]
    request = [
        declare.text("model"),
        declare.integer("max_completion_tokens", bits=64),
        declare.texts("stop"),
        declare.decimal("temperature"),
        Field("tool_choice", _TEXT_OR_OBJECT, _read_tool_choice),
        declare.decimal("top_p"),
    ]
    if multimodal:
        message += [declare.text("reasoning"), declare.nested_list("reasoning_details", _REASONING_DETAIL.parse)]
        request.append(Field("reasoning", frozenset({Token.START_OBJECT}), _read_reasoning))
    messages = declare.nested_list("messages", ObjectParser("message", message).parse, required=True)
    tools = declare.nested_list("tools", _TOOL.parse)
    return ObjectParser("UnifiedCompletionRequest", [messages, tools, *request])


_TEXT_ONLY = _request_parser(multimodal=False)
_MULTIMODAL = _request_parser(multimodal=True)
