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
        # what may not be done is asked about each time: it may be allowed by now
        assert len(node.bodies) == 1 + 3 + 3
        assert json.loads(node.bodies[0])["index"][0]["names"] == ["a", "b"]
        await privileges.granted(MINE, "a,b", "read")
        await privileges.granted(MINE, "c", "write")
        assert len(node.bodies) == 9
        now = 10.0
        assert await privileges.granted(MINE, "a,b", "write")
        assert len(node.bodies) == 10
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


async def _twice(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A node with security, which refuses headers that stand twice before it looks who asks; SEEN on 9.4.3."""
    while True:
        head = await node.read(reader)
        reason = "multiple values for single-valued header [X-Opaque-Id]."
        body = json.dumps({"error": {"type": "illegal_argument_exception", "reason": reason}, "status": 400}).encode()
        status = "400 Bad Request"
        if head.lower().count(b"x-opaque-id") < 2:
            status, body = "200 OK", b'{"has_all_requested":false}'
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def test_an_error_that_a_caller_brings_about_does_not_pass_for_security_switched_off() -> None:
    async with bare_node(_twice) as node:
        cluster = Cluster([node.url])
        privileges = Privileges(cluster)
        twice = CIMultiDict([("X-Opaque-Id", "a"), ("X-Opaque-Id", "b")])
        assert not await privileges.granted(twice, "a", "create_doc")
        assert not await privileges.granted(THEIRS, "a", "create_doc")
        assert len(node.bodies) == 2
        await cluster.close()


async def _of_two(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both keys may not read everything; of a pattern one of them sees two shards, the other none."""
    while True:
        head = await node.read(reader)
        answer: dict[str, object] = {"has_all_requested": False}
        if b"/_search" in head:
            answer = {"_shards": {"total": 2 if b"ApiKey mine" in head else 0}}
        body = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


async def test_a_pattern_is_for_the_cluster_to_resolve_for_each_caller() -> None:
    async with bare_node(_of_two) as node:
        cluster = Cluster([node.url])
        privileges = Privileges(cluster)
        for _ in range(2):
            assert await privileges.searches(MINE, "/lo*/_search")
            assert not await privileges.searches(THEIRS, "/lo*/_search")
        assert len(node.bodies) == 2 + 2 * 2
        assert json.loads(node.bodies[1])["size"] == 0
        await privileges.searches(MINE, "/_search", {"id": "of-a-point-in-time"})
        assert json.loads(node.bodies[-1])["pit"] == {"id": "of-a-point-in-time"}
        await cluster.close()
