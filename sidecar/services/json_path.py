"""The part of JSONPath that the ``custom`` service reads answers with: ``$``, then ``.field`` and ``[*]`` steps.

``[*]`` applies the rest of the path to every item of a list and keeps the nesting, so ``$.a[*].b[*].c`` yields a list
of lists. Source: Elasticsearch API reference, "Create a custom inference endpoint"; RFC 9535.
"""

from __future__ import annotations

import re
from typing import Any

_FIELD = re.compile(r"\.([^.\[]+)")
_EVERY = "[*]"


class PathError(ValueError):
    """A path is wrong, or does not fit the value."""


def extract(value: Any, path: str) -> Any:
    """What ``path`` leads to within ``value``.

    Raises:
        PathError: a field is missing or ``null``, a step does not fit, or the path is no path.
    """
    if not path.startswith("$"):
        raise PathError(f"Path [{path}] must start with a dollar sign ($)")
    return _walk(value, path[1:].strip())


def _walk(value: Any, path: str) -> Any:
    while path:
        if path.startswith(_EVERY):
            if not isinstance(value, list):
                raise _misfit(path, "array", "list", value)
            rest = path[len(_EVERY) :]
            return [_walk(item, rest) for item in value]
        match = _FIELD.match(path)
        if match is None:
            raise PathError(f"Invalid path received [{path}], unable to extract a field name.")
        if not isinstance(value, dict):
            raise _misfit(path, "dot", "map", value)
        value = value.get(match[1])
        if value is None:
            raise PathError(f"Unable to find field [{match[1]}] in map")
        path = path[match.end() :]
    return value


def _misfit(path: str, step: str, wanted: str, value: Any) -> PathError:
    return PathError(
        f"Current path [{path}] matched the {step} field pattern but the current object is not a {wanted}, "
        f"found invalid type [{class_name(value)}] instead."
    )


def field_names(path: str) -> list[str]:
    """The fields that hold each level of lists, outermost first: ``d`` and ``e`` for ``$.d[*].e[*]``."""
    parts = path.removeprefix("$").split(_EVERY)
    return [part.removeprefix(".") for part in parts if part]


def class_name(value: Any) -> str:
    """Simple name of the Java class that holds a parsed JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int):
        return "Integer" if -(2**31) <= value < 2**31 else "Long"
    names = {float: "Double", str: "String", list: "ArrayList", dict: "HashMap"}
    return names.get(type(value), type(value).__name__)
