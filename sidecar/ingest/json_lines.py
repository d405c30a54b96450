"""Documents out of a file of JSON lines, each with an id that is the same in every run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class Line:
    """A good line: ``hash`` is that of the whole document, whatever the order of its keys; ``size`` in bytes."""

    number: int
    id: str
    document: Mapping[str, Any]
    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no document, and why; ``number`` counts from 1."""

    number: int
    reason: str


def read_lines(lines: Iterable[bytes], id_field: str | None = None) -> Iterator[Line | BadLine]:
    """Every line but blank ones.

    The id is the value of ``id_field`` (a string or a whole number), else the hash of the document, so that a line
    read again is the same document.
    """
    for number, raw in enumerate(lines, 1):
        if raw.strip():
            yield read_line(number, raw, id_field)


def read_line(number: int, raw: bytes, id_field: str | None = None) -> Line | BadLine:
    """One line as a document."""
    try:
        document = orjson.loads(raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw)
    except orjson.JSONDecodeError as error:
        return BadLine(number, f"not JSON: {error.msg}")
    if not isinstance(document, dict):
        return BadLine(number, "not a JSON object")
    digest = blake2b(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    if id_field is None:
        return Line(number, digest, document, digest, len(raw))
    value = document.get(id_field)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        return BadLine(number, f"field [{id_field}] holds no id")
    if len(str(value).encode()) > LONGEST_ID:
        return BadLine(number, f"the id in field [{id_field}] is longer than {LONGEST_ID} bytes")
    return Line(number, str(value), document, digest, len(raw))
