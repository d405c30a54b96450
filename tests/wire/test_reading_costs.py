"""Good bodies and bad ones are read in time that grows with their size, and means the same on both ways."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.api.chat_bodies import parse_chat_body
from sidecar.api.inference_bodies import parse_inference_body
from sidecar.core.errors import SidecarError
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from sidecar.wire.body_formats import parse_mapping, read_value
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.json_values import AT_ONCE_BYTES, NotPlainError, read_json
from sidecar.wire.json_writer import write_json, write_large_json
from tests.wire.test_json_scanner import JSON

GENERATION = GENERATIONS["9.4"]
MESSAGE = b'{"role":"user","content":"' + b"words and words \\n" * 10 + b'"},'
GROUP = b'{"content":[{"type":"text","value":"some words"}]},'


def chat(data: bytes) -> Any:
    return parse_chat_body(data, GENERATION)


def embedding(data: bytes) -> Any:
    types = {"task_type": TaskType.EMBEDDING, "url_task_type": TaskType.EMBEDDING}
    return parse_inference_body(data, generation=GENERATION, **types)


def dense(data: bytes) -> Any:
    types = {"task_type": TaskType.TEXT_EMBEDDING, "url_task_type": TaskType.TEXT_EMBEDDING}
    return parse_inference_body(data, generation=GENERATION, **types)


def settings(data: bytes) -> Any:
    return parse_mapping(data, GENERATION)


def processor_seconds(read: Callable[[bytes], Any], data: bytes) -> float:
    """The least of five: what the machine does beside it only adds."""
    least = float("inf")
    for _ in range(5):
        began = time.thread_time()
        with contextlib.suppress(SidecarError):
            read(data)
        least = min(least, time.thread_time() - began)
    return least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "head", "part", "tail"),
    [
        (chat, b'{"messages":[', MESSAGE, b'{"role":"user","content":"x"}]}'),
        (chat, b'{"messages":[', MESSAGE, b'{"role":"user","content":"x"}],"unknown":1}'),
        (chat, b'{"messages":[', MESSAGE, b'{"role":"user","content":"x}'),
        (embedding, b'{"input":[', GROUP, b'"x"]}'),
        (embedding, b'{"input":[', GROUP, b"1]}"),
        (dense, b'{"timeout":"1s","input":[', b'"some words",', b'"x"]}'),
        (dense, b'{"input":[', b'"some words",', b'"x"]'),
        (settings, b'{"service":"openai","x":[', b"1,", b"1]}"),
        (settings, b'{"service":"openai","x":[', b'{"a":1},', b"oops]}"),
    ],
    ids=["chat", "chat-unknown", "chat-cut", "groups", "groups-kind", "texts", "texts-cut", "numbers", "objects-word"],
)
def test_twice_the_body_costs_at_most_three_times_the_time(
    read: Callable[[bytes], Any], head: bytes, part: bytes, tail: bytes
) -> None:
    times = 1 + AT_ONCE_BYTES // len(part)  # both are read in steps
    once = processor_seconds(read, head + part * times + tail)
    four_times = processor_seconds(read, head + part * (4 * times) + tail)
    assert four_times < 9 * once + 0.05


@given(JSON, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_large_texts_are_read_as_small_ones(value: Any, indent: int | str | None, ascii_only: bool) -> None:
    blank = b" " * AT_ONCE_BYTES
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert read_value(blank + text) == read_value(text) == json.loads(text)


@given(st.text(alphabet='{}[]",:\\ \n0123-.eEtruefalsn/*u"a', max_size=40))
def test_what_the_quick_way_takes_the_scanner_takes_as_well(text: str) -> None:
    for data in (text.encode(), b" " * AT_ONCE_BYTES + text.encode()):
        try:
            value = read_json(data)
        except NotPlainError:
            continue
        scanner = JsonScanner(data + b" ")
        scanner.next()
        assert scanner.value() == value


@given(JSON)
@example({"n": [2**64], "f": 1e-9})  # what holds an integer beyond 64 bits is written by another library: 1e-09
def test_large_answers_are_written_as_small_ones(value: Any) -> None:
    large, small = write_large_json(value), write_json(value)
    assert large == small or (json.loads(large) == json.loads(small) == value and _beyond_64_bits(value))


def _beyond_64_bits(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_beyond_64_bits, value.values()))
    if isinstance(value, list):
        return any(map(_beyond_64_bits, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64
