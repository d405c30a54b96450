"""The values that travel between a service and the sender: a call, the provider's request, the provider's answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeGuard

import orjson

from sidecar.core.errors import OtherError, SidecarError
from sidecar.core.generations import DEFAULT_GENERATION, Generation
from sidecar.core.json_bytes import json_bytes
from sidecar.core.requests import ChatRequest, Input
from sidecar.core.results import StreamItem
from sidecar.core.tasks import InputType, TaskType

# as Elasticsearch writes it for most providers
JSON_TYPE = "application/json;charset=utf-8"
# how much of a provider's body an error quotes, in bytes or characters
QUOTED = 500
# blanks before a JSON object are few
_LOOKED_AT = 1024
# for the providers to which Elasticsearch names no charset
PLAIN_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One inference on one endpoint, ready for a service to turn into a provider request.

    ``settings`` are the endpoint's service settings, ``task_settings`` the effective ones (stored, overridden by the
    request). ``return_documents`` and ``top_n`` are those of the request root; services fall back to ``task_settings``.
    ``token`` is the bearer token of services that fetch one. ``deadline`` is when the caller has gone, by the monotonic
    clock (``None``: never).
    """

    inference_id: str
    task_type: TaskType
    settings: Mapping[str, Any]
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    query: str | None = None
    return_documents: bool | None = None
    top_n: int | None = None
    input_type: InputType | None = None
    chat: ChatRequest | None = None
    stream: bool = False
    token: str | None = None
    deadline: float | None = None
    generation: Generation = DEFAULT_GENERATION

    @property
    def texts(self) -> list[str]:
        """The inputs as text."""
        return [item if isinstance(item, str) else " ".join(part.value for part in item.items) for item in self.inputs]

    def option(self, name: str) -> Any:
        """``return_documents``, ``top_n``, ...: of the request root if given there, else of the task settings."""
        value = getattr(self, name, None)
        return self.task_settings.get(name) if value is None else value

    def with_texts(self, texts: Iterable[str]) -> Call:
        return replace(self, inputs=tuple(texts))


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One HTTP request to a provider. ``url`` is sent as it stands (already percent-encoded).

    ``shown_url`` stands for it in messages, where ``url`` holds a credential.
    """

    url: str
    body: bytes
    headers: Mapping[str, str]
    method: str = "POST"
    shown_url: str = ""

    @property
    def address(self) -> str:
        """What messages call the address."""
        return self.shown_url or self.url

    @classmethod
    def json(cls, url: str, body: Any, headers: Mapping[str, str] | None = None) -> ProviderRequest:
        """A JSON body with its content type; ``headers`` may replace it."""
        return cls(url, encode_json(body), {"Content-Type": JSON_TYPE, **(headers or {})})


def encode_json(value: Any) -> bytes:
    """JSON without escaping beyond what the format demands."""
    try:
        return orjson.dumps(value)
    except TypeError:  # large integers and lone surrogates
        return json_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def bearer(call: Call, name: str = "api_key") -> dict[str, str]:
    """The usual credential header."""
    return {"Authorization": f"Bearer {call.secrets[name]}"}


def plain_bearer(call: Call) -> dict[str, str]:
    """The usual credential header, beside a content type without charset."""
    return bearer(call) | PLAIN_JSON


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's whole answer. Header names are lower case. ``url`` is what was asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def is_text_plain(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/plain")

    def json(self) -> Any:
        """The parsed body.

        Raises:
            UnusableAnswerError: when it is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except ValueError:
            return self._lenient_json()

    def _lenient_json(self) -> Any:
        """What the quick parser refuses: ``NaN`` and text after an object, and errors, which it words otherwise."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            value = _leading_object(self.body)
            if value is None:
                raise unparsable(self.body, error) from None
            return value


def _leading_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that ``body`` begins with, whatever follows it: Elasticsearch reads no further either."""
    start = body[:_LOOKED_AT].lstrip()
    if not start.startswith(b"{"):
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(body.decode("utf-8", "replace").lstrip())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class UnusableAnswerError(Exception):
    """A success status with a body that cannot be used; the sender repeats the call, then reports ``cause``.

    ``status`` is what the caller gets (``None``: as the generation has it for unparsable bodies). ``is_whole`` means
    that the cause itself is the error, without "Failed to send ...". ``is_final`` forbids repeating the call.
    """

    def __init__(
        self, cause: SidecarError, *, status: int | None = None, is_whole: bool = False, is_final: bool = False
    ) -> None:
        super().__init__(cause.reason)
        self.cause = cause
        self.status = status
        self.is_whole = is_whole
        self.is_final = is_final


