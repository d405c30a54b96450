"""``_doc`` and ``_create``: one document with its vectors."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sidecar.core.errors import PlainError, SidecarError
from sidecar.front.cluster import Answer
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examined
from sidecar.front.inference_processors import CARRIER
from sidecar.front.json_members import changed
from sidecar.front.parameter_refusals import refused_for_parameters
from sidecar.front.refusals import (
    ConflictingSettingsError,
    VersionConflictError,
    changed_meanwhile,
    is_too_long,
    refusal,
    refusal_of_existing,
)
from sidecar.front.request_target import without_shape
from sidecar.front.search_bodies import json_type
from sidecar.front.simulation import Draft, Pipelines, explained
from sidecar.front.source_text import SourceText, read_source
from sidecar.front.targets import WritePlan
from sidecar.front.vector_probes import heed, through_pipelines
from sidecar.front.write_context import PlanChangedError, WriteContext
from sidecar.front.written_places import WrittenPlaces
from sidecar.wire.body_formats import as_json


async def write_document(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_doc`` and ``_create``.

    Raises:
        SidecarError: an inference failed; nothing was written.
    """
    while True:
        with suppress(PlanChangedError):
            return await _write(exchange)


async def _write(exchange: Exchange) -> web.StreamResponse:
    context = await WriteContext.of(exchange)
    operation = _operation(exchange)
    if is_too_long(exchange.values.get("id")):
        return await exchange.forward()
    plan = await context.plan(exchange.values["index"], operation)
    if plan.is_refused:
        return await told(context, plan, "_doc", b"{}")
    pipelines = await pipelines_of(exchange, plan, exchange.parameters.get("pipeline"))
    seen = None if pipelines.run else WrittenPlaces(context, {(exchange.values["index"], operation): plan})
    if not (plan or pipelines.infers):
        return await exchange.forward(warnings=context.notes, seen=seen)
    if not plan and not await context.may_infer(exchange.values["index"], operation):
        return await exchange.forward()
    source = await read_body(exchange, strict=plan.has_semantic_text)
    if source is None:
        return await exchange.forward(warnings=context.notes)
    if (refused := await refused_for_parameters(exchange, "_doc")) is not None:
        return respond(context, refused, {})
    looked_at = None
    if operation == "create" and "id" in exchange.values and not pipelines.run:
        looked_at = await _examined_alone(source, plan, exchange.values["id"])
        wants_inference = any(True for _ in looked_at.texts())
        conflict = await refusal_of_existing(exchange, exchange.values["id"]) if wants_inference else None
        if conflict is not None:
            return exchange.respond(VersionConflictError.default_status, conflict, filtered=False)
    written = await filled(context, plan, pipelines, source, exchange.values.get("id"), looked_at=looked_at)
    await context.check(plan, exchange.values["index"], operation)
    if written.body is source.raw:
        return await exchange.forward(warnings=context.notes, seen=seen)
    if not pipelines.infers:
        return await exchange.forward(written.body, headers=json_type(exchange), warnings=context.notes, seen=seen)
    answer = await exchange.call(exchange.request.method, without_shape(exchange.target), written.body)
    return respond(context, answer, written.errors)


async def told(context: WriteContext, plan: WritePlan, route: str, body: bytes) -> web.StreamResponse:
    """The cluster's own refusal of a write, see ``refusals``.

    Raises:
        SidecarError: 429, it does not refuse it any more.
    """
    answer = await refusal(context.exchange, route, body)
    if answer is None:
        context.exchange.front.catalog.drop()
        raise changed_meanwhile(plan.index)
    return respond(context, answer, {})


async def _examined_alone(
    source: SourceText, plan: WritePlan, identity: str | None, unclaimed: Collection[str] = ()
) -> Filling:
    try:
        return await examined(source, plan, unclaimed=unclaimed)
    except ConflictingSettingsError as error:
        raise error.within(uuid.uuid4().hex[:20] if identity is None else identity) from error


