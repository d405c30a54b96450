"""``filter_path``: which parts of an answer the caller wants.

A comma list of dotted paths; ``*`` stands for one level or a part of a name, ``**`` for one or more levels, a leading
``-`` takes the path away. Arrays are transparent, and containers that lose everything disappear.
Source: Elasticsearch reference, "Common options: Response filtering"; that ``**`` takes at least one level, and that
exclusions win, is what its nodes do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_Paths = tuple[tuple[str, ...], ...]
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class PathFilter:
    """A parsed ``filter_path``; an empty one lets everything through."""

    included: _Paths = ()
    excluded: _Paths = ()

    @classmethod
    def parse(cls, text: str) -> PathFilter:
        """The filter written in ``text``; blanks around a path and empty paths do not count."""
        if not text:
            return cls()
        paths = [path.strip() for path in text.split(",")]
        included = tuple(_segments(path) for path in paths if path and not path.startswith("-"))
        excluded = tuple(_segments(path[1:]) for path in paths if len(path) > 1 and path.startswith("-"))
        return cls(included, excluded)

    def __bool__(self) -> bool:
        return bool(self.included or self.excluded)

    def apply(self, body: Any) -> Any:
        """``body`` cut down; ``{}`` or ``[]`` where nothing is left. Anything but dicts and lists is a leaf."""
        kept = body
        if self.included:
            kept = _keep(kept, self.included)
        if self.excluded and kept is not _NOTHING:
            kept = _drop(kept, self.excluded)
        if kept is _NOTHING:
            return [] if isinstance(body, list) else {}
        return kept


def _segments(path: str) -> tuple[str, ...]:
    return tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path))


def _step(paths: _Paths, key: str) -> tuple[bool, _Paths]:
    """Whether ``key`` completes one of ``paths``, and what is left of the others behind it."""
    left: list[tuple[str, ...]] = []
    for path in paths:
        head, rest = path[0], path[1:]
        if not _matches(head, key):
            continue
        if not rest:
            return True, ()
        left.append(rest)
        if head == "**":
            left.append(path)
    return False, tuple(dict.fromkeys(left))


def _matches(segment: str, key: str) -> bool:
    """Glob matching by leftmost pieces: linear, where a regular expression would go astray on a hostile path."""
    first, *rest = segment.split("*")
    if not rest:
        return segment == key
    *middle, last = rest
    if len(key) < len(first) + len(last) or not key.startswith(first) or not key.endswith(last):
        return False
    at, end = len(first), len(key) - len(last)
    for piece in middle:
        at = key.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def _keep(value: Any, paths: _Paths) -> Any:
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for key, item in value.items():
            whole, left = _step(paths, key)
            kept = item if whole else _keep(item, left) if left else _NOTHING
            if kept is not _NOTHING:
                result[key] = kept
        return result or _NOTHING
    if isinstance(value, (list, tuple)):
        items = [kept for kept in (_keep(item, paths) for item in value) if kept is not _NOTHING]
        return items or _NOTHING
    return _NOTHING


def _drop(value: Any, paths: _Paths) -> Any:
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for key, item in value.items():
            whole, left = _step(paths, key)
            kept = _NOTHING if whole else _drop(item, left) if left else item
            if kept is not _NOTHING:
                result[key] = kept
        return result if result or not value else _NOTHING
    if isinstance(value, (list, tuple)):
        items = [kept for kept in (_drop(item, paths) for item in value) if kept is not _NOTHING]
        return items if items or not value else _NOTHING
    return value
