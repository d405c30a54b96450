"""Bodies of ``POST /_inference/...`` for every task type but ``chat_completion``.

Source: Elasticsearch API reference, "Perform inference on the service".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from sidecar.core.errors import (
    ActionRequestValidationError,
    IllegalArgumentError,
    ValidationError,
    XContentParseError,
)
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_trim
from sidecar.core.requests import Content, ContentGroup, InferenceRequest
from sidecar.core.tasks import InputType, TaskType
from sidecar.core.time_values import parse_time_value
from sidecar.wire import object_parser as declare
from sidecar.wire.body_formats import read_body
from sidecar.wire.object_parser import ObjectParser
from sidecar.wire.token_reader import Token, TokenReader

_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[^;,]+)*;base64,")


def parse_inference_body(
    data: bytes, *, generation: Generation, task_type: TaskType | None, url_task_type: TaskType | None
) -> InferenceRequest:
    """The request in ``data``, checked against the task type.

    ``task_type`` is that of the endpoint or of the URL; ``url_task_type`` only what the URL names, since fields are
    checked against it alone. Raises ``XContentParseError``, ``ActionRequestValidationError`` and, for an ``embedding``
    without input, ``IllegalArgumentError``.
    """
    if task_type is TaskType.EMBEDDING and url_task_type is TaskType.EMBEDDING:
        return _parse_embedding(data)
    fields = read_body(data, _parser(generation).parse, names_end_of_input=generation.names_end_of_input)
    request = _request(fields)
    _check_fields(request, fields, generation, url_task_type)
    return request


@cache
def _parser(generation: Generation) -> ObjectParser:
    fields = [
        declare.texts("input"),
        declare.mapping("task_settings"),
        declare.text("query"),
        declare.Field("timeout", frozenset({Token.STRING}), _read_timeout),
    ]
    if generation.rerank_input_fields:
        fields += [
            declare.boolean("return_documents"),
            declare.integer("top_n"),
            declare.Field("input_type", frozenset({Token.STRING}), _read_public_input_type),
        ]
    return ObjectParser(generation.action_name, fields)


def _read_timeout(scanner: TokenReader) -> str:
    # Checked and then ignored: the query parameter or its default decides.
    text = scanner.text()
    parse_time_value(text, "timeout")
    return text


def _read_input_type(scanner: TokenReader) -> InputType:
    text = java_trim(scanner.text())
    try:
        return InputType(text.lower())
    except ValueError:
        raise IllegalArgumentError(f"No enum constant org.elasticsearch.inference.InputType.{text.upper()}") from None


def _read_public_input_type(scanner: TokenReader) -> InputType:
    input_type = _read_input_type(scanner)
    if input_type.is_internal:
        raise IllegalArgumentError(f"Unrecognized input_type [{input_type}]")
    return input_type


# --- checks -----------------------------------------------------------------------------------------------


def _request(fields: Mapping[str, Any]) -> InferenceRequest:
    return InferenceRequest(
        input=fields.get("input", ()),
        query=fields.get("query"),
        return_documents=fields.get("return_documents"),
        top_n=fields.get("top_n"),
        input_type=fields.get("input_type"),
        task_settings=fields.get("task_settings", {}),
    )


def _check_fields(
    request: InferenceRequest, fields: Mapping[str, Any], generation: Generation, task_type: TaskType | None
) -> None:
    if "input" not in fields:
        raise ActionRequestValidationError(generation.input_missing)
    if not request.input:
        raise ActionRequestValidationError(generation.input_empty)
    if task_type is None:
        return
    if task_type is TaskType.RERANK:
        if generation.query_before_task_type:
            check_query(request)
        least = generation.least_top_n
        if least is not None and request.top_n is not None and request.top_n < least:
            raise ActionRequestValidationError(f"Field [top_n] must be greater than or equal to {least}")
    else:
        _check_rerank_fields_absent(request, generation, task_type)
    takes_input_type = task_type in (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)
    if not takes_input_type and request.input_type not in (None, InputType.UNSPECIFIED):
        raise ActionRequestValidationError(f"Field [input_type] cannot be specified for task type [{task_type}]")


def check_query(request: InferenceRequest) -> None:
    """A rerank URL needs a query; raises ``ActionRequestValidationError``."""
    if request.query is None:
        raise ActionRequestValidationError("Field [query] cannot be null for task type [rerank]")
    if not request.query:
        raise ActionRequestValidationError("Field [query] cannot be empty for task type [rerank]")


def _check_rerank_fields_absent(request: InferenceRequest, generation: Generation, task_type: TaskType) -> None:
    given = (
        ("return_documents", request.return_documents is not None),
        ("top_n", request.top_n is not None),
        ("query", request.query is not None and generation.rejects_query_off_rerank),
    )
    ignored = ("query",) if task_type is TaskType.COMPLETION else ()
    for name, is_given in given:
        if is_given and name not in ignored:
            raise ActionRequestValidationError(f"Field [{name}] cannot be specified for task type [{task_type}]")


def check_query_of_endpoint(request: InferenceRequest, task_type: TaskType) -> None:
    """What only the endpoint's type can tell, for URLs that name none; raises ``ValidationError``."""
    if task_type is TaskType.RERANK and request.query is None:
        raise ValidationError("Rerank task type requires a non-null query field")


