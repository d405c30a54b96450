"""What the front is measured against: a node that answers at once, a relay that does nothing else, and nginx.

python -m bench.front_peers node PORT
python -m bench.front_peers relay PORT NODE_URL
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import aiohttp
import numpy as np
import orjson
import uvloop
from aiohttp import web

SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("SESSION", aiohttp.ClientSession)
NODE: web.AppKey[str] = web.AppKey("NODE", str)
MADE: web.AppKey[list[bytes]] = web.AppKey("MADE", list)
DIMENSIONS = 128
VECTORS = 256


def vectors() -> list[list[float]]:
    """Vectors of length 1, with as many digits as those of models have."""
    made = np.random.default_rng(7).normal(size=(VECTORS, DIMENSIONS))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return [[float(str(number)) for number in vector] for vector in made.astype(np.float32)]


_KEPT = ("Content-Type", "Accept", "Authorization")


def answers() -> dict[str, bytes]:
    """Bodies by the last segment of the path: ten hits, a thousand items, an index without bindings."""
    source = {"title": "Boundary layers", "text": "How boundary layers behave at supersonic speed. " * 6}
    hits = [{"_index": "bench", "_id": str(n), "_score": 1.5, "_source": source} for n in range(10)]
    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    total = {"value": 10, "relation": "eq"}
    found = {"took": 1, "timed_out": False, "_shards": shards, "hits": {"total": total, "hits": hits}}
    item = {"index": {"_index": "bench", "_id": "1", "_version": 1, "result": "created", "status": 201}}
    bodies = {
        "_search": found,
        "_bulk": {"took": 1, "errors": False, "items": [item] * 1000},
        "bench": {"bench": {"aliases": {}, "mappings": {}, "settings": {"index": {}}}},
        "": {"name": "bench", "version": {"number": "9.4.3"}, "tagline": "You Know, for Search"},
    }
    return {name: json.dumps(body).encode() for name, body in bodies.items()}


class InstantNode(asyncio.Protocol):
    """HTTP/1.1, bodies of a known length or in chunks, one canned answer per path."""

    def __init__(self, canned: dict[str, bytes]) -> None:
        self._canned = canned
        self._buffer = bytearray()
        self._head: bytes | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            if self._head is None:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                self._head = bytes(self._buffer[:end]).lower()
                del self._buffer[: end + 4]
            length = self._end_of_body(self._head)
            if length is None:
                return
            del self._buffer[:length]
            target, self._head = self._head.split(b" ", 2)[1].decode(), None
            self._answer(target)

    def _end_of_body(self, head: bytes) -> int | None:
        """Bytes up to the end of the body, ``None`` where it is not there yet; of chunks only the last are kept."""
        if b"transfer-encoding: chunked" in head:
            if self._buffer.endswith(b"0\r\n\r\n"):
                return len(self._buffer)
            del self._buffer[:-5]
            return None
        length = _content_length(head)
        return length if len(self._buffer) >= length else None

    def _answer(self, target: str) -> None:
        body = self._canned.get(target.partition("?")[0].rpartition("/")[2], b"{}")
        head = "HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\n"
        if self._transport is not None:
            self._transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


async def embeddings(request: web.Request) -> web.Response:
    """OpenAI's answer with a vector, made in advance, per input."""
    made = request.app[MADE]
    texts = orjson.loads(await request.read())["input"]
    items = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (n, made[n % VECTORS]) for n in range(len(texts))
    )
    body = b'{"object":"list","data":[%b],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}' % items
    return web.Response(body=body, content_type="application/json")


async def serve_provider(port: int) -> None:
    app = web.Application(client_max_size=2**30)
    app[MADE] = [orjson.dumps(vector) for vector in vectors()]
    app.router.add_post("/v1/embeddings", embeddings)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def serve_node(port: int) -> None:
    canned = answers()
    server = await asyncio.get_running_loop().create_server(lambda: InstantNode(canned), "127.0.0.1", port)
    await server.serve_forever()


async def relay(request: web.Request) -> web.Response:
    """The request's body to the node, its answer back, both read whole."""
    headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
    url = request.app[NODE] + request.raw_path
    data = await request.read()
    async with request.app[SESSION].request(request.method, url, data=data, headers=headers) as response:
        return web.Response(body=await response.read(), status=response.status, content_type="application/json")


async def serve_relay(port: int, node: str) -> None:
    app = web.Application(client_max_size=2**30)
    app[NODE] = node
    app.router.add_route("*", "/{path:.*}", relay)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def nginx_command(directory: Path, port: int, node_port: int) -> list[str] | None:
    """nginx as a relay, one worker, connections kept, its files in ``directory``; ``None`` where it is absent."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        return None
    temporary = " ".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"""worker_processes 1; daemon off; pid {directory}/pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 2m; {temporary}
  upstream node {{ server 127.0.0.1:{node_port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
    )
    return [program, "-c", str(directory / "nginx.conf")]


if __name__ == "__main__":
    part, number, *rest = sys.argv[1:]
    parts = {"node": serve_node, "provider": serve_provider}
    uvloop.run(parts[part](int(number)) if part in parts else serve_relay(int(number), rest[0]))
