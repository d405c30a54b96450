"""Chats in OpenAI's form as Gemini takes them, and Gemini's chunks as callers get them.

Expected values are written out by hand from Google's "Generate content" and "Function calling" references.
"""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.errors import StatusError
from sidecar.core.requests import ChatRequest
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call
from sidecar.services.gemini_chat import chat_body, chat_chunk


def call(*messages: dict[str, Any], task_settings: dict[str, Any] | None = None, **chat: Any) -> Call:
    return Call(
        inference_id="gemini",
        task_type=TaskType.CHAT_COMPLETION,
        settings={},
        task_settings=task_settings or {},
        chat=ChatRequest(messages, **chat),
        stream=True,
    )


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def tool_call(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_results_of_parallel_calls_are_one_turn_and_carry_the_names_of_their_calls() -> None:
    calls = [tool_call(1, "price", '{"item":"coat"}'), tool_call(2, "stock", "")]
    body = chat_body(
        call(
            user("Price and stock?"),
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"euros": 42}'},
            {"role": "tool", "tool_call_id": "call_2", "content": "7"},
            user("Thanks"),
        )
    )
    first = {"functionCall": {"name": "price", "args": {"item": "coat"}, "id": "call_1"}}
    second = {"functionCall": {"name": "stock", "args": {}, "id": "call_2"}}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Price and stock?"}]},
        {"role": "model", "parts": [{**first, "thoughtSignature": "skip_thought_signature_validator"}, second]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "price", "id": "call_1", "response": {"euros": 42}}},
                {"functionResponse": {"name": "stock", "id": "call_2", "response": {"output": "7"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "Thanks"}]},
    ]


def test_a_result_without_its_call_is_named_by_its_id() -> None:
    body = chat_body(call({"role": "tool", "tool_call_id": "call_9", "content": "x"}))
    assert body["contents"][0]["parts"][0]["functionResponse"]["name"] == "call_9"


def test_system_messages_stand_apart_and_empty_texts_are_dropped() -> None:
    system = {"role": "system", "content": "Be brief"}
    body = chat_body(call(user([{"type": "text", "text": ""}, {"type": "text", "text": "Hi"}]), system))
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief"}]},
    }


def test_the_request_bounds_the_answer_before_the_task_settings_do() -> None:
    settings = {"max_tokens": 5, "thinking_config": {"thinking_budget": 9}}
    assert chat_body(call(user("Hi"), task_settings=settings))["generationConfig"] == {
        "maxOutputTokens": 5,
        "thinkingConfig": {"thinkingBudget": 9},
    }
    config = chat_body(call(user("Hi"), task_settings=settings, max_completion_tokens=7))["generationConfig"]
    assert config["maxOutputTokens"] == 7


def test_an_effort_replaces_the_thinking_budget() -> None:
    settings = {"thinking_config": {"thinking_budget": 9}}
    body = chat_body(call(user("Hi"), task_settings=settings, reasoning={"effort": "low", "exclude": True}))
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "LOW", "includeThoughts": False}


@pytest.mark.parametrize(
    ("messages", "chat", "named"),
    [
        ([{"role": "developer", "content": "A"}], {}, "Role [developer]"),
        ([user([{"type": "image_url", "image_url": {"url": "data:,"}}])], {}, "[image_url]"),
        ([user("Hi"), {"role": "system", "content": ""}], {}, "System message"),
        ([{"role": "tool", "content": "x"}], {}, "tool_call_id"),
        ([{"role": "assistant", "tool_calls": [tool_call(1, "f", "{")]}], {}, "[call_1]"),
        ([user("Hi")], {"tool_choice": "required"}, "Tool choice value [required]"),
        ([user("Hi")], {"reasoning": {"effort": "xhigh"}}, "[xhigh]"),
    ],
)
def test_what_has_no_counterpart_is_refused(messages: list[dict[str, Any]], chat: dict[str, Any], named: str) -> None:
    with pytest.raises(StatusError) as refusal:
        chat_body(call(*messages, **chat))
    assert named in str(refusal.value.reason)
    assert refusal.value.status == 400


CHUNK = {
    "responseId": "r1",
    "modelVersion": "gemini",
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "Hm", "thought": True}, {"text": "A"}, {"text": "B"}]}},
    ],
    "usageMetadata": {
        "promptTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 12,
    },
}


def test_thoughts_stand_apart_where_reasoning_was_asked_for() -> None:
    chunk = chat_chunk(CHUNK, has_reasoning=True)
    assert chunk["choices"] == [{"delta": {"content": "AB", "role": "model", "reasoning": "Hm"}, "index": 0}]
    assert chunk["usage"] == {"completion_tokens": 8, "prompt_tokens": 4, "total_tokens": 12}


def test_thoughts_belong_to_the_content_where_it_was_not() -> None:
    chunk = chat_chunk(CHUNK, has_reasoning=False)
    assert chunk["choices"] == [{"delta": {"content": "HmAB", "role": "model"}, "index": 0}]
    assert chunk["usage"]["completion_tokens"] == 5


def test_a_bare_chunk_is_a_chunk() -> None:
    assert chat_chunk({}, has_reasoning=False) == {"choices": [], "object": "chat.completion.chunk"}
