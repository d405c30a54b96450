"""The cluster behind the front, spoken to with the caller's credentials: raw requests in, raw answers out.

Nodes take turns; one that cannot be reached is left out for a while. A request moves on to the next node when no
connection could be made, or when it had no body and only reads; nothing that may have had an effect is sent twice.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import structlog
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

Body = bytes | AsyncIterable[bytes] | None
Headers = Mapping[str, str] | CIMultiDict[str]

_log = structlog.stdlib.get_logger(__name__)
_READING = frozenset({"GET", "HEAD"})
_CONNECT_SECONDS = 10.0
# A restarted node is back within seconds; a dead one must not cost every request a failed connection.
_REST_SECONDS = (1.0, 5.0, 30.0)
# Elasticsearch sends 8 KiB of headers in all by default, and whole lists of warnings where it is set so.
_MAX_FIELD_SIZE = 256 * 1024
_READ_BUFFER = 256 * 1024


class UnansweredError(aiohttp.ClientError):
    """A node was reached and went away without an answer: it may or may not have done what was asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the cluster; ``body`` as it came."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()

    def json(self) -> Any:
        """The body read as JSON; ``None`` for an empty one."""
        return orjson.loads(self.body) if self.body else None


class _Sent:
    """A stream on its way; ``error`` is what its source failed with."""

    def __init__(self, parts: AsyncIterable[bytes]) -> None:
        self.error: Exception | None = None
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                yield part
        except Exception as error:
            self.error = error
            raise


class Node:
    """One address of the cluster and how it fared lately."""

    def __init__(self, url: str) -> None:
        # Credentials in an address are the sidecar's own; what is sent from here carries the caller's alone.
        self.url = str(URL(url, encoded=True).with_user(None)).rstrip("/")
        self.rests_until = 0.0
        self._failures = 0

    def failed(self) -> None:
        seconds = _REST_SECONDS[min(self._failures, len(_REST_SECONDS) - 1)]
        self._failures += 1
        self.rests_until = time.monotonic() + seconds

    def answered(self) -> None:
        self._failures, self.rests_until = 0, 0.0


class Cluster:
    """The nodes of the cluster. Make it inside a running loop and close it after use."""

    def __init__(self, urls: Sequence[str], *, ssl: Any = True) -> None:
        self._nodes = [Node(url) for url in urls]
        self._turn = 0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=_MAX_FIELD_SIZE,
            max_field_size=_MAX_FIELD_SIZE,
            read_bufsize=_READ_BUFFER,
            middlewares=(_send_once,),
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def send(
        self, method: str, target: str, headers: Headers, body: Body = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; ``target`` is raw path and query. The answer's body is to be streamed by the caller.

        Raises:
            aiohttp.ClientError: no node answers.
            Exception: what a ``body`` that is a stream failed with; the node was not sent its end.
        """
        sent = _Sent(body) if isinstance(body, AsyncIterable) else body
        try:
            async with await self._answer(method, target, headers, sent) as response:
                yield response
        except aiohttp.ClientError:
            if isinstance(sent, _Sent) and sent.error is not None:
                raise sent.error from None
            raise

    async def call(self, method: str, target: str, headers: Headers, body: Body = None) -> Answer:
        """One request with its whole answer.

        Raises:
            aiohttp.ClientError: no node answers, or the answer breaks off.
        """
        async with self.send(method, target, headers, body) as response:
            return Answer(response.status, response.headers, await response.read(), response.raw_headers)

    async def _answer(
        self, method: str, target: str, headers: Headers, body: bytes | _Sent | None
    ) -> aiohttp.ClientResponse:
        may_repeat = method in _READING and body is None
        nodes = list(self._in_turn())
        for node in nodes:
            url = URL(node.url + target, encoded=True)
            try:
                response = await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)
            except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError, UnansweredError) as error:
                if isinstance(body, _Sent) and body.error is not None:
                    raise  # the node is not to blame for what it was not sent
                node.failed()
                is_last = node is nodes[-1]
                _log.warning("node_unanswered", url=node.url, cause=str(error), goes_on=not is_last)
                if is_last or (isinstance(error, UnansweredError) and not may_repeat):
                    raise
            else:
                node.answered()
                return response
        raise aiohttp.ClientError("no nodes")

    def _in_turn(self) -> Iterator[Node]:
        """Every node, beginning with the one whose turn it is; those that rest come last."""
        self._turn = (self._turn + 1) % len(self._nodes)
        turned = self._nodes[self._turn :] + self._nodes[: self._turn]
        now = time.monotonic()
        yield from sorted(turned, key=lambda node: max(node.rests_until, now))


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps the session from sending a request again by itself when its connection broke.

    Its own rule takes PUT and DELETE for repeatable, which a bulk or a versioned write is not.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise UnansweredError(f"{request.url.origin()} went away without an answer: {error}") from error
