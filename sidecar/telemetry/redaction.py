"""Keeps secrets out of log lines, whatever a caller passes: by the name of a field, and by the form of a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from structlog.typing import EventDict

from sidecar.core.addresses import USER_INFO
from sidecar.core.endpoint import Secrets

REDACTED = "[redacted]"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SECRET_ENDS = frozenset(
    {"apikey", "cookie", "credential", "credentials", "jwt", "passwd", "password", "secret", "secrets", "token"}
)
_SECRET_KEYS = frozenset({"access", "api", "encryption", "private", "secret", "signing", "subscription"})
_SECRET_VALUES = re.compile(rf"\b(Bearer|ApiKey|Basic)\s+[A-Za-z0-9+/=._~-]{{6,}}|{USER_INFO}", re.IGNORECASE)
# What a secret's form needs at least: most values of a line have neither, and one look tells.
_MAY_BE_SECRET = re.compile(r"[\s@]")
_HARMLESS = frozenset({int, float, bool, type(None)})
_DEPTH = 6


@lru_cache(maxsize=1024)  # the names of fields are few
def is_secret_name(name: str) -> bool:
    """Whether a field of that name holds a secret: ``api_key``, ``Authorization``, ``sessionToken``, not ``tokens``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    is_key = words[-1] == "key" and len(words) > 1 and words[-2] in _SECRET_KEYS
    return is_key or words[-1] in _SECRET_ENDS or "authorization" in words


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The processor: replaces secrets at any depth of an event."""
    return {name: _field(name, value, 0) for name, value in event.items()}


def _field(name: object, value: Any, depth: int) -> Any:
    if isinstance(name, str) and value is not None and not isinstance(value, bool) and is_secret_name(name):
        return REDACTED
    return _value(value, depth)


def _value(value: Any, depth: int) -> Any:
    if type(value) in _HARMLESS:
        return value
    if isinstance(value, str):
        if _MAY_BE_SECRET.search(value) is None:
            return value
        return _SECRET_VALUES.sub(lambda match: f"{match[1]} {REDACTED}" if match[1] else REDACTED, value)
    if isinstance(value, Secrets):
        return repr(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth >= _DEPTH:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {key: _field(key, item, depth + 1) for key, item in value.items()}
    return [_value(item, depth + 1) for item in value]
