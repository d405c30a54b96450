"""The cluster behind the front, spoken to with the caller's credentials: raw requests in, raw answers out."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

Body = bytes | AsyncIterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the cluster; ``body`` as it came."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        """The body read as JSON; ``None`` for an empty one."""
        return orjson.loads(self.body) if self.body else None


class Cluster:
    """The nodes of the cluster. Make it inside a running loop and close it after use."""

    def __init__(self, urls: Sequence[str], *, ssl: Any = True) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        await self._session.close()

    @asynccontextmanager
    async def send(
        self, method: str, target: str, headers: Mapping[str, str] | CIMultiDict[str], body: Body = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request; ``target`` is raw path and query. The answer's body is to be streamed by the caller.

        Raises:
            aiohttp.ClientError: no node answers.
        """
        url = URL(self._urls[0] + target, encoded=True)
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            yield response

    async def call(
        self, method: str, target: str, headers: Mapping[str, str] | CIMultiDict[str], body: Body = None
    ) -> Answer:
        """One request with its whole answer."""
        async with self.send(method, target, headers, body) as response:
            return Answer(response.status, response.headers, await response.read())
