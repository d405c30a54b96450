"""Good JSON as Python objects, quickly; what is not good beyond doubt is left to the scanner.

Small texts are read by the standard library in one go. In large ones only numbers, words and short strings are: the
arrays and objects around them are walked here, so that a thread that reads ten megabytes lets other threads run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any, NoReturn

from sidecar.core.errors import SidecarError
from sidecar.wire.json_text import (
    CONTAINER_COUNTS_AS,
    MAX_ITEMS,
    MAX_NUMBER_LENGTH,
    MAX_VALUES,
    as_utf8,
    joined_halves,
    too_many_items,
    too_many_values,
    unescaped,
)
from sidecar.wire.stretches import STRETCH, decoded

# How deep a value may be, below Python's own limit of nested calls.
MAX_DEPTH = 400
# Texts up to this size are read in a few milliseconds, whatever is in them.
AT_ONCE_BYTES = 256 * 1024

# Letters of a string and whole escapes.
_LETTERS = re.compile(r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_BLANK = re.compile(r"[ \t\r\n]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_STOPS = frozenset(",]}")
_BLANKS = frozenset(" \t\r\n")
_OPENERS = {"{": "}", "[": "]"}
_NO_SCALAR = frozenset(" \t\r\n{[")
# Containers of up to so many letters, in no more than so many others, are read in one go also in a large text.
_WINDOW = 8192
_WINDOW_DEPTH = 4
_FEW = 16
_LET_GO_AT_ONCE = 5000


class NotPlainError(Exception):
    """Something that only the scanner decides."""


def read_json(data: bytes, most_values: int = MAX_VALUES, most_items: int = MAX_ITEMS) -> Any:
    """The JSON object or array that ``data`` begins with; what stands behind it is not looked at.

    Raises ``NotPlainError`` for what is not JSON, and for all that Elasticsearch's parser reads in a way of its own:
    comments, names that stand twice, other encodings than UTF-8, great depth. Raises ``XContentParseError`` for an
    array of more than ``most_items`` values, and for more than ``most_values`` in all of a large text.
    """
    try:
        text = decoded(as_utf8(data))
        start = _blank_end(text, 1 if text.startswith("\ufeff") else 0)
        if text[start : start + 1] not in _OPENERS:
            raise NotPlainError  # What may stand behind a bare number or word is a matter of its own.
        if len(data) > AT_ONCE_BYTES or (len(data) > most_items and data.count(b",") >= most_items):
            walk = _Walk(text, most_values, most_items)
            try:
                return walk.value(start)
            except (NotPlainError, SidecarError):
                walk.let_go()
                raise
        value, _end = _PLAIN_JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        raise NotPlainError from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and count_containers(value)[1] > MAX_DEPTH:
        raise NotPlainError
    return value


def let_go(value: Any, levels: int = 3) -> None:
    """Empties a large value, whose end would otherwise be one long step of the interpreter."""
    if type(value) is list:
        while value:
            part = value[-_LET_GO_AT_ONCE:]
            del value[-_LET_GO_AT_ONCE:]
            if levels:
                for item in part:
                    let_go(item, levels - 1)
    elif type(value) is dict:
        while value:
            let_go(value.popitem()[1], levels - 1 if levels else 0)


def count_containers(value: Any) -> tuple[int, int]:
    """How many objects and arrays there are in ``value``, itself included, and how deep they are."""
    level = [value]
    count = depth = 0
    while level:
        count += len(level)
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
    return count, depth


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotPlainError
    return result


def _refuse(_constant: str) -> NoReturn:
    raise NotPlainError


def _whole_number(letters: str) -> int:
    if len(letters) > MAX_NUMBER_LENGTH:
        raise NotPlainError
    return int(letters)


def _fraction(letters: str) -> float:
    if len(letters) > MAX_NUMBER_LENGTH:
        raise NotPlainError
    return float(letters)


_PLAIN_JSON = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_refuse, parse_int=_whole_number, parse_float=_fraction
)
# typeshed does not know that it takes a decoder
_read_scalar: Callable[[str, int], tuple[Any, int]] = make_scanner(
    json.JSONDecoder(parse_constant=_refuse)  # type: ignore[arg-type]
)


def _blank_end(text: str, at: int) -> int:
    while match := _BLANK.match(text, at, at + STRETCH):
        if match.end() < at + STRETCH:
            return match.end()
        at = match.end()
    return at


class _Walk:
    """One way through a large text, a value at a time."""

    def __init__(self, text: str, most_values: int, most_items: int) -> None:
        self._text = text
        self._left = self._most_values = most_values
        self._most_items = most_items
        self._root: list[Any] = []
        # Where values go, outermost first; in objects, the name that waits for its value.
        self._open: list[Any] = []
        self._container: Any = self._root
        self._is_object = False
        self._name = ""

    def value(self, at: int) -> Any:
        """The value that begins at ``at``."""
        while at >= 0:
            if self._left < 0:
                raise too_many_values(self._most_values)
            char = self._text[at : at + 1]
            if char in _OPENERS:
                at = self._small(at) or self._enter(at, char)
            elif self._is_object or not self._open:
                value, at = self._scalar(at)
                self._left -= 1
                self._put(value)
                at = self._to_next(at)
            else:
                at = self._to_next(self._scalars(at))
        return self._root[0]

    def _small(self, at: int) -> int:
        """Where the next value stands, behind a small container that the library read; 0 where it is none."""
        if len(self._open) >= _WINDOW_DEPTH:
            return 0
        window = self._text[at : at + _WINDOW]
        try:
            value, end = _PLAIN_JSON.raw_decode(window)
        except (ValueError, RecursionError):
            return 0
        containers = window.count("[", 0, end) + window.count("{", 0, end)
        if containers > _FEW:  # Some may be letters of texts.
            containers, depth = count_containers(value)
            if depth > MAX_DEPTH - _WINDOW_DEPTH:
                return 0
        self._left -= len(value) + CONTAINER_COUNTS_AS * containers
        self._put(value)
        return self._to_next(at + end)

    def _scalars(self, at: int) -> int:
        """Where the scalars end that follow each other in an array."""
        text, append, before = self._text, self._container.append, len(self._container)
        left = min(self._left, self._most_items - before)
        while True:
            left -= 1
            value, end = self._scalar(at)
            append(value)
            at = end + 1
            if text[end:at] != "," or left < 0:
                break
            char = text[at : at + 1]
            if char == " ":
                at += 1
                char = text[at : at + 1]
            if char in _NO_SCALAR:
                break
        self._left -= len(self._container) - before
        self._check_items()
        return end

    def let_go(self) -> None:
        """Empties what was read so far."""
        let_go(self._root)

    def _put(self, value: Any) -> None:
        if self._is_object:
            self._container[self._name] = value
        else:
            self._container.append(value)
            self._check_items()

    def _check_items(self) -> None:
        if len(self._container) > self._most_items:
            raise too_many_items(self._most_items)

    def _enter(self, at: int, char: str) -> int:
        """Where the first value of the container stands, or the value behind an empty one."""
        if len(self._open) >= MAX_DEPTH:
            raise NotPlainError
        value: Any = {} if char == "{" else []
        self._left -= CONTAINER_COUNTS_AS
        self._put(value)
        self._open.append(self._container)
        self._container, self._is_object = value, char == "{"
        at = _blank_end(self._text, at + 1)
        if self._text[at : at + 1] == _OPENERS[char]:
            return self._to_next(at)
        return self._read_name(at) if self._is_object else at

    def _to_next(self, at: int) -> int:
        """Where the next value stands, from behind one; -1 where there is none."""
        text = self._text
        while self._open:
            char = text[at : at + 1]
            if char not in _STOPS:
                at = _blank_end(text, at)
                char = text[at : at + 1]
            at += 1
            if char == ",":
                if text[at : at + 1] in _BLANKS:
                    at = _blank_end(text, at)
                return self._read_name(at) if self._is_object else at
            if char != ("}" if self._is_object else "]"):
                raise NotPlainError
            self._container = self._open.pop()
            self._is_object = type(self._container) is dict
        return -1

    def _scalar(self, at: int) -> tuple[Any, int]:
        """The scalar that begins at ``at``, and where it ends."""
        text = self._text
        if text[at : at + 1] == '"':
            quote = text.find('"', at + 1, at + STRETCH)
            if quote < 0 or text[quote - 1] == "\\":
                return self._long_string(at + 1)
        try:
            value, end = _read_scalar(text, at)
        except (StopIteration, ValueError):
            raise NotPlainError from None
        if end - at > MAX_NUMBER_LENGTH and type(value) is not str:
            raise NotPlainError
        return value, end

    def _long_string(self, at: int) -> tuple[str, int]:
        """A string from behind its quote, in stretches, and where it ends."""
        text, parts = self._text, []
        while True:
            match = _LETTERS.match(text, at, at + STRETCH)
            end = match.end() if match else at
            try:
                parts.append(unescaped(text[at:end]))
            except ValueError:
                raise NotPlainError from None
            if text[end : end + 1] == '"':
                return joined_halves(parts), end + 1
            if end == at:
                raise NotPlainError
            at = end

    def _read_name(self, at: int) -> int:
        """Reads the name at ``at``; where its value begins."""
        if self._text[at : at + 1] != '"':
            raise NotPlainError
        self._name, end = self._scalar(at)
        colon = _COLON.match(self._text, end)
        if colon is None or self._name in self._container:
            raise NotPlainError
        return colon.end()
