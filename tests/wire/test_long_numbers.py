"""Numbers of thousands of digits, of which Python makes no integer, are too large; no search goes back over them."""

from __future__ import annotations

import json

import pytest

from sidecar.api.chat_bodies import parse_chat_body
from sidecar.core.errors import IllegalArgumentError, XContentParseError
from sidecar.core.generations import GENERATIONS
from sidecar.core.time_values import parse_time_value
from sidecar.services.template import fill

GENERATION = GENERATIONS["9.4"]


@pytest.mark.parametrize("digits", [5_000, 1_000_000])
def test_a_number_in_a_text(digits: int) -> None:
    number = "1" * digits
    body = {"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": number}
    with pytest.raises(XContentParseError) as caught:
        parse_chat_body(json.dumps(body).encode(), GENERATION)
    assert caught.value.cause is not None
    assert caught.value.cause.reason == f"Value [{number}] is out of range for a long"


@pytest.mark.parametrize("text", ["1" * 5_000 + "s", "-" + "1" * 5_000 + "ms", "1" * 1_000_000 + "!s", "1" * 999_999])
def test_a_time_value(text: str) -> None:
    with pytest.raises(IllegalArgumentError):
        parse_time_value(text, "timeout")


@pytest.mark.parametrize("ending", ["x", "1.1.", "e", "0x"])
def test_a_million_digits_that_are_no_number(ending: str) -> None:
    # Gone through again for each digit, this would take hours.
    for text in ("1" * 1_000_000 + ending, "0x" + "1" * 1_000_000 + ending):
        body = {"messages": [{"role": "user", "content": "x"}], "temperature": text}
        with pytest.raises(XContentParseError):
            parse_chat_body(json.dumps(body).encode(), GENERATION)


def test_a_template_of_beginnings_alone() -> None:
    beginnings = "${" * 500_000
    assert fill("${a}" + beginnings, {"a": "b"}) == "b" + beginnings
