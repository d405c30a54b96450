"""YAML as Elasticsearch's parser reads it: YAML 1.1's numbers, truth values and nulls, and everything else is text.

Dates, times and base 60 are text, and so is what its tag does not fit (``!!int abc``). A tag of an array or object says
nothing. An alias is the name of its anchor: nothing is repeated, so that a small text cannot become a large one.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from sidecar.core.errors import OtherError, XContentParseError
from sidecar.wire.json_text import CONTAINER_COUNTS_AS, MAX_VALUES, beyond, too_many_items, too_many_values
from sidecar.wire.json_values import MAX_DEPTH
from sidecar.wire.stretches import Steps

# Elasticsearch's own YAML parser reads no more either.
MAX_YAML_BYTES = 3 * 1024 * 1024

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_TRUE = frozenset({"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_MAY_BE_NUMBER = frozenset("+-.0123456789")
_WHOLE = re.compile(
    r"(?P<sign>[-+]?)(?:0b(?P<binary>[01_]+)|0x(?P<hexadecimal>[0-9a-fA-F_]+)|0(?P<octal>[0-7_]+)"
    r"|(?P<decimal>0|[1-9][0-9_]*))"
)
_BASES = {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16}
_FRACTION = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)"
)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(data: bytes, most_items: int | None = None) -> Any:
    """The first document in ``data``, made of dicts, lists, strings, numbers, booleans and ``None``.

    Takes about 5 microseconds a value. Raises ``XContentParseError`` for what is no YAML, for numbers that are not
    finite, names that stand twice, for what is too large or too deep, and for a list of more than ``most_items``.
    """
    if len(data) > MAX_YAML_BYTES:
        raise unreadable("1:1", "y_a_m_l_exception", f"the body exceeds the limit of {MAX_YAML_BYTES} bytes")
    try:
        loader = _LOADER(Steps(data))
        try:
            return _Document(loader, MAX_VALUES if most_items is None else most_items).read()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark)
        raise unreadable(place, "marked_y_a_m_l_exception", str(error.problem or error)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        # The library's own words quote the body.
        text = f"the body is no YAML: {getattr(error, 'reason', type(error).__name__)}"
        raise unreadable("1:1", "y_a_m_l_exception", text) from None


def unreadable(place: str, cause: str, text: str) -> XContentParseError:
    """The error for a body that its parser cannot read."""
    return XContentParseError(f"[{place}] {text}", cause=OtherError(cause, text))


def scalar_value(text: str, tag: str | None, *, is_plain: bool) -> Any:
    """What a scalar means; ``is_plain`` is false for quoted and block scalars. Raises ``ValueError`` for ``.inf``."""
    if tag is None:
        return _plain_value(text) if is_plain else text
    kind = tag.removeprefix(_CORE)
    if kind == "null":
        return None
    if kind in ("int", "float", "bool"):
        value = _plain_value(text)
        if kind == "bool":
            return value if isinstance(value, bool) else text
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return text
        return float(value) if kind == "float" else value
    return text


def _plain_value(text: str) -> Any:
    if text in _NULL:
        return None
    if text[0] in _MAY_BE_NUMBER:
        if whole := _WHOLE.fullmatch(text):
            base = str(whole.lastgroup)
            digits = whole[base].replace("_", "")
            return int(whole["sign"] + digits, _BASES[base]) if digits else text
        if _FRACTION.fullmatch(text):
            return float(text.replace("_", ""))
        if _NOT_FINITE.fullmatch(text):
            raise ValueError("not a finite number")
        return text
    if text in _TRUE:
        return True
    return False if text in _FALSE else text


class _Document:
    """The first document of a stream of events."""

    def __init__(self, loader: Any, most_items: int) -> None:
        self._events = loader
        self._most_items = most_items
        self._left = MAX_VALUES
        self._root: list[Any] = []
        # Where values go, outermost first; for objects, the name that waits for its value.
        self._open: list[Any] = [self._root]
        self._names: list[str | None] = [None]

    def read(self) -> Any:
        """The document's value; ``None`` for an empty stream."""
        while True:
            event = self._events.get_event()
            if isinstance(event, yaml.NodeEvent):
                self._take(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._open.pop()
                self._names.pop()
            elif event is None or isinstance(event, (yaml.DocumentEndEvent, yaml.StreamEndEvent)):
                return self._root[0] if self._root else None

    def _take(self, event: Any) -> None:
        """A name, a scalar, or the beginning of an object or array."""
        container = self._open[-1]
        if type(container) is dict and self._names[-1] is None:
            self._names[-1] = self._name(event, container)
            return
        self._left -= CONTAINER_COUNTS_AS if isinstance(event, yaml.CollectionStartEvent) else 1
        if self._left < 0:
            raise too_many_values()
        value = self._value(event)
        if type(container) is dict:
            container[self._names[-1]] = value
            self._names[-1] = None
        elif len(container) >= self._most_items:
            raise too_many_items(self._most_items)
        else:
            container.append(value)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) > MAX_DEPTH:
                raise beyond("Document nesting depth", MAX_DEPTH + 1, MAX_DEPTH, "getMaxNestingDepth")
            self._open.append(value)
            self._names.append(None)

    def _value(self, event: Any) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            return event.anchor
        return {} if isinstance(event, yaml.MappingStartEvent) else []

    def _name(self, event: Any, container: dict[str, Any]) -> str:
        if isinstance(event, yaml.CollectionStartEvent):
            text = "an object or an array cannot be a field name"
            raise unreadable(_place(event.start_mark), "json_parse_exception", text)
        name: str = event.value if isinstance(event, yaml.ScalarEvent) else event.anchor
        if name in container:
            raise unreadable(_place(event.start_mark), "json_parse_exception", f"Duplicate field '{name}'")
        return name

    def _scalar(self, event: Any) -> Any:
        try:
            return scalar_value(event.value, event.tag, is_plain=event.style is None or event.style == "")
        except ValueError as error:
            raise unreadable(_place(event.start_mark), "json_parse_exception", f"Malformed number: {error}") from None


def _place(mark: Any) -> str:
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
