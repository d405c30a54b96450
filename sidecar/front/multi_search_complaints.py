"""What is wrong with the form of one search of an ``_msearch``, for which Elasticsearch refuses the whole request.

It reads them all before it runs any, and tells of the first that it cannot read; where all can be read, of everything
that is not allowed in any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from sidecar.core.errors import ActionRequestValidationError, XContentParseError
from sidecar.front.exchange import Exchange
from sidecar.front.first_complaint import NOWHERE, Complaint, complaint_about, is_of_rewriting
from sidecar.front.multi_search_items import Item
from sidecar.search.bodies import read_object
from sidecar.wire.envelopes import render_error

_USUAL = frozenset({"index", "preference", "routing", "search_type", "ignore_unavailable", "allow_no_indices"})
_SEARCH_TYPES = ("query_then_fetch", "dfs_query_then_fetch")
_HEADER = b'{"index":"%s"}\n' % NOWHERE.encode()


async def whole_refusal(exchange: Exchange, items: Sequence[Item]) -> web.Response | None:
    """The answer to the whole request; ``None`` where every search may have its own.

    Raises:
        aiohttp.ClientError: no node answers; shown as 503.
    """
    strange = await _strange_header(exchange, items)
    if strange is not None:
        return _shown(exchange, strange)
    for place, item in enumerate(items):
        complaint = await _complaint(exchange, item)
        if complaint is not None:
            return _shown(exchange, await unread(exchange, items[:place]) or complaint)
    refused = [item.failure for item in items if isinstance(item.failure, ActionRequestValidationError)]
    if not refused:
        return None
    earlier = await unread(exchange, items)
    whole = ActionRequestValidationError(*(text for failure in refused for text in failure.messages))
    return exchange.respond_error(whole) if earlier is None else _shown(exchange, earlier)


async def _strange_header(exchange: Exchange, items: Sequence[Item]) -> Complaint | None:
    """What the cluster says of headers with unusual members, of searches that it does not get."""
    headers = [item.header for item in items if item.is_tree and not _is_usual(item.header)]
    if not headers:
        return None
    lines = b"".join(header + b'\n{"size":0}\n' for header in headers)
    answer = await exchange.call("POST", "/_msearch", lines, content_type="application/x-ndjson")
    error = answer.json().get("error")
    return Complaint(answer.status, error) if answer.status >= 400 and isinstance(error, dict) else None


def _is_usual(header: bytes) -> bool:
    members = (read_object(header) or {}) if header.strip() else {}
    return members.keys() <= _USUAL and members.get("search_type", _SEARCH_TYPES[0]) in _SEARCH_TYPES


async def unread(exchange: Exchange, items: Sequence[Item]) -> Complaint | None:
    """What the cluster says of the first search that it cannot read, of those that it runs, as they came.

    Raises:
        aiohttp.ClientError: no node answers; shown as 503.
    """
    lines = b"".join(_HEADER + item.raw + b"\n" for item in items if not item.is_tree)
    if not lines:
        return None
    answer = await exchange.call("POST", "/_msearch", lines, content_type="application/x-ndjson")
    if answer.status == 200:
        return None
    error = answer.json().get("error")
    return None if not isinstance(error, dict) or is_of_rewriting(error) else Complaint(answer.status, error)


async def first_unread(exchange: Exchange, items: Sequence[Item]) -> web.Response | None:
    """The same as an answer: for a request that the cluster refuses in a form that is not the caller's."""
    complaint = await unread(exchange, items)
    return None if complaint is None else _shown(exchange, complaint)


async def _complaint(exchange: Exchange, item: Item) -> Complaint | None:
    """What is wrong with the form of a search that failed here."""
    if item.is_refused or not item.has_failed:
        return None
    found = await complaint_about(exchange, item.raw, f"/{NOWHERE}/_search", item.failure)
    failure = item.failure
    if found is not None or failure is None or isinstance(failure, ActionRequestValidationError):
        return found
    if not (failure.is_of_the_form or isinstance(failure, XContentParseError)):
        return None
    status, body = render_error(failure, exchange.front.generation)
    return Complaint(status, body["error"])


def _shown(exchange: Exchange, complaint: Complaint) -> web.Response:
    return exchange.respond(complaint.status, complaint.body(), filtered=False)
