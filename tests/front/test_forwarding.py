"""What HTTP asks of one who stands between: connections, bodies, nodes that fail, callers that leave."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.front.bare_node import OK, BareNode, always, at, bare_node, hang_up
from tests.front.conftest import StartFront
from tests.front.raw_http import compose, connect, exchange, plain, read_answer, steady


async def test_headers_of_the_connection_stay_and_all_others_pass(start_front: StartFront) -> None:
    answer = (
        b"HTTP/1.1 200 Fine\r\nX-Many: a\r\nx-Many: b\r\nWarning: 299 one\r\nWarning: 299 two\r\n"
        b"Keep-Alive: timeout=5\r\nConnection: X-Private\r\nX-Private: 1\r\nTrailer: X-After\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    async with bare_node(always(answer)) as node:
        front = await start_front(node.url)
        headers = [("X-Many", "1"), ("x-many", "2"), ("Connection", "X-Secret"), ("X-Secret", "s"), ("TE", "trailers")]
        headers += [("Proxy-Authorization", "p"), ("Authorization", "ApiKey k"), ("Upgrade", "h2c"), ("Cookie", "c=1")]
        headers += [("X-Latin", "caf\xe9")]
        through = await exchange(front, compose("GET", "/a?b=%zz+%20", headers))
    lines = node.heads[-1].decode().split("\r\n")
    assert lines[0] == "GET /a?b=%zz+%20 HTTP/1.1"
    sent = sorted(line for line in lines[1:] if line and not line.lower().startswith("host:"))
    assert sent == ["Authorization: ApiKey k", "Cookie: c=1", "X-Latin: caf?", "X-Many: 1", "X-Many: 2"]
    assert through.status_line == "HTTP/1.1 200 Fine"
    assert through.headers == [
        *[("X-Many", "a"), ("X-Many", "b"), ("Warning", "299 one"), ("Warning", "299 two")],
        ("Content-Length", "2"),
    ]


async def test_the_sidecars_own_credentials_are_never_sent_for_a_caller(start_front: StartFront) -> None:
    async with bare_node() as node:
        front = await start_front(node.url, elasticsearch_api_key="b3duOmtleQ==")
        await exchange(front, compose("GET", "/a/_stats"))
    assert any(b"ApiKey b3duOmtleQ==" in head for head in node.heads)  # the registry's own calls
    assert node.heads[-1].startswith(b"GET /a/_stats ")
    assert b"authorization" not in node.heads[-1].lower()


@pytest.mark.parametrize("size", [0, 10, 300_000])
async def test_a_body_keeps_its_length_or_its_chunks(start_front: StartFront, size: int) -> None:
    async with bare_node() as node:
        front = await start_front(node.url)
        body = b"x" * size
        await exchange(front, compose("POST", "/a/_nothing", [("Content-Encoding", "gzip")], body))
        assert node.bodies[-1] == body
        assert f"content-length: {size}\r\n".encode() in node.heads[-1].lower()
        assert b"Content-Encoding: gzip" in node.heads[-1]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part)
        request = b"POST /a/_nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        await exchange(front, request + chunks + b"0\r\nX-After: trailer\r\n\r\n")
        assert b"transfer-encoding: chunked" in node.heads[-1].lower()
        assert b"X-After" not in node.bodies[-1]
        assert node.bodies[-1].count(b"x") == size


@pytest.mark.parametrize("target", ["@elsewhere/", "http://elsewhere/_search", "elsewhere"])
async def test_no_target_leads_to_another_host(start_front: StartFront, target: str) -> None:
    async with bare_node() as node:
        front = await start_front(node.url)
        answer = await exchange(front, compose("GET", target))
        assert answer.status == 400
        assert not any(b"elsewhere" in head for head in node.heads)


async def test_leave_to_send_is_given_by_the_cluster(start_front: StartFront, elasticsearch: str) -> None:
    front = await start_front(elasticsearch)
    head = (
        b"POST /front-expect/_count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
    )
    for base in (elasticsearch, front):
        reader, writer = await connect(base)
        writer.write(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await read_answer(reader)).status == 404
        writer.close()
        reader, writer = await connect(base)
        writer.write(head + b"Content-Length: 200000000\r\nConnection: close\r\n\r\n")
        refused = await read_answer(reader)
        assert (refused.status, refused.interim) == (413, ())
        writer.close()


async def test_a_failure_after_leave_to_send_is_still_told(start_front: StartFront) -> None:
    async with bare_node(hang_up) as node:
        front = await start_front(node.url)
        reader, writer = await connect(front)
        writer.write(
            b"POST /_ml/trained_models/.elser-2-elasticsearch/_infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await read_answer(reader)).status == 400
        writer.close()


async def test_a_caller_that_leaves_takes_its_request_from_the_cluster(
    start_front: StartFront, elasticsearch: str
) -> None:
    front = await start_front(elasticsearch)
    _, writer = await connect(front)
    writer.write(compose("GET", "/_cluster/health?wait_for_nodes=77&timeout=300s", [("X-Opaque-Id", "front-leaving")]))
    await _until(elasticsearch, cancelled=False)
    writer.close()
    await _until(elasticsearch, cancelled=True)


async def _until(base: str, *, cancelled: bool) -> None:
    """Waits for the task; one that is cancelled and waits for something else still stands in the list."""
    request = compose("GET", "/_tasks?actions=cluster:monitor/health&detailed")
    async with asyncio.timeout(30):
        while True:
            nodes = json.loads((await exchange(base, request)).body)["nodes"].values()
            tasks = [task for node in nodes for task in node["tasks"].values()]
            if any(
                task["headers"].get("X-Opaque-Id") == "front-leaving" and task["cancelled"] is cancelled
                for task in tasks
            ):
                return


async def test_an_answer_that_breaks_off_breaks_off_for_the_caller(start_front: StartFront) -> None:
    async def half(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await node.read(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
        await writer.drain()

    async with bare_node(half) as node:
        front = await start_front(node.url)
        reader, writer = await connect(front)
        writer.write(compose("GET", "/a/_stats"))
        received = b""
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            while part := await reader.read(65536):
                received += part
            raise asyncio.IncompleteReadError(received, None)
        assert b'{"a":' in received
        assert not received.endswith(b"0\r\n\r\n")
        writer.close()


async def test_a_get_goes_to_the_next_node_and_a_dead_one_is_left_out(start_front: StartFront) -> None:
    async with bare_node() as node, bare_node(hang_up) as dying:
        front = await start_front("http://127.0.0.1:1", dying.url, node.url)
        statuses = [(await exchange(front, compose("GET", f"/a/_stats?{n}"))).status for n in range(9)]
        assert statuses == [200] * 9
        asked = [head for head in dying.heads if b"/a/_stats" in head]
        assert len(asked) == 1
        seen = [head for head in node.heads if b"/a/_stats" in head]
        assert len(seen) == 9


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_what_may_have_had_an_effect_is_not_sent_again(start_front: StartFront, method: str) -> None:
    async with bare_node(hang_up) as dying, bare_node() as node:
        front = await start_front(dying.url, node.url)
        dying.heads.clear()
        node.heads.clear()
        answers = [await exchange(front, compose(method, f"/a/_x/{n}", body=b"{}")) for n in range(2)]
    assert sorted(answer.status for answer in answers) == [200, 503]
    sent = [head.split()[1] for head in [*dying.heads, *node.heads] if b"/a/_x/" in head]
    assert sorted(sent) == [b"/a/_x/0", b"/a/_x/1"]
    (failed,) = [answer for answer in answers if answer.status == 503]
    error = json.loads(failed.body)["error"]
    assert "went away without an answer" in error["caused_by"]["reason"]


async def test_a_write_goes_on_where_no_connection_could_be_made(start_front: StartFront) -> None:
    async with bare_node() as node:
        front = await start_front("http://127.0.0.1:1", node.url)
        answers = [await exchange(front, compose("POST", "/a/_x", body=b"y" * 100_000)) for _ in range(3)]
        assert [answer.status for answer in answers] == [200] * 3
        assert [body for body in node.bodies if body] == [b"y" * 100_000] * 3


async def test_callers_of_http_1_0_get_a_body_that_ends_with_the_connection(start_front: StartFront) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with bare_node(always(chunked)) as node:
        front = await start_front(node.url)
        answer = await exchange(front, b"GET /a/_stats HTTP/1.0\r\n\r\n")
    assert (answer.framing, answer.body) == ("close", b"{}")


async def test_bodies_without_content_keep_what_their_heads_say(start_front: StartFront) -> None:
    for status, method in ((204, "GET"), (304, "GET"), (200, "HEAD")):
        head = f'HTTP/1.1 {status} X\r\nETag: "e"\r\n'.encode()
        head += b"" if status == 204 else b"Content-Length: 12\r\n"
        async with bare_node(at(b"/a/_stats", head + b"\r\n")) as node:
            front = await start_front(node.url)
            answer = await exchange(front, compose(method, "/a/_stats"), is_head=method == "HEAD")
        assert (answer.status, answer.body) == (status, b"")
        assert ("ETag", '"e"') in answer.headers
        assert answer.framing == ("length 12" if method == "HEAD" else "close")


async def test_a_long_body_streams_both_ways(start_front: StartFront) -> None:
    """The answer begins before the request has ended, and neither is held."""

    async def echo(node: BareNode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/_echo" not in head:
            writer.write(OK)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while part := await reader.read(65536):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()

    first_came_back = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await first_came_back.wait()
        yield b"second"

    async with bare_node(echo) as node, aiohttp.ClientSession() as session:
        front = await start_front(node.url)
        async with asyncio.timeout(30), session.post(f"{front}/a/_echo", data=body()) as answer:
            assert b"first" in await answer.content.readany()
            first_came_back.set()
            assert b"second" in await answer.content.readany()


async def test_the_body_of_an_inference_may_be_zipped(start_front: StartFront, elasticsearch: str) -> None:
    front = await start_front(elasticsearch)
    body = gzip.compress(b'{"input": "a text"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    url = f"{front}/_inference/sparse_embedding/.elser-2-elasticsearch"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["sparse_embedding"][0]["embedding"]
        async with session.post(url, data=body[:-9], headers=headers) as answer:
            assert answer.status == 400


async def test_scrolls_and_large_answers_come_whole(start_front: StartFront, elasticsearch: str) -> None:
    front = await start_front(elasticsearch)
    index = "front-large"
    lines = b"".join(b'{"index":{"_id":"%d"}}\n{"text":"%s","n":%d}\n' % (n, b"x" * 4000, n) for n in range(500))
    headers = [("Content-Type", "application/x-ndjson")]
    made = await exchange(front, compose("PUT", f"/{index}/_bulk?refresh=true", headers, lines))
    assert json.loads(made.body)["errors"] is False
    try:
        everything = f"/{index}/_search?size=500&sort=n"
        for extra in ([], [("Accept-Encoding", "gzip")]):
            direct, through = [
                await exchange(base, compose("GET", everything, extra)) for base in (elasticsearch, front)
            ]
            assert len(plain(through)) > 2_000_000
            assert steady(plain(through)) == steady(plain(direct))
        found = []
        page = json.loads((await exchange(front, compose("GET", f"/{index}/_search?scroll=1m&size=200&sort=n"))).body)
        while page["hits"]["hits"]:
            found += [hit["_source"]["n"] for hit in page["hits"]["hits"]]
            body = json.dumps({"scroll": "1m", "scroll_id": page["_scroll_id"]}).encode()
            following = compose("POST", "/_search/scroll", [("Content-Type", "application/json")], body)
            page = json.loads((await exchange(front, following)).body)
        assert found == list(range(500))
        gone = await exchange(front, compose("DELETE", f"/_search/scroll/{page['_scroll_id']}"))
        assert json.loads(gone.body) == {"succeeded": True, "num_freed": 1}
    finally:
        await exchange(elasticsearch, compose("DELETE", f"/{index}"))
