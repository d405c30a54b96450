"""``_msearch``: every search of it is looked at, all texts are embedded side by side, the others go on as they came.

lines ──► what is ours is rewritten ──► one _msearch in the cluster ──┐
      └─► trees of ours are executed ─────────────────────────────────┴► answers in the order asked
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.front.exchange import Exchange
from sidecar.front.first_complaint import check_text_of_tree
from sidecar.front.multi_search_complaints import first_unread, whole_refusal
from sidecar.front.multi_search_items import Item
from sidecar.front.search_bodies import effective_size, read_body, without_parameters
from sidecar.front.search_calls import OF_A_HEADER, executed, may_be_ours, refusal, rewritten, searched
from sidecar.front.search_templates import rendered
from sidecar.search.bodies import read_object, write_object
from sidecar.search.engine import ForeignEndpointError, is_ours
from sidecar.search.failures import with_own_reasons
from sidecar.wire.envelopes import render_error

_OF_THE_WHOLE = ("rest_total_hits_as_int", "typed_keys", "ignore_unavailable", "allow_no_indices", "expand_wildcards")
_NDJSON = {"Content-Type": "application/x-ndjson"}


async def multi_search(exchange: Exchange) -> web.StreamResponse:
    """``_msearch``."""
    items = await _items(exchange)
    if items is None:
        return await exchange.forward()
    started = time.monotonic()
    changed = await asyncio.gather(*(_prepared(exchange, item) for item in items))
    if not any(changed) or all(item.is_refused for item in items):
        return await exchange.forward()
    return await _answered(exchange, items, started)


async def multi_search_templates(exchange: Exchange) -> web.StreamResponse:
    """``_msearch/template``: where the cluster renders one that is ours, all become searches."""
    items = await _items(exchange)
    if items is None:
        return await exchange.forward()
    started = time.monotonic()
    if not any(await asyncio.gather(*(_rendered(exchange, item) for item in items))):
        return await exchange.forward()
    await asyncio.gather(*(_prepared(exchange, item) for item in items))
    return await _answered(exchange, items, started, without="/template")


async def _items(exchange: Exchange) -> list[Item] | None:
    """The searches; ``None`` where the cluster is to say what is wrong with the lines."""
    try:
        data = await exchange.body()
    except SidecarError:
        return None
    if not data.endswith(b"\n"):
        return None
    lines = data.split(b"\n")[:-1]
    return [Item(header, body) for header, body in zip(lines[::2], lines[1::2], strict=False)]


async def _prepared(exchange: Exchange, item: Item) -> bool:
    """Rewrites or executes a search of ours; true where something came of it."""
    header = read_object(item.header) if item.header.strip() else {}
    if header is None:
        return False
    index = _index(header, exchange)
    expands = _parameter(header["expand_wildcards"]) if "expand_wildcards" in header else None
    if not await may_be_ours(exchange, item.body, index, expands):
        return False
    try:
        body = read_body(item.body)
        if body is None:
            check_text_of_tree(item.body)
            return False
        item.is_tree = is_ours(body)
        if item.is_tree:
            parameters = {name: exchange.parameters[name] for name in _OF_THE_WHOLE if name in exchange.parameters}
            parameters |= {name: _parameter(header[name]) for name in OF_A_HEADER if name in header}
            outcome = await executed(exchange, index, body, parameters, data=item.body, is_plain=True)
            if outcome is None:
                item.answer = await refusal(exchange, index, parameters)
                item.is_refused = item.answer is not None
                return item.is_refused
            item.warnings = outcome.warnings
            value = outcome.value if outcome.reply is None else outcome.reply.json()
            item.answer = {**value, "status": outcome.status}
            return True
        new = await rewritten(exchange, index, body, effective_size(body, {}), expands)
    except ForeignEndpointError:
        item.is_tree = False
        return False
    except SidecarError as error:
        item.failure = error
        _, item.answer = render_error(error, exchange.front.generation)
        return True
    if new.is_changed:
        item.body, item.planted, item.warnings = write_object(new.body), tuple(new.planted), tuple(new.warnings)
    return new.is_changed


async def _rendered(exchange: Exchange, item: Item) -> bool:
    header = read_object(item.header) if item.header.strip() else {}
    body = read_object(item.body)
    if header is None or body is None:
        return False
    search = await rendered(exchange, body, _index(header, exchange))
    if search is None:
        return False
    item.body = item.raw = write_object(search)
    return True


async def _answered(exchange: Exchange, items: list[Item], started: float, without: str = "") -> web.StreamResponse:
    refusal = await whole_refusal(exchange, items)
    if refusal is not None:
        return refusal
    asked = [item for item in items if item.answer is None]
    data = b"".join(item.header + b"\n" + item.body + b"\n" for item in asked)
    target = exchange.target.replace("/_msearch" + without, "/_msearch", 1)
    warnings = dict.fromkeys(text for item in items for text in item.warnings)
    if len(asked) == len(items) and not any(item.planted for item in items):
        instead = partial(first_unread, exchange, items)
        return await exchange.forward(data, target=target, warnings=warnings, instead=instead)
    answers: list[Any] = []
    if asked:
        target = without_parameters(target, {"filter_path", "pretty", "format"})
        reply = await exchange.call("POST", target, data, content_type=_NDJSON["Content-Type"])
        if reply.status != 200:
            return await first_unread(exchange, items) or exchange.pass_on(reply)
        answers = reply.json()["responses"]
    own = iter(answers)
    responses = [with_own_reasons(next(own), item.planted) if item.answer is None else item.answer for item in items]
    answer = {"took": int((time.monotonic() - started) * 1000), "responses": responses}
    return exchange.respond(200, answer, warnings=warnings)


def _index(header: Mapping[str, Any], exchange: Exchange) -> str:
    named = header.get("index", header.get("indices"))
    if isinstance(named, list):
        return ",".join(str(name) for name in named)
    return str(named) if named is not None else searched(exchange)


def _parameter(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()
