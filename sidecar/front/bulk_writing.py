"""``_bulk``: actions are read as they come, gathered to batches, embedded side by side and sent on in their order.

One bulk of the caller is one bulk of the cluster; memory holds a few batches, however large the body is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import aiohttp
import orjson
from aiohttp import web

from sidecar.core.errors import SidecarError
from sidecar.front.bulk_answer import FailedItem, failed_item, merged, placeholder
from sidecar.front.bulk_lines import BulkAction, BulkReader, Passage
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examine
from sidecar.front.forwarding import OF_THE_ENCODING, end_to_end, relay
from sidecar.front.json_members import Change, changed, members
from sidecar.front.simulation import Draft, Outcome, simulate
from sidecar.front.source_text import SourceText, read_source
from sidecar.front.targets import WritePlan
from sidecar.front.write_context import WriteContext
from sidecar.wire.content_codings import Decoder
from sidecar.wire.media_types import Format
from sidecar.wire.warning_header import warning_header

MOST_ACTIONS = 256
MOST_BYTES = 1024 * 1024
"""A batch ends with whichever comes first; a body no longer than this is read whole before anything is sent."""
BATCHES_AT_ONCE = 4
_SHAPING = frozenset({"filter_path", "pretty", "format", "human"})

Part = BulkAction | Passage


@dataclass(slots=True)
class _Document:
    """One source of an action: the whole line, or ``doc`` or ``upsert`` within the line of an update (``member``)."""

    source: SourceText
    member: str | None
    is_partial: bool
    plan: WritePlan
    pipeline: str | None
    filling: Filling | None = None


@dataclass(slots=True)
class _Work:
    """An action with the documents in it that may want vectors."""

    action: BulkAction
    plan: WritePlan
    line: SourceText
    documents: list[_Document] = field(default_factory=list)
    failure: SidecarError | None = None


@dataclass(slots=True)
class _Batch:
    """What of a batch goes to the cluster; ``failed`` by the item's place in the batch of ``items`` items."""

    data: bytes
    items: int
    failed: dict[int, FailedItem]
    is_changed: bool


