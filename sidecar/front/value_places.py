"""Where in a document's source a value stands, or is to stand: ``a.b`` may be written with a dot, or as objects.

A value that is put in one form beside one in another counts as a second value of the field. So what is there is
replaced where it is, and what is new goes into the objects that there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any

from sidecar.elastic.source import cuts, values_at

Keys = tuple[str, ...]


class Touch(IntEnum):
    """What a partial document does to a field: ``PARENT``, an object that holds the field is merged into another."""

    NONE = 0
    PARENT = 1
    VALUE = 2


def touch_of(partial: Mapping[str, Any], path: str) -> Touch:
    """``VALUE`` where ``partial`` names the field at the dotted ``path``, be it with nothing in it, or replaces it.

    With ``PARENT`` what is stored decides: an array in the place of the object goes, with all that is in it.
    """
    if "." not in path:
        return Touch.VALUE if path in partial else Touch.NONE
    found = Touch.NONE
    for name, rest in cuts(path):
        if name not in partial:
            continue
        below = partial[name]
        if not isinstance(below, Mapping):
            return Touch.VALUE
        found = max(found, Touch.PARENT, touch_of(below, rest))
    return Touch.VALUE if path in partial else found


def keys_for(document: Mapping[str, Any], path: str) -> Keys:
    """The keys under which a value goes to ``path`` where none stands yet.

    A ``null`` on the way gives way to an object, which says no more: with a sparse vector beside it 9.x cannot read the
    document any more. Beside an array the name is written with dots.
    """
    names = path.split(".")
    for name, rest in cuts(path):
        if name not in document:
            continue
        below = document[name]
        if isinstance(below, Mapping):
            return (name, *keys_for(below, rest))
        return (path,) if below is not None else (name, *rest.split("."))
    if len(names) > 1 and any(other.startswith(f"{names[0]}.") for other in document):
        return (path,)
    return tuple(names)


def has_null_above(document: Mapping[str, Any], path: str) -> bool:
    """Whether a ``null``, alone or in an array, stands where an object on the way to ``path`` could."""
    for name, rest in cuts(path):
        if name not in document:
            continue
        below = document[name]
        if below is None or (isinstance(below, list) and None in below):
            return True
        if isinstance(below, Mapping) and has_null_above(below, rest):
            return True
    return False


def arrays_with(document: Mapping[str, Any], path: str) -> Iterator[tuple[Keys, str, list[Any]]]:
    """The arrays on the way to ``path`` that hold values there, or a ``null``: the keys to each, the path within."""
    for name, rest in cuts(path):
        below = document.get(name)
        if isinstance(below, list) and (None in below or next(values_at(below, rest), None) is not None):
            yield (name,), rest, below
        elif isinstance(below, Mapping):
            yield from (((name, *keys), within, items) for keys, within, items in arrays_with(below, rest))


def without(value: Any, path: str) -> Any:
    """A copy of ``value`` without what stands at ``path`` in it, through arrays, and without their ``null``s."""
    if isinstance(value, list):
        return [without(item, path) for item in value if item is not None]
    if not isinstance(value, Mapping):
        return value
    kept = {}
    for name, item in value.items():
        if name != path:
            kept[name] = without(item, path[len(name) + 1 :]) if path.startswith(f"{name}.") else item
    return kept
