"""A document's source as bytes and as values, read as Elasticsearch reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.core.json_bytes import json_bytes
from sidecar.front.json_members import has_each_name_once, members
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.token_reader import Token

# Integers that need more than 64 bits have so many digits; the quick parser rounds them, to floats.
_EXACT = frozenset({str, int, bool, type(None)})
_LONG_NUMBER = b"0" * 19
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)


@dataclass(slots=True)  # one a document, as the actions of a bulk: freezing it costs more than all else of it
class SourceText:
    """``raw`` is valid JSON without comments that begins with the object ``document``.

    ``is_alone`` says that nothing but blanks is known to stand behind it.
    """

    raw: bytes
    document: dict[str, Any]
    is_alone: bool = False


def read_source(raw: bytes, *, strict: bool = True) -> SourceText | None:
    """The object in ``raw``; ``None`` for anything else, which the cluster refuses by itself.

    With ``strict`` it is read as for a field that infers: what Elasticsearch's parser refuses raises
    ``XContentParseError``, a name that stands twice in an object among it, and text behind the object is left out.
    Without, such text stays, and what cannot be read gives ``None``: the cluster judges both.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _read_slowly(raw, strict)
    if not isinstance(value, dict):
        return None
    if strict and not has_each_name_once(raw, value):
        return _read_slowly(raw, strict)
    if not _EXACT.issuperset(map(type, value.values())) and _LONG_NUMBER in raw.translate(_DIGITS_AS_ZEROS):
        value = json.loads(raw)
    return SourceText(raw, value, is_alone=True)


def _read_slowly(raw: bytes, strict: bool) -> SourceText | None:
    scanner = JsonScanner(raw.removesuffix(b"\n").removesuffix(b"\r"))  # the end of a bulk's line is not the text's
    try:
        if scanner.next() is not Token.START_OBJECT:
            return None
        document: dict[str, Any] = scanner.value()
    except Exception:
        if strict:
            raise
        return None
    if b"/*" in raw or b"//" in raw or not raw.lstrip().startswith(b"{"):
        # Comments could hide quotes and braces; what is written anew has none.
        raw = json_bytes(json.dumps(document, ensure_ascii=False)) + raw[len(raw.rstrip()) :]
    elif strict:
        _, last = members(raw)
        raw = raw[: last + 1] + raw[len(raw.rstrip()) :]
    return SourceText(raw, document)
