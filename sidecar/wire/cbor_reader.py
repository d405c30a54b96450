"""CBOR by the library, once its items are counted: a byte can be an array, and ten million of them take a gigabyte."""

from __future__ import annotations

from typing import Any

import cbor2

from sidecar.wire.json_text import CONTAINER_COUNTS_AS, MAX_VALUES, too_many_items, too_many_values
from sidecar.wire.stretches import Steps
from sidecar.wire.yaml_reader import unreadable

_BYTES, _TEXT, _ARRAY, _MAP = 2, 3, 4, 5
# Up to this size there cannot be too many.
_UNCOUNTED_BYTES = 256 * 1024


def read_cbor(data: bytes, most_items: int | None = None) -> Any:
    """The first item in ``data``; half a microsecond an item.

    Raises ``XContentParseError``, also for an array whose head announces more than ``most_items`` values.
    """
    if len(data) > min(_UNCOUNTED_BYTES, most_items or _UNCOUNTED_BYTES):
        _check_count(data, MAX_VALUES if most_items is None else most_items)
    try:
        return cbor2.load(Steps(data))
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise unreadable("1:1", "stream_read_exception", f"the body is no CBOR: {type(error).__name__}") from None


def _check_count(data: bytes, most_items: int) -> None:
    """Goes from head to head (RFC 8949, section 3) without regard for what belongs to what."""
    at, left, end = 0, MAX_VALUES, len(data)
    while at < end:
        kind, more = data[at] >> 5, data[at] & 31
        at += 1
        size = more
        if 24 <= more < 28:
            width = 1 << (more - 24)
            size = int.from_bytes(data[at : at + width])
            at += width
        if kind in (_BYTES, _TEXT) and more < 28:
            at += size
        if kind == _ARRAY and more < 28 and size > most_items:
            raise too_many_items(most_items)
        left -= CONTAINER_COUNTS_AS if kind in (_ARRAY, _MAP) else 1
        if left < 0:
            raise too_many_values()
