"""Documents out of a file of JSON lines, each with an id that is the same in every run.

Three forms are read: plain documents; the lines of a bulk request, an action and its document by turns; hits of a
search as tools export them, ``{"_id": ..., "_source": {...}}``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

import orjson

from sidecar.elastic.source import values_at
from sidecar.ingest.literal import LiteralNumber, has_telling_numbers, load_literally

LONGEST_ID = 512

_ID = "_id"
_ABSENT = object()
_ACTIONS = ("index", "create", "update", "delete")
_ACTION_KEYS = {
    "_index", "_id", "_type", "routing", "_routing", "version", "version_type", "if_seq_no", "if_primary_term",
    "require_alias", "require_data_stream", "dynamic_templates", "pipeline", "list_executed_pipelines", "op_type",
}  # fmt: skip
_ANSWER = {"took", "timed_out", "_shards", "hits"}
_METADATA = ("_id", "_index", "_source", "_routing", "_version", "_seq_no", "_primary_term", "_ignored", "_doc_count")


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a line says who it is: dotted paths of the id and of the routing value."""

    id: str | None = None
    routing: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A good line: ``hash`` is that of the whole document, whatever the order of its keys; ``size`` in bytes.

    ``keeps`` says that a document that is there already stays (``create``).
    """

    number: int
    id: str
    document: Mapping[str, Any]
    hash: str
    size: int
    routing: str | None = None
    keeps: bool = False

    @property
    def key(self) -> tuple[str, str | None]:
        """What names the document in its index."""
        return self.id, self.routing


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no document, and why; ``number`` counts from 1."""

    number: int
    reason: str


def read_lines(
    lines: Iterable[bytes], id_field: str | None = None, routing_field: str | None = None
) -> Iterator[Line | BadLine]:
    """Every document of the file; blank lines pass.

    The id is that of the action or hit, else the value of ``id_field`` (a string or a whole number), else the hash of
    the document, so that a line read again is the same document.
    """
    fields = Fields(id_field, routing_field)
    filled = ((number, raw) for number, raw in enumerate(lines, 1) if raw.strip())
    first = next(filled, None)
    if first is None:
        return
    every = chain((first,), filled)
    if _action_of(_parsed(*first)) is not None:
        yield from _read_bulk(every, fields)
    else:
        yield from (read_line(number, raw, id_field, routing_field) for number, raw in every)


def read_line(number: int, raw: bytes, id_field: str | None = None, routing_field: str | None = None) -> Line | BadLine:
    """One line as a document, plain or in a hit of a search."""
    value = _parsed(number, raw)
    if isinstance(value, BadLine):
        return value
    if value.keys() >= _ANSWER:
        return BadLine(number, "a whole answer of a search: write one hit a line (jq -c '.hits.hits[]' does)")
    fields = Fields(id_field, routing_field)
    if isinstance(value.get("_source"), dict):
        return _named(number, raw, value["_source"], value, fields)
    return _named(number, raw, value, {}, fields)


def _read_bulk(lines: Iterator[tuple[int, bytes]], fields: Fields) -> Iterator[Line | BadLine]:
    for number, raw in lines:
        value = _parsed(number, raw)
        action = _action_of(value)
        if isinstance(value, BadLine) or action is None:
            yield value if isinstance(value, BadLine) else BadLine(number, "no action of a bulk request")
            continue
        name, head = action
        if name == "delete":
            yield BadLine(number, "[delete] is an action that sidecar index does not do")
            continue
        below = next(lines, None)
        if below is None:
            yield BadLine(number, f"no document follows the action [{name}]")
            return
        document = _parsed(*below)
        if isinstance(document, BadLine):
            yield document
        elif name == "update":
            yield BadLine(number, "[update] is an action that sidecar index does not do")
        else:
            yield _named(*below, document, head, fields, keeps=name == "create")


def _action_of(value: Mapping[str, Any] | BadLine) -> tuple[str, Mapping[str, Any]] | None:
    """The action of a bulk request and what it says of the document, ``None`` for anything else."""
    if isinstance(value, BadLine) or len(value) != 1:
        return None
    ((name, head),) = value.items()
    if name not in _ACTIONS or not isinstance(head, dict) or not set(head) <= _ACTION_KEYS:
        return None
    return name, head


