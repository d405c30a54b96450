"""The readers of every provider's stream: the same items however the bytes are cut, and failures, but no surprises."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.generations import GENERATIONS
from sidecar.core.results import ChatChunk, CompletionDelta, StreamItem
from sidecar.services.calls import StreamFailedError, StreamReader
from sidecar.services.openai_shapes import CHAT_FAILURES, ChatStream
from tests.services import frames
from tests.services.altered import altered
from tests.services.recordings import VERSIONS, Recording, recordings, services
from tests.services.sample_calls import sample_call
from tests.services.stand_in import Reply

Json = Any


def reader(case: Recording) -> StreamReader:
    """A new reader of the case's stream."""
    task, call = sample_call(case)
    assert task.stream is not None
    return task.stream(call)


@functools.cache
def streams() -> dict[str, Recording]:
    """By id, one recorded stream of every kind of reader that there is for a task type."""
    found: dict[tuple[Json, ...], Recording] = {}
    for service in services():
        for case in recordings(service, VERSIONS[0]):
            is_stream = case.call["path"].endswith("/_stream") and case.call_replies
            if is_stream and case.call_replies[0].get("status", 200) == 200 and case.create_answer["status"] == 200:
                content_type = case.call_replies[0]["headers"]["content-type"]
                found.setdefault((type(reader(case)), case.task_type, content_type), case)
    return {case.id: case for case in found.values()}


def read(reader: StreamReader, *pieces: bytes) -> tuple[list[StreamItem], str | None]:
    """The items of a whole stream, and the reason of the failure that ends it, if there is one."""
    items: list[StreamItem] = []
    try:
        for piece in pieces:
            items += reader.feed(piece)
        items += reader.finish()
    except StreamFailedError as failure:
        return [*items, *failure.items], failure.error.reason or ""
    return items, None


def told(items: list[StreamItem]) -> Json:
    """Deltas as one text; chunks without an id that is made up for each stream."""
    text = "".join(delta for item in items if isinstance(item, CompletionDelta) for delta in item.deltas)
    bodies = [item.body for item in items if isinstance(item, ChatChunk)]
    return text, json.loads(re.sub(r"unified-[0-9a-f-]+", "unified", json.dumps(bodies)))


def events(case: Recording) -> list[bytes]:
    """The recorded stream, event by event, saying more than ASCII."""
    reply = Reply.recorded(case.call_replies[0])
    if reply.headers["content-type"] == frames.CONTENT_TYPE:
        return [frames.replaced(frame, b'"Hel', '"Hé€😀'.encode()) for frame in frames.split(reply.body)]
    body = reply.body.replace(b'"Hel', '"Hé€😀'.encode())
    end = b"\n" if reply.headers["content-type"] == "application/x-ndjson" else b"\n\n"
    return [block + end for block in body.split(end) if block.strip()]


@pytest.mark.parametrize("name", streams())
@settings(max_examples=50)
@given(cuts=st.lists(st.integers(1, 150), min_size=1, max_size=10))
def test_the_bytes_may_be_cut_anywhere(name: str, cuts: list[int]) -> None:
    case = streams()[name]
    body = b"".join(events(case))
    pieces: list[bytes] = []
    position = 0
    while position < len(body):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[position : position + size])
        position += size
    whole, failure = read(reader(case), body)
    items, other_failure = read(reader(case), *pieces)
    assert told(items) == told(whole)
    assert other_failure == failure


@pytest.mark.parametrize("name", streams())
@settings(max_examples=50)
@given(data=st.data())
def test_whatever_the_json_holds_there_are_items_or_a_failure(name: str, data: st.DataObject) -> None:
    case = streams()[name]
    pieces = events(case)
    number = data.draw(st.integers(0, len(pieces) - 1))
    pieces[number] = changed(pieces[number], data)
    before, _ = read(reader(case), *pieces[:number])
    items, _ = read(reader(case), *pieces)
    for item in told(before)[1]:
        assert item in told(items)[1]
    json.dumps(told(items))


@pytest.mark.parametrize("odd", [[None], {}, "7", 1.5, None])
def test_a_count_of_tokens_that_is_none_is_no_count(odd: object) -> None:
    case = streams()["googlevertexai/chat_completion/garden_anthropic_tool_choice_object"]
    start = {
        "type": "message_start",
        "message": {"role": "assistant", "usage": {"input_tokens": 1, "output_tokens": odd}},
    }
    items, _ = read(reader(case), b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n")
    (chunk,) = told(items)[1]
    assert chunk["usage"] == {"completion_tokens": 0, "prompt_tokens": 1, "total_tokens": 1}


def changed(event: bytes, data: st.DataObject) -> bytes:
    """The event with some other value anywhere in its JSON."""
    if (match := re.search(rb"\{.*\}", event, re.DOTALL)) is None:
        return event
    if event[:1] != b"\0":
        return event.replace(match[0], json.dumps(altered(json.loads(match[0]), data)).encode())
    payload = event[frames.payload_start(event) : -4]
    match = re.search(rb"\{.*\}", payload, re.DOTALL)
    if match is None:
        return event
    return frames.replaced(event, match[0], json.dumps(altered(json.loads(match[0]), data)).encode())


CHUNK: Json = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "delta": {
                "content": "Hel",
                "reasoning": "Greet.",
                "reasoning_content": "not passed on",
                "reasoning_details": [{"type": "reasoning.text", "text": "Greet."}],
            },
            "finish_reason": None,
        }
    ],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
    },
}


def read_chat(chunk: Json, generation: str) -> tuple[list[StreamItem], str | None]:
    _, call = sample_call(streams()["ai21/chat_completion/basic"])
    call = dataclasses.replace(call, generation=GENERATIONS[generation])
    return read(ChatStream(call, CHAT_FAILURES), b"data: " + json.dumps(chunk).encode() + b"\n\n")


def test_chunks_tell_of_reasoning_and_of_details_of_usage_from_9_4_on() -> None:
    body = {"id": "c1", "model": "m", "object": "chat.completion.chunk"}
    usage = {"completion_tokens": 2, "prompt_tokens": 1, "total_tokens": 3}
    newer = {name: CHUNK["choices"][0]["delta"][name] for name in ("content", "reasoning", "reasoning_details")}
    details = {
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert read_chat(CHUNK, "9.4") == (
        [ChatChunk({**body, "choices": [{"delta": newer, "index": 0}], "usage": {**usage, **details}})],
        None,
    )
    assert read_chat(CHUNK, "8.19") == (
        [ChatChunk({**body, "choices": [{"delta": {"content": "Hel"}, "index": 0}], "usage": usage})],
        None,
    )


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        ({"id": "c1"}, "Required [choices]"),
        ({"id": "c1", "choices": 1}, "expecting token of type [START_ARRAY] but found [VALUE_NUMBER]"),
        ({"id": "c1", "choices": ["a"]}, "expecting token of type [START_OBJECT] but found [VALUE_STRING]"),
    ],
)
def test_a_chunk_that_is_none_ends_the_stream(chunk: Json, reason: str) -> None:
    items, failure = read_chat(chunk, "9.4")
    assert items == []
    assert failure is not None
    assert failure.endswith(reason)
