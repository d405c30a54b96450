"""What is read in stretches is read as in one go, wherever a stretch ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import XContentParseError
from sidecar.wire import json_text, json_values, stretches
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.json_values import AT_ONCE_BYTES, NotPlainError, read_json
from sidecar.wire.stretches import decoded, encoded

TEXTS = st.text(st.sampled_from('ab"\\/\n\u00e9\u6587\U0001f642\u2028d8u'), max_size=60)


@pytest.fixture(scope="module", autouse=True)
def short_stretches() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module in (json_text, json_values, stretches):
            patch.setattr(module, "STRETCH", 7)
        yield


def scanned(data: bytes) -> Any:
    scanner = JsonScanner(data)
    scanner.next()
    return scanner.value()


@given(TEXTS, TEXTS, st.booleans())
def test_long_strings_and_names(name: str, text: str, ascii_only: bool) -> None:
    body = {name: text, "list": [text, text]}
    data = json.dumps(body, ensure_ascii=ascii_only).encode()
    assert read_json(b" " * AT_ONCE_BYTES + data) == json.loads(data)
    assert scanned(b" " * 30 + data) == json.loads(data)


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude42", "\\\\", "a", "\\u0041", "\u00e9"]), max_size=30))
def test_pairs_and_halves_of_pairs(letters: list[str]) -> None:
    data = f'["{"".join(letters)}"]'.encode()
    assert read_json(b" " * AT_ONCE_BYTES + data) == json.loads(data)
    assert scanned(data) == json.loads(data)


@pytest.mark.parametrize("tail", ["\\x", "\\u12", "\\u12G4", "\\", "\n", "\x00", ""])
def test_a_wrong_letter_behind_many_is_told_at_its_place(tail: str) -> None:
    short, long = (b'["' + b"a" * count + tail.encode() + b'"]' * (tail != "") for count in (1, 50))
    with pytest.raises(NotPlainError):
        read_json(b" " * AT_ONCE_BYTES + long)
    with pytest.raises(XContentParseError) as near:
        scanned(short)
    with pytest.raises(XContentParseError) as far:
        scanned(long)
    places = [str(error.value.reason).split("]")[0].removeprefix("[1:") for error in (near, far)]
    assert int(places[1]) - int(places[0]) == 49


@given(st.text(max_size=40), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be"]))
def test_encodings(text: str, encoding: str) -> None:
    assert decoded(text.encode(encoding), encoding) == text
    assert encoded(text) == text.encode()


@pytest.mark.parametrize("data", [b"a" * 20 + b"\xff", b"a" * 20 + b"\xc3"])
def test_what_is_not_in_the_encoding_is_refused(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decoded(data)


def test_loose_letters_across_stretches() -> None:
    assert scanned(b'["' + b"\xed\xa0\xbd\xed\xb9\x82" * 9 + b'"]') == ["\U0001f642" * 9]
    assert scanned(b'["' + b"\xc3\xa9\xed\xa0\xbd" * 9 + b'"]') == ["\u00e9\ud83d" * 9]
