"""Search bodies between bytes and values: numbers keep their digits, vectors may be arrays."""

from __future__ import annotations

import json
from typing import Any

import orjson

from sidecar.core.json_bytes import json_bytes


class RepeatedNameError(ValueError):
    """An object has a name twice, which Elasticsearch refuses."""


def read_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in ``data``; ``None`` for anything else, such as one that has a name twice."""
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_object(value: Any) -> bytes:
    """``value`` as JSON; arrays of single precision are written with their own few digits."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a number beyond 64 bits, half a surrogate pair
        return json_bytes(json.dumps(value, ensure_ascii=False, default=lambda item: item.tolist()))


def whole_number(value: object) -> int | None:
    """A number of hits as the body or a parameter has it; ``None`` where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise RepeatedNameError
    return result
