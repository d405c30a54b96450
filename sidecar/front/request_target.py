"""Raw path and query of a request, with other parameters."""

from __future__ import annotations

from urllib.parse import unquote_plus

SHAPING = frozenset({"filter_path", "pretty", "format", "human"})
"""Parameters that say how an answer is written, not what is done."""


def without_shape(target: str) -> str:
    """The target without :data:`SHAPING`, for an answer that is read before it is written as the caller wants it."""
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in SHAPING]
    return f"{path}?{'&'.join(kept)}" if kept else path
