"""What a gateway is measured against: an upstream that answers at once, and a relay that does nothing but relay.

    python -m bench.relay upstream PORT
    python -m bench.relay relay PORT UPSTREAM_URL

The upstream speaks just enough HTTP: it answers every request with the same embedding, so that almost all of a call's
time is the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys

import aiohttp
from aiohttp import web

DIMENSIONS = 384
SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("SESSION", aiohttp.ClientSession)
UPSTREAM: web.AppKey[str] = web.AppKey("UPSTREAM", str)


def embedding_answer() -> bytes:
    """OpenAI's answer to one text: unit-scale numbers as models give them."""
    numbers = random.Random(0)
    vector = [round(numbers.uniform(-0.1, 0.1), 8) for _ in range(DIMENSIONS)]
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    body = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    return json.dumps(body).encode()


class InstantUpstream(asyncio.Protocol):
    """HTTP/1.1 with bodies of a known length, one canned answer."""

    def __init__(self, answer: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n"
        self._answer = head.encode() + answer
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = end + 4 + _content_length(self._buffer[:end])
            if len(self._buffer) < length:
                return
            self._buffer = self._buffer[length:]
            assert self._transport is not None
            self._transport.write(self._answer)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve_upstream(port: int) -> None:
    answer = embedding_answer()
    server = await asyncio.get_running_loop().create_server(lambda: InstantUpstream(answer), "127.0.0.1", port)
    await server.serve_forever()


async def relay(request: web.Request) -> web.Response:
    """The request's body to the upstream, its answer back."""
    headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}
    data = await request.read()
    async with request.app[SESSION].post(request.app[UPSTREAM], data=data, headers=headers) as response:
        return web.Response(body=await response.read(), status=response.status, content_type="application/json")


async def serve_relay(port: int, upstream: str) -> None:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_post("/", relay)
    async with aiohttp.ClientSession() as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    part, number, *rest = sys.argv[1:]
    asyncio.run(serve_upstream(int(number)) if part == "upstream" else serve_relay(int(number), rest[0]))
