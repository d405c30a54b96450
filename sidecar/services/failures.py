"""How a provider's failures are read, repeated and mapped to what the caller sees.

Statuses below 500 pass through, everything else becomes 400. A message is
``{prefix} for request from inference entity id [x] status [n]. Error message: [the provider's words]``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from sidecar.core.addresses import masked_address
from sidecar.core.errors import UpstreamChatError, UpstreamError
from sidecar.core.tasks import TaskType
from sidecar.services.calls import QUOTED, Call, ProviderAnswer

UNSUCCESSFUL = "Received an unsuccessful status code"
SERVER_ERROR = "Received a server error status code"
SERVER_BUSY = "Received a server busy error status code"
RATE_LIMIT = "Received a rate limit status code"
TOO_LARGE = "Received a content too large status code"
AUTHENTICATION = "Received an authentication error status code"
PERMISSION = "Received a permission denied error status code"
BAD_REQUEST = "Received a bad request status code"
INPUT_VALIDATION = "Received an input validation error response"
METHOD = "Received a method not allowed status code"
REDIRECTION = "Unhandled redirection"
NOT_FOUND = "Resource not found at [{url}]"

# Elasticsearch names these statuses; any other one below 500 reaches its callers as 400
_KNOWN_STATUSES = frozenset(
    {*range(100, 102), *range(200, 208), *range(300, 306), 307, *range(400, 418), 422, 423, 424, 429}
)


@dataclass(frozen=True, slots=True)
class Words:
    """What a provider's error body says: the message, and the OpenAI-style fields where it has them."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


