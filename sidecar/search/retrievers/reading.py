"""Reads the parameters of one retriever as Elasticsearch's parser does, with its complaints.

Positions are those of the body as the caller sent it; ``Locate`` finds them, for a path of names and places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sidecar.core.errors import IllegalArgumentError, OtherError, SidecarError, XContentParseError
from sidecar.core.javatext import java_text

Path: TypeAlias = tuple[str | int, ...]
Locate: TypeAlias = Callable[[Path], str]
Read: TypeAlias = Callable[["Reader", str], Any]


class Name(str):
    """The last step of a path that means the name itself and not its value."""

    __slots__ = ()


def nowhere(_path: Path) -> str:
    """For bodies that came without a text."""
    return "1:1"


class Reader:
    """The body of the retriever ``kind`` at ``path``; each method raises ``XContentParseError`` for a wrong value."""

    def __init__(self, kind: str, body: Mapping[str, Any], path: Path, locate: Locate) -> None:
        self.kind = kind
        self.body = body
        self.path = path
        self.locate = locate

    def read(self, fields: Mapping[str, Read], required: tuple[str, ...] = ()) -> dict[str, Any]:
        """All parameters, in the order in which they stand.

        Raises:
            IllegalArgumentError: one that is required is missing.
        """
        values = {}
        for name in self.body:
            read = fields.get(name)
            if read is None:
                raise self.complaint(Name(name), f"[{self.kind}] unknown field [{name}]")
            values[name] = read(self, name)
        missing = [name for name in required if name not in values]
        if missing:
            raise IllegalArgumentError(f"Required [{', '.join(missing)}]")
        return values

    def complaint(self, name: str, text: str, cause: SidecarError | None = None) -> XContentParseError:
        return XContentParseError(f"[{self.locate((*self.path, name))}] {text}", cause=cause)

    def failed(self, name: str, cause: SidecarError) -> XContentParseError:
        return self.complaint(name, f"[{self.kind}] failed to parse field [{name}]", cause)

    def unsupported(self, name: str, value: Any) -> XContentParseError:
        token = token_of(value)
        return self.complaint(name, f"[{self.kind}] {name} doesn't support values of type: {token}")

    # --- the kinds of parameters

    def text(self, name: str) -> str:
        value = self.body[name]
        if not isinstance(value, str):
            raise self.unsupported(name, value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.body[name]
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list):
            raise self.unsupported(name, value)
        return tuple(item if isinstance(item, str) else java_text(item) for item in value)

    def whole(self, name: str) -> int:
        value = self.body[name]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.unsupported(name, value)
        try:
            return int(float(value))  # a fraction is cut off
        except (ValueError, OverflowError):
            raise self.failed(name, _no_number(value)) from None

    def decimal(self, name: str) -> float:
        value = self.body[name]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.unsupported(name, value)
        try:
            return float(value)
        except ValueError:
            raise self.failed(name, _no_number(value)) from None

    def boolean(self, name: str) -> bool:
        value = self.body[name]
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return bool(value == "true")
        if not isinstance(value, str):
            raise self.unsupported(name, value)
        text = f"Failed to parse value [{value}] as only [true] or [false] are allowed."
        raise self.failed(name, IllegalArgumentError(text))

    def thing(self, name: str) -> Mapping[str, Any]:
        value = self.body[name]
        if not isinstance(value, dict):
            raise self.unsupported(name, value)
        return value

    def things(self, name: str) -> list[Any]:
        value = self.body[name]
        if not isinstance(value, list):
            raise self.unsupported(name, value)
        return value

    def filters(self, name: str) -> tuple[Any, ...]:
        value = self.body[name]
        if isinstance(value, list):
            return tuple(value)
        if not isinstance(value, dict):
            raise self.unsupported(name, value)
        return (value,)


def _no_number(value: Any) -> OtherError:
    text = f'For input string: "{value}"' if value != "" else "empty String"
    return OtherError("number_format_exception", text)


def token_of(value: Any) -> str:
    """What Elasticsearch's parser calls the first token of a value."""
    match value:
        case None:
            return "VALUE_NULL"
        case bool():
            return "VALUE_BOOLEAN"
        case int() | float():
            return "VALUE_NUMBER"
        case str():
            return "VALUE_STRING"
        case list():
            return "START_ARRAY"
        case _:
            return "START_OBJECT"