def _parsed(number: int, raw: bytes) -> dict[str, Any] | BadLine:
    """The object of a line, numbers with their digits."""
    raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
    try:
        value = load_literally(raw) if has_telling_numbers(raw) else orjson.loads(raw)
        if has_telling_numbers(raw):
            raw.decode()
    except UnicodeDecodeError as error:
        return BadLine(number, f"not UTF-8: {error.reason}")
    except orjson.JSONDecodeError as error:
        if number == 1 and raw.lstrip().startswith(b"["):
            return BadLine(number, _ARRAY)
        return BadLine(number, "not UTF-8" if _is_encoding(raw) else f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        return BadLine(number, f"not JSON: {error}")
    if isinstance(value, list):
        return BadLine(number, _ARRAY)
    return value if isinstance(value, dict) else BadLine(number, "not a JSON object")


_ARRAY = "a JSON array, no object: write one document a line (jq -c '.[]' does)"


def _is_encoding(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False


def other_kind(head: bytes) -> str | None:
    """What a file is that begins with ``head`` and is no JSON lines, ``None`` for one that may be."""
    return next((kind for begin, kind in _KINDS.items() if head.startswith(begin)), None)


_KINDS = {
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it first",
    b"BZh": "compressed (bzip2): unpack it first",
    b"\xfd7zXZ": "compressed (xz): unpack it first",
    b"PK\x03\x04": "compressed (zip): unpack it first",
    b"\xff\xfe": "text in UTF-16, not in UTF-8",
    b"\xfe\xff": "text in UTF-16, not in UTF-8",
}


def _named(
    number: int,
    raw: bytes,
    document: dict[str, Any],
    head: Mapping[str, Any],
    fields: Fields,
    *,
    keeps: bool = False,
) -> Line | BadLine:
    """The document under its id: that of ``head`` (an action, a hit), else its own."""
    own = _ABSENT
    if _ID in document and fields.id is not None and fields.id.partition(".")[0] == _ID:
        own = next(values_at(document, fields.id), None)
        document = {name: item for name, item in document.items() if name != _ID}
    if metadata := next((name for name in _METADATA if name in document), None):
        hint = _hint(metadata, document[metadata])
        return BadLine(number, f"field [{metadata}] is metadata, which no document may hold{hint}")
    digest = _digest(document)
    if digest is None:
        return BadLine(number, "not JSON: half a surrogate pair in a string")
    made = digest
    if _ID in head:
        name, where = head[_ID], _ID
        if own is not _ABSENT and str(own) != str(name):
            return BadLine(number, f"the line has two ids, [{name}] and [{own}] in the document's [{fields.id}]")
    elif own is not _ABSENT:
        name, where = own, fields.id or _ID
    elif fields.id is not None:
        name, where = next(values_at(document, fields.id), None), fields.id
    else:
        name, where = made, _ID
    if not _is_name(name):
        return BadLine(number, f"field [{where}] holds no id")
    if len(str(name).encode()) > LONGEST_ID:
        return BadLine(number, f"the id in field [{where}] is longer than {LONGEST_ID} bytes")
    routing = head.get("routing", head.get("_routing"))
    if routing is None and fields.routing is not None:
        routing = next(values_at(document, fields.routing), None)
        if not _is_name(routing):
            return BadLine(number, f"field [{fields.routing}] holds no routing value")
    return Line(number, str(name), document, digest, len(raw), None if routing is None else str(routing), keeps)


def _hint(metadata: str, value: Any) -> str:
    """What to do about metadata in a document."""
    if metadata != _ID:
        return "; that of a hit stands in [_source], that of an action on the line below"
    inner = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
    return f": say --id-field {_ID}" + ("" if inner is None else f".{inner}")


def _is_name(value: Any) -> bool:
    """Whether a value may be an id or a routing value: a string that is not empty, or a whole number."""
    if isinstance(value, LiteralNumber):
        return value.is_whole
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _digest(document: Mapping[str, Any]) -> str | None:
    """The hash of a document whatever the order of its keys, ``None`` for one that UTF-8 cannot carry."""
    try:
        text = orjson.dumps(document, default=_number, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return blake2b(text, digest_size=16).hexdigest()


def _number(value: Any) -> float | str:
    if value.is_whole and -(2**63) <= (whole := int(value.literal)) < 2**64:
        return whole
    return float(value) if math.isfinite(value) else str(value.literal)
