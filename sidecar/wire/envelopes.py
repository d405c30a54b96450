"""Errors as callers see them: Elasticsearch's envelope, its short form, and the chat form.

The chain of causes is kept as it is; ``root_cause`` names the deepest one Elasticsearch would name. What differs
between generations (the status and text of a timeout, "Model" or "Inference endpoint" not found) is decided here.
"""

from __future__ import annotations

import traceback
from http import HTTPStatus
from itertools import islice
from typing import Any

from sidecar.core.errors import (
    ActionRequestValidationError,
    PlainError,
    RelayedError,
    RequestTimeoutError,
    ResourceNotFoundError,
    SidecarError,
    StatusError,
    UpstreamError,
)
from sidecar.core.generations import Generation

_MOST_FRAMES = 100
_LONGEST_REASON = 100_000
_NEWEST_NOUN = "Inference endpoint"
_STATUS_NAMES = {413: "request_entity_too_large", 422: "unprocessable_entity"}


def render_error(error: SidecarError, generation: Generation, *, with_trace: bool = False) -> tuple[int, Any]:
    """Status and body of ``error``."""
    if isinstance(error, RelayedError):
        return error.status, error.body
    error = localize(error, generation)
    if isinstance(error, PlainError):
        body: dict[str, Any] = {"error": error.reason}
        if error.show_status:
            body["status"] = error.status
        return error.status, body
    described = {"root_cause": [_describe(error.root_cause, generation, with_trace)]}
    described |= _describe_whole(error, generation, with_trace)
    return error.status, {"error": described, "status": error.status}


def render_chat_error(error: SidecarError, generation: Generation) -> tuple[int, Any]:
    """Status and body of ``error`` for ``chat_completion`` callers, OpenAI's form with null fields left out.

    Failed validation of the request as a whole keeps the standard envelope, as in Elasticsearch.
    """
    error = localize(error, generation)
    if isinstance(error, (ActionRequestValidationError, PlainError)):
        return render_error(error, generation)
    code: str | None = status_name(error.status)
    kind: str | None = error.type
    param: str | None = None
    if isinstance(error, UpstreamError):
        param = error.chat_param
        if error.chat_type is not None:
            code = error.chat_code
        elif error.upstream_status is not None:
            kind = generation.stream_error_type
        kind = error.chat_type or kind
    fields = {"code": code, "message": error.reason, "param": param, "type": kind}
    return error.status, {"error": {name: value for name, value in fields.items() if value is not None}}


def localize(error: SidecarError, generation: Generation) -> SidecarError:
    """``error`` in the words of ``generation``; the error itself where they are the same.

    A reason that quotes megabytes of a body is cut: to write them again would cost more than to read them.
    """
    if error.reason is not None and len(error.reason) > _LONGEST_REASON:
        left = len(error.reason) - _LONGEST_REASON
        error.reason = f"{error.reason[:_LONGEST_REASON]}... [{left} letters left out]"
    if isinstance(error, RequestTimeoutError):
        text = generation.timeout_text.format(timeout=error.timeout, inference_id=error.inference_id)
        if generation.timeout_status == HTTPStatus.REQUEST_TIMEOUT:
            return StatusError(text, status=generation.timeout_status)
        if generation.timeout_status != error.status:
            older = SidecarError(text, status=generation.timeout_status)
            older.type = error.type
            return older
    noun = generation.endpoint_noun
    if isinstance(error, ResourceNotFoundError) and noun != _NEWEST_NOUN and error.reason:
        return ResourceNotFoundError(error.reason.replace(_NEWEST_NOUN, noun, 1))
    return error


def status_name(status: int) -> str:
    """``not_found`` for 404 and so on."""
    if status in _STATUS_NAMES:
        return _STATUS_NAMES[status]
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return "bad_request"


def _describe(error: SidecarError, generation: Generation, with_trace: bool) -> dict[str, Any]:
    error = localize(error, generation)
    described: dict[str, Any] = {"type": error.type, "reason": error.reason, **error.metadata}
    if with_trace:
        described["stack_trace"] = _trace(error)
    return described


def _describe_whole(error: SidecarError, generation: Generation, with_trace: bool) -> dict[str, Any]:
    described = _describe(error, generation, False)
    error = localize(error, generation)
    if error.cause is not None:
        described["caused_by"] = _describe_whole(error.cause, generation, with_trace)
    if with_trace:
        described["stack_trace"] = _trace(error)
    if error.suppressed:
        described["suppressed"] = [_describe_whole(earlier, generation, with_trace) for earlier in error.suppressed]
    return described


def _trace(error: SidecarError) -> str:
    """The frames of ``error`` as ``module:line`` pairs; nothing of the machine, no values."""
    lines = [f"{error.type}: {error.reason}"]
    # Without the lines of the source, whose look-up takes longer than all else.
    for frame, number in islice(traceback.walk_tb(error.__traceback__), _MOST_FRAMES):
        _, found, inside = frame.f_code.co_filename.rpartition("sidecar/")
        lines.append(f"\tat {'sidecar/' + inside if found else 'library'}:{number} ({frame.f_code.co_name})")
    return "\n".join(lines)
