"""A list that is too long is refused where it passes the limit: what stands behind that place is never looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import cbor2
import pytest
import yaml

from sidecar.api.chat_bodies import parse_chat_body
from sidecar.api.inference_bodies import parse_inference_body
from sidecar.core.errors import XContentParseError
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from sidecar.wire.body_formats import as_json, parse_mapping, read_value
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.json_text import MAX_ITEMS
from sidecar.wire.media_types import Format

GENERATION = GENERATIONS["9.4"]
REASON = f"An array holds more than [{MAX_ITEMS}] values, which is the most for one call: send them in several"
Read = Callable[[bytes], Any]


def infer(data: bytes, task_type: TaskType = TaskType.TEXT_EMBEDDING) -> Any:
    return parse_inference_body(data, generation=GENERATION, task_type=task_type, url_task_type=task_type)


def scan(data: bytes) -> Any:
    scanner = JsonScanner(data, most_items=MAX_ITEMS)
    scanner.next()
    return scanner.value()


def refusal(read: Read, data: bytes) -> XContentParseError:
    with pytest.raises(XContentParseError) as caught:
        read(data)
    return caught.value


READERS: dict[str, tuple[Read, bytes]] = {
    "compat": (read_value, b'{"inputs":['),
    "texts": (infer, b'{"input":['),
    "groups": (partial(infer, task_type=TaskType.EMBEDDING), b'{"input":['),
    "settings": (partial(parse_mapping, generation=GENERATION), b'{"service":"x","y":['),
    "chat": (partial(parse_chat_body, generation=GENERATION), b'{"messages":['),
    "scanner": (scan, b'{"x":['),
}


@pytest.mark.parametrize("item", [b'"a"', b'"a longer text"', b'"a\\n"', b"1", b'{"a":[]}', b"[]", b"null"])
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("blank", [b"", pytest.param(b" \n  ", marks=pytest.mark.slow)])
def test_json_is_not_read_beyond_the_limit(name: str, item: bytes, blank: bytes) -> None:
    read, head = READERS[name]
    if name in ("chat", "groups", "scanner") and item == b'{"a":[]}':
        item = b"{}"
    error = refusal(read, head + (blank + item + b",") * MAX_ITEMS + item + b" this is no JSON")
    if item in (b'{"a":[]}', b"{}", b"[]") and name != "scanner":
        assert error.status == 413  # So many objects are too many values, whatever they stand in.
    else:
        assert (error.status, error.reason) == (413, REASON)


@pytest.mark.parametrize("name", ["compat", "texts", "settings", "scanner"])
def test_as_many_as_the_limit_are_read(name: str) -> None:
    read, head = READERS[name]
    read(head + b'"a",' * (MAX_ITEMS - 1) + b'"a"]}')


YAML_HEADS = {"flow": (b"input: [", b"a, "), "block": (b"input:\n", b"- a\n")}


@pytest.mark.parametrize("form", YAML_HEADS)
def test_yaml_is_not_read_beyond_the_limit(form: str) -> None:
    head, item = YAML_HEADS[form]
    error = refusal(lambda data: as_json(data, Format.YAML, MAX_ITEMS), head + item * (MAX_ITEMS + 5) + b"\n\t}} ]")
    assert (error.status, error.reason) == (413, REASON)
    texts = ["a"] * MAX_ITEMS
    whole = yaml.dump(texts, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)).encode()
    assert json.loads(as_json(whole, Format.YAML, MAX_ITEMS)) == texts


def test_cbor_is_refused_for_what_a_head_announces() -> None:
    announced = cbor2.dumps({"input": ["a"] * (MAX_ITEMS + 1)})
    for cut in (announced, announced[: len(announced) - MAX_ITEMS] + b"\xff" * MAX_ITEMS):
        error = refusal(lambda data: as_json(data, Format.CBOR, MAX_ITEMS), cut)
        assert (error.status, error.reason) == (413, REASON)


def test_cbor_lists_without_a_length_are_counted() -> None:
    def unending(count: int) -> bytes:
        return b"\xa1\x65input\x9f" + b"\x61a" * count + b"\xff"

    error = refusal(lambda data: as_json(data, Format.CBOR, MAX_ITEMS), unending(MAX_ITEMS + 1))
    assert (error.status, error.reason) == (413, REASON)
    assert json.loads(as_json(unending(MAX_ITEMS), Format.CBOR, MAX_ITEMS)) == {"input": ["a"] * MAX_ITEMS}


def test_bodies_that_are_the_clusters_have_no_such_limit() -> None:
    texts = ["a"] * (MAX_ITEMS + 1)
    assert json.loads(as_json(cbor2.dumps(texts), Format.CBOR)) == texts
    assert json.loads(as_json(b"- a\n" * len(texts), Format.YAML)) == texts
