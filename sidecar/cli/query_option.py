"""The ``--query`` option: JSON on the command line or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sidecar.settings import UserError


def read_query(text: str | None) -> dict[str, Any] | None:
    """A query, with or without its ``{"query": ...}`` around it; ``@FILE`` reads it from a file."""
    if text is None:
        return None
    try:
        raw = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        value = orjson.loads(raw)
    except OSError as error:
        raise UserError(f"--query: the file {text[1:]} cannot be read: {error.strerror}.") from None
    except orjson.JSONDecodeError as error:
        raise UserError(f"--query is not JSON: {error.msg}.") from None
    if isinstance(value, dict) and set(value) == {"query"}:
        value = value["query"]
    if not isinstance(value, dict) or len(value) != 1:
        raise UserError('--query must be one query as a JSON object, such as {"term": {"lang": "en"}}.')
    return value
