"""What an answer's headers say of a rate limit, in the words of Elasticsearch's errors, and when to come again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def remaining_limits(headers: Mapping[str, str]) -> str:
    """Tokens and requests that are left (Azure, Mistral), ``unknown`` where a header is missing."""
    tokens, requests = (headers.get(f"x-ratelimit-remaining-{name}", "unknown") for name in ("tokens", "requests"))
    return f". Remaining tokens [{tokens}]. Remaining requests [{requests}]."


def seconds_to_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long an answer asks to wait, in seconds from ``now`` on; ``None`` where it does not say.

    ``retry-after-ms`` (Azure, OpenAI), else ``Retry-After`` (RFC 9110, 10.2.3): seconds, or a date that is over at 0.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number >= 0 and math.isfinite(number) else None
