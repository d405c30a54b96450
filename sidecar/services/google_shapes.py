"""What Google's model services share: purposes of texts, error bodies, failures, and the texts of generated answers.

Source: Gemini API reference, "GenerateContentResponse"; Google Cloud API design guide, "Errors".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sidecar.core.results import Completion, StreamItem
from sidecar.core.tasks import InputType
from sidecar.services.calls import Call, ProviderAnswer, as_list, as_object, as_text, field_missing
from sidecar.services.failures import NOT_FOUND, PERMISSION, UNSUCCESSFUL, Failures, Words
from sidecar.services.openai_shapes import parse_stream_json
from sidecar.services.sse import Event, EventDecoder
from sidecar.services.stream_reader import EventReader

# what Google calls the purposes of a text
TASK_TYPES = {
    InputType.INGEST: "RETRIEVAL_DOCUMENT",
    InputType.SEARCH: "RETRIEVAL_QUERY",
    InputType.CLASSIFICATION: "CLASSIFICATION",
    InputType.CLUSTERING: "CLUSTERING",
}


def google_failures(title: str, chat_type: str | None = None) -> Failures:
    """The family of the service called ``title``."""
    return Failures(
        words=words_of_google,
        stream_words=words_of_google_text,
        retried=frozenset({429, 500, 503}),
        prefixes={
            401: UNSUCCESSFUL,
            403: PERMISSION,
            404: NOT_FOUND,
            503: f"The {title} service may be temporarily overloaded or down",
        },
        chat_type=chat_type,
    )


def words_of_google(answer: ProviderAnswer) -> Words | None:
    """``{"error": {"code", "message", "status"}}``, also as the only item of a list."""
    return None if answer.is_text_plain else words_of_google_text(answer.text)


def words_of_google_text(text: str) -> Words | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code, status = error.get("code"), error.get("status")
    return Words(error["message"], None if status is None else str(status), None if code is None else str(code))


# --- generated texts -----------------------------------------------------------------------------------------


def first_text(body: Any, service: str) -> str:
    """``candidates[0].content.parts[0].text``.

    Raises:
        UnusableAnswerError: a field is missing.
    """
    where = f"{service} completion"
    candidate = _first(_field(body, "candidates", where), "candidates", where)
    content = _field(candidate, "content", where)
    part = _first(_field(content, "parts", where), "parts", where)
    return as_text(_field(part, "text", where))


def _field(value: Any, name: str, where: str) -> Any:
    if name not in as_object(value):
        raise field_missing(name, where)
    return value[name]


def _first(value: Any, name: str, where: str) -> Any:
    items = as_list(value)
    if not items:
        raise field_missing(name, where)
    return items[0]


def parse_first_text(answer: ProviderAnswer, service: str) -> Completion:
    return Completion((first_text(answer.json(), service),))


class GoogleStream(EventReader[Event]):
    """Reads the event stream of ``streamGenerateContent``; ``items`` makes of each object what callers see.

    An error may come as an object or as a list with one object.
    """

    def __init__(self, call: Call, failures: Failures, items: Callable[[dict[str, Any]], list[StreamItem]]) -> None:
        super().__init__(EventDecoder())
        self._call = call
        self._failures = failures
        self._items_of = items

    def read(self, event: Event) -> list[StreamItem]:
        # looked for first, because reading every event twice would cost as much again
        words = words_of_google_text(event.data) if '"error"' in event.data else None
        if words is not None:
            raise self._failures.stream_error(words, self._call)
        return self._items_of(parse_stream_json(event.data))
