"""Values of a document's source as Elasticsearch looks them up for inference, and as the text it embeds.

Source: behaviour of 8.19.8 and 9.4.3 for ``semantic_text``: paths through arrays and dotted names, numbers and
booleans as their text, everything else refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sidecar.core.errors import StatusError
from sidecar.core.javatext import java_text


class _Marker:
    __slots__ = ()


ABSENT: Final = _Marker()
"""Nothing stands at the path."""
NULL: Final = _Marker()
"""A ``null`` stands at the path."""


def value_at(source: Any, path: str) -> Any:
    """What stands at ``path``: :data:`ABSENT`, :data:`NULL`, a value, or a list where there are several."""
    return _value(source, path.split("."), 0)


def _value(value: Any, names: list[str], at: int) -> Any:
    if isinstance(value, list):
        found: list[Any] = []
        for item in value:
            one = _value(item, names, at)
            if one is ABSENT:
                continue
            if at != len(names) and isinstance(one, list):
                found.extend(one)
            else:
                found.append(one)
        return found  # Elasticsearch finds a list here, be there nothing in it
    if at == len(names):
        return NULL if value is None else value
    if not isinstance(value, Mapping):
        return ABSENT
    several: list[Any] = []
    for end in range(at + 1, len(names) + 1):
        name = names[at] if end == at + 1 else ".".join(names[at:end])
        if name in value:
            one = _value(value[name], names, end)
            if one is not ABSENT:
                several.append(one)
    if not several:
        return ABSENT
    if len(several) == 1:
        return several[0]
    return [item for one in several for item in (one if isinstance(one, list) else [one])]


def texts_of(field: str, value: Any) -> list[str]:
    """The texts of a value, one per element; none for :data:`ABSENT` and :data:`NULL`.

    Raises:
        StatusError: it is or holds an object, an array within an array, or a ``null`` in one.
    """
    if value is ABSENT or value is NULL:
        return []
    if isinstance(value, (str, int, float)):
        return [_text(value)]
    if isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value):
        return [_text(item) for item in value]
    found = "ArrayList" if isinstance(value, list) else "HashMap"
    raise StatusError(f"Invalid format for field [{field}], expected [String|Number|Boolean] got [{found}]")


def _text(value: str | int | float) -> str:
    return value if isinstance(value, str) else java_text(value)
