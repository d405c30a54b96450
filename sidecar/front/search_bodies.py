"""What a search request says, wherever it stands: body, ``source`` parameter, parameters beside a body."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.front.exchange import Exchange
from sidecar.search.bodies import read_object, whole_number
from sidecar.wire.body_formats import as_json
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.media_types import Format

_VERSION = re.compile(r"compatible-with\s*=\s*(\d+)")
_BATCH = 1000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


async def body_bytes(exchange: Exchange) -> bytes:
    """The body as JSON text, from the ``source`` parameter where there is none; ``b""`` where there is neither.

    Without the type beside it the cluster refuses the parameter.

    Raises:
        SidecarError: it cannot be read.
    """
    if exchange.has_body:
        return as_json(await exchange.body(), exchange.types.body_format())
    return exchange.parameters.get("source", "").encode() if "source_content_type" in exchange.parameters else b""


def read_body(data: bytes) -> dict[str, Any] | None:
    """A search body; ``None`` where the cluster is to say what is wrong with it. Comments are read over."""
    body = read_object(data)
    if body is None and (data.startswith(_BYTE_ORDER_MARK) or b"/*" in data or b"//" in data):
        try:
            scanner = JsonScanner(data)
            scanner.next()
            value = scanner.value()
        except (SidecarError, RecursionError):
            return None
        return value if isinstance(value, dict) else None
    return body


def json_type(exchange: Exchange) -> dict[str, str]:
    """Headers for a body that is JSON now, whatever it was."""
    if exchange.has_body and exchange.types.body_format() is Format.JSON:
        return {}
    accept = accepted(exchange)
    return {"Content-Type": json_for(accept or ""), **({"Accept": accept} if accept else {})}


def accepted(exchange: Exchange) -> str | None:
    """What the caller wants to be answered in: by its ``Accept``, else as its body is; ``None`` for JSON."""
    accept = exchange.request.headers.get("Accept")
    is_told = exchange.types.accept is not None and exchange.types.accept.format is not None  # not by "*/*"
    if is_told or not exchange.has_body or exchange.types.body_format() is Format.JSON:
        return accept
    return exchange.request.headers.get("Content-Type")


def json_for(accept: str, form: str = "json") -> str:
    """The media type of a JSON body, or of lines of it (``x-ndjson``), beside an ``Accept``.

    Both must name the same version, or none.
    """
    version = _VERSION.search(accept)
    if version is None:
        return f"application/{form}"
    return f"application/vnd.elasticsearch+{form}; compatible-with={version[1]}"


def without_parameters(target: str, names: Container[str]) -> str:
    """A raw target without some of its parameters."""
    path, mark, query = target.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] not in names]
    return path + mark + "&".join(kept) if mark else path


def effective_size(body: Mapping[str, Any], parameters: Mapping[str, str]) -> int | None:
    """How many hits are asked for; a parameter wins over the body. ``None`` where neither says it."""
    value = parameters.get("size", body.get("size"))
    return whole_number(value)


def batch_size(body: Mapping[str, Any], parameters: Mapping[str, str], asked: Any = None) -> int:
    """How many hits ``_delete_by_query`` and the like search for at a time, no more than the most that they change.

    ``asked`` is what stands in the source of a ``_reindex``; otherwise ``scroll_size`` says it.
    """
    sizes = (asked if asked is not None else parameters.get("scroll_size"), _BATCH)
    batch = next(number for number in map(whole_number, sizes) if number is not None)
    most = whole_number(parameters.get("max_docs", body.get("max_docs")))
    return batch if most is None or most < 0 else min(batch, most)