async def write_bulk(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_bulk``."""
    if exchange.types.body_format() is not Format.JSON:
        return await exchange.forward()
    return await _BulkWrite(exchange, await WriteContext.of(exchange)).answer()


class _BulkWrite:
    def __init__(self, exchange: Exchange, context: WriteContext) -> None:
        self._exchange = exchange
        self._context = context
        self._index = exchange.values.get("index") or exchange.parameters.get("index")
        self._pipeline = exchange.parameters.get("pipeline")
        self._failed: dict[int, FailedItem] = {}
        self._items = 0

    async def answer(self) -> web.StreamResponse:
        """The cluster's answer with the items in it that never reached the cluster."""
        length = self._exchange.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= MOST_BYTES:
            return await self._answer_whole(await self._exchange.body())
        return await self._answer_stream()

    async def _answer_whole(self, body: bytes) -> web.StreamResponse:
        reader = BulkReader()
        parts = [*reader.feed(body), *reader.finish()]
        batches = [await self._prepare(batch) for batch in _cut(parts)]
        for batch in batches:
            self._count(batch)
        if not any(batch.is_changed for batch in batches):
            return await self._exchange.forward(warnings=self._context.notes)
        return await self._send(b"".join(batch.data for batch in batches))

    async def _answer_stream(self) -> web.StreamResponse:
        async def body() -> AsyncIterator[bytes]:
            async for batch in self._prepared():
                self._count(batch)
                yield batch.data

        return await self._send(body())

    async def _send(self, body: bytes | AsyncIterator[bytes]) -> web.StreamResponse:
        exchange = self._exchange
        headers = end_to_end(exchange.request.raw_headers, {*OF_THE_ENCODING, "expect", "host"})
        answer_format, _ = exchange.types.answer(exchange.parameters.get("format"))
        is_shaped = answer_format is not Format.JSON or not _SHAPING.isdisjoint(exchange.parameters)
        target = exchange.target
        if is_shaped:
            headers["Accept"] = "application/json"
            target = _without(target, _SHAPING)
        async with exchange.front.cluster.send(exchange.request.method, target, headers, body) as answer:
            if not is_shaped and not self._failed:
                added = [("Warning", warning_header(text, exchange.front.generation)) for text in self._context.notes]
                return await relay(exchange.request, answer, added)
            return await self._respond(answer)

    async def _respond(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        body = orjson.loads(await answer.read())
        warnings = answer.headers.getall("Warning", ())
        if answer.status == 200:
            body = merged(body, self._failed)
        response = self._exchange.respond(answer.status, body, warnings=self._context.notes)
        for warning in warnings:
            response.headers.add("Warning", warning)
        return response

    def _count(self, batch: _Batch) -> None:
        for place, item in batch.failed.items():
            self._failed[self._items + place] = item
        self._items += batch.items

    # --- batches

    async def _prepared(self) -> AsyncIterator[_Batch]:
        """Every batch in order, a few of them in the making."""
        waiting: deque[asyncio.Task[_Batch]] = deque()
        try:
            async for parts in self._read():
                waiting.append(asyncio.create_task(self._prepare(parts)))
                if len(waiting) >= BATCHES_AT_ONCE:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def _read(self) -> AsyncIterator[list[Part]]:
        reader = BulkReader()
        decoder = Decoder(self._exchange.request.headers.get("Content-Encoding"))
        parts: list[Part] = []
        size = actions = 0
        async for data in self._exchange.raw_stream():
            for part in reader.feed(decoder.feed(data)):
                parts.append(part)
                size += part.size
                actions += 1
                if size >= MOST_BYTES or actions >= MOST_ACTIONS:
                    yield parts
                    parts, size, actions = [], 0, 0
        decoder.finish()
        parts.extend(reader.finish())
        if parts:
            yield parts

    async def _prepare(self, parts: Sequence[Part]) -> _Batch:
        plans = await self._plans(parts)
        works: dict[int, _Work] = {}
        for position, part in enumerate(parts):
            if isinstance(part, BulkAction) and part.source and plans.get(self._name(part)):
                work = self._read_action(part, plans)
                if work is not None:
                    works[position] = work
        await self._examine(list(works.values()))
        fillings = [d.filling for w in works.values() for d in w.documents if d.filling and not w.failure]
        vectors = await self._context.embed(fillings)
        data: list[bytes] = []
        failed: dict[int, FailedItem] = {}
        items, is_changed = 0, False
        for position, part in enumerate(parts):
            if isinstance(part, Passage):
                data.append(part.data)
                continue
            work = works.get(position)
            if work is None:
                data += (part.head, part.source)
            else:
                try:
                    if work.failure is not None:
                        raise work.failure
                    source = self._completed(work, vectors)
                    is_changed |= source is not part.source
                    data += (part.head, source)
                except SidecarError as error:
                    failed[items] = failed_item(part, work.plan.index, error, self._exchange.front.generation)
                    data.append(placeholder(part, failed[items]))
                    is_changed = True
            items += 1
        return _Batch(b"".join(data), items, failed, is_changed)

    def _name(self, action: BulkAction) -> str:
        name = action.meta.get("_index", self._index)
        return name if isinstance(name, str) else ""

    async def _plans(self, parts: Sequence[Part]) -> Mapping[str, WritePlan]:
        names = list(dict.fromkeys(self._name(part) for part in parts if isinstance(part, BulkAction)))
        return dict(zip(names, await asyncio.gather(*map(self._context.plan, names)), strict=True))

    def _read_action(self, action: BulkAction, plans: Mapping[str, WritePlan]) -> _Work | None:
        plan = plans[self._name(action)]
        if action.meta.get("_id") == "":
            return None  # refused by the cluster, whatever is in the document
        is_update = action.operation == "update"
        try:
            line = read_source(action.source, strict=plan.has_semantic_text and not is_update)
        except SidecarError as error:
            # The cluster would let one such document spoil all others of the bulk.
            return _Work(action, plan, SourceText(action.source, {}), failure=error)
        if line is None:
            return None
        work = _Work(action, plan, line)
        pipeline = self._pipeline_of(action, plan)
        if not is_update:
            work.documents.append(_Document(line, None, False, plan, pipeline))
            return work
        return _with_documents_of_update(work, pipeline)

    def _pipeline_of(self, action: BulkAction, plan: WritePlan) -> str | None:
        """The pipeline that the request names, ``""`` where none at all runs, ``None`` for the index's own."""
        named = action.meta.get("pipeline", self._pipeline)
        if named is None and (plan.default_pipeline or plan.final_pipeline):
            return None
        if named is None or (named == "_none" and not plan.final_pipeline):
            return ""
        return str(named)

    async def _examine(self, works: Sequence[_Work]) -> None:
        await self._run_pipelines([(w, d) for w in works for d in w.documents if d.pipeline != ""])
        for work in works:
            for document in work.documents:
                if document.pipeline == "":
                    _examine_one(work, document, document.source, document.plan)

    async def _run_pipelines(self, held: Sequence[tuple[_Work, _Document]]) -> None:
        groups: dict[str | None, list[tuple[_Work, _Document]]] = {}
        for work, document in held:
            groups.setdefault(document.pipeline, []).append((work, document))

        async def run(pipeline: str | None, members: Sequence[tuple[_Work, _Document]]) -> None:
            drafts = [
                Draft(self._name(work.action), _id(work.action), document.source.raw) for work, document in members
            ]
            outcomes = await simulate(self._exchange, drafts, pipeline)
            for (work, document), outcome in zip(members, outcomes, strict=True):
                await self._examine_outcome(work, document, outcome)

        await asyncio.gather(*(run(pipeline, members) for pipeline, members in groups.items()))

    async def _examine_outcome(self, work: _Work, document: _Document, outcome: Outcome) -> None:
        if outcome.source is None:
            return
        moved = outcome.index not in (self._name(work.action), work.plan.index)
        plan = await self._context.plan(outcome.index) if moved else document.plan
        _examine_one(work, document, outcome.source, plan)

    def _completed(self, work: _Work, vectors: Any) -> bytes:
        changes: dict[str, Change] = {}
        for document in work.documents:
            if document.filling is None or document.filling.is_idle:
                continue
            source = self._context.completed(document.filling, vectors, document.source)
            if document.member is None:
                return source
            changes[document.member] = source
        return changed(work.line.raw, changes) if changes else work.action.source


def _with_documents_of_update(work: _Work, pipeline: str | None) -> _Work | None:
    body, raw = work.line.document, work.line.raw
    held, _ = members(raw)
    places = {member.name: raw[member.value : member.end] for member in held}
    doc, upsert = body.get("doc"), body.get("upsert")
    if isinstance(doc, dict):
        # A bulk runs pipelines on documents to be inserted alone.
        runs = pipeline if body.get("doc_as_upsert") is True else ""
        work.documents.append(_Document(SourceText(places["doc"], doc), "doc", True, work.plan, runs))
    if isinstance(upsert, dict):
        work.documents.append(_Document(SourceText(places["upsert"], upsert), "upsert", False, work.plan, pipeline))
    return work if work.documents else None


def _examine_one(work: _Work, document: _Document, source: SourceText, plan: WritePlan) -> None:
    try:
        document.filling = examine(source, plan, is_partial=document.is_partial)
    except SidecarError as error:
        work.failure = error


def _id(action: BulkAction) -> str | None:
    identity = action.meta.get("_id")
    return None if identity is None else str(identity)


def _cut(parts: Sequence[Part]) -> list[Sequence[Part]]:
    return [parts[at : at + MOST_ACTIONS] for at in range(0, len(parts), MOST_ACTIONS)]


def _without(target: str, names: frozenset[str]) -> str:
    """Raw path and query without these parameters."""
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and unquote_plus(pair.partition("=")[0]) not in names]
    return f"{path}?{'&'.join(kept)}" if kept else path
