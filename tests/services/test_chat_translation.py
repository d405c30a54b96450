"""Chats in OpenAI's form, translated for providers with forms of their own, and their streams translated back.

Expected values are written out by hand from Anthropic's and Amazon's API references.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import SidecarError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.requests import ChatRequest, InferenceRequest
from sidecar.core.results import ChatChunk, CompletionDelta, StreamItem
from sidecar.core.tasks import TaskType
from sidecar.inference.remote import make_call
from sidecar.services import amazonbedrock, anthropic, anthropic_shapes
from sidecar.services.anthropic_shapes import MessageStream, check_chat
from sidecar.services.bedrock_converse import ConverseStream
from sidecar.services.calls import Call, StreamFailedError
from sidecar.services.event_stream import Frame
from tests.services.frames import encoded
from tests.services.recordings import VERSIONS, Recording, recordings, services
from tests.services.sample_calls import sample_call

TOOL = {
    "type": "function",
    "function": {"name": "get_price", "description": "Price of an item", "parameters": {"type": "object"}},
}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_price", "arguments": '{"item":"coat"}'}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief"},
    {"role": "user", "content": "Price of a coat?"},
    {"role": "assistant", "content": "Looking", "tool_calls": [TOOL_CALL]},
    {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    {"role": "user", "content": "In euros?"},
]


def call(settings: dict[str, Any], messages: list[dict[str, Any]], **chat: Any) -> Call:
    return Call(
        inference_id="chat-1",
        task_type=TaskType.CHAT_COMPLETION,
        settings=settings,
        task_settings={"max_tokens": 1024, "temperature": 0.2, "top_k": 5} if "model_id" in settings else {},
        secrets={"api_key": "k"},
        chat=ChatRequest(tuple(messages), **chat),
        stream=True,
    )


# --- Anthropic -----------------------------------------------------------------------------------------------


def anthropic_body(messages: list[dict[str, Any]], **chat: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(anthropic.request_chat(call({"model_id": "claude"}, messages, **chat)).body)
    return body


def test_anthropic_gets_its_own_form() -> None:
    body = anthropic_body(
        CONVERSATION,
        tools=(TOOL,),
        tool_choice={"type": "function", "function": {"name": "get_price"}},
        temperature=0.5,
        max_completion_tokens=7,
        stop=("END",),
    )
    assert body == {
        "model": "claude",
        "system": "Be brief",
        "messages": [
            {"role": "user", "content": "Price of a coat?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking"},
                    {"type": "tool_use", "id": "call_1", "name": "get_price", "input": {"item": "coat"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "42"}]}
                ],
            },
            {"role": "user", "content": "In euros?"},
        ],
        "temperature": 0.5,
        "top_k": 5,
        "stop_sequences": ["END"],
        "tool_choice": {"type": "tool", "name": "get_price"},
        "tools": [{"name": "get_price", "description": "Price of an item", "input_schema": {"type": "object"}}],
        "stream": True,
        "max_tokens": 7,
    }


def test_anthropic_takes_task_settings_where_the_chat_says_nothing() -> None:
    body = anthropic_body([{"role": "user", "content": "Hi"}], model="other")
    assert body["model"] == "other"
    assert (body["max_tokens"], body["temperature"], body["top_k"]) == (1024, 0.2, 5)


def test_several_system_messages_become_blocks() -> None:
    messages = [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, CONVERSATION[1]]
    assert anthropic_body(messages)["system"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


@pytest.mark.parametrize(
    ("item", "block"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
                "title": "a.txt",
            },
        ),
    ],
)
def test_images_and_files_become_blocks(item: dict[str, Any], block: dict[str, Any]) -> None:
    body = anthropic_body([{"role": "user", "content": [{"type": "text", "text": "See"}, item]}])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "See"}, block]}]


def test_empty_content_is_one_empty_text() -> None:
    body = anthropic_body([{"role": "user", "content": ""}])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": ""}]}]


@pytest.mark.parametrize(("choice", "kind"), [("none", "none"), ("auto", "auto"), ("required", "any")])
def test_tool_choices_have_other_names(choice: str, kind: str) -> None:
    assert anthropic_body(CONVERSATION, tools=(TOOL,), tool_choice=choice)["tool_choice"] == {"type": kind}


@pytest.mark.parametrize(
    ("messages", "chat"),
    [
        ([{"role": "robot", "content": "Hi"}], {}),
        ([{"role": "tool", "content": "42"}], {}),
        ([{"role": "user", "content": "Hi"}], {"tools": (TOOL,), "tool_choice": "sometimes"}),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}], {}),
        ([{"role": "assistant", "tool_calls": [TOOL_CALL | {"function": {"name": "f", "arguments": "[1"}}]}], {}),
    ],
)
@pytest.mark.parametrize("service", ["anthropic", "bedrock"])
def test_what_has_no_counterpart_is_refused(service: str, messages: list[dict[str, Any]], chat: dict[str, Any]) -> None:
    bedrock = {"region": "r", "provider": "ANTHROPIC", "model": "m"}
    with pytest.raises(SidecarError) as caught:
        if service == "anthropic":
            check_chat(call({"model_id": "m"}, messages, **chat))
        else:
            amazonbedrock.check_converse(call(bedrock, messages, **chat))
    assert caught.value.status == 400


def test_anthropic_knows_no_strict_functions() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    with pytest.raises(SidecarError, match="strict"):
        anthropic_body(CONVERSATION, tools=(strict,))


EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "role": "assistant",
            "model": "m",
            "usage": {"input_tokens": 13, "output_tokens": 1},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " "}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"x":1}'}},
    {"type": "content_block_stop", "index": 1},
    {"type": "something_new", "value": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 10}},
    {"type": "message_stop"},
]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def read(task_type: TaskType, data: bytes) -> list[StreamItem]:
    reader = MessageStream(
        Call(inference_id="chat-1", task_type=task_type, settings={}, stream=True), anthropic_shapes.FAILURES
    )
    return [*reader.feed(data), *reader.finish()]


def test_anthropics_events_become_chunks() -> None:
    bodies = [item.body for item in read(TaskType.CHAT_COMPLETION, sse(EVENTS)) if isinstance(item, ChatChunk)]
    assert {(body["id"], body["model"], body["object"]) for body in bodies} == {("msg_1", "m", "chat.completion.chunk")}
    assert [body["choices"] for body in bodies] == [
        [{"delta": {"role": "assistant"}, "index": 0}],
        [{"delta": {"content": ""}, "index": 0}],
        [{"delta": {"content": " "}, "index": 0}],
        [
            {
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "t", "function": {"arguments": "{}", "name": "f"}, "type": "function"}
                    ]
                },
                "index": 1,
            }
        ],
        [
            {
                "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":1}'}, "type": "function"}]},
                "index": 1,
            }
        ],
        [{"delta": {}, "finish_reason": "tool_use", "index": 0}],
    ]
    assert bodies[0]["usage"] == {"completion_tokens": 1, "prompt_tokens": 13, "total_tokens": 14}
    assert bodies[-1]["usage"] == {"completion_tokens": 10, "prompt_tokens": 0, "total_tokens": 10}


def test_a_completion_takes_the_text_of_anthropics_events_only() -> None:
    assert read(TaskType.COMPLETION, sse(EVENTS)) == [CompletionDelta((" ",))]


@pytest.mark.parametrize(
    ("kind", "status"), [("rate_limit_error", 429), ("overloaded_error", 500), ("invalid_request_error", 400)]
)
def test_an_error_within_anthropics_stream_keeps_what_came_before(kind: str, status: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Too much"}}
    with pytest.raises(StreamFailedError) as caught:
        read(TaskType.COMPLETION, sse([*EVENTS[:4], error]))
    assert caught.value.items == [CompletionDelta((" ",))]
    assert caught.value.error.status == status
    assert caught.value.error.reason == (
        "Received an error response for request from inference entity id [chat-1]. Error message: [Too much]"
    )


# --- Amazon Bedrock ------------------------------------------------------------------------------------------


def bedrock_body(messages: list[dict[str, Any]], **chat: Any) -> dict[str, Any]:
    settings = {"region": "r", "provider": "ANTHROPIC", "model": "m"}
    body: dict[str, Any] = json.loads(amazonbedrock.request_chat(call(settings, messages, **chat)).body)
    return body


def test_bedrock_gets_alternating_turns() -> None:
    choice = {"type": "function", "function": {"name": "get_price"}}
    body = bedrock_body(CONVERSATION, tools=(TOOL,), tool_choice=choice, top_p=0.5)
    assert body == {
        "messages": [
            {"role": "user", "content": [{"text": "Price of a coat?"}]},
            {
                "role": "assistant",
                "content": [
                    {"text": "Looking"},
                    {"toolUse": {"toolUseId": "call_1", "name": "get_price", "input": {"item": "coat"}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "call_1", "content": [{"text": "42"}]}}]},
            {"role": "assistant", "content": [{"text": "Please continue."}]},
            {"role": "user", "content": [{"text": "In euros?"}]},
        ],
        "system": [{"text": "Be brief"}],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "get_price",
                        "description": "Price of an item",
                        "inputSchema": {"json": {"type": "object"}},
                    }
                }
            ],
            "toolChoice": {"tool": {"name": "get_price"}},
        },
        "inferenceConfig": {"topP": 0.5},
    }


def test_bedrock_conversations_begin_with_the_user_and_join_what_belongs_together() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": [{"type": "text", "text": "there"}]},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    assert bedrock_body(messages)["messages"] == [
        {"role": "user", "content": [{"text": "Hi"}]},
        {"role": "assistant", "content": [{"text": "Hello"}, {"text": "there"}]},
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
    ]


def test_bedrocks_frames_become_chunks() -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"x"'}}}),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {"usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12}, "metrics": {}}),
    ]
    settings = {"region": "r", "provider": "ANTHROPIC", "model": "m"}
    reader = ConverseStream(call(settings, CONVERSATION))
    data = b"".join(encoded(Frame("event", name, json.dumps(payload).encode())) for name, payload in events)
    bodies = [item.body for item in reader.feed(data) if isinstance(item, ChatChunk)]
    assert len({body["id"] for body in bodies}) == 1
    assert all(body["model"] == "m" and body["object"] == "chat.completion.chunk" for body in bodies)
    start = {"index": 0, "id": "t", "function": {"name": "f"}, "type": "function"}
    delta = {"index": 0, "function": {"arguments": '{"x"'}, "type": "function"}
    assert [body.get("choices") for body in bodies] == [
        [{"delta": {"role": "assistant"}, "index": 0}],
        [{"delta": {"role": "assistant", "tool_calls": [start]}, "index": 1}],
        [{"delta": {"tool_calls": [delta]}, "index": 1}],
        [{"delta": {}, "finish_reason": "tool_calls", "index": 0}],
        None,
    ]
    assert bodies[-1]["usage"] == {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("tool_use", "tool_calls"),
    ],
)
def test_bedrocks_stop_reasons_are_translated(reason: str, finish: str) -> None:
    settings = {"region": "r", "provider": "ANTHROPIC", "model": "m"}
    frame = Frame("event", "messageStop", json.dumps({"stopReason": reason}).encode())
    (chunk,) = ConverseStream(call(settings, CONVERSATION)).read(frame)
    assert isinstance(chunk, ChatChunk)
    assert chunk.body["choices"][0]["finish_reason"] == finish


# --- reasoning -----------------------------------------------------------------------------------------------


@functools.cache
def chats() -> dict[str, Recording]:
    """By id, a chat of every service, and of every form that the endpoint's settings choose."""
    found: dict[tuple[Any, ...], Recording] = {}
    for service in services():
        for case in recordings(service, VERSIONS[0]):
            if case.task_type == "chat_completion" and case.create_answer["status"] == 200:
                settings = case.create["body"]["service_settings"]
                found.setdefault((service, settings.get("api"), settings.get("provider")), case)
    return {case.id: case for case in found.values()}


@pytest.mark.parametrize("name", chats())
def test_reasoning_is_passed_on_or_refused_but_never_dropped(name: str) -> None:
    case = chats()[name]
    task, sample = sample_call(case)
    endpoint = Endpoint("id", sample.task_type, case.service, sample.settings, sample.task_settings)
    chat = ChatRequest(({"role": "user", "content": "Hi"},), reasoning={"effort": "low"})
    try:
        made = make_call(task, endpoint, sample.secrets, InferenceRequest(chat=chat, stream=True), DEFAULT_GENERATION)
    except SidecarError as error:
        assert (error.type, error.status) == ("unsupported_operation_exception", 400)
        assert error.reason == (f"The {case.service} service does not support unified completion with reasoning inputs")
        assert not task.reads_reasoning or case.service in ("amazon_sagemaker", "googlevertexai")
    else:
        assert b'"low"' in task.request(replace(made, token="T")).body.lower()
