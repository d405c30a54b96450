"""What a provider said, as a log and a caller may hold it: no secrets, no megabytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.core.errors import SidecarError

_LONGEST = 300
_LONGEST_REASON = 4000
# shorter values are no secrets, and would blank out words by chance
_LEAST = 6
_MASK = "********"


def without_secrets(text: str, secrets: Mapping[str, Any]) -> str:
    """At most 300 characters of ``text``, without the secrets of the call that it may echo."""
    text = _blanked(text, secrets)
    return text[:_LONGEST] + ("..." if len(text) > _LONGEST else "")


def _blanked(text: str, secrets: Mapping[str, Any]) -> str:
    for value in map(str.strip, _texts(secrets)):
        if len(value) >= _LEAST:
            text = text.replace(value, _MASK)
    return text


def shorten(error: SidecarError, secrets: Mapping[str, Any]) -> None:
    """Cut the reasons of an error and its causes, into which answers of any size may have got, and blank ``secrets``.

    Elasticsearch returns what a provider echoes; here whoever may use an endpoint is not told its key.
    """
    cause: SidecarError | None = error
    while cause is not None:
        if cause.reason is not None:
            cause.reason = _blanked(cause.reason, secrets)
        if cause.reason is not None and len(cause.reason) > _LONGEST_REASON:
            cause.reason = f"{cause.reason[:_LONGEST_REASON]}[truncated]"
        cause = cause.cause


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
