"""Percent-encoding of request targets, with the errors Elasticsearch gives for broken ones."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from sidecar.core.errors import IllegalArgumentError, OtherError, SidecarError

_HEX_PAIR = re.compile(r"[0-9A-Fa-f]{2}")


def decode(text: str, *, plus_is_space: bool = False, whole: str | None = None) -> str:
    """``text`` with its escapes resolved; bytes that are not UTF-8 become U+FFFD.

    ``whole`` is what messages quote (default: ``text``). Raises ``IllegalArgumentError`` for a broken escape.
    """
    check_escapes(whole or text)
    if plus_is_space:
        text = text.replace("+", " ")
    return unquote_to_bytes(text).decode("utf-8", "replace")


def check_escapes(text: str) -> None:
    """Raises ``IllegalArgumentError`` for a ``%`` that two hexadecimal digits do not follow."""
    at = text.find("%")
    while at >= 0:
        digits = text[at + 1 : at + 3]
        if not digits:
            raise IllegalArgumentError(f"unterminated escape sequence at end of string: {text}")
        if len(digits) < 2:
            raise IllegalArgumentError(f"partial escape sequence at end of string: {text}")
        if not _HEX_PAIR.fullmatch(digits):
            raise IllegalArgumentError(f"invalid escape sequence `%{digits}' at index {at} of: {text}")
        at = text.find("%", at + 3)


@lru_cache(maxsize=512)  # callers come back to the same few endpoints
def split_path(path: str) -> tuple[str, ...]:
    """Decoded segments of a raw path; trailing slashes do not count, ``%2F`` stays inside its segment."""
    check_escapes(path)
    segments = path.split("/")[1:]
    while segments and not segments[-1]:
        segments.pop()
    return tuple(decode(segment) for segment in segments)


def parse_query(query: str) -> dict[str, str]:
    """Parameters of a raw query string, the last one of a name counting; raises ``OtherError`` for broken escapes."""
    parameters: dict[str, str] = {}
    if not query:
        return parameters
    for pair in re.split("[&;]", query):
        if not pair.strip("="):
            continue
        name, _, value = pair.lstrip("=").partition("=")
        try:
            parameters[decode(name, plus_is_space=True)] = decode(value, plus_is_space=True)
        except IllegalArgumentError as cause:
            raise _bad_parameter(cause) from cause
    return parameters


def _bad_parameter(cause: SidecarError) -> OtherError:
    return OtherError("bad_parameter_exception", f"java.lang.IllegalArgumentException: {cause.reason}", cause=cause)
