"""JSON as answers carry it: quickly for vectors, in Elasticsearch's layout for ``pretty``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import orjson

from sidecar.core.json_bytes import json_bytes

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
# Values written in one go by the library, which lets no other thread run meanwhile.
_AT_ONCE = 4096


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


def write_large_json(body: Any) -> bytes:
    """What :func:`write_json` writes, in pieces of milliseconds: for threads beside the event loop."""
    return b"".join(_pieces(body))


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, Mapping):
        if _has_containers(value.values()):
            yield b"{"
            for number, (name, item) in enumerate(value.items()):
                yield (b"," if number else b"") + write_json(str(name)) + b":"
                yield from _pieces(item)
            yield b"}"
        else:
            items = iter(value.items())
            parts = (write_json(dict(part))[1:-1] for part in _parts(items))
            yield b"{" + b",".join(parts) + b"}"
    elif isinstance(value, (list, tuple)):
        if _has_containers(value):
            yield b"["
            for number, item in enumerate(value):
                if number:
                    yield b","
                yield from _pieces(item)
            yield b"]"
        else:
            yield b"[" + b",".join(write_json(part)[1:-1] for part in _parts(iter(value))) + b"]"
    else:
        yield write_json(value)


def _has_containers(values: Iterable[Any]) -> bool:
    return any(isinstance(value, (Mapping, list, tuple, np.ndarray)) for value in values)


def _parts(items: Iterator[Any]) -> Iterator[list[Any]]:
    while part := list(islice(items, _AT_ONCE)):
        yield part


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
