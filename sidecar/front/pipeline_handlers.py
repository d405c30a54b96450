"""``_ingest/pipeline``: pipelines with ``inference`` processors of the sidecar's endpoints, on any cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.front.document_writing import respond
from sidecar.front.exchange import Exchange
from sidecar.front.inference_processors import inference_models, original, stand_in
from sidecar.front.request_target import without_shape
from sidecar.front.simulation import Pipelines, explained, infer_in
from sidecar.front.source_text import read_source
from sidecar.front.write_context import WriteContext
from sidecar.wire.body_formats import as_json
from sidecar.wire.envelopes import render_error

_UNKNOWN_PROCESSOR = "No processor type exists with name [inference]"


async def put_pipeline(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``PUT _ingest/pipeline/{id}``: the cluster gets what it can run, and what was put in its ``_meta``.

    Raises:
        SidecarError: an ``inference`` processor is not written as Elasticsearch wants it.
    """
    catalog = exchange.front.catalog
    definition = await _definition(exchange)
    models = list(dict.fromkeys(inference_models(definition))) if definition is not None else []
    try:
        if definition is None or not models:
            return await exchange.forward()
        context = await WriteContext.of(exchange)
        ours = {model for model in models if await context.finder.profile(model) is not None}
        target = without_shape(exchange.target)
        body = orjson.dumps(stand_in(definition, ours.__contains__)) if ours else await exchange.body()
        answer = await exchange.call("PUT", target, body)
        if answer.status == 400 and _UNKNOWN_PROCESSOR.encode() in answer.body:
            # Nobody but the sidecar can run the others either; their endpoints may be made later.
            answer = await exchange.call("PUT", target, orjson.dumps(stand_in(definition, lambda model: True)))
        return respond(context, answer, {})
    finally:
        catalog.drop()


async def get_pipelines(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``GET _ingest/pipeline``: shows what was put."""
    answer = await exchange.call("GET", without_shape(exchange.target))
    body = answer.json() if answer.status == 200 else None
    if not isinstance(body, dict) or not any(original(definition) for definition in body.values()):
        return await exchange.forward()
    return exchange.respond(200, {name: original(definition) or definition for name, definition in body.items()})


async def simulate_pipeline(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_ingest/pipeline/_simulate``: the documents get their results along.

    Raises:
        SidecarError: an ``inference`` processor is not written as Elasticsearch wants it.
    """
    body = await _definition(exchange)
    docs = body.get("docs") if body is not None else None
    if body is None or not isinstance(docs, list) or not all(isinstance(doc, dict) for doc in docs):
        return await exchange.forward()
    pipelines = Pipelines(await exchange.front.catalog.pipelines())
    inline = body.get("pipeline")
    if isinstance(inline, dict):
        has_inference = any(inference_models(inline))
        if not has_inference and not pipelines.leads_to_inference(inline):
            return await exchange.forward()
        if has_inference:
            body["pipeline"] = stand_in(inline, lambda model: True)
    elif not pipelines.infers(exchange.values.get("id")):
        return await exchange.forward()
    context = await WriteContext.of(exchange)

    async def once(sources: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
        some = [{**doc, "_source": source} for doc, source in zip(docs, sources, strict=True)]
        path, _, _ = exchange.target.partition("?")
        answer = await exchange.call("POST", path, _dumps({**body, "docs": some}))
        made = answer.json().get("docs") if answer.status == 200 else None
        return [{**one.get("doc", {}), **one} for one in made] if made is not None else None

    carried = await infer_in(context, [doc.get("_source") or {} for doc in docs], once)
    if carried is None:
        return await exchange.forward()
    some = [{**doc, "_source": source} for doc, (source, _) in zip(docs, carried, strict=True)]
    answer = await exchange.call("POST", without_shape(exchange.target), _dumps({**body, "docs": some}))
    shown = answer.json()
    for one, (_, errors) in zip(shown.get("docs") or (), carried, strict=False):
        _explain(exchange, one, errors)
    return exchange.respond(answer.status, shown)


def _explain(exchange: Exchange, doc: dict[str, Any], errors: Mapping[str, SidecarError]) -> None:
    for place in (doc, *doc.get("processor_results", ())):
        error = explained(place.get("error") or {}, errors)
        if error is not None:
            place["error"] = render_error(error, exchange.front.generation)[1]["error"]


async def _definition(exchange: Exchange) -> dict[str, Any] | None:
    """The request's body; ``None`` where there is none that can be read: the cluster says so."""
    try:
        source = read_source(as_json(await exchange.body(), exchange.types.body_format()))
    except SidecarError:
        return None
    return None if source is None else source.document


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
