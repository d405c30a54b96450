"""How many hits the cluster's own rerankers look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def inner_window(body: Mapping[str, Any]) -> int:
    """How many of its child's hits a ``rescorer``, ``diversify`` or ``random_reranker`` looks at."""
    window = body.get("rank_window_size")
    if isinstance(window, int) and not isinstance(window, bool):
        return max(window, 1)
    rescore = body.get("rescore")
    sizes: list[int] = [
        item["window_size"]
        for item in (rescore if isinstance(rescore, list) else [rescore])
        if isinstance(item, dict) and isinstance(item.get("window_size"), int)
    ]
    return max([10, *sizes])
