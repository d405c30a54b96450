"""One request of the API as handlers see it: generation, media types, parameters, body."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sidecar.api.keys import API_OPTIONS, ApiOptions
from sidecar.core.errors import IllegalArgumentError, MediaTypeError, ParseError, PlainError
from sidecar.core.generations import GENERATION_HEADER, GENERATIONS, Generation
from sidecar.core.tasks import TaskType
from sidecar.core.time_values import TimeValue, parse_time_value
from sidecar.wire.body_formats import as_json, write_body
from sidecar.wire.content_codings import decoded
from sidecar.wire.filter_path import PathFilter
from sidecar.wire.media_types import Format, Negotiation, negotiate
from sidecar.wire.object_parser import near_misses
from sidecar.wire.path_codec import parse_query, split_path

COMMON_PARAMETERS = ("error_trace", "filter_path", "format", "human", "pretty")
DEFAULT_TIMEOUT = TimeValue(30, "s")
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
    segments: tuple[str, ...] = ()
    parameters: dict[str, str] = field(default_factory=dict)
    types: Negotiation = field(default_factory=Negotiation)
    pretty: bool = False
    filter: PathFilter = field(default_factory=PathFilter)
    with_trace: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    template: str = "unknown"
    _asked: set[str] = field(default_factory=lambda: set(COMMON_PARAMETERS))

    @classmethod
    def begin(cls, request: web.Request) -> Call:
        """A call of which only the target is known; cannot fail, so that every error finds a call to be shown with."""
        options = request.app[API_OPTIONS]
        return cls(request, options, options.generation, request.raw_path.partition("?")[0])

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
        data = decoded(
            await self.request.read(), self.request.headers.get("Content-Encoding"), self.request.client_max_size
        )
        if not data:
            raise ParseError("request body is required")
        body_format = self.types.body_format()
        if body_format is Format.JSON:
            return data
        return await asyncio.to_thread(as_json, data, body_format)

    # --- answers -----------------------------------------------------------------------------------------------

    def answer(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        """``body`` filtered and written in the format the caller asked for."""
        if self.filter:
            body = self.filter.apply(body)
        return self.unfiltered(body, status=status, headers=headers)

    def unfiltered(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        """``body`` whole: errors do not honour ``filter_path``."""
        answer_format, content_type = self._answer_type()
        data = write_body(body, answer_format, pretty=self.pretty)
        return web.Response(body=data, status=status, headers={"Content-Type": content_type, **(headers or {})})

    def _answer_type(self) -> tuple[Format, str]:
        return self.types.answer(self.parameters.get("format"))


CALL: web.RequestKey[Call] = web.RequestKey("CALL", Call)


def _generation(request: web.Request, options: ApiOptions) -> Generation:
    name = request.headers.get(GENERATION_HEADER)
    if name is None:
        return options.generation
    if name.strip() not in GENERATIONS:
        raise IllegalArgumentError(
            f"Unknown generation [{name}] in header [{GENERATION_HEADER}], must be one of [{', '.join(GENERATIONS)}]"
        )
    return GENERATIONS[name.strip()]


def _single(request: web.Request, name: str) -> str | None:
    """The value of a header that may stand once."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        cause = IllegalArgumentError(f"Incorrect header [{name}]. Only one value should be provided")
        raise MediaTypeError(f"Invalid media-type value on headers [{name}]", cause=cause)
    return values[0] if values else None
