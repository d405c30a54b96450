"""``_doc`` and ``_create``: one document with its vectors."""

from __future__ import annotations

from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.front.exchange import Exchange
from sidecar.front.filling import examine
from sidecar.front.simulation import Draft, simulate
from sidecar.front.source_text import SourceText, read_source
from sidecar.front.targets import WritePlan
from sidecar.front.write_context import WriteContext
from sidecar.wire.body_formats import as_json


async def write_document(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_doc`` and ``_create``.

    Raises:
        SidecarError: an inference failed; nothing was written.
    """
    context = await WriteContext.of(exchange)
    plan = await context.plan(exchange.values["index"])
    if not plan:
        return await exchange.forward(warnings=context.notes)
    source = await read_body(exchange)
    if source is None:
        return await exchange.forward(warnings=context.notes)
    body = await filled(exchange, context, plan, source, exchange.values.get("id"))
    if body is source.raw:
        return await exchange.forward(warnings=context.notes)
    return await exchange.forward(body, headers={"Content-Type": _json_type(exchange)}, warnings=context.notes)


async def read_body(exchange: Exchange) -> SourceText | None:
    """The request's body; ``None`` for one that is no object, or that the cluster refuses."""
    try:
        return read_source(as_json(await exchange.body(), exchange.types.body_format()))
    except SidecarError:
        return None


async def filled(
    exchange: Exchange, context: WriteContext, plan: WritePlan, source: SourceText, identity: str | None
) -> bytes:
    """The source with the vectors of what the pipelines of the request will make of it; as it came without any.

    Raises:
        SidecarError: an inference failed.
    """
    examined = source
    named = exchange.parameters.get("pipeline")
    runs = plan.default_pipeline or plan.final_pipeline if named is None else named != "_none" or plan.final_pipeline
    if runs:
        draft = Draft(exchange.values["index"], identity, source.raw)
        (outcome,) = await simulate(exchange, [draft], named)
        if outcome.source is None:
            return source.raw
        examined = outcome.source
        if outcome.index not in (exchange.values["index"], plan.index):
            plan = await context.plan(outcome.index)
    filling = examine(examined, plan)
    if filling.is_idle:
        context.note(filling.notes)
        return source.raw
    return context.completed(filling, await context.embed([filling]), source)


def _json_type(exchange: Exchange) -> str:
    content_type = exchange.request.headers.get("Content-Type", "")
    return content_type if "json" in content_type else "application/json"
