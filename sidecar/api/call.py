"""One request of the API as handlers see it: generation, media types, parameters, body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiohttp import web

from sidecar.api.bodies import BODIES, Body
from sidecar.api.keys import API_OPTIONS, ApiOptions
from sidecar.api.result_bodies import truncated_headers
from sidecar.core.errors import IllegalArgumentError, MediaTypeError, ParseError, PlainError
from sidecar.core.generations import GENERATION_HEADER, GENERATIONS, OLDEST_VERSION, Generation, generation_of
from sidecar.core.tasks import TaskType
from sidecar.core.time_values import TimeValue, parse_time_value
from sidecar.wire.body_formats import as_json, write_body
from sidecar.wire.filter_path import PathFilter
from sidecar.wire.json_text import MAX_ITEMS
from sidecar.wire.media_types import Format, Negotiation, negotiate
from sidecar.wire.object_parser import near_misses
from sidecar.wire.path_codec import parse_query, split_path

COMMON_PARAMETERS = ("error_trace", "filter_path", "format", "human", "pretty")
DEFAULT_TIMEOUT = TimeValue(30, "s")
# What is read and written in a few milliseconds; more is done in a thread.
_IN_LOOP_BYTES = 16 * 1024
_BYTES_OF_VALUE = 8
# How much longer YAML, CBOR and pretty answers take than plain JSON.
_COSTLY_FORMAT = 16
_T = TypeVar("_T")
_SINGLE_VALUED = ("X-Opaque-Id", "traceparent")


@dataclass(slots=True)
class Call:
    """A request being answered; ``CALL`` keys it on the aiohttp request.

    Parameters count as known once a handler has asked for them; :meth:`refuse_unknown` reports the others.
    """

    request: web.Request
    options: ApiOptions
    generation: Generation
    path: str
    _body: Body
    segments: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    types: Negotiation = field(default_factory=Negotiation)
    pretty: bool = False
    filter: PathFilter = field(default_factory=PathFilter)
    with_trace: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    template: str = "unknown"
    truncated: Sequence[int] = ()
    """Positions of the inputs that were cut; every answer but an error tells them in a header."""
    _json: bytes | None = None
    _asked: set[str] = field(default_factory=lambda: set(COMMON_PARAMETERS))

    @classmethod
    def begin(cls, request: web.Request) -> Call:
        """A call of which only the target is known; cannot fail, so that every error finds a call to be shown with."""
        options = request.app[API_OPTIONS]
        return cls(request, options, options.generation, request.raw_path.partition("?")[0], Body(request))

    def read_target(self) -> None:
        """Reads generation, path, parameters and media types; raises what is wrong with them, first things first."""
        self.generation = _generation(self.request, self.options)
        self.segments = split_path(self.path)
        self.parameters = parse_query(self.request.raw_path.partition("?")[2])
        accept, content_type = (_single(self.request, name) for name in ("Accept", "Content-Type"))
        self.types = negotiate(content_type, accept, self.has_body, self.generation)
        self.pretty = self.flag("pretty")
        self.flag("human")
        self.filter = PathFilter.parse(self.parameters.get("filter_path", ""))
        for name in _SINGLE_VALUED:
            if len(set(self.request.headers.getall(name, []))) > 1:
                raise IllegalArgumentError(f"multiple values for single-valued header [{name}].")

    def read_trace_flag(self) -> None:
        """Reads ``error_trace``; its errors have the short form."""
        try:
            self.with_trace = self.flag("error_trace")
        except IllegalArgumentError as error:
            raise PlainError(str(error.reason)) from None
        if self.with_trace and not self.options.shows_traces:
            raise PlainError("error traces in responses are disabled.")

    # --- parameters ------------------------------------------------------------------------------------------

    def flag(self, name: str) -> bool:
        """A boolean parameter, false by default, true when given without a value."""
        self._asked.add(name)
        value = self.parameters.get(name)
        if value in (None, "false"):
            return False
        if value in ("", "true"):
            return True
        raise IllegalArgumentError(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")

    def timeout(self, task_type: TaskType | None = None) -> TimeValue:
        """The ``timeout`` parameter; its default is 30 s, for completions and chats that of the generation."""
        self._asked.add("timeout")
        text = self.parameters.get("timeout")
        given = None if text is None else parse_time_value(text, "timeout")
        if given is not None and (given.count or not self.generation.zero_timeout_is_default):
            return given
        is_completion = task_type in (TaskType.COMPLETION, TaskType.CHAT_COMPLETION)
        return TimeValue(self.generation.completion_timeout_seconds, "s") if is_completion else DEFAULT_TIMEOUT

    def know(self, *names: str) -> None:
        """Counts parameters as known."""
        self._asked.update(names)

    def refuse_unknown(self) -> None:
        """Raises ``IllegalArgumentError`` for parameters nobody asked for, and for a body that nobody reads."""
        unknown = sorted(self.parameters.keys() - self._asked)
        if unknown:
            shown = ", ".join(f"[{name}]{self._hint(name)}" for name in unknown)
            plural = "s" if len(unknown) > 1 else ""
            raise IllegalArgumentError(f"request [{self.path}] contains unrecognized parameter{plural}: {shown}")
        if self.has_body and self.request.method not in ("POST", "PUT"):
            raise IllegalArgumentError(f"request [{self.request.method} {self.path}] does not support having a body")

    def _hint(self, name: str) -> str:
        near = near_misses(name, self._asked)
        if not near:
            return ""
        return f" -> did you mean [{near[0]}]?" if len(near) == 1 else f" -> did you mean any of [{', '.join(near)}]?"

    # --- body --------------------------------------------------------------------------------------------------

    @property
    def has_body(self) -> bool:
        length = self.request.headers.get("Content-Length")
        if length is not None:
            return length.strip() != "0"
        return "Transfer-Encoding" in self.request.headers

    def require_body(self) -> None:
        """Raises ``ParseError`` when there is no body."""
        if not self.has_body:
            raise ParseError("request body is required")

    async def body(self) -> bytes:
        """The body as JSON text; raises ``ParseError`` without one and ``XContentParseError`` for unreadable YAML."""
        if self._json is None:
            data = await self._body.read()
            if not data:
                raise ParseError("request body is required")
            body_format = self.types.body_format()
            if body_format is not Format.JSON:
                data = await self.beside(len(data) * _COSTLY_FORMAT, partial(as_json, data, body_format, MAX_ITEMS))
            self._json = data
        return self._json

    async def read_body(self, read: Callable[[bytes], _T]) -> _T:
        """What ``read`` makes of the body as JSON text; large bodies are read beside the event loop."""
        data = await self.body()
        return await self.beside(len(data), partial(read, data))

    async def beside(self, size: int, work: Callable[[], _T]) -> _T:
        """What ``work`` returns; beside the event loop where ``size``, in bytes of JSON or the like, makes it long."""
        if size <= _IN_LOOP_BYTES:
            return work()
        return await self.request.app[BODIES].beside(size, work)

    def close(self) -> None:
        """Lets the body go."""
        self._json = None
        self._body.release()

    # --- answers -----------------------------------------------------------------------------------------------

    def answer(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        """``body`` filtered and written in the format the caller asked for."""
        if self.filter:
            body = self.filter.apply(body)
        return self.unfiltered(body, status=status, headers=headers)

    async def answer_of(self, size: int, build: Callable[[], Any], headers: dict[str, str]) -> web.Response:
        """What ``build`` returns, filtered and written; an answer of about ``size`` values beside the event loop."""

        def write() -> web.Response:
            body = build()
            return self._written(self.filter.apply(body) if self.filter else body, 200, headers, large=True)

        return await self.beside(self._cost(size), write)

    async def unfiltered_of(self, size: int, body: Any) -> web.Response:
        """``body`` whole; an answer of about ``size`` values is written beside the event loop."""
        return await self.beside(self._cost(size), partial(self._written, body, 200, {}, large=True))

    def _cost(self, size: int) -> int:
        answer_format, _ = self._answer_type()
        return size * _BYTES_OF_VALUE * (_COSTLY_FORMAT if answer_format is Format.YAML or self.pretty else 1)

    def unfiltered(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        """``body`` whole: errors do not honour ``filter_path``."""
        return self._written(body, status, headers or {})

    def _written(self, body: Any, status: int, headers: dict[str, str], *, large: bool = False) -> web.Response:
        answer_format, content_type = self._answer_type()
        data = write_body(body, answer_format, pretty=self.pretty, large=large)
        if status < 400:
            headers = {**truncated_headers(self.truncated), **headers}
        return web.Response(body=data, status=status, headers={"Content-Type": content_type, **headers})

    def _answer_type(self) -> tuple[Format, str]:
        return self.types.answer(self.parameters.get("format"))


CALL: web.RequestKey[Call] = web.RequestKey("CALL", Call)


def _generation(request: web.Request, options: ApiOptions) -> Generation:
    name = request.headers.get(GENERATION_HEADER)
    if name is None:
        return options.generation
    generation = generation_of(name)
    if generation is None:
        raise IllegalArgumentError(
            f"Unknown generation [{name}] in header [{GENERATION_HEADER}], must be one of [{', '.join(GENERATIONS)}]"
            f" or a version of Elasticsearch from {OLDEST_VERSION} on"
        )
    return generation


def _single(request: web.Request, name: str) -> str | None:
    """The value of a header that may stand once."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        cause = IllegalArgumentError(f"Incorrect header [{name}]. Only one value should be provided")
        raise MediaTypeError(f"Invalid media-type value on headers [{name}]", cause=cause)
    return values[0] if values else None
