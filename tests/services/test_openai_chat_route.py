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


async def chunks_of(chats: Bench, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with chats.open("POST", "/v1/chat/completions", body | {"stream": True}) as response:
        events = (await response.text()).strip().split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize(
    ("options", "told"),
    [({}, False), ({"stream_options": None}, False), ({"stream_options": {}}, False)]
    + [({"stream_options": {"include_usage": asked}}, asked) for asked in (False, True)],
)
async def test_the_chunk_of_the_usage_is_for_those_who_ask_for_it(
    chats: Bench, options: dict[str, Any], told: bool
) -> None:
    """Who does not ask looks into the first choice of every chunk, as OpenAI's documentation does."""
    plain = {name: value for name, value in ASKED.items() if name != "stream_options"}
    chunks = await chunks_of(chats, plain | options)
    assert [chunk["usage"] for chunk in chunks if not chunk["choices"]] == ([CHUNKS[-1]["usage"]] if told else [])
    assert len([chunk for chunk in chunks if chunk["choices"]]) == 4


async def test_what_a_chunk_leaves_out_is_not_null(chats: Bench) -> None:
    """OpenAI's SDK puts parts of a call together, and takes a ``type`` of null for the call's type."""
    chunks = await chunks_of(chats, ASKED)
    assert [chunk["choices"][0] for chunk in chunks if chunk["choices"]][2:] == [
        {
            "index": 0,
            "delta": {
                "tool_calls": [
                    {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
                ]
            },
            "finish_reason": None,
        },
        {
            "index": 0,
            "delta": {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
            "finish_reason": "tool_calls",
        },
    ]


CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# What SDKs send back of an answer, and what reaches the provider of it.
MESSAGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
    ),
    (
        {
            "role": "assistant",
            "content": "Hello",
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        },
        {"role": "assistant", "content": "Hello"},
    ),
    ({"role": "user", "name": "anna", "content": "Hi"}, {"role": "user", "content": "Hi"}),
    ({"role": "assistant", "refusal": "No"}, {"role": "assistant", "content": "No"}),
    (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "No"}]},
    ),
    ({"role": "tool", "tool_call_id": "t1", "content": "2"}, {"role": "tool", "tool_call_id": "t1", "content": "2"}),
]


@pytest.mark.parametrize(("message", "reaches"), MESSAGES)
async def test_messages_as_sdks_send_them(chats: Bench, message: dict[str, Any], reaches: dict[str, Any]) -> None:
    asked = ASKED | {"messages": [message, {"role": "user", "content": "Go on"}]}
    answer = await chats.send("POST", "/v1/chat/completions", asked)
    assert answer["status"] == 200, answer
    sent = json.loads(chats.provider.calls[-1].body)["messages"][0]
    assert sent == reaches


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
        {"logprobs": True},
        {"modalities": ["text", "audio"]},
        {"functions": [{"name": "f"}]},
    ],
)
async def test_an_answer_of_another_form_is_not_promised(chats: Bench, asked: dict[str, Any]) -> None:
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | asked)
    (name,) = asked
    assert (answer["status"], answer["body"]["error"]["message"]) == (422, f"[{name}] is not supported")
    assert not chats.provider.calls


async def test_what_changes_no_form_is_taken(chats: Bench) -> None:
    more: dict[str, Any] = {"seed": 1, "store": False, "parallel_tool_calls": True, "metadata": {"a": "b"}, "n": 1}
    more |= {"response_format": {"type": "text"}, "logprobs": False, "modalities": ["text"], "top_logprobs": None}
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | more)
    assert answer["status"] == 200, answer


async def test_an_error_says_what_is_wrong_within_a_field(chats: Bench) -> None:
    asked = ASKED | {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}
    answer = await chats.send("POST", "/v1/chat/completions", asked)
    assert answer["status"] == 400
    assert "failed to parse field [messages]: " in answer["body"]["error"]["message"]
    assert answer["body"]["error"]["message"].endswith(
        "Unrecognized type [input_audio], must be one of [text, image_url, file]"
    )


async def test_errors_are_openais(chats: Bench) -> None:
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | {"model": "nothing"})
    assert answer["status"] == 404
    assert set(answer["body"]["error"]) == {"message", "type", "param", "code"}
    answer = await chats.send("POST", "/v1/chat/completions", ASKED | {"n": 2})
    assert (answer["status"], answer["body"]["error"]["message"]) == (422, "[n] must be 1")
    other = await chats.send("POST", "/v1/chat/completions", ASKED | {"model": ".rerank-v1-elasticsearch"})
    assert "chats need [chat_completion]" in other["body"]["error"]["message"]
