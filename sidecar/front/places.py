"""Where in a body's text something stands, for messages that begin with ``[line:column]``."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.errors import SidecarError
from sidecar.search.retrievers.reading import Name
from sidecar.wire.json_scanner import JsonScanner
from sidecar.wire.token_reader import Token

_UNKNOWN = "1:1"


def place_in(data: bytes) -> Callable[[tuple[str | int, ...]], str]:
    """A function that finds the place of the value (or last name) at a path; the beginning where it is not."""

    def place(path: tuple[str | int, ...]) -> str:
        try:
            scanner = JsonScanner(data)
            scanner.next()
            found = all(_enter(scanner, step) for step in path)
        except SidecarError:
            return _UNKNOWN
        return scanner.location if found else _UNKNOWN

    return place


def _enter(scanner: JsonScanner, step: str | int) -> bool:
    if scanner.token is Token.START_OBJECT:
        while scanner.next() is Token.FIELD_NAME:
            name = scanner.name
            if name == step and isinstance(step, Name):
                return True
            scanner.next()
            if name == step:
                return True
            scanner.value()
        return False
    if scanner.token is Token.START_ARRAY and isinstance(step, int):
        for _ in range(step):
            if scanner.next() is Token.END_ARRAY:
                return False
            scanner.value()
        return scanner.next() is not Token.END_ARRAY
    return False
