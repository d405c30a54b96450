from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.json_lines import BadLine, Line, read_lines

documents = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=9)))


@given(st.lists(documents, max_size=5))
def test_every_document_is_read_with_its_line_number(documents: list[dict[str, Any]]) -> None:
    lines = list(read_lines([orjson.dumps(document) + b"\n" for document in documents]))
    assert [(line.number, line.document) for line in lines if isinstance(line, Line)] == list(enumerate(documents, 1))


def test_the_made_id_depends_on_the_content_alone() -> None:
    one, two, three = read_lines([b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', b'{"a":1,"b":3}'])
    assert isinstance(one, Line)
    assert isinstance(two, Line)
    assert isinstance(three, Line)
    assert one.id == two.id != three.id


def test_bad_lines_are_named_and_blank_ones_pass() -> None:
    raw = [b'{"id":"a"}\n', b"\n", b"{broken\n", b"[1]\n", b'{"id":null}\n', b'{"id":7}\n', b'{"other":1}']
    read = list(read_lines(raw, "id"))
    assert [line.id for line in read if isinstance(line, Line)] == ["a", "7"]
    assert [line.number for line in read if isinstance(line, BadLine)] == [3, 4, 5, 7]
    assert "not JSON" in next(line.reason for line in read if isinstance(line, BadLine))


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    (line,) = read_lines([b'\xef\xbb\xbf{"id":"a"}'], "id")
    assert isinstance(line, Line)
