"""Callers that stop in the middle of a bulk, or send what is none: nothing is stored, and no node is to blame."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.front.conftest import StartFront
from tests.front.raw_http import connect, read_answer
from tests.front.test_bound_writes import ndjson
from tests.front.test_changes_meanwhile import Stage, maker, served_models

# More than is read whole before anything is sent.
MANY = 3000


@pytest.fixture
async def stage(elasticsearch: str, start_front: StartFront) -> AsyncIterator[Stage]:
    """A front before a node, with an endpoint and a bound index."""
    async with served_models() as models, aiohttp.ClientSession() as session:
        url = await start_front(elasticsearch, allow_unreadable_secrets=True)
        made = Stage(url, elasticsearch, models, session)
        await made.endpoint("a")
        await made.index()
        yield made
        await made.send("DELETE", f"/{made.name}")
        await made.send("DELETE", f"/_inference/{made.name}?force=true")


def documents(count: int) -> bytes:
    return b"".join(ndjson({"index": {"_id": str(n)}}, {"text": f"text {n}", "more": "x" * 600}) for n in range(count))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def zipped(data: bytes) -> bytes:
    """In blocks that are stored as they are, so that its size is that of the data."""
    packer = zlib.compressobj(0, wbits=31)
    return packer.compress(data) + packer.flush()


def bodies() -> dict[str, tuple[list[bytes], bytes]]:
    few, many = documents(5), documents(MANY)
    torn = [bytes(gzip.compress(few)[:-20]), zipped(many)[:-2000]]
    broken = bytearray(zipped(many))
    broken[-6] ^= 255  # of its check sum
    of_chunks = [b"Transfer-Encoding: chunked"]
    parts = b"".join(chunk(many[at : at + 65536]) for at in range(0, len(many) // 2, 65536))
    return {
        "few, zip torn": ([b"Content-Encoding: gzip", b"Content-Length: %d" % len(torn[0])], torn[0]),
        "many, zip torn": ([b"Content-Encoding: gzip", b"Content-Length: %d" % len(torn[1])], torn[1]),
        "many, zip torn, chunked": ([b"Content-Encoding: gzip", *of_chunks], chunk(torn[1]) + b"0\r\n\r\n"),
        "many, zip broken": ([b"Content-Encoding: gzip", b"Content-Length: %d" % len(broken)], bytes(broken)),
        "few, no chunk": (of_chunks, chunk(few) + b"none\r\n"),
        "many, no chunk": (of_chunks, parts + b"none\r\n"),
    }


@pytest.mark.parametrize("kind", bodies())
async def test_a_bulk_in_a_broken_form(stage: Stage, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    headers, body = bodies()[kind]
    reader, writer = await connect(stage.url)
    head = [b"POST /%b/_bulk HTTP/1.1" % stage.name.encode(), b"Host: a", b"Content-Type: application/json", *headers]
    writer.write(b"\r\n".join([*head, b"", b""]))
    for at in range(0, len(body), 100_000):  # the form breaks when the request is on its way
        writer.write(body[at : at + 100_000])
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        answer = await read_answer(reader)
    writer.close()
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["reason"] if "zip" in kind else json.loads(answer.body)["error"]
    assert "text 1" not in answer.body.decode()
    said = capfd.readouterr()
    assert "node_unanswered" not in said.out + said.err
    assert "text 1" not in said.out + said.err
    for source in (await stage.sources()).values():
        assert maker(source["vector"], source["text"]) == "a"
    status, _, _ = await stage.send("PUT", f"/{stage.name}/_doc/after", {"text": "after"})
    assert status == 201


async def test_what_is_expected_that_nobody_understands_is_refused_by_the_cluster(stage: Stage) -> None:
    answers = []
    for base in (stage.url, stage.node):
        reader, writer = await connect(base)
        writer.write(
            b"PUT /%b/_doc/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: more\r\n"
            b'Content-Length: 14\r\n\r\n{"text":"one"}' % stage.name.encode()
        )
        answers.append((await read_answer(reader)).status)
        writer.close()
    assert answers == [417, 417]
    assert await stage.sources() == {}
