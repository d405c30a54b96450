"""``/v1/chat/completions``: OpenAI's own form over a chat endpoint, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.services.conftest import Bench
from tests.services.stand_in import Reply


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def tool_call(**part: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **part}]}


CHUNKS = (
    chunk({"role": "assistant", "content": "Hel"}),
    chunk({"content": "lo"}),
    chunk(tool_call(id="t1", type="function", function={"name": "f", "arguments": '{"a"'})),
    chunk(tool_call(function={"arguments": ": 1}"}), finish_reason="tool_calls"),
    {**chunk({}), "choices": [], "usage": {"completion_tokens": 2, "prompt_tokens": 1, "total_tokens": 3}},
)
ASKED = {
    "model": "chats",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 5,
    "temperature": 0.5,
    "user": "someone",
    "stream_options": {"include_usage": True},
}


def played(*chunks: Any) -> Reply:
    body = "".join(f"data: {json.dumps(sent)}\n\n" for sent in chunks) + "data: [DONE]\n\n"
    return Reply(headers={"content-type": "text/event-stream"}, body=body.encode())


@pytest.fixture
async def chats(bench: Bench) -> Bench:
    bench.provider.is_open = True
    bench.provider.replies = [played(*CHUNKS)]
    bench.provider.repeats = True
    endpoint = {"service": "openai", "service_settings": {"api_key": "k", "model_id": "gpt"}}
    created = await bench.send("PUT", "/_inference/chat_completion/chats", endpoint)
    assert created["status"] == 200, created
    bench.provider.calls.clear()
    return bench


async def test_a_whole_chat(chats: Bench) -> None:
    answer = await chats.send("POST", "/v1/chat/completions", ASKED)
    assert answer["status"] == 200
    choice = answer["body"]["choices"][0]
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert choice["message"] == {"role": "assistant", "content": "Hello", "tool_calls": [call]}
    assert choice["finish_reason"] == "tool_calls"
    assert answer["body"]["usage"]["total_tokens"] == 3
    assert answer["body"]["object"] == "chat.completion"
    sent = json.loads(chats.provider.calls[-1].body)
    assert (sent["model"], sent["max_completion_tokens"], sent["temperature"]) == ("gpt", 5, 0.5)


async def test_a_streamed_chat(chats: Bench) -> None:
    async with chats.open("POST", "/v1/chat/completions", ASKED | {"stream": True}) as response:
        assert response.content_type == "text/event-stream"
        events = (await response.text()).strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "Hello"
    assert all(c["object"] == "chat.completion.chunk" and "created" in c for c in chunks)


async def test_errors_are_openais(chats: Bench) -> None:
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | {"model": "nothing"})
    assert answer["status"] == 404
    assert set(answer["body"]["error"]) == {"message", "type", "param", "code"}
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | {"n": 2})
    assert (answer["status"], answer["body"]["error"]["message"]) == (422, "[n] must be 1")
    other = await chats.send("POST", "/v1/chat/completions", ASKED | {"model": ".rerank-v1-elasticsearch"})
    assert "chats need [chat_completion]" in other["body"]["error"]["message"]
