"""JSON as answers carry it: quickly for vectors, in Elasticsearch's layout for ``pretty``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from sidecar.core.json_bytes import json_bytes

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def write_json(body: Any, *, pretty: bool = False) -> bytes:
    """``body`` as UTF-8; float32 arrays are written with the fewest digits that name the same float32.

    ``pretty`` gives two spaces of indent, ``"key" : value`` and a newline at the end.
    """
    if pretty:
        return json_bytes(_pretty(body, "") + "\n")
    try:
        return orjson.dumps(body, default=_plain, option=_OPTIONS)
    except (TypeError, orjson.JSONEncodeError):
        # A lone surrogate from a caller's escape sequence, or an integer beyond 64 bits.
        return json_bytes(json.dumps(plain(body), ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def plain(body: Any) -> Any:
    """``body`` with numpy arrays and other sequences as lists of Python numbers."""
    if isinstance(body, Mapping):
        return {str(key): plain(item) for key, item in body.items()}
    if isinstance(body, (list, tuple)):
        return [plain(item) for item in body]
    if isinstance(body, np.ndarray):
        # Through orjson, so that every float32 keeps its short form.
        return orjson.loads(orjson.dumps(np.ascontiguousarray(body), option=_OPTIONS))
    if isinstance(body, np.generic):
        return plain(np.asarray([body]))[0]
    return body


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray):
        return plain(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def _pretty(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, np.ndarray):
        value = plain(value)
    if isinstance(value, Mapping):
        if not value:
            return "{ }"
        items = (f"{deeper}{_scalar(str(key))} : {_pretty(item, deeper)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)):
        if not value:
            return "[ ]"
        return "[\n" + ",\n".join(deeper + _pretty(item, deeper) for item in value) + f"\n{indent}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    try:
        return orjson.dumps(value, option=_OPTIONS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
