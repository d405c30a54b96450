"""Chat bodies: what Elasticsearch 9.4.3 takes, and where it says that something is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.api.chat_bodies import parse_chat_body
from sidecar.core.errors import XContentParseError
from sidecar.core.generations import GENERATIONS

DETAILS = '{"messages":[{"role":"assistant","content":"c","reasoning_details":[%s]}]}'
CONTENT = '{"messages":[{"role":"user","content":[%s]}]}'
REASONING = '{"messages":[{"role":"user","content":"x"}],"reasoning":%s}'


def read(body: str, generation: str = "9.4") -> Any:
    return parse_chat_body(body.encode(), GENERATIONS[generation]).chat


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (DETAILS % '{"type":"reasoning.text"}', "1:93"),
        (DETAILS % '{"type":"reasoning.text","text":1}', "1:101"),
        (DETAILS % '{"type":"reasoning.text","text":"x","foo":1}', "1:111"),
        (DETAILS % '{"type":"reasoning.text","text":"x","data":"d"}', "1:115"),
        (DETAILS % '{"type":"reasoning.encrypted","data":"x","text":"d"}', "1:120"),
        (DETAILS % '{"type":"REASONING.TEXT","text":"x"}', "1:104"),
        (DETAILS % '"x"', "1:72"),
        (REASONING % '{"enabled":false}', "1:73"),
        (REASONING % '{"enabled":false,"summary":"auto"}', "1:90"),
    ],
)
def test_what_is_refused(body: str, place: str) -> None:
    with pytest.raises(XContentParseError) as raised:
        read(body)
    assert str(raised.value.reason).startswith(f"[{place}] [UnifiedCompletionRequest] failed to parse field [")


def test_older_generations_look_for_an_object_behind_a_bracket() -> None:
    with pytest.raises(XContentParseError, match=r"^\[1:41\] "):
        read(CONTENT % '["a"]', "8.19")


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "reasoning.text", "signature": "s"},
        {"type": "reasoning.encrypted", "data": ""},
        {"type": "reasoning.summary", "summary": "x", "id": "i", "format": "f", "index": 99999999999},
    ],
)
def test_details_of_reasoning_are_kept(detail: dict[str, Any]) -> None:
    (message,) = read(DETAILS % json.dumps(detail)).messages
    assert message["reasoning_details"] == (detail,)


def test_choices_may_be_written_loosely() -> None:
    image = '{"type":"image_url","image_url":{"url":"u","detail":" LOW "}}'
    (message,) = read(CONTENT % ('{"type":" TEXT ","text":"x"},' + image)).messages
    assert message["content"] == [
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
    ]
    assert read(REASONING % '{"effort":" High "}').reasoning == {"effort": "high"}