def _operation(exchange: Exchange) -> str:
    """What the caller must be allowed to do: without an id, documents are always new."""
    is_create = "id" not in exchange.values or exchange.path.rstrip("/").split("/")[-2:-1] == ["_create"]
    return "create" if is_create or exchange.parameters.get("op_type") == "create" else "index"


@dataclass(frozen=True, slots=True)
class RunningPipelines:
    """The pipelines that a document goes through: ``named`` by the request, ``None`` for the index's own."""

    named: str | None
    run: bool
    infers: bool


async def pipelines_of(exchange: Exchange, plan: WritePlan, named: str | None) -> RunningPipelines:
    """Which pipelines a single document goes through."""
    first = plan.default_pipeline if named is None else None if named == "_none" else named
    if first is None and plan.final_pipeline is None:
        return RunningPipelines(named, run=False, infers=False)
    known = Pipelines(await exchange.front.catalog.pipelines())
    return RunningPipelines(named, run=True, infers=known.infers(first) or known.infers(plan.final_pipeline))


async def read_body(exchange: Exchange, *, strict: bool) -> SourceText | None:
    """The request's body; ``None`` for one that is no object, or that the cluster refuses; see ``read_source``.

    Raises:
        PlainError: 413 and 406, it is larger than the sidecar takes, or in a form that it does not read: the cluster
            might store such a document, without its vectors.
    """
    if exchange.types.content is None:
        return None
    try:
        return read_source(as_json(await exchange.body(), exchange.types.body_format()), strict=strict)
    except PlainError:
        raise
    except SidecarError:
        return None


@dataclass(frozen=True, slots=True)
class Filled:
    """A source with vectors; ``errors`` are those of inference in pipelines, by their reason."""

    body: bytes
    errors: Mapping[str, SidecarError] = field(default_factory=dict)


async def filled(
    context: WriteContext,
    plan: WritePlan,
    pipelines: RunningPipelines,
    source: SourceText,
    identity: str | None,
    unclaimed: Collection[str] = (),
    looked_at: Filling | None = None,
) -> Filled:
    """The source with the vectors of what the pipelines of the request will make of it; as it came without any.

    ``unclaimed`` are fields of which its marker says nothing, see ``filling``; ``looked_at`` is what it wants, where
    that is known and no pipelines run.

    Raises:
        SidecarError: an inference failed.
    """
    read = source
    outcome = None
    if pipelines.run:
        draft = Draft(context.exchange.values["index"], identity, source, plan, _operation(context.exchange))
        (outcome,) = await through_pipelines(context, [draft], pipelines.named, infers=pipelines.infers)
        read, plan = outcome.source or source, outcome.plan
    body = source.raw
    if plan and (outcome is None or outcome.source is not None):
        filling = looked_at or await _examined_alone(read, plan, identity, unclaimed)
        if outcome is not None:
            heed(context, filling, outcome)
        context.note(filling.notes)
        if not filling.is_idle:
            body = context.completed(filling, await context.embed([filling]), source)
    if outcome is None:
        return Filled(body)
    if outcome.carrier is not None:
        body = changed(body, {CARRIER: outcome.carrier})
    return Filled(body, outcome.errors)


def respond(context: WriteContext, answer: Answer, errors: Mapping[str, SidecarError]) -> web.Response:
    """The cluster's answer to a write, in the caller's format; what failed in a stand-in is told as inference is.

    Raises:
        SidecarError: an inference failed in a pipeline.
    """
    body = answer.json()
    if answer.status >= 300 and isinstance(body, dict) and isinstance(body.get("error"), dict):
        error = explained(body["error"], errors)
        if error is not None:
            raise error
    return respond_with(context, answer, body)


def respond_with(context: WriteContext, answer: Answer, body: Any) -> web.Response:
    """``body`` in the caller's format, with the status of the cluster's ``answer``, its place and its warnings."""
    place = {"Location": answer.headers["Location"]} if "Location" in answer.headers else {}
    filtered = answer.status < 300  # errors are shown whole
    told = context.exchange.respond(answer.status, body, place, warnings=context.notes, filtered=filtered)
    for warning in answer.headers.getall("Warning", ()):
        told.headers.add("Warning", warning)
    return told
