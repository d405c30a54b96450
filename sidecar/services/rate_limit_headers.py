"""What an answer's headers say of a rate limit, in the words of Elasticsearch's errors."""

from __future__ import annotations

from collections.abc import Mapping


def remaining_limits(headers: Mapping[str, str]) -> str:
    """Tokens and requests that are left (Azure, Mistral), ``unknown`` where a header is missing."""
    tokens, requests = (headers.get(f"x-ratelimit-remaining-{name}", "unknown") for name in ("tokens", "requests"))
    return f". Remaining tokens [{tokens}]. Remaining requests [{requests}]."
