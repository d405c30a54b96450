"""What Elasticsearch refuses of a search with a retriever before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import ActionRequestValidationError, IllegalArgumentError
from sidecar.search.retrievers.tree import Native, Node, Over, Reranked, children
from sidecar.search.retrievers.windows import inner_window, rescored_window

# In the order in which they are named together.
_NOT_BESIDE = ("query", "knn", "search_after", "terminate_after", "sort", "rescore")

_ALONE = frozenset({"diversify", "random_reranker"})


def check_search(tree: Node, body: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Raises ``ActionRequestValidationError`` with everything that is wrong together."""
    for name in ("size", "from"):
        _check_number(name, parameters.get(name, body.get(name)))
    given = [
        name for name in _NOT_BESIDE if name in body or (name in ("sort", "terminate_after") and name in parameters)
    ]
    if "q" in parameters and "query" not in given:
        given.insert(0, "query")
    asked = parameters.get("size", body.get("size"))
    size = -1 if asked is None else int(asked)
    found = list(_refusals(tree, size, is_scroll="scroll" in parameters))
    if given:
        found.append(f"cannot specify [retriever] and [{', '.join(given)}]")
    if body.get("slice") is not None and body.get("pit") is None and "scroll" not in parameters:
        found.append("[slice] can only be used with [scroll] or [point-in-time] requests")
    if found:
        raise ActionRequestValidationError(*found)


def _refusals(node: Node, size: int, *, is_scroll: bool, is_root: bool = True) -> list[str]:
    """In Elasticsearch's order; ``diversify`` and ``random_reranker`` look neither at sizes nor at their children."""
    found: list[str] = []
    if node.kind in _ALONE:
        return found
    name, window = _window(node), _window_size(node)
    if window is not None:
        if window < size:
            found.append(f"[{node.kind}] requires [{name}: {window}] be greater than or equal to [size: {size}]")
        if window == 0 and is_root and node.kind != "rescorer":
            found.append("[rank] requires [size] greater than [0]")
        if window < 0:
            found.append(f"[{name}] parameter cannot be negative, found [{window}]")
        if is_scroll:
            found.append(f"cannot specify [{node.kind}] and [scroll]")
    is_measured = isinstance(node, Reranked | Over)  # of fusions no node has shown that it is
    for child in children(node):
        found += _refusals(child, size if is_measured else -1, is_scroll=is_scroll, is_root=False)
        found += _smaller_below(node, child) if is_measured else []
    return found


def _smaller_below(node: Node, child: Node) -> list[str]:
    """A retriever that wants more hits than its child keeps."""
    window, below = _window_size(node), _window_size(child)
    if window is None or below is None or window <= below:
        return []
    return [
        f"[{node.kind}] requires [{_window(node)}: {window}] to be smaller than or equal to its sub retriever's "
        f"{child.kind} [{_window(child)}: {below}]"
    ]


def _window(node: Node) -> str:
    return "window_size" if node.kind == "rescorer" else "rank_window_size"


def _window_size(node: Node) -> int | None:
    """How many hits a retriever with others below it keeps; ``None`` for one without, and for ``random_reranker``."""
    if not isinstance(node, Native | Over):
        return node.window
    if node.kind == "rescorer":
        return rescored_window(node.body)
    return inner_window(node.body) if node.kind == "diversify" else None


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        number = None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise IllegalArgumentError(f"Failed to parse int parameter [{name}] with value [{value}]")
    if number < 0:
        raise IllegalArgumentError(f"[{name}] parameter cannot be negative, found [{number}]")
