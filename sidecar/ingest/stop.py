"""Why a run cannot go on."""

from __future__ import annotations

from elasticsearch import ApiError, ConnectionTimeout, TransportError

from sidecar.elastic.client import failure_text
from sidecar.ingest.bulk import describe_error


class RunStoppedError(Exception):
    """Going on would fail for every document that is left; the text is one sentence for the person who waits."""


class WrongFieldError(ValueError):
    """An index's field cannot hold what is to be written; the text says what is there and what is needed."""


def stopped_by(error: ApiError | TransportError, doing: str) -> RunStoppedError:
    """The sentence for a failed call to Elasticsearch; ``doing`` completes "while ..."."""
    if isinstance(error, ApiError):
        body = error.body
        reason = describe_error(body.get("error", {})) if isinstance(body, dict) else str(error.message)
        return RunStoppedError(f"Elasticsearch answered [{error.status_code}] while {doing}: {reason}")
    hint = " (the time allowed is SIDECAR_ELASTICSEARCH_TIMEOUT)" if isinstance(error, ConnectionTimeout) else ""
    return RunStoppedError(f"Elasticsearch could not be reached while {doing}: {failure_text(error)}{hint}")