def unparsable(body: bytes, error: ValueError) -> UnusableAnswerError:
    """The error for a body that is not JSON; the place is that of the first character that does not fit.

    Its first 500 bytes are quoted, as Elasticsearch's parser does.
    """
    line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
    message = getattr(error, "msg", "not JSON")
    text = body[:QUOTED].decode("utf-8", "replace")
    rest = f"[truncated {len(body) - QUOTED} bytes]" if len(body) > QUOTED else ""
    source = f'{message}\n at [Source: (byte[])"{text}"{rest}; line: {line}, column: {column}]'
    cause = OtherError("json_parse_exception", source)
    return UnusableAnswerError(OtherError("x_content_parse_exception", f"[{line}:{column}] {source}", cause=cause))


def required(name: str) -> UnusableAnswerError:
    """The error for a missing field, as Elasticsearch's object parsers word it."""
    return UnusableAnswerError(OtherError("illegal_argument_exception", f"Required [{name}]"))


def field_missing(name: str, where: str) -> UnusableAnswerError:
    """The error for a missing field, as Elasticsearch's hand-written parsers word it; these stay 500."""
    return UnusableAnswerError(
        OtherError("illegal_state_exception", f"Failed to find required field [{name}] in {where} response"),
        status=500,
    )


def no_reasoning(service: str) -> OtherError:
    """The error for a chat that asks a service for reasoning that it cannot pass on; in Elasticsearch it is a 500."""
    reason = f"The {service} service does not support unified completion with reasoning inputs"
    return OtherError("unsupported_operation_exception", reason)


_TOKENS = {dict: "START_OBJECT", list: "START_ARRAY", str: "VALUE_STRING", bool: "VALUE_BOOLEAN"}


def unexpected_token(wanted: str, found: Any) -> UnusableAnswerError:
    """The error for a value of another JSON type than ``wanted``, as Elasticsearch's stream parsers word it."""
    token = "VALUE_NULL" if found is None else _TOKENS.get(type(found), "VALUE_NUMBER")
    cause = OtherError(
        "parsing_exception",
        f"Failed to parse object: expecting token of type [{wanted}] but found [{token}]",
        metadata={"line": 1, "col": 1},
        is_elasticsearch_level=True,
    )
    return UnusableAnswerError(cause, status=400, is_whole=True)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether ``value`` is a JSON number; Python counts ``true`` and ``false`` among its integers."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether ``value`` is a JSON number without a fraction."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_object(value: Any) -> dict[str, Any]:
    """``value``.

    Raises:
        UnusableAnswerError: it is no JSON object.
    """
    if not isinstance(value, dict):
        raise unexpected_token("START_OBJECT", value)
    return value


def as_objects(value: Any) -> list[dict[str, Any]]:
    """``value``.

    Raises:
        UnusableAnswerError: it is no list of JSON objects.
    """
    return [as_object(item) for item in as_list(value)]


def as_list(value: Any) -> list[Any]:
    """``value``.

    Raises:
        UnusableAnswerError: it is no JSON array.
    """
    if not isinstance(value, list):
        raise unexpected_token("START_ARRAY", value)
    return value


def count_of(value: Any) -> int:
    """A number of tokens as a provider tells it in passing: 0 where it is no whole number."""
    return value if isinstance(value, int) else 0


def as_text(value: Any) -> str:
    """``value``.

    Raises:
        UnusableAnswerError: it is no string.
    """
    if not isinstance(value, str):
        raise unexpected_token("VALUE_STRING", value)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """How a service gets its bearer token. ``key`` tells tokens apart in the cache.

    ``read`` turns the answer into the token and its lifetime in seconds; ``failure`` the answer of a refusal, or
    ``None`` when there was none, into the error the caller sees. ``retried`` lists statuses worth a second try.
    """

    key: str
    request: Callable[[], ProviderRequest]
    read: Callable[[ProviderAnswer], tuple[str, float]]
    failure: Callable[[ProviderAnswer | None], SidecarError]
    retried: frozenset[int] = frozenset()


class StreamReader(Protocol):
    """Turns the bytes of a provider's stream into items, as they arrive; holds no connection.

    ``feed`` and ``finish`` raise :class:`StreamFailedError` when the provider reports a failure or sends what cannot be
    read.
    """

    def open(self, headers: Mapping[str, str]) -> None:
        """Hear of the headers of the provider's answer, whose names ignore case, before any of its bytes."""

    def feed(self, data: bytes) -> list[StreamItem]:
        """Items completed by ``data``."""

    def finish(self) -> list[StreamItem]:
        """Items still held back when the stream ends."""


class StreamFailedError(Exception):
    """A failure inside a stream, with the ``items`` that were complete before it."""

    def __init__(self, items: list[StreamItem], error: SidecarError) -> None:
        super().__init__(error.reason)
        self.items = items
        self.error = error
