"""Addresses as they may be shown."""

from __future__ import annotations

import re

USER_INFO = r"(?<=://)[^/?#@\s]+(?=@)"
_USER_INFO = re.compile(USER_INFO)
_MASK = "********"


def masked_address(text: str) -> str:
    """``text`` with ``********`` for user and password of every address in it."""
    return _USER_INFO.sub(_MASK, text)
