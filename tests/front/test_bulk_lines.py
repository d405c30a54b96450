"""Bulks cut into actions, however the body is cut on its way."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.front.bulk_lines import BulkAction, BulkReader, Passage, named_indices, read_action_line

_SOURCE = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


@st.composite
def bulks(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """A body and the operations in it."""
    lines, operations = [], []
    for operation in draw(st.lists(st.sampled_from(["index", "create", "update", "delete"]), max_size=6)):
        ending = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]))
        lines.append(json.dumps({operation: {"_id": "1"}}) + draw(st.sampled_from(["\n", "\r\n"])))
        if operation != "delete":
            lines.append(json.dumps(draw(_SOURCE), ensure_ascii=draw(st.booleans())) + ending)
        operations.append(operation)
    return "".join(lines).encode(), operations


def read(pieces: list[bytes]) -> list[BulkAction | Passage]:
    reader = BulkReader()
    parts = [part for piece in pieces for part in reader.feed(piece)]
    return [*parts, *reader.finish()]


def as_bytes(parts: list[BulkAction | Passage]) -> bytes:
    return b"".join(part.data if isinstance(part, Passage) else part.head + part.source for part in parts)


@given(bulks(), st.lists(st.integers(0, 400), max_size=8))
def test_every_byte_and_every_action_comes_through_however_the_body_is_cut(
    bulk: tuple[bytes, list[str]], cuts: list[int]
) -> None:
    body, operations = bulk
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    parts = read([body[start:end] for start, end in itertools.pairwise(places)])
    assert as_bytes(parts) == body
    assert [part.operation for part in parts if isinstance(part, BulkAction)] == operations


@pytest.mark.parametrize(
    "line",
    [b'{"insert":{}}', b'[{"index":{}}]', b'"index"', b'{"index":null}', b"{}", b"{", b"{} {}"],
)
def test_what_elasticsearch_refuses_goes_on_untouched(line: bytes) -> None:
    body = line + b'\n{"a":1}\n{"index":{}}\n{"a":2}\n'
    parts = read([body])
    assert all(isinstance(part, Passage) for part in parts)
    assert as_bytes(parts) == body


def test_an_unfinished_last_action_is_no_item() -> None:
    parts = read([b'{"index":{}}\n{"a":1}\n{"index":{}}\n{"a"'])
    assert [type(part) for part in parts] == [BulkAction, Passage]


def test_comments_are_read_as_elasticsearch_reads_them() -> None:
    assert read_action_line(b'{"index": /* why */ {"_id":"1"}}\n') == ("index", {"_id": "1"})


_KEYS = st.sampled_from(['"_index"', '"\\u005findex"', '"_id"', '"pipeline"', '"_inde\\u0078"'])
_VALUES = st.sampled_from(['"a"', '"b-1"', '"a*"', '"\\u0061"', "1", "null", '"A"', '{"_index":"c"}'])
_OBJECTS = st.lists(st.tuples(_KEYS, st.sampled_from([":", " : "]), _VALUES), max_size=3).map(
    lambda pairs: "{" + ",".join(key + colon + value for key, colon, value in pairs) + "}"
)


@given(st.lists(st.tuples(_OBJECTS, _OBJECTS), max_size=4), st.sampled_from([None, "path"]))
def test_names_found_without_reading_lines_are_never_too_few(pairs: list[tuple[str, str]], index: str | None) -> None:
    body = "".join(f'{{"index":{action}}}\n{source}\n' for action, source in pairs).encode()
    found = named_indices(body, index)
    actions = [part for part in BulkReader().feed(body) if isinstance(part, BulkAction)]
    if found is not None:
        assert {action.meta.get("_index", index) for action in actions} <= {*found, None}
        assert not any("pipeline" in action.meta for action in actions)


def test_a_bulk_of_plain_lines_is_known_without_reading_them() -> None:
    lines = b'{"index":{"_index":"a"}}\n{"x":1}\n{"delete":{"_id":"1"}}\n'
    assert named_indices(lines, "path") == {"a", "path"}
    assert named_indices(lines, None) == {"a"}
    assert named_indices(lines + b'{"create":{"pipeline":"p"}}\n{}\n', "path") is None
    many = b"".join(b'{"index":{"_index":"i%d"}}\n{}\n' % n for n in range(20))
    assert named_indices(many, None) is None
