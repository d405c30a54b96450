"""Who may do what would cost inference: asked with the caller's credentials, remembered for a few seconds."""

from __future__ import annotations

import asyncio
import json

from multidict import CIMultiDict

from sidecar.front.cluster import Cluster
from sidecar.front.privileges import Privileges
from tests.front.bare_node import BareNode, bare_node

MINE = CIMultiDict({"Authorization": "ApiKey mine"})
THEIRS = CIMultiDict({"Authorization": "ApiKey theirs"})


async def _by_key(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Grants everything to one key, nothing to others; 401 without one."""
    while True:
        head = await node.read(reader)
        status = "200 OK" if b"ApiKey" in head else "401 Unauthorized"
        body = json.dumps({"has_all_requested": b"ApiKey mine" in head}).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def _without_security(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await node.read(reader)
        body = b'{"error":"no handler found for uri"}'
        writer.write(f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def test_the_callers_own_credentials_decide_and_are_asked_once_in_a_while() -> None:
    now = 0.0
    async with bare_node(_by_key) as node:
        cluster = Cluster([node.url])
        privileges = Privileges(cluster, clock=lambda: now)
        for _ in range(3):
            assert await privileges.granted(MINE, "a,b", "write")
            assert not await privileges.granted(THEIRS, "a,b", "write")
            assert not await privileges.granted(CIMultiDict(), "a,b", "write")
        assert len(node.bodies) == 3
        assert json.loads(node.bodies[0])["index"][0]["names"] == ["a", "b"]
        await privileges.granted(MINE, "a,b", "read")
        await privileges.granted(MINE, "c", "write")
        assert len(node.bodies) == 5
        now = 10.0
        assert await privileges.granted(MINE, "a,b", "write")
        assert len(node.bodies) == 6
        await cluster.close()


async def test_without_security_everybody_may_and_nobody_is_asked_about_again() -> None:
    now = 0.0
    async with bare_node(_without_security) as node:
        cluster = Cluster([node.url])
        privileges = Privileges(cluster, clock=lambda: now)
        assert await privileges.granted(MINE, "a", "write")
        assert await privileges.granted(THEIRS, "b", "read")
        assert len(node.bodies) == 1
        now = 100.0
        assert await privileges.granted(MINE, "a", "write")
        assert len(node.bodies) == 2
        await cluster.close()
