"""Event streams: framing, errors before and between events, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from tests.api.conftest import Client, StartApi, create_endpoint

CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def events_of(text: str) -> list[tuple[str, Any]]:
    """Events as name and data; every event has exactly one line of each."""
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        value = data.removeprefix("data: ")
        events.append((name.removeprefix("event: "), value if value == "[DONE]" else json.loads(value)))
    return events


def deltas_of(events: list[tuple[str, Any]]) -> str:
    return "".join(d["delta"] for _, data in events if isinstance(data, dict) for d in data.get("completion", ()))


async def test_a_completion_as_events(api: Client, completion: str) -> None:
    text = 'a "quoted"\nline é'
    async with api.post(f"/_inference/completion/{completion}/_stream", json={"input": text}) as response:
        raw = await response.read()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-elastic-product"] == "Elasticsearch"
    assert not raw.startswith(b"\xef\xbb\xbf")
    events = events_of(raw.decode())
    assert deltas_of(events) == f"Echo: {text}"
    assert events[-1] == ("message", "[DONE]")


async def test_a_chat_as_events(api: Client, provider: str) -> None:
    chat = await create_endpoint(api, provider, "chat_completion", "chat/completions")
    async with api.post(f"/_inference/{chat}/_stream?pretty&filter_path=choices.delta.content", json=CHAT) as response:
        events = events_of(await response.text())
    assert response.status == 200
    contents = [data["choices"][0]["delta"]["content"] for _, data in events if "choices" in data]
    assert "".join(contents) == "Echo: hello"
    assert ("message", {}) in events
    assert events[-1] == ("message", "[DONE]")


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("completion/none", {"input": "x"}, 404, "Inference endpoint not found [none]"),
        (
            "completion/my-completion",
            {"input": []},
            400,
            "Validation Failed: 1: Field [input] cannot be an empty array;",
        ),
        (
            "text_embedding/my-completion",
            {"input": "x"},
            400,
            "Incompatible task_type, the requested type [text_embedding] does not match the model type [completion]",
        ),
        (
            "sparse_embedding/.elser-2-elasticsearch",
            {"input": "x"},
            405,
            "Streaming is not allowed for service [elasticsearch].",
        ),
    ],
)
async def test_errors_before_the_first_event_have_their_status(
    api: Client, completion: str, path: str, body: Any, status: int, reason: str
) -> None:
    assert completion == "my-completion"
    async with api.post(f"/_inference/{path}/_stream", json=body) as response:
        ((name, data),) = events_of(await response.text())
    assert (response.status, response.headers["Content-Type"]) == (status, "text/event-stream")
    assert (name, data["status"], data["error"]["reason"]) == ("error", status, reason)
    assert data["error"]["root_cause"][0]["reason"] == reason


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("bogus/x/_stream", "Unknown task_type [bogus]"),
        ("completion/x/_stream?timeout=x", "failed to parse setting [timeout]"),
        ("completion/x/_stream?y", "request [/_inference/completion/x/_stream] contains unrecognized parameter: [y]"),
    ],
)
async def test_errors_of_the_request_itself_are_plain_answers(api: Client, path: str, reason: str) -> None:
    async with api.post(f"/_inference/{path}", json={"input": "x"}) as response:
        body = await response.json()
    assert response.status == 400
    assert body["error"]["reason"].startswith(reason)


async def test_chat_errors_are_openais(api: Client) -> None:
    async with api.post("/_inference/chat_completion/none/_stream", json=CHAT) as response:
        events = events_of(await response.text())
    error = {
        "code": "not_found",
        "message": "Inference endpoint not found [none]",
        "type": "resource_not_found_exception",
    }
    assert (response.status, events) == (404, [("error", {"error": error})])
    async with api.post("/_inference/chat_completion/none/_stream", json={"messages": []}) as response:
        ((_, data),) = events_of(await response.text())
    assert data["error"]["reason"] == "Validation Failed: 1: Field [messages] cannot be an empty array;"


@pytest.mark.parametrize("message", ["break", "junk"])
async def test_an_error_between_events_is_the_last_one(api: Client, completion: str, message: str) -> None:
    async with api.post(f"/_inference/completion/{completion}/_stream", json={"input": message}) as response:
        events = events_of(await response.text())
    assert response.status == 200
    assert deltas_of(events) == f"Echo: {message}"
    assert [name for name, _ in events].count("error") == 1
    name, data = events[-1]
    assert (name, set(data)) == ("error", {"error", "status"})


async def test_a_stream_that_ends_early_still_ends(api: Client, completion: str) -> None:
    async with api.post(f"/_inference/completion/{completion}/_stream", json={"input": "cut"}) as response:
        events = events_of(await response.text())
    assert events[-1] == ("message", "[DONE]")


class SlowProvider:
    """Answers a validation call at once and everything else piece by piece, until its caller leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.sent = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body.get("stream"):
            if body["messages"][-1]["content"] != "how big":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.left.set()
                    raise
            message = {"role": "assistant", "content": "x"}
            return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunk = {"id": "1", "choices": [{"index": 0, "delta": {"content": "x" * 100_000}}], "object": "o", "model": "m"}
        try:
            while True:
                await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.sent += 1
                await asyncio.sleep(0.001)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise


@pytest.fixture
async def slow(aiohttp_server: AiohttpServer, start_api: StartApi) -> tuple[Client, SlowProvider]:
    provider = SlowProvider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.answer)
    server = await aiohttp_server(app)
    api = await start_api()
    await create_endpoint(api, str(server.make_url("")).rstrip("/"), "completion", "chat/completions")
    return api, provider


async def test_a_client_that_leaves_a_stream_ends_the_providers_call(slow: tuple[Client, SlowProvider]) -> None:
    api, provider = slow
    response = await api.post("/_inference/completion/my-completion/_stream", json={"input": "go on"})
    await response.content.readuntil(b"\n\n")
    response.close()
    await asyncio.wait_for(provider.left.wait(), 10)


async def test_a_client_that_leaves_a_call_ends_the_providers_call(slow: tuple[Client, SlowProvider]) -> None:
    api, provider = slow
    call = asyncio.ensure_future(api.post("/_inference/completion/my-completion", json={"input": "think long"}))
    await asyncio.sleep(0.3)
    call.cancel()
    await asyncio.wait_for(provider.left.wait(), 10)


async def test_a_client_that_reads_slowly_holds_the_provider_back(slow: tuple[Client, SlowProvider]) -> None:
    api, provider = slow
    response = await api.post("/_inference/completion/my-completion/_stream", json={"input": "go on"})
    await response.content.readuntil(b"\n\n")
    before = -1
    for _ in range(100):
        await asyncio.sleep(0.1)
        if provider.sent == before:
            break
        before = provider.sent
    else:
        pytest.fail(f"the provider sent {provider.sent} chunks of 100 kB to a client that reads none")
    response.close()
    await asyncio.wait_for(provider.left.wait(), 10)