WordsReader = Callable[[ProviderAnswer], Words | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """One family of failure handling; services take one and change what differs with ``dataclasses.replace``.

    ``retried`` statuses are repeated as they are. So are ``shortened`` ones and a 400 with ``too_large_phrase``, with
    less text where the call is for embeddings, unless ``can_shorten`` is false. ``prefixes`` add to 401, 429 and the
    3xx and 5xx rules. ``chat_type`` is the error type a chat caller sees when the provider's body names none (``None``:
    the generation's). ``stream_words`` reads an error event of a stream where it is not OpenAI's; with
    ``quotes_chunks`` a chunk that cannot be read is such an event too. Calls whose body cannot be used, or that got no
    answer, are repeated unless ``retries_unusable`` or ``retries_unanswered`` is false.
    """

    words: WordsReader
    retried: frozenset[int] = frozenset({429})
    shortened: frozenset[int] = frozenset()
    prefixes: Mapping[int, str] = field(default_factory=dict)
    too_large_phrase: str | None = None
    can_shorten: bool = True
    rate_limit_details: Callable[[Mapping[str, str]], str] | None = None
    retries_unusable: bool = True
    retries_unanswered: bool = True
    chat_type: str | None = None
    chat_fields: bool = True
    stream_words: Callable[[str], Words | None] | None = None
    quotes_chunks: bool = False

    def is_too_large(self, answer: ProviderAnswer) -> bool:
        """True when shorter texts may help."""
        if answer.status in self.shortened:
            return True
        if self.too_large_phrase is None or answer.status != 400:
            return False
        words = self.words(answer)
        return words is not None and self.too_large_phrase in words.message

    def is_retried(self, answer: ProviderAnswer) -> bool:
        return answer.status in self.retried or self.is_too_large(answer)

    def prefix(self, answer: ProviderAnswer) -> str:
        status = answer.status
        if self.is_too_large(answer):
            text = TOO_LARGE
        elif status in self.prefixes:
            text = self.prefixes[status].replace("{url}", masked_address(answer.url))
        elif 300 <= status < 400:
            text = REDIRECTION
        elif status == 401:
            text = AUTHENTICATION
        elif status == 429:
            text = RATE_LIMIT
        else:
            text = SERVER_ERROR if status >= 500 else UNSUCCESSFUL
        if status == 429 and self.rate_limit_details is not None:
            text += self.rate_limit_details(answer.headers)
        return text

    def error(self, answer: ProviderAnswer, call: Call) -> UpstreamError:
        """The error for an unsuccessful answer."""
        words = self.words(answer)
        reason = f"{self.prefix(answer)} for request from inference entity id [{call.inference_id}]"
        reason += f" status [{answer.status}]"
        if words is not None:
            reason += f". Error message: [{_quoted(words.message)}]"
        status = client_status(answer.status)
        return self.with_chat_fields(reason, words, status, call, upstream_status=answer.status)

    def stream_error(self, words: Words, call: Call) -> UpstreamError:
        """The error for a failure that the provider reports inside a running stream."""
        reason = (
            f"Received an error response for request from inference entity id [{call.inference_id}]. "
            f"Error message: [{_quoted(words.message)}]"
        )
        return _error_class(call)(
            reason,
            status=400,
            chat_type=words.type or self.chat_type or call.generation.stream_error_type,
            chat_code=words.code,
            chat_param=words.param,
        )

    def unreadable_stream_error(self, call: Call) -> UpstreamError:
        """The error for an error event in a running stream that says nothing readable."""
        reason = f"Received an error response for request from inference entity id [{call.inference_id}]"
        return _error_class(call)(
            reason, status=400, chat_type=call.generation.stream_error_type, chat_code="stream_error"
        )

    def with_chat_fields(
        self, reason: str, words: Words | None, status: int, call: Call, upstream_status: int | None = None
    ) -> UpstreamError:
        """An error whose chat form copies the provider's type, code and param, or names the family's type."""
        named = words if words is not None and self.chat_fields and (words.type or words.code) else None
        family_type = self.chat_type if words is not None else None
        has_default_code = named is None or call.generation.chat_code_from_status
        code = (named.code if named else None) or (status_name(status) if has_default_code else None)
        return _error_class(call)(
            reason,
            status=status,
            upstream_status=upstream_status,
            chat_type=(named.type if named else None) or family_type or call.generation.stream_error_type,
            chat_code=code,
            chat_param=named.param if named else None,
        )


def _quoted(message: str) -> str:
    """A provider's message, of which callers need not see megabytes."""
    if len(message) <= QUOTED:
        return message
    return f"{message[:QUOTED]}[truncated {len(message) - QUOTED} characters]"


def _error_class(call: Call) -> type[UpstreamError]:
    return UpstreamChatError if call.task_type is TaskType.CHAT_COMPLETION else UpstreamError


def client_status(upstream_status: int) -> int:
    """The status a caller sees for a provider's."""
    return upstream_status if upstream_status < 500 and upstream_status in _KNOWN_STATUSES else 400


def status_name(status: int) -> str:
    """``bad_request`` for 400, ``request_entity_too_large`` for 413: Elasticsearch's status names in lower case."""
    if status == 413:
        return "request_entity_too_large"
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return "bad_request"


# --- readers of error bodies, named after the shape they read ------------------------------------------------


def _object(answer: ProviderAnswer) -> dict[str, Any] | None:
    if answer.is_text_plain:
        return None
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def words_of_error_object(answer: ProviderAnswer) -> Words | None:
    """``{"error": {"message", "type", "code", "param"}}``."""
    error = (_object(answer) or {}).get("error")
    return words_of_openai(error) if isinstance(error, dict) else None


def words_of_openai(error: Mapping[str, Any]) -> Words | None:
    if not isinstance(error.get("message"), str):
        return None
    return Words(error["message"], _text(error.get("type")), _text(error.get("code")), _text(error.get("param")))


def words_of_message(answer: ProviderAnswer) -> Words | None:
    """``{"message": "..."}``."""
    message = (_object(answer) or {}).get("message")
    return Words(message) if isinstance(message, str) else None


def words_of_error_text(answer: ProviderAnswer) -> Words | None:
    """``{"error": "..."}``."""
    message = (_object(answer) or {}).get("error")
    return Words(message) if isinstance(message, str) else None


def words_of_detail(answer: ProviderAnswer) -> Words | None:
    """``{"detail": "..."}``."""
    message = (_object(answer) or {}).get("detail")
    return Words(message) if isinstance(message, str) else None


def words_of_body(answer: ProviderAnswer) -> Words | None:
    """The whole body as text."""
    return Words(answer.text)
