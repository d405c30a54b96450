"""How many hits the cluster's own rerankers look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.search.retrievers.tree import DEFAULT_WINDOW


def inner_window(body: Mapping[str, Any]) -> int:
    """How many of its child's hits a ``rescorer``, ``diversify`` or ``random_reranker`` looks at."""
    if "rescore" in body:
        return max(rescored_window(body), 0)
    window = body.get("rank_window_size")
    return max(window, 1) if isinstance(window, int) and not isinstance(window, bool) else DEFAULT_WINDOW


def rescored_window(body: Mapping[str, Any]) -> int:
    """The window of a ``rescorer``: the smallest of its rescorers'."""
    rescore = body.get("rescore")
    items = rescore if isinstance(rescore, list) else [rescore]
    return min((_window(item) for item in items), default=DEFAULT_WINDOW)


def _window(rescorer: Any) -> int:
    size = rescorer.get("window_size") if isinstance(rescorer, Mapping) else None
    if isinstance(size, bool) or not isinstance(size, int | float | str):
        return DEFAULT_WINDOW
    try:
        return int(float(size))  # a fraction is cut off
    except (ValueError, OverflowError):
        return DEFAULT_WINDOW  # the cluster refuses it
