"""Request bodies as JSON text, whatever they arrived as, and answers in the format the caller asked for."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import yaml

from sidecar.core.errors import OtherError, XContentParseError
from sidecar.core.generations import Generation
from sidecar.core.json_bytes import json_bytes
from sidecar.wire.json_scanner import JsonScanner, Token
from sidecar.wire.json_writer import plain, write_json
from sidecar.wire.media_types import Format

# Both formats can name a part again and again; a few hundred bytes must not become gigabytes of text.
_MOST_GROWTH = 8
_ALWAYS_ALLOWED = 1024 * 1024
# Elasticsearch's own YAML parser reads no more either; this one is slower still.
MAX_YAML_BYTES = 3 * 1024 * 1024


_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def as_json(data: bytes, body_format: Format) -> bytes:
    """``data`` as JSON text; positions in later messages count in that text for YAML and CBOR.

    Raises ``XContentParseError`` for YAML and CBOR that cannot be read. Large YAML takes seconds: call it in a thread.
    """
    if body_format is Format.JSON:
        return data
    value = _load_yaml(data) if body_format is Format.YAML else _load_cbor(data)
    try:
        _check_growth(value, max(_ALWAYS_ALLOWED, _MOST_GROWTH * len(data)))
        return json_bytes(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise XContentParseError(f"[1:1] the {body_format} body holds a value that JSON cannot: {error}") from None


def _check_growth(value: Any, limit: int) -> None:
    """Raises ``ValueError`` when writing every reference out would pass ``limit``; stops counting there."""
    size = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        size += 4 + (len(item) if isinstance(item, (str, bytes)) else 0)
        if isinstance(item, dict):
            waiting += item
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        if size + len(waiting) > limit:
            raise ValueError("too large once every reference in it is written out")


def _load_yaml(data: bytes) -> Any:
    if len(data) > MAX_YAML_BYTES:
        raise _unreadable("1:1", "y_a_m_l_exception", f"the body exceeds the limit of {MAX_YAML_BYTES} bytes")
    try:
        return yaml.load(data, Loader=_YAML_LOADER)  # noqa: S506 - a safe loader, in C where there is one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise _unreadable(place, "marked_y_a_m_l_exception", str(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable("1:1", "y_a_m_l_exception", str(error)) from None


def _load_cbor(data: bytes) -> Any:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise _unreadable("1:1", "stream_read_exception", str(error)) from None


def _unreadable(place: str, cause: str, text: str) -> XContentParseError:
    return XContentParseError(f"[{place}] {text}", cause=OtherError(cause, text))


def parse_mapping(data: bytes, generation: Generation) -> dict[str, Any]:
    """The JSON object in ``data``, every value of it; blank texts and anything but an object count as empty.

    Text behind the object is not looked at. Raises ``XContentParseError`` with ``[line:column]``, and for generations
    that guess the format from the first letter ``OtherError`` for anything but an object.
    """
    if generation.detects_body_format and not data.lstrip().startswith(b"{"):
        raise OtherError(
            "not_x_content_exception",
            "Compressor detection can only be called on some xcontent bytes or compressed xcontent bytes",
        )
    scanner = JsonScanner(data, names_end_of_input=generation.names_end_of_input)
    if scanner.next() is not Token.START_OBJECT:
        return {}
    mapping: dict[str, Any] = scanner.value()
    return mapping


def write_body(body: Any, answer_format: Format, *, pretty: bool = False) -> bytes:
    """``body`` in the answer's format; ``pretty`` matters to JSON alone."""
    if answer_format is Format.JSON:
        return write_json(body, pretty=pretty)
    if answer_format is Format.CBOR:
        return cbor2.dumps(plain(body))
    text: str = yaml.dump(plain(body), sort_keys=False, allow_unicode=True, width=10_000, explicit_start=True)
    return text.encode("utf-8", "replace")
