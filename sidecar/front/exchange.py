"""One request meant for the cluster, as the front's handlers see it.

Either the request goes on (:meth:`Exchange.forward`, as it came or with another body), or the handler asks the cluster
what it needs (:meth:`Exchange.call`) and answers itself (:meth:`Exchange.respond`, or :meth:`Exchange.pass_on` for an
answer of the cluster as it is). Errors of ``core/errors.py`` that a handler raises become Elasticsearch's envelope.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import http_exceptions, web
from elasticsearch import ApiError, TransportError
from multidict import CIMultiDict

from sidecar.core.errors import PlainError, SidecarError
from sidecar.core.generations import DEFAULT_GENERATION, Generation, generation_of
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.elastic.version import ServerVersion
from sidecar.front.cluster import Answer, Body, Cluster
from sidecar.front.forwarding import OF_THE_BODY, OF_THE_ENCODING, Seen, end_to_end, relay, replaced
from sidecar.front.privileges import Privileges
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.inference.facade import Inference
from sidecar.search.engine import SearchEngine
from sidecar.wire.body_formats import write_body
from sidecar.wire.content_codings import Decoder, decoded
from sidecar.wire.envelopes import render_error
from sidecar.wire.filter_path import PathFilter
from sidecar.wire.media_types import Negotiation, negotiate
from sidecar.wire.path_codec import parse_query
from sidecar.wire.warning_header import warning_header

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# With one of these, or with parameters of their own, names are an expression that only the cluster can resolve.
_PATTERN = frozenset("*<")
_OF_THE_EXPRESSION = ("ignore_unavailable", "allow_no_indices", "expand_wildcards")
# Below this a body is read before it is sent on: one write each way instead of a stream.
_SMALL = 64 * 1024
_BROKEN_BODY = (aiohttp.ClientPayloadError, web.PayloadAccessError, http_exceptions.BadHttpMessage)


class FrontObserver(Protocol):
    """Hears of what befalls documents on their way."""

    def observe_pipeline_fate(self, fate: str) -> None: ...


@dataclass(slots=True)
class Front:
    """What every handler of the front works with. ``catalog`` asks with the sidecar's own credentials.

    ``max_body_size`` bounds, in bytes, what :meth:`Exchange.body` reads; ``generation`` says how the cluster's line
    writes its answers.
    """

    cluster: Cluster
    catalog: IndexCatalog
    inference: Inference
    max_body_size: int = 100 * 2**20
    generation: Generation = DEFAULT_GENERATION
    version: ServerVersion | None = None
    observer: FrontObserver | None = None
    privileges: Privileges = field(init=False)
    searches: SearchEngine = field(init=False)
    _knows_generation: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.privileges = Privileges(self.cluster)
        self.searches = SearchEngine(self.catalog, EndpointEmbedder(self.inference))

    async def learn_generation(self) -> None:
        """Finds out, once, how the cluster's line writes; what the settings say holds until it answers."""
        if self._knows_generation:
            return
        try:
            version = await self.catalog.version()
        except (ApiError, TransportError):
            return
        self.generation = generation_of(str(version)) or self.generation
        self._knows_generation = True


FRONT: web.AppKey[Front] = web.AppKey("FRONT", Front)


