"""The JSON scanner: same values as the standard library, same places as Elasticsearch for what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import XContentParseError
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.token_reader import Token

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


def read(text: bytes) -> Any:
    scanner = JsonScanner(text)
    scanner.next()
    return scanner.value()


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_reads_what_the_standard_library_writes(value: Any, ascii_only: bool, indent: int | str | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert read(text) == json.loads(text)


@given(JSON, st.data())
def test_a_broken_text_is_told_with_its_place(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"x": value}).encode()
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(XContentParseError, match=r"^\[1:\d+\] ") as raised:
        read(text[:cut])
    column = int(str(raised.value.reason).split("]")[0].split(":")[1])
    assert column == cut + 1


@given(st.binary(max_size=40))
def test_no_bytes_break_the_scanner(text: bytes) -> None:
    scanner = JsonScanner(text)
    try:
        while scanner.next() is not None:
            if scanner.token is Token.STRING:
                scanner.text()
    except XContentParseError as error:
        assert error.reason


@given(st.text(max_size=60))
def test_what_the_standard_library_takes_is_taken(text: str) -> None:
    def refuse(_name: str) -> None:
        raise ValueError("not JSON")

    try:
        expected = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return
    assert read(text.encode("utf-8", "surrogatepass")) == expected


# What a real Elasticsearch 9.4.3 answered to these bodies.
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": openai}', "[1:14] Unrecognized token 'openai'"),
        (b"not json", "[1:5] Unrecognized token 'not'"),
        (b'{"a":NaN}', "[1:9] Non-standard token 'NaN'"),
        (b"{'a':1}", "[1:2] Unexpected character (''' (code 39)): was expecting double-quote to start field name"),
        (b'{"a":1,}', "[1:8] Unexpected character ('}' (code 125)): was expecting double-quote to start field name"),
        (b'{"a":1 "b":2}', "[1:8] Unexpected character ('\"' (code 34)): was expecting comma"),
        (b'{"a" 1}', "[1:6] Unexpected character ('1' (code 49)): was expecting a colon"),
        (b'{"a":01}', "[1:7] Invalid numeric value: Leading zeroes not allowed"),
        (b'{"a":-}', "[1:7] Unexpected character ('}' (code 125)) in numeric value: expected digit"),
        (b'{"a":1.}', "[1:8] Unexpected character ('}' (code 125)) in numeric value: Decimal point"),
        (b'{"a":"\\q"}', "[1:8] Unrecognized character escape 'q' (code 113)"),
        (b'{"a":1]', "[1:7] Unexpected close marker ']': expected '}'"),
        (b'{"a":1,"a":2}', "[1:11] Duplicate field 'a'"),
        (b'{"a":"\xff"}', "[1:8] Invalid UTF-8 start byte 0xff"),
        (b'{\n "a":\r\n  tru}', "[3:7] Unrecognized token 'tru'"),
        (b'{"input":-Infinity}', "[1:19] Non-standard token '-Infinity'"),
        (b'{"\xff":1}', "[1:5] Invalid UTF-8 start byte 0xff"),
        (b'\xef\xbb{"input":"a"}', "[1:3] Invalid UTF-8 start byte 0xbb"),
        (b'{"input":\xc3\xa9}', "[1:12] Invalid UTF-8 start byte 0xa9"),
        (b'{"input":\xe2\x80\xa8"a"}', "[1:12] Invalid UTF-8 start byte 0x80"),
        (b'{\xc2\xa0"input":"a"}', "[1:3] Unexpected character ('\xa0' (code 160)): was expecting double-quote"),
    ],
)
def test_places_are_those_of_elasticsearch(text: bytes, reason: str) -> None:
    with pytest.raises(XContentParseError) as raised:
        read(text)
    assert str(raised.value.reason).startswith(reason)
    assert raised.value.cause is not None and raised.value.cause.type == "json_parse_exception"


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (b'{"a":', "x_content_e_o_f_exception", "[1:6] Unexpected end of file"),
        (b'{"a":1', "x_content_e_o_f_exception", "[1:7] Unexpected end of file"),
        (b'{"a":1, ', "x_content_parse_exception", "[1:9] Unexpected end-of-input within/between Object entries"),
    ],
)
def test_the_end_of_the_text_has_a_type_of_its_own(text: bytes, kind: str, reason: str) -> None:
    with pytest.raises(XContentParseError) as raised:
        read(text)
    assert raised.value.type == kind
    assert str(raised.value.reason).startswith(reason)


def test_older_generations_do_not_name_the_end_of_the_text() -> None:
    scanner = JsonScanner(b'{"a":1', names_end_of_input=False)
    with pytest.raises(XContentParseError, match="close marker") as raised:
        while scanner.next():
            pass
    assert raised.value.type == "x_content_parse_exception"


def test_bodies_are_not_repeated_in_messages() -> None:
    with pytest.raises(XContentParseError) as raised:
        read(b'{"api_key": "very-secret", oops}')
    assert "very-secret" not in str(raised.value.reason)


@pytest.mark.parametrize("text", [b'\xef\xbb\xbf{"a":1}', b'/* c */ {"a": // d\n1}', b'{"a":1} and more'])
def test_marks_comments_and_what_follows_are_skipped(text: bytes) -> None:
    assert read(text) == {"a": 1}


# As Elasticsearch reads them.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(('{"a":"é"}'.encode(encoding), "é") for encoding in ("utf-16", "utf-16-be", "utf-16-le", "utf-32-be")),
        (b'{"a":"b\xed\xa0\x80"}', "b\ud800"),
        (b'{"a":"b\xc0\x80"}', "b\0"),
        (b'{"a":"\xf4\x90\x80\x80"}', "\udc00\udc00"),
    ],
)
def test_other_encodings_and_loose_utf_8_are_read(text: bytes, value: str) -> None:
    assert read(text) == {"a": value}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":' * 5000, "depth (1001) exceeds the maximum allowed (1000, from `StreamReadConstraints.getMaxNesting"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "Document nesting depth (401) exceeds the maximum allowed (400)"),
        (
            b"9" * 1500,
            "length (1500) exceeds the maximum allowed (1000, from `StreamReadConstraints.getMaxNumberLength()`)",
        ),
    ],
)
def test_depth_and_numbers_are_bounded(text: bytes, reason: str) -> None:
    with pytest.raises(XContentParseError) as raised:
        read(text)
    assert reason in str(raised.value.reason)
    assert raised.value.cause is not None and raised.value.cause.type == "stream_constraints_exception"
