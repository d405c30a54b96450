"""Reading and writing dotted paths of a document's source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SEPARATOR = "\n"


def values_at(source: Any, path: str) -> Iterator[Any]:
    """All leaves at ``path``, through arrays, in document order.

    Elasticsearch takes ``{"a": {"b": 1}}`` and ``{"a.b": 1}`` for the same document, so both are found.
    """
    if isinstance(source, (list, tuple)):
        for item in source:
            yield from values_at(item, path)
        return
    if not path:
        yield source
        return
    if not isinstance(source, Mapping):
        return
    names = path.split(".")
    for length in range(1, len(names) + 1):
        name = ".".join(names[:length])
        if name in source:
            yield from values_at(source[name], ".".join(names[length:]))


def text_at(source: Mapping[str, Any], path: str) -> str | None:
    """The text to embed: strings and numbers at ``path`` joined by a line break; ``None`` when there is none.

    Blank strings, nulls, booleans and objects count as no text.
    """
    parts = []
    for value in values_at(source, path):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            continue
        part = value if isinstance(value, str) else str(value)
        if part.strip():
            parts.append(part)
    return SEPARATOR.join(parts) if parts else None


def put_at(document: dict[str, Any], path: str, value: Any) -> None:
    """Sets ``path`` in nested form; ``TypeError`` when a parent is there and is not an object."""
    *parents, leaf = path.split(".")
    place = document
    for name in parents:
        below = place.setdefault(name, {})
        if not isinstance(below, dict):
            raise TypeError(f"[{name}] on the way to [{path}] is not an object")
        place = below
    place[leaf] = value


def drop_at(document: dict[str, Any], path: str) -> None:
    """Removes ``path`` in nested and in dotted form; nothing happens when it is not there."""
    names = path.split(".")
    for length in range(1, len(names) + 1):
        name = ".".join(names[:length])
        if length == len(names):
            document.pop(name, None)
        elif isinstance(below := document.get(name), dict):
            drop_at(below, ".".join(names[length:]))
