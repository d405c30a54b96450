"""HTTP connections to providers: one pooled session, host overrides, and network failures in Elasticsearch's words."""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from yarl import URL

from sidecar.core.errors import OtherError, SidecarError, StatusError
from sidecar.services.calls import ProviderAnswer, ProviderRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Limits of the connection pool.

    ``overrides`` maps a host, a host pattern or ``*`` to a base URL that replaces scheme, host and port of every
    outgoing call, for tests and gateways; the first match in that order counts. ``max_response_bytes`` bounds an
    answer that is read whole. The keep-alive time is above the usual 60 s of load balancers.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    max_connections: int = 200
    max_connections_per_host: int = 100
    connect_timeout: float = 10.0
    keep_alive: float = 75.0
    max_response_bytes: int = 100 * 1024 * 1024


class NetworkError(Exception):
    """No answer came. ``cause`` says why; ``is_final`` forbids another try; ``whole`` replaces the usual message."""

    def __init__(self, cause: SidecarError, *, is_final: bool = False, whole: StatusError | None = None) -> None:
        super().__init__(cause.reason)
        self.cause = cause
        self.is_final = is_final
        self.whole = whole


class Connection:
    """The pooled client session. Create it inside a running loop and ``close`` it."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=config.max_connections,
                limit_per_host=config.max_connections_per_host,
                keepalive_timeout=config.keep_alive,
            ),
            # the request's own deadline bounds the whole call
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout),
            # looking for a proxy costs aiohttp a thread's turn per call, so it is left out where none is named
            trust_env=bool(getproxies()),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            headers={"User-Agent": "elasticsearch-inference-sidecar"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(self, request: ProviderRequest) -> ProviderAnswer:
        """The whole answer.

        Raises:
            NetworkError: no answer, or one that is too large.
        """
        async with await self._request(request) as response:
            return await self.answer(response, request.address)

    @asynccontextmanager
    async def open(self, request: ProviderRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response with its body still to be read.

        Raises:
            NetworkError: no answer.
        """
        async with await self._request(request) as response:
            yield response

    async def answer(self, response: aiohttp.ClientResponse, url: str) -> ProviderAnswer:
        """The whole answer of an opened response, for the error bodies of streams."""
        try:
            return _answer(response, url, await self._read(response))
        except (aiohttp.ClientError, OSError) as error:
            raise network_error(error, url) from error

    async def _request(self, request: ProviderRequest) -> aiohttp.ClientResponse:
        url, headers = self._target(request)
        try:
            return await self._session.request(
                request.method, url, data=request.body, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise network_error(error, request.address) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._config.max_response_bytes
        if (length := response.content_length) is not None and length <= limit:
            return await response.read()
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > limit:
                reason = f"Maximum limit of [{limit}] bytes reached"
                raise NetworkError(OtherError("too_long_http_content_exception", reason, status=500), is_final=True)
        return bytes(chunks)

    def _target(self, request: ProviderRequest) -> tuple[URL, dict[str, str]]:
        headers = dict(request.headers)
        if not self._config.overrides:
            return URL(request.url, encoded=True), headers
        parts = urlsplit(request.url)
        base = override_for(parts.hostname, self._config.overrides) if parts.hostname else None
        if base is None:
            return URL(request.url, encoded=True), headers
        headers.setdefault("Host", parts.netloc.rpartition("@")[2])
        query = f"?{parts.query}" if parts.query else ""
        return URL(f"{base.rstrip('/')}{parts.path or '/'}{query}", encoded=True), headers


def override_for(host: str, overrides: Mapping[str, str]) -> str | None:
    """The base URL for ``host``: an exact entry first, then patterns in their order, then ``*``."""
    if host in overrides:
        return overrides[host]
    for pattern, base in overrides.items():
        if pattern != "*" and fnmatch.fnmatchcase(host, pattern):
            return base
    return overrides.get("*")


def _answer(response: aiohttp.ClientResponse, url: str, body: bytes) -> ProviderAnswer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return ProviderAnswer(response.status, headers, body, url, response.reason or "")


def network_error(error: Exception, url: str) -> NetworkError:
    """``error`` in Elasticsearch's words."""
    if isinstance(error, NetworkError):
        return error
    host = urlsplit(url).hostname or ""
    if isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.NonHttpUrlClientError, aiohttp.InvalidURL)):
        return _address_error(error, url, host)
    if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError)):
        return NetworkError(OtherError("connection_closed_exception", "Connection is closed"))
    if isinstance(error, (aiohttp.ServerTimeoutError, TimeoutError)):
        return NetworkError(OtherError("connect_timeout_exception", "Connection timed out"))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NetworkError(OtherError("ssl_handshake_exception", str(error.certificate_error)))
    number = getattr(error, "errno", None)
    if number == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return NetworkError(OtherError("connect_exception", "Connection refused"))
    return NetworkError(OtherError("i_o_exception", str(error) or type(error).__name__))


def _address_error(error: Exception, url: str, host: str) -> NetworkError:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        cause = OtherError("unknown_host_exception", f"{host}: Name or service not known")
        whole = StatusError(f"Invalid host [{url}], please check that the URL is correct.", status=400, cause=cause)
        return NetworkError(cause, is_final=True, whole=whole)
    scheme = urlsplit(url).scheme
    if not scheme:
        return NetworkError(OtherError("illegal_argument_exception", "HTTP host may not be null"), is_final=True)
    if scheme not in ("http", "https"):
        return NetworkError(OtherError("http_exception", f"{scheme} protocol is not supported"), is_final=True)
    cause = OtherError("client_protocol_exception", "URI does not specify a valid host name: " + url)
    return NetworkError(cause, is_final=True)
