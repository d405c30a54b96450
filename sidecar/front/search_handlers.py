"""Searches whose bodies may name the sidecar's endpoints: rewritten and sent on, or executed here.

body ── a scan for a few words ──► none of them ──► forwarded as it came
                                └► parsed ── what the indices say ── vectors ─┬► rewritten body ──► forwarded
                                                                              └► a tree of ours ──► executed
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.front.exchange import Exchange
from sidecar.front.first_complaint import first_complaint, refuse_broken_tree
from sidecar.front.multi_search_handlers import multi_search, multi_search_templates
from sidecar.front.request_target import SHAPING
from sidecar.front.routes import FrontRoute, route
from sidecar.front.search_bodies import batch_size, body_bytes, effective_size, json_type, read_body, without_parameters
from sidecar.front.search_calls import (
    BODY_PARAMETERS,
    DELETES,
    Rewritten,
    executed,
    refused,
    rewritten,
    searched,
    shown,
    wanted_body,
)
from sidecar.front.search_templates import rendered
from sidecar.search.bodies import write_object
from sidecar.search.engine import ForeignEndpointError, Outcome, is_ours, wants_plan
from sidecar.search.failures import with_own_reasons
from sidecar.search.matching_tokens import add_matching_tokens
from sidecar.search.own_parameters import EXPLAIN, OWN_PARAMETERS, is_asked_for
from sidecar.search.retrievers.parsing import kinds_of
from sidecar.search.retrievers.tree import OURS

_OF_ASYNC_SEARCH = frozenset({"wait_for_completion_timeout", "keep_on_completion", "keep_alive"})
# What a node without the module says: without an index, the path is that of an index.
_WITHOUT_MODULE = (b"no handler found for uri", b"Incorrect HTTP method for uri")
_ASYNC_KEEP_MILLIS = 5 * 24 * 3600 * 1000


async def search(exchange: Exchange) -> web.StreamResponse:
    """``_search``."""
    index = searched(exchange)
    body = await wanted_body(exchange, index)
    if body is None:
        await refuse_broken_tree(exchange)
        return await exchange.forward()
    return await _searched(exchange, index, body)


async def query_only(exchange: Exchange) -> web.StreamResponse:
    """APIs whose body is a query: ``_count``, ``_explain``, ``_validate/query``."""
    index = searched(exchange)
    body = await wanted_body(exchange, index)
    return await exchange.forward() if body is None else await _rewritten(exchange, index, body)


async def delete_by_query(exchange: Exchange) -> web.StreamResponse:
    """``_delete_by_query``: its query."""
    index = exchange.values["index"]
    body = await wanted_body(exchange, index)
    if body is None:
        return await exchange.forward()
    size = batch_size(body, exchange.parameters)
    return await _rewritten(exchange, index, body, changes=(index, DELETES), size=size)


async def async_search(exchange: Exchange) -> web.StreamResponse:
    """``_async_search``; a tree of ours is complete when the answer comes, and nothing of it is kept."""
    index = searched(exchange)
    body = await wanted_body(exchange, index)
    if body is None:
        await refuse_broken_tree(exchange)
        return await exchange.forward()
    try:
        return await _searched_asynchronously(exchange, index, body)
    except SidecarError as error:
        return await _complaint_or(exchange, error)


async def _searched_asynchronously(exchange: Exchange, index: str, body: dict[str, Any]) -> web.StreamResponse:
    started = int(time.time() * 1000)
    parameters = {name: value for name, value in exchange.parameters.items() if name not in _OF_ASYNC_SEARCH}
    outcome: Outcome | None
    if is_ours(body):
        try:
            outcome = await executed(exchange, index, body, parameters, is_plain=True)
        except ForeignEndpointError:
            return await exchange.forward()
        if outcome is None:
            return await refused(exchange, index, body)
        status, value = outcome.status, _value(outcome)
    else:
        new = await rewritten(exchange, index, body, effective_size(body, exchange.parameters))
        if not new.is_changed:
            return await exchange.forward(instead=_complaint_about_tree(exchange, body))
        target = without_parameters(exchange.target, BODY_PARAMETERS | OWN_PARAMETERS)
        answer = await exchange.call(exchange.request.method, target, write_object(new.body))
        if not (answer.status in (400, 405) and any(words in answer.body for words in _WITHOUT_MODULE)):
            if answer.status >= 400 and (complaint := await first_complaint(exchange)) is not None:
                return complaint
            value = with_own_reasons(answer.json(), new.planted)
            return exchange.respond(answer.status, value, warnings=new.warnings)
        path = f"/{quote(index, safe=',*')}/_search?" if index else "/_search?"
        unshaped = {name: value for name, value in parameters.items() if name not in SHAPING}
        answer = await exchange.call("POST", path + urlencode(unshaped), write_object(new.body))
        status, value = answer.status, with_own_reasons(answer.json(), new.planted)
    if status != 200:
        return await first_complaint(exchange) or exchange.respond(status, value)
    finished = int(time.time() * 1000)
    return exchange.respond(
        200,
        {
            "is_partial": False,
            "is_running": False,
            "start_time_in_millis": started,
            "expiration_time_in_millis": started + _ASYNC_KEEP_MILLIS,
            "completion_time_in_millis": finished,
            "response": value,
        },
    )


async def search_template(exchange: Exchange) -> web.StreamResponse:
    """``_search/template``: rendered by the cluster, then a search like others."""
    try:
        body = read_body(await body_bytes(exchange))
    except SidecarError:
        body = None
    index = searched(exchange)
    search_body = None if body is None else await rendered(exchange, body, index)
    if search_body is None:
        return await exchange.forward()
    target = exchange.target.replace("/_search/template", "/_search", 1)
    return await _searched(exchange, index, search_body, target)


async def rank_evaluation(exchange: Exchange) -> web.StreamResponse:
    """``_rank_eval``: the searches in it, rewritten."""
    index = searched(exchange)
    body = await wanted_body(exchange, index)
    requests = body.get("requests") if body is not None else None
    if body is None or not isinstance(requests, list):
        return await exchange.forward()
    new_requests = []
    warnings: list[str] = []
    for item in requests:
        inner = item.get("request") if isinstance(item, dict) else None
        if isinstance(inner, dict):
            new = await rewritten(exchange, index, inner, effective_size(inner, {}))
            warnings += new.warnings
            new_requests.append({**item, "request": new.body})
        else:
            new_requests.append(item)
    data = write_object({**body, "requests": new_requests})
    return await exchange.forward(data, headers=json_type(exchange), warnings=warnings)


async def _searched(
    exchange: Exchange, index: str, body: dict[str, Any], target: str | None = None
) -> web.StreamResponse:
    if not is_ours(body):
        return await _rewritten(exchange, index, body, target)
    try:
        data = await body_bytes(exchange)
        outcome = await executed(exchange, index, body, exchange.parameters, data=data)
    except ForeignEndpointError:
        return await exchange.forward()
    except SidecarError as error:
        return await _complaint_or(exchange, error)
    if outcome is None:
        return await refused(exchange, index, body)
    if outcome.status >= 400:
        return await first_complaint(exchange) or shown(exchange, outcome)
    return shown(exchange, outcome)


async def _complaint_or(exchange: Exchange, error: SidecarError) -> web.StreamResponse:
    """The cluster's complaint about the body's form, or ``error`` raised again."""
    complaint = await first_complaint(exchange, error)
    if complaint is None:
        raise error
    return complaint


async def _rewritten(
    exchange: Exchange,
    index: str,
    body: dict[str, Any],
    other_target: str | None = None,
    *,
    changes: tuple[str, str] | None = None,
    size: int | None = None,
) -> web.StreamResponse:
    """``size`` is how many hits are searched for where neither body nor parameters say it in a search's way."""
    wanted = effective_size(body, exchange.parameters) if size is None else size
    try:
        new = await rewritten(exchange, index, body, wanted, changes=changes)
    except SidecarError as error:
        return await _complaint_or(exchange, error)
    if wants_plan(exchange.parameters):
        return exchange.respond(200, orjson.loads(write_object({"forward": new.body})))
    target = without_parameters(other_target or exchange.target, BODY_PARAMETERS | OWN_PARAMETERS)
    explains = is_asked_for(EXPLAIN, exchange.parameters)
    if not new.is_changed and other_target is None and not explains:
        is_same = not (OWN_PARAMETERS & exchange.parameters.keys())
        instead = _complaint_about_tree(exchange, body)
        return await exchange.forward(target=None if is_same else target, instead=instead)
    if explains:
        return await _explained(exchange, target, new)
    if not new.planted:
        return await exchange.forward(
            write_object(new.body),
            target=target,
            headers=json_type(exchange),
            warnings=new.warnings,
            instead=partial(first_complaint, exchange),
        )
    answer = await exchange.call(exchange.request.method, target, write_object(new.body))
    if not answer.body:
        return exchange.pass_on(answer)
    return exchange.respond(answer.status, with_own_reasons(answer.json(), new.planted), warnings=new.warnings)


