"""The lines of a bulk as they come: action lines and what belongs to them, cut as Elasticsearch cuts them.

Whatever it would refuse is not judged here: from there on the body goes on as it is, and the cluster refuses it.
Source: Elasticsearch API reference, "Bulk index or delete documents"; what empty lines, ``\\r\\n`` and unfinished
bodies mean is what nodes of 8.19.8 and 9.4.3 make of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.core.errors import SidecarError
from sidecar.front.json_members import has_each_name_once
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.token_reader import Token

WITH_SOURCE = frozenset({"index", "create", "update"})
_OPERATIONS = WITH_SOURCE | {"delete"}
# All other parameters of an action are simple values.
_OBJECTS = frozenset({"dynamic_templates", "_source"})


@dataclass(slots=True)  # not frozen: that makes a hundred thousand of them cost three times as much
class BulkAction:
    """One action: ``head`` is its line, ``source`` the line below (empty for deletes), both with their line ends.

    ``meta`` is what the action line says, ``{"_index": ..., "_id": ...}``.
    """

    operation: str
    meta: Mapping[str, Any]
    head: bytes
    source: bytes = b""

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.head) + len(self.source)

    @property
    def id(self) -> str | None:
        """The document's id, where the action names one."""
        identity = self.meta.get("_id")
        return None if identity is None else str(identity)

    @property
    def is_plain(self) -> bool:
        """Whether the action line says where the document lies and nothing that the cluster might refuse."""
        if not all(isinstance(self.meta.get(name, ""), str) for name in _PLACE) or not _PLACE.issuperset(self.meta):
            return False
        return has_each_name_once(self.head, {self.operation: self.meta})


_PLACE = frozenset({"_index", "_id", "routing", "pipeline"})
# Lines that begin so have a source below them.
_WITH_SOURCE_BELOW = tuple(f'{{"{operation}":'.encode() for operation in sorted(WITH_SOURCE))
# Written out in a name, a letter could hide "_index" or "pipeline" from a search for it.
_ESCAPED_LETTER = re.compile(rb"\\u00[2-7]")
_NAMED_INDEX = re.compile(rb'"_index"\s*:\s*"([a-z0-9.][a-z0-9._-]*)"')
_MOST_NAMES = 16


@dataclass(frozen=True, slots=True)
class Passage:
    """Bytes between or behind actions that go on as they are: empty lines, an unfinished or refused rest."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return len(self.data)


class BulkReader:
    """Cuts a body that comes in pieces. :meth:`feed` every piece, then :meth:`finish`."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: list[bytes] = []
        self._is_opaque = False
        self._last: tuple[bytes, tuple[str, Mapping[str, Any]] | None] = (b"", None)

    @property
    def is_opaque(self) -> bool:
        """Whether an action line came that the cluster refuses, and the whole body with it."""
        return self._is_opaque

    def feed(self, data: bytes) -> Iterator[BulkAction | Passage]:
        """What is whole with ``data``; the iterator must be exhausted before the next piece."""
        if self._is_opaque:
            yield Passage(data)
            return
        if b"\n" not in data:
            self._parts.append(data)
            return
        text = b"".join((self._rest, *self._parts, data)) if self._rest or self._parts else data
        self._parts = []
        at = 0
        while (end := text.find(b"\n", at)) >= 0:
            head = text[at : end + 1]
            if not head.strip():
                yield Passage(head)
                at = end + 1
                continue
            if head != self._last[0]:  # most bulks say the same in every action line, or all but an id
                self._last = head, read_action_line(head)
            action = self._last[1]
            if action is None:
                self._is_opaque = True
                break
            operation, meta = action
            if operation not in WITH_SOURCE:
                yield BulkAction(operation, meta, head)
                at = end + 1
                continue
            last = text.find(b"\n", end + 1)
            if last < 0:
                break
            yield BulkAction(operation, meta, head, text[end + 1 : last + 1])
            at = last + 1
        self._rest = text[at:]
        if self._is_opaque:
            yield Passage(self._rest)
            self._rest = b""

    def finish(self) -> Iterator[Passage]:
        """What is left when the body ends."""
        rest = b"".join((self._rest, *self._parts))
        self._rest, self._parts = b"", []
        if rest:
            yield Passage(rest)


def read_action_line(line: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """Operation and parameters of an action line; ``None`` for one that Elasticsearch refuses."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = _read_loosely(line)
    if not isinstance(value, dict) or not value:
        return None
    # 8.x reads the first operation alone, 9.x refuses a line with more.
    operation, meta = next(iter(value.items()))
    if operation not in _OPERATIONS or not isinstance(meta, dict):
        return None
    if any(isinstance(held, (list, dict)) and name not in _OBJECTS for name, held in meta.items()):
        return None
    return operation, meta


def _read_loosely(line: bytes) -> Any:
    """What Elasticsearch's parser takes beyond JSON, comments for one."""
    scanner = JsonScanner(line)
    try:
        if scanner.next() is not Token.START_OBJECT:
            return None
        value = scanner.value()
        return value if scanner.next() is None else None
    except SidecarError:
        return None


def named_indices(body: bytes, index: str | None) -> set[str] | None:
    """Every index that a body might write to, found without reading its lines; ``index`` is that of the path.

    ``None`` where only reading them tells: an action may name a pipeline, or a name may be written in another way.
    What looks like a name within a document may count as well: the answer may hold too many names, never too few.
    """
    lines = _action_lines(body)
    if b'"pipeline"' in lines or _ESCAPED_LETTER.search(lines):
        return None
    found = _NAMED_INDEX.findall(lines)
    if len(found) != lines.count(b"_index"):
        return None
    names = {name.decode() for name in found} | ({index} if index else set())
    return names if len(names) <= _MOST_NAMES else None


def _action_lines(body: bytes) -> bytes:
    """The action lines of a body alone, where every second line is seen to be one; else all of the body."""
    heads = body.split(b"\n")[::2]
    if heads and not heads[-1]:
        heads.pop()
    return b"\n".join(heads) if all(head.startswith(_WITH_SOURCE_BELOW) for head in heads) else body
