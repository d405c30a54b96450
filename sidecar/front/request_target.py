"""Raw path and query of a request, with other parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import quote_plus, unquote_plus

SHAPING = frozenset({"filter_path", "pretty", "format", "human"})
"""Parameters that say how an answer is written, not what is done."""


def without_shape(target: str) -> str:
    """The target without :data:`SHAPING`, for an answer that is read before it is written as the caller wants it."""
    return with_parameters(target, {}, without=SHAPING)


def with_parameters(target: str, added: Mapping[str, str], *, without: Collection[str] = ()) -> str:
    """The target with other parameters; those that stay keep the form in which they were sent."""
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in without]
    kept += [f"{quote_plus(name)}={quote_plus(value)}" for name, value in added.items()]
    return f"{path}?{'&'.join(kept)}" if kept else path