def _complaint_about_tree(
    exchange: Exchange, body: dict[str, Any]
) -> Callable[[], Awaitable[web.StreamResponse | None]] | None:
    """Asks for the cluster's complaint about a tree with retrievers of ours, which it may not have."""
    return partial(first_complaint, exchange) if kinds_of(body.get("retriever")) & OURS else None


async def _explained(exchange: Exchange, target: str, new: Rewritten) -> web.StreamResponse:
    """Every hit with the tokens by which it was found, out of the cluster's own explanation."""
    answer = await exchange.call("POST", target, write_object({**new.body, "explain": True}))
    value = with_own_reasons(answer.json(), new.planted)
    add_matching_tokens(value, keeps_explanation=bool(new.body.get("explain")))
    return exchange.respond(answer.status, value, warnings=new.warnings)


def _value(outcome: Outcome) -> Any:
    return outcome.value if outcome.reply is None else outcome.reply.json()


_QUERY = "GET POST"
ROUTES: tuple[FrontRoute, ...] = (
    route(_QUERY, "/_search", search),
    route(_QUERY, "/{index}/_search", search),
    route(_QUERY, "/_count", query_only),
    route(_QUERY, "/{index}/_count", query_only),
    route(_QUERY, "/{index}/_explain/{id}", query_only),
    route(_QUERY, "/_validate/query", query_only),
    route(_QUERY, "/{index}/_validate/query", query_only),
    route("POST", "/{index}/_delete_by_query", delete_by_query),
    route(_QUERY, "/_msearch", multi_search),
    route(_QUERY, "/{index}/_msearch", multi_search),
    route("POST", "/_async_search", async_search),
    route("POST", "/{index}/_async_search", async_search),
    route(_QUERY, "/_search/template", search_template),
    route(_QUERY, "/{index}/_search/template", search_template),
    route(_QUERY, "/_msearch/template", multi_search_templates),
    route(_QUERY, "/{index}/_msearch/template", multi_search_templates),
    route(_QUERY, "/_rank_eval", rank_evaluation),
    route(_QUERY, "/{index}/_rank_eval", rank_evaluation),
)
