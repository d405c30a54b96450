"""JSON text as the bytes that are sent."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def json_bytes(text: str) -> bytes:
    """``text``, a JSON text, as UTF-8; half a surrogate pair, which UTF-8 cannot carry, becomes its escape."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda half: f"\\u{ord(half.group()):04X}", text).encode()
