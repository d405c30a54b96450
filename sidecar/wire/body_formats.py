"""Request bodies as JSON text, whatever they arrived as, and answers in the format the caller asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import cbor2

from sidecar.core.errors import OtherError, SidecarError, XContentParseError
from sidecar.core.generations import Generation
from sidecar.wire.cbor_reader import read_cbor
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.json_text import MAX_ITEMS, MAX_SETTINGS_VALUES, too_many_items
from sidecar.wire.json_values import AT_ONCE_BYTES, NotPlainError, let_go, read_json
from sidecar.wire.json_writer import plain, write_json, write_large_json
from sidecar.wire.media_types import Format
from sidecar.wire.token_reader import Token, TokenReader, ValueReader
from sidecar.wire.yaml_reader import read_yaml
from sidecar.wire.yaml_writer import write_yaml

# CBOR can name a part again and again; a few hundred bytes must not become gigabytes of text.
_MOST_GROWTH = 8
_ALWAYS_ALLOWED = 1024 * 1024
_T = TypeVar("_T")


def as_json(data: bytes, body_format: Format, most_items: int | None = None) -> bytes:
    """``data`` as JSON text; positions in later messages count in that text for YAML and CBOR.

    Raises ``XContentParseError`` for YAML and CBOR that cannot be read, and for an array of more than ``most_items``
    values. Megabytes take seconds: call it in a thread.
    """
    if body_format is Format.JSON:
        return data
    value = (read_yaml if body_format is Format.YAML else read_cbor)(data, most_items)
    try:
        _check_growth(value, max(_ALWAYS_ALLOWED, _MOST_GROWTH * len(data)), most_items)
        return write_large_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise XContentParseError(f"[1:1] the {body_format} body holds a value that JSON cannot: {error}") from None
    finally:
        if len(data) > AT_ONCE_BYTES:
            let_go(value)


def read_body(data: bytes, read: Callable[[TokenReader], _T], *, names_end_of_input: bool = True) -> _T:
    """What ``read`` makes of the JSON in ``data``.

    A good body is read by the library. What ``read`` refuses is read again by the scanner, so that the first thing
    wrong in reading order is told with its place; ``names_end_of_input`` is the scanner's.
    """
    try:
        value = read_json(data)
    except NotPlainError:
        value = None
    try:
        return read(ValueReader(value))
    except (NotPlainError, SidecarError):
        if len(data) > AT_ONCE_BYTES:
            let_go(value)
        return read(JsonScanner(data, names_end_of_input=names_end_of_input, most_items=MAX_ITEMS))


def read_value(data: bytes) -> Any:
    """The JSON value in ``data``; raises ``XContentParseError`` with ``[line:column]``."""
    try:
        return read_json(data)
    except NotPlainError:
        scanner = JsonScanner(data, most_items=MAX_ITEMS)
        scanner.next()
        return scanner.value()


def _check_growth(value: Any, limit: int, most_items: int | None) -> None:
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
            if most_items is not None and len(item) > most_items:
                raise too_many_items(most_items)
            waiting += item
        if size + len(waiting) > limit:
            raise ValueError("too large once every reference in it is written out")


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
    try:
        value = read_json(data, MAX_SETTINGS_VALUES)
    except NotPlainError:
        value = None
    if isinstance(value, dict):
        return value
    scanner = JsonScanner(data, names_end_of_input=generation.names_end_of_input, most_items=MAX_ITEMS)
    if scanner.next() is not Token.START_OBJECT:
        return {}
    mapping: dict[str, Any] = scanner.value()
    return mapping


def write_body(body: Any, answer_format: Format, *, pretty: bool = False, large: bool = False) -> bytes:
    """``body`` in the answer's format; ``pretty`` matters to JSON alone. ``large`` lets other threads run meanwhile."""
    if answer_format is Format.JSON:
        return write_large_json(body) if large and not pretty else write_json(body, pretty=pretty)
    try:
        return _write_other(body, answer_format)
    except UnicodeEncodeError:
        return _write_other(_without_halves(plain(body)), answer_format)


def _write_other(body: Any, answer_format: Format) -> bytes:
    return cbor2.dumps(plain(body)) if answer_format is Format.CBOR else write_yaml(body)


def _without_halves(value: Any) -> Any:
    """``value`` with U+FFFD for half a surrogate pair, which only JSON can escape."""
    if isinstance(value, dict):
        return {_without_halves(name): _without_halves(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
