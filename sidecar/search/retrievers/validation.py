"""What Elasticsearch refuses of a search with a retriever before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import ActionRequestValidationError, IllegalArgumentError
from sidecar.search.retrievers.tree import Node, Over, children, window_of

# In the order in which they are named together.
_NOT_BESIDE = ("query", "knn", "search_after", "terminate_after", "sort", "rescore")


def check_search(tree: Node, body: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Raises ``ActionRequestValidationError`` with everything that is wrong together."""
    for name in ("size", "from"):
        _check_number(name, parameters.get(name, body.get(name)))
    given = [
        name for name in _NOT_BESIDE if name in body or (name in ("sort", "terminate_after") and name in parameters)
    ]
    if "q" in parameters and "query" not in given:
        given.insert(0, "query")
    if given:
        raise ActionRequestValidationError(f"cannot specify [retriever] and [{', '.join(given)}]")
    asked = parameters.get("size", body.get("size"))
    size = -1 if asked is None else int(asked)
    found = list(_refusals(tree, size, is_scroll="scroll" in parameters))
    if found:
        raise ActionRequestValidationError(*found)


def _refusals(node: Node, size: int, *, is_scroll: bool) -> list[str]:
    found = []
    window = window_of(node)
    if window is not None:
        if window < size:
            text = f"[{node.kind}] requires [rank_window_size: {window}] be greater than or equal to [size: {size}]"
            found.append(text)
        if window == 0:
            found.append("[rank] requires [size] greater than [0]")
        if window < 0:
            found.append(f"[rank_window_size] parameter cannot be negative, found [{window}]")
        if is_scroll:
            found.append(f"cannot specify [{node.kind}] and [scroll]")
    if isinstance(node, Over):
        found += _window_refusals(node)
    for child in children(node):
        found += _refusals(child, -1 if isinstance(node, Over) else min(size, -1), is_scroll=is_scroll)
    return found


def _window_refusals(node: Over) -> list[str]:
    name = "window_size" if node.kind == "rescorer" else "rank_window_size"
    rescore = node.body.get("rescore")
    items = rescore if isinstance(rescore, list) else [rescore]
    sizes = [item.get(name, 10) for item in items if isinstance(item, dict)] if node.kind == "rescorer" else []
    if node.kind != "rescorer":
        sizes = [node.body.get(name, 10)]
    below = window_of(node.child)
    if below is None or not sizes or not all(isinstance(size, int) for size in sizes):
        return []
    if max(sizes) <= below:
        return []
    return [
        f"[{node.kind}] requires [{name}: {max(sizes)}] to be smaller than or equal to its sub retriever's "
        f"{node.child.kind} [rank_window_size: {below}]"
    ]


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise IllegalArgumentError(f"Failed to parse int parameter [{name}] with value [{value}]") from None
    if number < 0 and not (name == "size" and number == -1):
        raise IllegalArgumentError(f"[{name}] parameter cannot be negative, found [{number}]")
