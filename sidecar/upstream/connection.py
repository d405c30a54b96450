"""HTTP connections to providers: one pooled session, host overrides, and network failures in Elasticsearch's words."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from yarl import URL

from sidecar.core.errors import OtherError
from sidecar.services.calls import ProviderAnswer, ProviderRequest
from sidecar.upstream.network_errors import NetworkError, network_error
from sidecar.upstream.slots import HostSlots


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Limits of the connection pool.

    ``overrides`` maps a host, a host pattern or ``*`` to a base URL that replaces scheme, host and port of every
    outgoing call, for tests and gateways; the first match in that order counts. ``max_connections`` are those to one
    host, so that a provider that hangs takes none from another; a call waits ``connect_timeout`` for one to be free.
    ``max_response_bytes`` bounds an answer that is read whole. The keep-alive time is above the usual 60 s of load
    balancers.
    """

    overrides: Mapping[str, str] = field(default_factory=dict)
    max_connections: int = 100
    connect_timeout: float = 10.0
    keep_alive: float = 75.0
    max_response_bytes: int = 100 * 1024 * 1024


class Connection:
    """The pooled client session. Create it inside a running loop and ``close`` it."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._config = config
        self._slots = HostSlots(config.max_connections, config.connect_timeout)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the slots are the limit
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

    @property
    def calls_in_flight(self) -> int:
        """Calls that hold a connection or wait for one."""
        return self._slots.taken

    async def send(self, request: ProviderRequest) -> ProviderAnswer:
        """The whole answer.

        Raises:
            NetworkError: no answer, or one that is too large.
        """
        async with self.open(request) as response:
            return await self.answer(response, request.address)

    @asynccontextmanager
    async def open(self, request: ProviderRequest) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response with its body still to be read.

        Raises:
            NetworkError: no answer.
        """
        url, headers = self._target(request)
        async with self._slots.of(_place(url)), await self._request(request, url, headers) as response:
            yield response

    async def answer(self, response: aiohttp.ClientResponse, url: str) -> ProviderAnswer:
        """The whole answer of an opened response, for the error bodies of streams."""
        try:
            return _answer(response, url, await self._read(response))
        except (aiohttp.ClientError, OSError) as error:
            raise network_error(error, url) from error

    async def _request(self, request: ProviderRequest, url: URL, headers: dict[str, str]) -> aiohttp.ClientResponse:
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
        headers = {name: header_value(name, value) for name, value in request.headers.items()}
        if not self._config.overrides:
            return URL(request.url, encoded=True), headers
        parts = urlsplit(request.url)
        base = override_for(parts.hostname, self._config.overrides) if parts.hostname else None
        if base is None:
            return URL(request.url, encoded=True), headers
        headers.setdefault("Host", parts.netloc.rpartition("@")[2])
        query = f"?{parts.query}" if parts.query else ""
        return URL(f"{base.rstrip('/')}{parts.path or '/'}{query}", encoded=True), headers


def _place(url: URL) -> str:
    """Host and port, as far as the address has them."""
    try:
        return f"{url.host}:{url.port}"
    except ValueError:
        return str(url.host)


# As Apache's HTTP client writes header values, which Elasticsearch uses: a key with a line end is sent without it.
_BLANKS = str.maketrans("\r\n\f\v", "    ")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def header_value(name: str, value: str) -> str:
    """``value`` as it is sent: line ends in it are blanks, none are at its ends.

    Raises:
        NetworkError: it holds other control characters.
    """
    sent = value.translate(_BLANKS).strip(" \t")
    if _CONTROL.search(sent):
        cause = OtherError("illegal_argument_exception", f"The header [{name}] holds a control character")
        raise NetworkError(cause, is_final=True)
    return sent


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
