"""A node that writes down every byte it is sent and answers as told, for what no real node can be made to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answering = Callable[["BareNode", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class BareNode:
    """``heads`` are the requests up to their blank line, ``bodies`` what was read behind them."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Reads a whole request; its head."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        lowered = head.lower()
        body = b""
        if b"transfer-encoding: chunked" in lowered:
            while not body.endswith(b"0\r\n\r\n"):
                body += await reader.read(65536)
        elif b"content-length:" in lowered:
            length = int(lowered.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        self.bodies.append(body)
        return head


def always(answer: bytes) -> Answering:
    """Reads requests and answers each with ``answer``."""
    return at(b"", answer)


def at(target: bytes, answer: bytes) -> Answering:
    """Reads requests and answers those whose head has ``target`` in it with ``answer``, the others with ``OK``."""

    async def answering(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await node.read(reader)
            writer.write(answer if target in head else OK)
            await writer.drain()

    return answering


async def hang_up(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads a request and closes the connection."""
    await node.read(reader)
    writer.close()


@asynccontextmanager
async def bare_node(
    answering: Answering = always(OK),  # noqa: B008 - a constant
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[BareNode]:
    """A node at ``url`` until the block is left; with ``ssl_context`` it speaks TLS."""
    node = BareNode()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answering(node, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            node.gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl_context)
    host, port = server.sockets[0].getsockname()[:2]
    node.url = f"{'http' if ssl_context is None else 'https'}://{host}:{port}"
    try:
        yield node
    finally:
        server.close()
