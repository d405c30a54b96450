"""Bodies on their way in: how much of them may be in memory, how long they may take, and what is done beside the loop.

The limits count what a body is after decompression. They are those of the API alone: what is forwarded to a cluster
is not read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError

from sidecar.core.errors import OtherError, ParseError, PlainError
from sidecar.wire.content_codings import Decoder

_T = TypeVar("_T")

# What a caller must send on average once its first seconds are over, in bytes a second.
LEAST_RATE = 1000
# A thousand times as much can come out of it.
_STEP = 4096
# Reading is the interpreter's work: more threads would not make it quicker, but the loop wait longer for its turn. One
# thread is for large bodies, the other for those that need not wait for them.
_LARGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits of one body and of all together, in bytes, and the seconds a body may take beyond its size's due."""

    max_body_size: int = 100 * 2**20
    max_bodies_size: int = 200 * 2**20
    body_timeout: float = 30.0


class Bodies:
    """All bodies in memory, and the threads that read the large ones."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.in_flight = 0
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._others = ThreadPoolExecutor(1, thread_name_prefix="bodies")

    async def beside(self, size: int, work: Callable[[], _T]) -> _T:
        """What ``work``, on about ``size`` bytes, returns, done in a thread."""
        thread = self._large if size > _LARGE_BYTES else self._others
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    def close(self) -> None:
        """Lets the threads end; what they do now they finish."""
        for thread in (self._large, self._others):
            thread.shutdown(wait=False, cancel_futures=True)


class Body:
    """The body of one request, from its first byte until the request is answered."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._size = 0
        self._data: bytes | None = None

    @property
    def _bodies(self) -> Bodies:
        return self._request.app[BODIES]

    async def read(self) -> bytes:
        """The whole body, decompressed.

        Raises ``HTTPRequestEntityTooLarge``, ``OtherError`` (429) when the bodies in flight leave no room,
        ``IllegalArgumentError`` and ``ParseError`` for a body that cannot be decompressed, and ``PlainError`` (408) for
        one that comes too slowly.
        """
        if self._data is None:
            self._data = await self._receive()
        return self._data

    def release(self) -> None:
        """Gives its room back."""
        if self._size:
            self._bodies.in_flight -= self._size
        self._size = 0
        self._data = None

    async def _receive(self) -> bytes:
        length = self._request.content_length
        if length is not None and length > self._bodies.limits.max_body_size:
            raise web.HTTPRequestEntityTooLarge(self._bodies.limits.max_body_size, length)
        coding = self._request.headers.get("Content-Encoding")
        decoder = Decoder(coding, self._bodies.limits.max_body_size)
        parts = []
        try:
            async for chunk in self._chunks():
                step = _STEP if coding else len(chunk)
                for at in range(0, len(chunk), step):
                    part = decoder.feed(chunk[at : at + step])
                    self._take(len(part))
                    parts.append(part)
                    if len(part) > step:
                        await asyncio.sleep(0)  # Others have their turn while something small becomes something large.
            parts.append(decoder.finish())
            return b"".join(parts)
        except web.RequestPayloadError as error:
            raise ParseError(f"request body cannot be read: {self._cause(error)}") from None
        except TimeoutError:
            raise PlainError(
                f"request body came too slowly: {self._size} bytes", status=408, headers={"Connection": "close"}
            ) from None

    async def _chunks(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        content, patience = self._request.content, self._bodies.limits.body_timeout
        waited, received = 0.0, 0
        while True:
            started = loop.time()
            async with asyncio.timeout(patience + received / LEAST_RATE - waited):
                chunk = await content.readany()
            waited += loop.time() - started
            if not chunk:
                return
            received += len(chunk)
            yield chunk

    def _take(self, size: int) -> None:
        self._size += size
        self._bodies.in_flight += size
        limits = self._bodies.limits
        if self._size > limits.max_body_size:
            raise web.HTTPRequestEntityTooLarge(limits.max_body_size, self._size)
        if self._bodies.in_flight > limits.max_bodies_size:
            wanted = self._bodies.in_flight
            raise OtherError(
                "circuit_breaking_exception",
                f"[request bodies] Data too large, data for all requests would be [{wanted}], which is larger than "
                f"the limit of [{limits.max_bodies_size}]",
                status=429,
                metadata={"bytes_wanted": wanted, "bytes_limit": limits.max_bodies_size, "durability": "TRANSIENT"},
            )

    def _cause(self, error: Exception) -> str:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ContentEncodingError):
                return f"it is not [{self._request.headers.get('Content-Encoding', '')}]"
            cause = cause.__cause__ or cause.__context__
        return "its parts are not what their lengths say"


BODIES: web.AppKey[Bodies] = web.AppKey("BODIES", Bodies)


async def bodies_in_flight(app: web.Application) -> AsyncIterator[None]:
    """Cleanup context: ends the threads with the application."""
    yield
    app[BODIES].close()
