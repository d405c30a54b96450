"""The readers of every provider's stream: the same items however the bytes are cut, and failures, but no surprises."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.results import ChatChunk, CompletionDelta, StreamItem
from sidecar.services.calls import StreamFailedError, StreamReader
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
    return [block + b"\n\n" for block in body.split(b"\n\n") if block.strip()]


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
