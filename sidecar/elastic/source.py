"""Reading and writing dotted paths of a document's source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SEPARATOR = "\n"


def cuts(path: str) -> Iterator[tuple[str, str]]:
    """A dotted path as the name of a parent, which may have dots itself, and what is below it: in every such way."""
    names = path.split(".")
    for length in range(1, len(names)):
        yield ".".join(names[:length]), ".".join(names[length:])


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
    if not isinstance(source, (dict, Mapping)):  # the check for a dict is the quick one
        return
    if "." not in path:
        if path in source:
            value = source[path]
            if isinstance(value, (list, tuple)):
                yield from values_at(value, "")
            else:
                yield value
        return
    for name, rest in cuts(path):
        if name in source:
            yield from values_at(source[name], rest)
    if path in source:
        yield from values_at(source[path], "")


def stands_at(source: Mapping[str, Any], path: str) -> bool:
    """Whether the document names ``path`` at all, be it with ``null`` or an empty array."""
    return bool(forms_of(source, path)) or next(values_at(source, path), None) is not None


def is_present(source: Mapping[str, Any], path: str) -> bool:
    """Whether a value other than ``null`` stands at ``path``, an empty array counting as none."""
    if "." not in path and path not in source:  # seen at once, and true of most documents
        return False
    return any(value is not None for value in values_at(source, path))


def text_at(source: Mapping[str, Any], path: str) -> str | None:
    """The text to embed: strings and numbers at ``path`` joined by a line break; ``None`` when there is none.

    Blank strings, nulls, booleans and objects count as no text.
    """
    if "." not in path and isinstance(only := source.get(path), str):
        return None if not only or only.isspace() else only
    parts = []
    for value in values_at(source, path):
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            continue
        part = value if isinstance(value, str) else str(value)
        if part.strip():
            parts.append(part)
    return SEPARATOR.join(parts) if parts else None


def well_formed(text: str) -> str:
    """The text with U+FFFD in place of half surrogates, which JSON may carry and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def in_the_way(source: Mapping[str, Any], path: str) -> tuple[str, Any] | None:
    """The first parent of ``path`` that is there and is no object, with its value; ``None`` when the way is free.

    A partial update would put an object in its place. Both forms of writing ``a.b`` are looked at.
    """
    for name, rest in cuts(path):
        if name not in source:
            continue
        below = source[name]
        if not isinstance(below, Mapping):
            return name, below
        if found := in_the_way(below, rest):
            return f"{name}.{found[0]}", found[1]
    return None


def kind_of(value: Any) -> str:
    """What a value of a document is, in words: ``an array``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (list, tuple)):
        return "an array"
    if isinstance(value, Mapping):
        return "an object"
    return "a string" if isinstance(value, str) else "a number"


def forms_of(source: Mapping[str, Any], path: str) -> list[tuple[str, ...]]:
    """The keys that lead to ``path``, one tuple for each way in which the document writes it: ``("a.b", "c")``."""
    found: list[tuple[str, ...]] = []
    for name, rest in cuts(path):
        if isinstance(below := source.get(name), Mapping):
            found.extend((name, *keys) for keys in forms_of(below, rest))
    if path in source:
        found.append((path,))
    return found


def value_along(source: Any, keys: Sequence[str]) -> Any:
    """The value that ``keys`` lead to, as it stands."""
    for key in keys:
        source = source[key]
    return source


def put_at(document: dict[str, Any], path: str, value: Any) -> None:
    """Sets ``path`` in nested form; ``TypeError`` when a parent is there and is not an object."""
    put_along(document, path.split("."), value)


def put_along(document: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Sets the value that ``keys`` lead to; ``TypeError`` when a parent is there and is not an object."""
    *parents, leaf = keys
    place = document
    for name in parents:
        below = place.setdefault(name, {})
        if not isinstance(below, dict):
            raise TypeError(f"[{name}] on the way to [{'.'.join(keys)}] is not an object")
        place = below
    place[leaf] = value


def drop_at(document: dict[str, Any], path: str) -> None:
    """Removes ``path`` in nested and in dotted form; nothing happens when it is not there."""
    for name, rest in cuts(path):
        if isinstance(below := document.get(name), dict):
            drop_at(below, rest)
    document.pop(path, None)