@dataclass(slots=True)
class Exchange:
    """``values`` are the decoded placeholders of the route; ``facts`` go into the line of the access log.

    ``parameters`` are those of the query, decoded, the last one of a name counting. ``changes_indices`` makes
    :meth:`forward` drop what is known of the cluster's indices.
    """

    request: web.Request
    front: Front
    values: Mapping[str, str] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    template: str = "forwarded"
    parameters: dict[str, str] = field(default_factory=dict)
    types: Negotiation = field(default_factory=Negotiation)
    changes_indices: bool = False
    _raw: bytes | None = None
    _caller_headers: CIMultiDict[str] | None = None
    _continued: bool = False
    _interim: int = 0

    def read_target(self) -> None:
        """Reads parameters and media types; raises ``SidecarError`` for those that the cluster will refuse."""
        headers = self.request.headers
        self.parameters = parse_query(self.request.raw_path.partition("?")[2])
        self.types = negotiate(headers.get("Content-Type"), headers.get("Accept"), self.has_body, self.front.generation)

    # --- the request ---------------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """Raw path and query."""
        return self.request.raw_path

    @property
    def path(self) -> str:
        """The raw path."""
        return self.request.raw_path.partition("?")[0]

    @property
    def has_body(self) -> bool:
        return self.request.body_exists and self.request.headers.get("Content-Length", "").strip() != "0"

    @property
    def caller_headers(self) -> CIMultiDict[str]:
        """The caller's end-to-end headers but for those that describe its body: for calls made on its behalf."""
        if self._caller_headers is None:
            self._caller_headers = end_to_end(self.request.raw_headers, {*OF_THE_BODY, "host"})
        return self._caller_headers.copy()

    async def raw_stream(self) -> AsyncIterator[bytes]:
        """The body as it comes, still in its ``Content-Encoding``; a caller that waits for leave to send gets it.

        Raises:
            PlainError: 400, the body breaks off or is not in the form in which it is sent.
        """
        if self._raw is not None:
            yield self._raw
            return
        await self._continue()
        try:
            async for part in self.request.content.iter_any():
                yield part
        except _BROKEN_BODY as error:
            raise _unreadable(error) from error

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it comes, unzipped, of any size.

        Raises:
            PlainError: 400, the body breaks off.
            IllegalArgumentError: it is not in the encoding that it names.
        """
        decoder = Decoder(self.request.headers.get("Content-Encoding"))
        async for part in self.raw_stream():
            if plain := decoder.feed(part):
                yield plain
        if rest := decoder.finish():
            yield rest

    async def raw_body(self) -> bytes:
        """The whole body as it came, still in its ``Content-Encoding``; it can be read and forwarded again.

        Raises:
            PlainError: 413, it is larger than ``max_body_size``.
        """
        if self._raw is None:
            limit = self.front.max_body_size
            length = self.request.content_length
            if length is None:
                self._raw = await self._collected(limit)
            elif length > limit:
                raise _too_large(limit)
            else:
                self._raw = await self._read()
        return self._raw

    async def _read(self) -> bytes:
        """A body whose length is known, in one piece."""
        await self._continue()
        try:
            return await self.request.content.read()
        except _BROKEN_BODY as error:
            raise _unreadable(error) from error

    async def _collected(self, limit: int) -> bytes:
        """A body of unknown length."""
        parts, size = [], 0
        async for part in self.raw_stream():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise _too_large(limit)
        return b"".join(parts)

    async def body(self) -> bytes:
        """The whole body, unzipped; ``b""`` when there is none. :meth:`forward` still sends it as it came.

        Raises:
            PlainError: 413, it is larger than ``max_body_size``.
            SidecarError: it is not in the encoding that it names.
        """
        raw = await self.raw_body()
        limit = self.front.max_body_size
        return decoded(raw, self.request.headers.get("Content-Encoding"), limit)

    async def _continue(self) -> None:
        """``100 Continue``, once, when the caller waits for it."""
        if not self._continued and self.request.headers.get("Expect", "").lower() == "100-continue":
            await self.request.writer.write(_CONTINUE)
            self._interim = len(_CONTINUE)
        self._continued = True

    @property
    def has_begun(self) -> bool:
        """Whether an answer is on its way: then no other can be given."""
        return self.request.writer.output_size > self._interim

    # --- to the cluster ------------------------------------------------------------------------------------------

    async def forward(
        self,
        body: Body = None,
        *,
        target: str | None = None,
        headers: Mapping[str, str] | None = None,
        warnings: Iterable[str] = (),
        instead: Callable[[], Awaitable[web.StreamResponse | None]] | None = None,
        seen: Seen | None = None,
    ) -> web.StreamResponse:
        """Sends the request on and streams the answer to the caller, whatever its status.

        ``body`` replaces the caller's, plain and not zipped (default: the caller's, byte for byte, also after
        :meth:`body`); ``target`` is another raw path and query; ``headers`` replace those of the caller;
        ``warnings`` are texts added to the answer. ``instead`` is asked for another answer when the cluster refuses.
        ``seen`` is that of ``relay``.

        Raises:
            aiohttp.ClientError: no node answers; shown as 503.
        """
        sent = end_to_end(self.request.raw_headers, {"host"} if body is None else {*OF_THE_ENCODING, "expect", "host"})
        if body is None and self.has_body:
            body = await self._own_body()
        elif body is None:
            sent.popall("Expect", None)
        added = [("Warning", warning_header(text, self.front.generation)) for text in dict.fromkeys(warnings)]
        to = self.target if target is None else target
        async with self.front.cluster.send(self.request.method, to, replaced(sent, headers), body) as answer:
            if self.changes_indices:
                self.front.catalog.drop()
            if instead is not None and answer.status >= 400 and (other := await instead()) is not None:
                return other
            return await relay(self.request, answer, added, seen)

    async def _own_body(self) -> Body:
        length = self.request.headers.get("Content-Length", "")
        if self._raw is not None:
            return self._raw
        if "Expect" not in self.request.headers and length.isdecimal() and int(length) <= _SMALL:
            return await self.raw_body()
        return self.raw_stream()

    async def call(
        self,
        method: str,
        target: str,
        body: Body = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Asks the cluster something on the caller's behalf, with its credentials, and reads the whole answer.

        ``target`` is raw path and query. The answer is JSON unless ``headers`` ask for another form.

        Raises:
            aiohttp.ClientError: no node answers; shown as 503.
        """
        sent = self.caller_headers
        sent["Accept"] = "application/json"
        if body is not None:
            sent["Content-Type"] = content_type
        return await self.front.cluster.call(method, target, replaced(sent, headers), body)

    async def check_privileges(self, index: str, privilege: str) -> bool:
        """Whether the caller may do it, to be asked before inference is paid for: ``privilege`` (``write``, ``read``,
        ``index`` ...) on ``index``, one name or a comma list. Where it is false :meth:`forward` the request: the
        cluster refuses it in its own words.

        Raises:
            aiohttp.ClientError: no node answers; shown as 503.
        """
        return await self.front.privileges.granted(self.caller_headers, index, privilege)

    async def may_change(self, index: str, names: Sequence[str], privilege: str) -> bool:
        """Whether the caller has ``privilege`` on the expression ``index``, where it is a pattern on one of ``names``.

        Raises:
            aiohttp.ClientError: no node answers; shown as 503.
        """
        if index not in ("", "_all") and _PATTERN.isdisjoint(index):
            return await self.check_privileges(index, privilege)
        return await self.front.privileges.granted_on_any(self.caller_headers, names, privilege)

    async def may_search(self, index: str, pit: Mapping[str, Any] | None = None) -> bool:
        """Whether the caller may search something of the expression ``index`` (``""``: everything), or of ``pit``.

        A pattern stands for what the caller may read of it, so it is for the cluster to resolve.

        Raises:
            aiohttp.ClientError: no node answers; shown as 503.
        """
        given = {name: self.parameters[name] for name in _OF_THE_EXPRESSION if name in self.parameters}
        if pit is None and index not in ("", "_all") and not given and _PATTERN.isdisjoint(index):
            return await self.check_privileges(index, "read")
        path = f"/{quote(index, safe='')}/_search" if index and pit is None else "/_search"
        query = f"?{urlencode(given)}" if given and pit is None else ""
        return await self.front.privileges.searches(self.caller_headers, path + query, pit)

    # --- to the caller -------------------------------------------------------------------------------------------

    def pass_on(self, answer: Answer, warnings: Iterable[str] = ()) -> web.Response:
        """An answer of :meth:`call` as it is: for one that the caller is to see unchanged."""
        headers = end_to_end(answer.raw_headers, {"content-length"})
        self._warn(headers, warnings)
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    def respond(
        self,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        warnings: Iterable[str] = (),
        filtered: bool = True,
    ) -> web.Response:
        """``body``, a value, in the format the caller asked for, ``pretty`` and ``filter_path`` heeded."""
        wanted = PathFilter.parse(self.parameters.get("filter_path", ""))
        if filtered and wanted:
            body = wanted.apply(body)
        answer_format, content_type = self.types.answer(self.parameters.get("format"))
        data = write_body(body, answer_format, pretty=self._flag("pretty"))
        sent = CIMultiDict({"Content-Type": content_type, **self.shared_headers(status), **(headers or {})})
        self._warn(sent, warnings)
        return web.Response(body=data, status=status, headers=sent)

    def respond_error(self, error: SidecarError) -> web.Response:
        """``error`` in Elasticsearch's envelope."""
        status, body = render_error(error, self.front.generation, with_trace=self._flag("error_trace"))
        self.facts.setdefault("error", error.type if not isinstance(error, PlainError) else "plain")
        return self.respond(status, body, error.headers, warnings=error.warnings, filtered=False)

    def shared_headers(self, status: int) -> dict[str, str]:
        """Headers that Elasticsearch gives to every answer: the product (not on 401 and 403) and the caller's id."""
        headers = {} if status in (401, 403) else {"X-elastic-product": "Elasticsearch"}
        opaque_id = self.request.headers.get("X-Opaque-Id")
        if opaque_id is not None:
            headers["X-Opaque-Id"] = opaque_id.encode("utf-8", "replace").decode()
        return headers

    def _warn(self, headers: CIMultiDict[str], warnings: Iterable[str]) -> None:
        for text in dict.fromkeys(warnings):  # a clause may be rewritten in two places
            headers.add("Warning", warning_header(text, self.front.generation))

    def _flag(self, name: str) -> bool:
        return self.parameters.get(name, "false") in ("", "true")


EXCHANGE: web.RequestKey[Exchange] = web.RequestKey("EXCHANGE", Exchange)
FrontHandler: TypeAlias = Callable[[Exchange], Awaitable[web.StreamResponse]]


def _unreadable(error: Exception) -> PlainError:
    return PlainError(f"the request body cannot be read: {error}", status=400)


def _too_large(limit: int) -> PlainError:
    return PlainError(f"Maximum request body size {limit} exceeded", status=413)
