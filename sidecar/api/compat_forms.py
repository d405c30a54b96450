"""What the compatibility routes of several forms share: names of models, lanes, and statuses by lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.api.call import Call
from sidecar.api.keys import API_OPTIONS
from sidecar.api.lanes import Lane
from sidecar.api.router import ErrorHandler, Handler, Route
from sidecar.core.errors import ResourceNotFoundError, SidecarError, StatusError
from sidecar.core.tasks import TaskType

DENSE = (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)

# What OpenAI-like servers, TEI and Cohere call a question and a document.
_LANES = {
    "search": Lane.SEARCH,
    "query": Lane.SEARCH,
    "search_query": Lane.SEARCH,
    "ingest": Lane.INGEST,
    "document": Lane.INGEST,
    "passage": Lane.INGEST,
    "corpus": Lane.INGEST,
    "search_document": Lane.INGEST,
    "internal_search": Lane.SEARCH,
    "internal_ingest": Lane.INGEST,
}
# Texts that are neither.
_OTHERS = ("classification", "clustering", "unspecified")


def lane_of(values: Mapping[str, str], fields: Mapping[str, Any], *names: str, default: Lane = Lane.INGEST) -> Lane:
    """The lane in the path, else the first of the body's ``names`` that says what the texts are, else ``default``.

    Raises:
        ResourceNotFoundError: the path names something else.
        StatusError: 422, the body does; to take it for a document would give a question the wrong vector.
    """
    if (text := values.get("lane")) is not None:
        try:
            return Lane(text)
        except ValueError:
            raise ResourceNotFoundError(f"no lane [{text}], must be one of [ingest, search]") from None
    for name in names:
        given = fields.get(name)
        if isinstance(given, str) and given in _LANES:
            return _LANES[given]
        if given not in (None, "", *_OTHERS):
            known = ", ".join((*_LANES, *_OTHERS))
            raise StatusError(f"[{name}] must be one of [{known}], not [{given}]", status=422)
    return default


def inference_id_of(call: Call, model: str) -> str:
    """The endpoint that answers for a model's name: what the settings map it to, else the name itself."""
    return call.request.app[API_OPTIONS].model_names.get(model, model)


def text_field(fields: Mapping[str, Any], name: str) -> str:
    """A field that must be a string; raises ``StatusError`` 422."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise StatusError(f"[{name}] must be a string", status=422)
    return value


def top_n_of(fields: Mapping[str, Any], name: str = "top_n") -> int | None:
    """How many documents are wanted; raises ``StatusError`` 422 for what is no positive whole number."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise StatusError(f"[{name}] must be a whole number above 0", status=422)
    return value


def status_by_lane(call: Call, error: SidecarError, *, search_timeout: int) -> int:
    """The status of an error: what may be repeated is 429, but a search out of time is ``search_timeout``."""
    is_search = call.facts.get("lane") == Lane.SEARCH
    if error.status in (408, 429) or error.type == "timeout_exception":
        return search_timeout if is_search else 429
    return error.status


def with_lanes(template: str, handler: Handler, on_error: ErrorHandler) -> tuple[Route, ...]:
    """The route, and the same with the lane at its end."""
    methods = {"POST": handler}
    return Route(template, methods, on_error=on_error), Route(f"{template}/{{lane}}", methods, on_error=on_error)


def below_lanes(template: str, handler: Handler, on_error: ErrorHandler, method: str = "POST") -> tuple[Route, ...]:
    """The route, and the same below ``/search`` and ``/ingest``: a base URL per lane, for clients that append paths."""

    def fixed(lane: Lane) -> Handler:
        return lambda call, values: handler(call, {**values, "lane": lane.value})

    lanes = (Route(f"/{lane.value}{template}", {method: fixed(lane)}, on_error=on_error) for lane in Lane)
    return Route(template, {method: handler}, on_error=on_error), *lanes
