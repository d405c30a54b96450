"""Request bodies as JSON text, whatever they arrived as, and answers in the format the caller asked for."""

from __future__ import annotations

import json
from typing import Any

import cbor2
import yaml

from sidecar.api.json_scanner import JsonScanner, Token
from sidecar.api.json_writer import plain, write_json
from sidecar.api.media_types import Format
from sidecar.core.errors import OtherError, XContentParseError
from sidecar.core.generations import Generation

# Both formats can name a part again and again; a few hundred bytes must not become gigabytes of text.
MAX_EXPANDED_BYTES = 128 * 1024 * 1024


def as_json(data: bytes, body_format: Format) -> bytes:
    """``data`` as JSON text; positions in later messages count in that text for YAML and CBOR.

    Raises ``XContentParseError`` for YAML and CBOR that cannot be read.
    """
    if body_format is Format.JSON:
        return data
    value = _load_yaml(data) if body_format is Format.YAML else _load_cbor(data)
    try:
        return _expand(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise XContentParseError(f"[1:1] the {body_format} body holds a value that JSON cannot: {error}") from None


def _expand(value: Any) -> bytes:
    pieces: list[str] = []
    length = 0
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        length += len(piece)
        if length > MAX_EXPANDED_BYTES:
            raise ValueError("too large once every reference in it is written out")
        pieces.append(piece)
    return "".join(pieces).encode("utf-8", "surrogatepass")


def _load_yaml(data: bytes) -> Any:
    try:
        return yaml.safe_load(data)
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
