"""Connections that say nothing, half of something, or no HTTP; and how long stopping takes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import resource
import signal
import time
import zlib
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from tests.app.conftest import Service, Services
from tests.app.test_service import Provider, provider, remote

__all__ = ["provider"]

HALF = {
    "nothing": b"",
    "header": b"POST /_inference/x HTTP/1.1\r\nHost: x\r\n",
    "body": b"POST /_inference/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    "chunk": b"POST /_inference/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "idle": b"GET /_sidecar/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
}
QUICK = {"idle_timeout": "500ms", "body_timeout": "500ms"}


async def connect(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(service.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def exchange(service: Service, sent: bytes) -> bytes:
    """All that comes back until the service closes."""
    reader, writer = await connect(service)
    writer.write(sent)
    async with asyncio.timeout(30):
        received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF)
async def test_a_connection_that_goes_no_further_is_closed(services: Services, sent: bytes) -> None:
    service = await services.start(**QUICK)
    received = await exchange(service, sent)
    if sent in (HALF["body"], HALF["chunk"]):
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["status"] == 408
    elif sent != HALF["idle"]:
        assert received == b""


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret-canary\r\n\r\n",
    b"GET / HTTP/1.1\r\nX-Api-Key: secret-canary\x01\r\n\r\n",
    b"POST /_inference/x HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n"
    b'{}"api_key":"secret-canary"}\r\n\r\n',
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
]


async def test_what_is_not_http_costs_a_quiet_line_and_is_counted(services: Services) -> None:
    service = await services.start()
    for sent in MALFORMED:
        received = await exchange(service, sent)
        assert b"secret-canary" not in received
        *_, last = received.split(b"HTTP/1.")
        head, _, content = last.partition(b"\r\n\r\n")
        body = json.loads(content)
        assert head[1:].startswith(b" 400 ")
        assert body["status"] == 400
        assert body["error"]["reason"]
    _, metrics = await service.request("GET", "/metrics")
    assert f"sidecar_malformed_requests_total {len(MALFORMED)}.0" in metrics
    lines = service.events("malformed_request")
    assert [line["level"] for line in lines] == ["info"] * len(MALFORMED)
    log = "".join(service.log)
    assert "secret-canary" not in log
    assert "Traceback" not in log


async def test_a_body_that_is_not_compressed_as_it_says(services: Services) -> None:
    service = await services.start()
    url = f"{service.url}/_inference/sparse_embedding/.elser-2-elasticsearch"
    plain = b'{"input":"a"}'
    zipped = gzip.compress(plain)
    broken = {
        "gzip": (
            plain,
            plain[:1],
            zipped[:-9],
            zipped[:10],
            zipped[:-8] + b"12345678",
            zipped + b"more",
            zlib.compress(plain),
        ),
        "x-gzip": (plain,),
        "deflate": (plain, zlib.compress(plain)[:-2], zipped),
    }
    for coding, bodies in broken.items():
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        for sent in bodies:
            async with service.session.post(url, data=sent, headers=headers) as response:
                body = await response.json()
            assert (response.status, body["status"]) == (400, 400), (coding, sent, body)
            assert body["error"]["type"] == "illegal_argument_exception"
            assert f"[{coding}]" in body["error"]["reason"]
    for coding, sent in (
        ("gzip", zipped),
        ("gzip", gzip.compress(plain[:5]) + gzip.compress(plain[5:])),
        ("br", plain),
    ):
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        async with service.session.post(url, data=sent, headers=headers) as response:
            assert response.status == 200, await response.text()


async def test_bodies_in_flight_together_have_a_bound(services: Services, provider: Provider) -> None:
    service = await services.start(max_body_size="1mb", max_bodies_size="1mb")
    status, body = await service.request("PUT", "/_inference/text_embedding/slow", remote(provider))
    assert status == 200, body
    provider.called.clear()
    provider.may_answer.clear()
    held = asyncio.create_task(service.request("POST", "/_inference/slow", {"input": "a" * 600_000}))
    await provider.called.wait()
    bomb = gzip.compress(json.dumps({"input": "b" * 600_000}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with service.session.post(f"{service.url}/_inference/slow", data=bomb, headers=headers) as response:
        refused = await response.json()
    assert response.status == 429
    assert refused["error"]["type"] == "circuit_breaking_exception"
    provider.may_answer.set()
    assert (await held)[0] == 200
    async with service.session.post(f"{service.url}/_inference/slow", data=bomb, headers=headers) as response:
        assert response.status == 200


async def test_hanging_up_does_not_end_it(services: Services) -> None:
    service = await services.start()
    service.stop(signal.SIGHUP)
    await service.ready()
    service.stop()
    assert await service.ended() == 0
    assert service.events("hangup_ignored")


async def test_a_connection_that_is_kept_for_later_does_not_keep_it_from_stopping(services: Services) -> None:
    service = await services.start(shutdown_timeout="60s")
    reader, writer = await connect(service)
    writer.write(b"GET /_sidecar/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    service.stop()
    assert await service.ended() == 0
    (stopped,) = service.events("stopped")
    assert stopped["seconds"] < 30, "half the time that the setting gives to requests, and there are none"
    writer.close()


@pytest.mark.parametrize("half", ["nothing", "header", "body", "chunk"])
async def test_half_a_request_does_not_keep_it_from_stopping(services: Services, half: str) -> None:
    service = await services.start(shutdown_timeout="2s")
    _, writer = await connect(service)
    writer.write(HALF[half])
    await service.request("GET", "/_sidecar/health/live")
    began = time.monotonic()
    service.stop()
    assert await service.ended() == 0
    assert time.monotonic() - began < 4, "twice the time that the setting gives"
    (stopped,) = service.events("stopped")
    assert stopped["seconds"] <= 2.5
    writer.close()


async def test_a_call_that_hangs_ends_with_the_time_to_stop(services: Services, provider: Provider) -> None:
    service = await services.start(shutdown_timeout="2s")
    status, body = await service.request("PUT", "/_inference/text_embedding/slow", remote(provider))
    assert status == 200, body
    provider.called.clear()
    provider.may_answer.clear()
    call = asyncio.create_task(service.request("POST", "/_inference/slow", {"input": "a"}))
    await provider.called.wait()
    service.stop()
    assert await service.ended() == 0
    (stopped,) = service.events("stopped")
    assert 1 <= stopped["seconds"] <= 2.5
    assert (await asyncio.gather(call, return_exceptions=True))[0]
    provider.may_answer.set()


@pytest.mark.parametrize("reads", [True, False])
async def test_a_silent_stream_ends_with_the_time_to_stop(
    services: Services, aiohttp_server: AiohttpServer, reads: bool
) -> None:
    """A provider that sends one event, and then nothing more, keeps nobody: neither its reader nor the end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):  # the call that creation makes
            return web.json_response({"choices": [{"message": {"content": "yes"}}]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        event = {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "one"}}]}
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await silent.wait()
        return response

    silent = asyncio.Event()
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    server = await aiohttp_server(app)
    service = await services.start(shutdown_timeout="2s", stream_idle_timeout="60s")
    settings = {"model_id": "m", "api_key": "k", "url": f"http://127.0.0.1:{server.port}/v1/chat/completions"}
    body = {"service": "openai", "service_settings": settings}
    assert (await service.request("PUT", "/_inference/completion/silent", body))[0] == 200
    path = "/_inference/completion/silent/_stream"
    async with service.session.post(service.url + path, json={"input": "a"}) as response:
        assert response.status == 200
        assert b"one" in await response.content.readany()
        ending = asyncio.create_task(_read_to_the_end(response)) if reads else None
        service.stop()
        assert await service.ended() == 0
        (stopped,) = service.events("stopped")
        assert 1 <= stopped["seconds"] <= 2.5
        if ending is not None:
            await ending
    silent.set()


async def _read_to_the_end(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        await response.read()


async def test_the_last_file_handles_are_not_given_to_idle_connections(whole_services: Services) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))  # the service inherits it
    try:
        service = await whole_services.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    idle = [await connect(service) for _ in range(220)]
    for _ in range(3):
        assert (await service.request("GET", "/_sidecar/health/live"))[0] == 200
    assert len(service.events("connections_short")) == 1
    body = await service.ready()
    assert body["status"] == "degraded"
    assert "for want of file handles" in body["checks"]["process"]["cause"]
    for _, writer in idle:
        writer.close()


@pytest.mark.slow
async def test_a_caller_that_does_not_read_is_left(services: Services) -> None:
    service = await services.start(write_timeout="500ms")
    reader, writer = await connect(service)
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    writer.write(b"GET /_inference/_services HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
    await asyncio.sleep(3)
    transport.resume_reading()
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            await reader.read()
    service.stop()
    assert await service.ended() == 0
    assert service.events("caller_stopped_reading")
