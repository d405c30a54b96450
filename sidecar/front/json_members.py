"""Where the members of a JSON object stand in its bytes, so that some can be changed and the others stay as they came.

Numbers keep their digits, strings their escapes; what a parser would lose is never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

# Strings in runs of plain bytes: most of a document is text, and byte by byte it would cost more than all else here.
_STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"([ \t\r\n]*:)?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """``start`` is the offset of the name's quote, ``[value, end)`` the value's place."""

    name: str
    start: int
    value: int
    end: int


def members(raw: bytes, at: int = 0) -> tuple[list[Member], int]:
    """The members of the object that begins at or behind ``at``, and the offset of its closing brace.

    ``raw`` must hold JSON that a parser has read, without comments.
    """
    found: list[Member] = []
    depth, name, start, value = 0, b"", -1, -1
    for match in _STRUCTURE.finditer(raw, at):
        token = match.group()
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
            if depth == 0:
                if value >= 0:
                    found.append(_member(raw, name, start, value, match.start()))
                return found, match.start()
        elif depth != 1:
            continue
        elif token == b":":
            value = match.end()
        elif token == b",":
            found.append(_member(raw, name, start, value, match.start()))
            value = -1
        elif value < 0:
            name, start = token, match.start()
    raise ValueError("the text ends within an object")


def _member(raw: bytes, name: bytes, start: int, value: int, end: int) -> Member:
    text = raw[value:end]
    value += len(text) - len(text.lstrip())
    return Member(orjson.loads(name), start, value, value + len(text.strip()))


@dataclass(frozen=True, slots=True)
class Into:
    """Members to be put into the object that a member holds, into the first of an array."""

    changes: Mapping[str, Change]


Change = bytes | None | Into
"""A member's new value, ``None`` to remove it, or changes of the object in it."""


def changed(raw: bytes, changes: Mapping[str, Change]) -> bytes:
    """The object in ``raw`` with ``changes``; what stands around it stays, and so does every member not named."""
    if not changes:
        return raw
    first = raw.index(b"{")
    held, last = members(raw, first)
    names = {member.name for member in held}
    added = [(name, change) for name, change in changes.items() if name not in names]
    touched = names & changes.keys()
    if not touched:
        news = b",".join(_written(name, change) for name, change in added if change is not None)
        between = b"," if held and news else b""
        return b"".join((raw[:last], between, news, raw[last:]))
    parts = []
    for member in held:
        if member.name not in changes:
            parts.append(raw[member.start : member.end])
            continue
        change = changes[member.name]
        if isinstance(change, Into):
            inner = raw[member.value : member.end]
            parts.append(raw[member.start : member.value] + changed(inner, change.changes))
        elif change is not None:
            parts.append(raw[member.start : member.value] + change)
    parts.extend(_written(name, change) for name, change in added if change is not None)
    return b"".join((raw[: first + 1], b",".join(parts), raw[last:]))


def appended(raw: bytes, added: Mapping[str, Change], *, is_empty: bool) -> bytes:
    """The object in ``raw`` with new members at its end, found without a look at what is in it.

    None of the names may be there yet, and nothing but blanks may follow the object; ``is_empty`` says whether it has
    no members.
    """
    news = b",".join([_written(name, change) for name, change in added.items() if change is not None])
    last = raw.rindex(b"}")
    return b"".join((raw[:last], b"" if is_empty or not news else b",", news, raw[last:]))


def _written(name: str, change: Change) -> bytes:
    value = changed(b"{}", change.changes) if isinstance(change, Into) else change
    assert value is not None  # noqa: S101
    return orjson.dumps(name) + b":" + value


def has_each_name_once(raw: bytes, parsed: Any) -> bool:
    """Whether no object in ``raw`` names a member twice, ``parsed`` being what a parser made of it.

    A parser keeps one of two namesakes; so the names are counted in both.
    """
    return sum(1 for match in _STRING.finditer(raw) if match[1]) == sum(_name_counts(parsed))


def _name_counts(value: Any) -> Iterator[int]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield len(item)
            waiting.extend(inner for inner in item.values() if isinstance(inner, (dict, list)))
        elif isinstance(item, list):
            waiting.extend(inner for inner in item if isinstance(inner, (dict, list)))
