"""Search templates: the cluster renders them, stored ones too; what comes out is a search like others."""

from __future__ import annotations

from typing import Any

from sidecar.front.exchange import Exchange
from sidecar.front.search_bodies import read_body
from sidecar.front.search_calls import may_be_ours
from sidecar.search.bodies import write_object


async def rendered(exchange: Exchange, body: dict[str, Any], index: str) -> dict[str, Any] | None:
    """The search that a template's request stands for, where it may be ours and the cluster can render it."""
    source = body.get("source")
    if source is not None:
        text = source.encode() if isinstance(source, str) else write_object(source)
        if not await may_be_ours(exchange, text, index):
            return None
    elif not isinstance(body.get("id"), str):
        return None
    asked = {name: body[name] for name in ("id", "source", "params") if name in body}
    answer = await exchange.call("POST", "/_render/template", write_object(asked))
    if answer.status != 200:
        return None
    output = answer.json().get("template_output")
    if not isinstance(output, dict):
        return None
    data = write_object(output)
    if not await may_be_ours(exchange, data, index):
        return None
    search = read_body(data)
    if search is not None:
        search |= {name: body[name] for name in ("explain", "profile") if name in body}
    return search
