import bz2
import gzip
import lzma
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.action import build_action
from sidecar.ingest.document import Candidate, Plan, Ref
from sidecar.ingest.json_lines import BadLine, Line, read_lines
from sidecar.ingest.marker import Marker
from tests.ingest.command import run_command

names = st.text(max_size=5).filter(lambda name: not name.startswith("_"))  # those are metadata
documents = st.dictionaries(names, st.one_of(st.integers(-(2**53), 2**53), st.text(max_size=9)))


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


NUMBERS = ["123456789012345678901234567890", "0.12345678901234567890123", "1e400", "1.50", "-0", "1E5", "0.1", "7"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(number: str) -> None:
    raw = b'{"id":"a","n":[' + number.encode() + b'],"text":"' + number.encode() + b'"}'
    (line,) = read_lines([raw], "id")
    assert isinstance(line, Line)
    candidate = Candidate(Ref("i", "a"), Marker(), document=line.document)
    body = build_action(candidate, Plan(()), {}, None, datetime(2026, 1, 1, tzinfo=UTC)).body
    assert body.startswith(raw[:-1] + b',"sidecar"')


def test_what_is_no_number_is_refused() -> None:
    for raw in (b'{"a":NaN,"b":1e5}', b'{"a":-Infinity,"b":1e5}'):
        (line,) = read_lines([raw])
        assert isinstance(line, BadLine)
        assert line.reason.startswith("not JSON")


def test_the_made_id_is_that_of_earlier_versions() -> None:
    (line,) = read_lines([b'{"a":1.50,"b":12345678901234567890}'])
    assert isinstance(line, Line)
    assert line.id == blake2b(b'{"a":1.5,"b":12345678901234567890}', digest_size=16).hexdigest()


def test_ids_of_other_forms() -> None:
    raw = [b'{"_id":"a","text":"t"}', b'{"_id":7}', b'{"text":"t"}', b'{"_id":""}', b'{"_id":1.5}']
    read = list(read_lines(raw, "_id"))
    assert [(line.id, line.document) for line in read if isinstance(line, Line)] == [("a", {"text": "t"}), ("7", {})]
    assert [line.number for line in read if isinstance(line, BadLine)] == [3, 4, 5]
    (line,) = read_lines([b'{"_id":"a","text":"t"}'])
    assert isinstance(line, BadLine)
    assert "--id-field _id" in line.reason
    (line,) = read_lines([b'{"meta":{"id":"m"},"r":"x"}'], "meta.id", "r")
    assert isinstance(line, Line)
    assert (line.id, line.routing) == ("m", "x")


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ([b'{"_id":"a","text":"t"}'], "_id"),
        ([b'{"_id":{"$oid":"a"},"text":"t"}'], "_id.$oid"),
        ([b'{"index":{}}', b'{"_id":"a","text":"t"}'], "_id"),
        ([b'{"index":{"_id":"a"}}', b'{"_id":"a","text":"t"}'], "_id"),
        ([b'{"_id":"a","_source":{"_id":"a","text":"t"}}'], "_id"),
        ([b'{"_score":1,"_source":{"_id":"a","text":"t"}}'], "_id"),
    ],
)
def test_the_hint_about_an_id_in_the_document_holds_wherever_it_stands(lines: list[bytes], path: str) -> None:
    (refused,) = read_lines(lines)
    assert isinstance(refused, BadLine)
    assert refused.reason.endswith(f": say --id-field {path}")
    (read,) = read_lines(lines, path)
    assert isinstance(read, Line)
    assert (read.id, read.document) == ("a", {"text": "t"})


def test_two_ids_and_other_metadata_are_refused() -> None:
    (line,) = read_lines([b'{"_id":"a","_source":{"_id":"b"}}'], "_id")
    assert isinstance(line, BadLine)
    assert line.reason == "the line has two ids, [a] and [b] in the document's [_id]"
    (line,) = read_lines([b'{"_id":"a","_index":"i","text":"t"}'], "_id")
    assert isinstance(line, BadLine)
    assert "field [_index] is metadata" in line.reason
    assert "stands in [_source]" in line.reason


def test_lines_of_a_bulk_request() -> None:
    raw = [
        b'{"index":{"_id":"a","routing":"r"}}',
        b'{"text":"one"}',
        b"",
        b'{"create":{"_id":"b"}}',
        b'{"text":"two"}',
        b'{"delete":{"_id":"c"}}',
        b'{"update":{"_id":"d"}}',
        b'{"doc":{"text":"three"}}',
        b'{"index":{}}',
        b'{"text":"four"}',
        b'{"text":"no action"}',
        b'{"index":{"_id":"e"}}',
    ]
    read = list(read_lines(raw))
    good = [(line.number, line.id, line.routing, line.keeps) for line in read if isinstance(line, Line)]
    assert good[:2] == [(2, "a", "r", False), (5, "b", None, True)]
    assert [(number, len(name)) for number, name, _, _ in good[2:]] == [(10, 32)]
    assert [line.number for line in read if isinstance(line, BadLine)] == [6, 7, 11, 12]


def test_a_document_that_looks_like_an_action_but_stands_alone_is_one() -> None:
    (line,) = read_lines([b'{"index":{"name":"people"}}'])
    assert isinstance(line, Line)
    assert line.document == {"index": {"name": "people"}}


def test_hits_of_a_search() -> None:
    raw = b'{"_index":"old","_id":"a","_score":1.0,"_routing":"r","_source":{"text":"one"}}'
    (line,) = read_lines([raw])
    assert isinstance(line, Line)
    assert (line.id, line.routing, line.document) == ("a", "r", {"text": "one"})


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (gzip.compress(b"{}", mtime=0), "compressed (gzip)"),
        (bz2.compress(b"{}"), "compressed (bzip2)"),
        (lzma.compress(b"{}"), "compressed (xz)"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_told_before_anything_is_made(tmp_path: Path, raw: bytes, kind: str) -> None:
    file = tmp_path / "documents"
    file.write_bytes(raw)
    arguments = ("index", "none", str(file), "--map", "text:d=.multilingual-e5-small-elasticsearch")
    ended = run_command(tmp_path, *arguments, "--elasticsearch-url", "http://127.0.0.1:1")
    assert ended.exit_code == 2
    assert kind in " ".join(ended.output.split())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([b'[{"a": 1},\n', b'{"a": 2}]\n'], "a JSON array"),
        ([b'[{"a": 1}]\n'], "a JSON array"),
        (['{"a": "caf\u00e9"}\n'.encode("latin-1")], "not UTF-8"),
        ([b'{"took": 1, "timed_out": false, "_shards": {}, "hits": {"hits": []}}\n'], "a whole answer of a search"),
    ],
)
def test_a_first_line_of_another_form_is_named(raw: list[bytes], reason: str) -> None:
    first = next(iter(read_lines(raw)))
    assert isinstance(first, BadLine)
    assert first.reason.startswith(reason)