# --- embedding ---------------------------------------------------------------------------------------------


def _parse_embedding(data: bytes) -> InferenceRequest:
    fields = read_body(data, _EMBEDDING.parse)
    if not fields["input"]:
        raise ActionRequestValidationError("Field [inputs] cannot be an empty array")
    return InferenceRequest(
        input=fields["input"], input_type=fields.get("input_type"), task_settings=fields.get("task_settings", {})
    )


def _read_groups(scanner: TokenReader) -> tuple[ContentGroup, ...]:
    if scanner.token is not Token.START_ARRAY:
        return (_read_group(scanner),)
    groups = []
    while scanner.next() is not Token.END_ARRAY:
        groups.append(_read_group(scanner))
    return tuple(groups)


def _read_group(scanner: TokenReader) -> ContentGroup:
    if scanner.token is Token.STRING:
        return ContentGroup((Content("text", scanner.text()),))
    if scanner.token is not Token.START_OBJECT:
        raise XContentParseError(f"Unsupported token [{scanner.token}]")
    group: ContentGroup = _GROUP.parse(scanner)
    return group


def _build_group(fields: Mapping[str, Any]) -> ContentGroup:
    if not fields["content"]:
        raise XContentParseError("[content] field cannot be an empty array")
    return ContentGroup(fields["content"])


def _build_content(fields: Mapping[str, Any]) -> Content:
    content = Content(fields["type"], fields["value"], fields.get("format"))
    expected = "text" if content.type == "text" else "base64"
    if content.format not in (None, expected):
        raise IllegalArgumentError(
            f"Data type [{content.type}] does not support data format [{content.format}], "
            f"supported formats are [{expected}]"
        )
    if expected == "base64" and not _DATA_URI.match(content.value):
        raise IllegalArgumentError(
            "base64 inputs must be specified as data URIs with the format [data:{MIME-type};base64,...]"
        )
    return content


def _one_of(kind: str, *allowed: str) -> declare.Field:
    def read(scanner: TokenReader) -> str:
        text = scanner.text()
        if text.lower() not in allowed:
            raise IllegalArgumentError(f"Unrecognized {kind} [{text}], must be one of [{', '.join(allowed)}]")
        return text.lower()

    return declare.Field(kind, frozenset({Token.STRING}), read, required=kind == "type")


_CONTENT = ObjectParser(
    "InferenceString",
    [_one_of("type", "text", "image"), declare.text("value", required=True), _one_of("format", "text", "base64")],
    _build_content,
)
_GROUP = ObjectParser(
    "InferenceStringGroup",
    [declare.nested_list("content", _CONTENT.parse, required=True)],
    _build_group,
)
_EMBEDDING = ObjectParser(
    "EmbeddingRequest",
    [
        declare.text_or_objects("input", _read_groups, required=True),
        declare.Field("input_type", frozenset({Token.STRING}), _read_input_type),
        declare.mapping("task_settings"),
    ],
)
