"""``_bulk``: actions are read as they come, gathered to batches, embedded side by side and sent on in their order.

One bulk of the caller is one bulk of the cluster; memory holds a few batches, however large the body is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from sidecar.core.errors import PlainError, SidecarError
from sidecar.front.bulk_answer import (
    FailedItem,
    described,
    failed_item,
    merged,
    placeholder,
    without_last_complaint,
)
from sidecar.front.bulk_lines import BulkAction, BulkReader, Passage, named_indices
from sidecar.front.embedding import Vectors
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examined
from sidecar.front.forwarding import OF_THE_ENCODING, end_to_end, relay
from sidecar.front.inference_processors import CARRIER
from sidecar.front.json_members import Change, changed, members
from sidecar.front.refusals import (
    GUARD,
    MISSING,
    DocumentPlace,
    already_exists,
    changed_meanwhile,
    is_too_long,
    versions,
)
from sidecar.front.request_target import SHAPING, without_shape
from sidecar.front.simulation import Draft, Outcome, Pipelines, explained
from sidecar.front.source_text import SourceText, read_source
from sidecar.front.stored_documents import DocumentName, StoredDocument, examined_with_stored, read_stored
from sidecar.front.targets import WritePlan
from sidecar.front.vector_probes import heed, through_pipelines
from sidecar.front.write_context import WriteContext
from sidecar.wire.content_codings import Decoder, decoded
from sidecar.wire.media_types import Format
from sidecar.wire.warning_header import warning_header

MOST_ACTIONS = 256
MOST_BYTES = 1024 * 1024
"""A batch ends with whichever comes first; a body no longer than this is read whole before anything is sent."""
BATCHES_AT_ONCE = 4
_OWN_ATTEMPTS = 3
# Bodies of this size the cluster reads whole before it does anything; longer ones it may do in parts.
_MOST_AT_ONCE = 256 * 1024
_MOST_TOUCHED = 100_000
_REFUSED = b'{"update":{"_index":"0","_id":"0"}}\n{}\n'

_SMILE = frozenset({"application/smile", "application/vnd.elasticsearch+smile"})

Part = BulkAction | Passage


@dataclass(slots=True)
class _Document:
    """One source of an action: the whole line, or ``doc`` or ``upsert`` within the line of an update (``member``)."""

    source: SourceText
    member: str | None
    is_partial: bool
    plan: WritePlan
    pipeline: str | None
    infers: bool
    filling: Filling | None = None
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Work:
    """An action with the documents in it that may want vectors."""

    action: BulkAction
    plan: WritePlan
    line: SourceText
    documents: list[_Document] = field(default_factory=list)
    failure: SidecarError | None = None
    stored: StoredDocument | None = None
    is_missing: bool = False

    @property
    def wants_inference(self) -> bool:
        return any(True for one in self.documents if one.filling for _ in one.filling.texts())


@dataclass(slots=True)
class Batch:
    """What of a batch goes to the cluster; ``failed`` by the item's place in the batch of ``items`` items.

    Without ``keeps_heads`` an action line was replaced for which the cluster might refuse the whole bulk.
    """

    data: bytes
    items: int
    failed: dict[int, FailedItem]
    is_changed: bool
    errors: dict[int, Mapping[str, SidecarError]]
    guarded: dict[int, BulkAction]
    keeps_heads: bool = True


async def write_bulk(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_bulk``.

    Raises:
        PlainError: 406, it is written in SMILE, which is not read here, and some index wants vectors.
    """
    content = exchange.types.content
    context = await WriteContext.of(exchange)
    if content is not None and content.name in _SMILE and await _fills_anything(context):
        raise PlainError(
            f"Content-Type header [{content.raw}] is not supported for bulks where fields are filled: send JSON",
            status=406,
        )
    if content is None or content.format is not Format.JSON:
        return await exchange.forward()
    return await BulkWrite(exchange, context).answer()


async def _fills_anything(context: WriteContext) -> bool:
    views = await context.exchange.front.catalog.resolve("*", "all")
    return any([bool(await context.finder.plan(view)) for view in views])


class BulkWrite:
    """One bulk on its way."""

    def __init__(self, exchange: Exchange, context: WriteContext) -> None:
        self._exchange = exchange
        self._context = context
        self._index = exchange.values.get("index") or exchange.parameters.get("index")
        self._pipeline = exchange.parameters.get("pipeline")
        self._failed: dict[int, FailedItem] = {}
        self._errors: dict[int, Mapping[str, SidecarError]] = {}
        self._guarded: dict[int, BulkAction] = {}
        self._items = 0
        self._touched: set[int] = set()
        self._is_opaque = False

    async def answer(self) -> web.StreamResponse:
        """The cluster's answer with the items in it that never reached the cluster."""
        length = self._exchange.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= MOST_BYTES:
            return await self._answer_whole(await self._exchange.body())
        return await self._answer_stream()

    async def _answer_whole(self, body: bytes) -> web.StreamResponse:
        names = named_indices(body, self._index) if self._pipeline in (None, "_none") else None
        if names is not None and all([self._is_untouched(await self._context.plan(name)) for name in names]):
            return await self._exchange.forward(warnings=self._context.notes)
        read = [parts async for parts in self._read()]
        if len(body) <= _MOST_AT_ONCE and (self._is_opaque or any(map(_has_too_long_id, chain.from_iterable(read)))):
            refused = await self._refused_whole(list(chain.from_iterable(read)))
            if refused is not None:
                return refused
        batches = [batch async for batch in self._prepared(_one_by_one(read))]
        for batch in batches:
            self._count(batch)
        if not any(batch.is_changed for batch in batches):
            return await self._exchange.forward(warnings=self._context.notes)
        if len(body) <= _MOST_AT_ONCE and any(not batch.keeps_heads for batch in batches):
            refused = await self._refused_line(list(chain.from_iterable(read)))
            if refused is not None:
                return refused
        data = b"".join([batch.data for batch in batches])
        if not self._has_own_items:
            return await self._exchange.forward(data, warnings=self._context.notes)
        return await self._send(data)

    @property
    def _has_own_items(self) -> bool:
        """Whether the cluster's answer must be read, because some items of it are, or may be, the front's to tell."""
        return bool(self._failed or self._errors or self._guarded)

    async def _refused_whole(self, parts: Sequence[Part]) -> web.StreamResponse | None:
        """The cluster's answer to a bulk that it refuses for one of its lines; ``None`` where it does not.

        It is sent with lines in place of the documents that could not be stored if it were taken.
        """
        lines = [part.data if isinstance(part, Passage) else _harmless(part) for part in parts]
        target = without_shape(self._exchange.target)
        answer = await self._exchange.call(
            self._exchange.request.method, target, b"".join(lines), content_type="application/x-ndjson"
        )
        if answer.status == 200:
            return None
        return self._exchange.respond(answer.status, answer.json(), warnings=self._context.notes, filtered=False)

    async def _refused_line(self, parts: Sequence[Part]) -> web.StreamResponse | None:
        """The cluster's answer to a bulk that it refuses for what an action line says, where that line is not sent.

        The bulk is asked about as it came, with an update behind it for which the cluster refuses all of it.
        """
        lines = [part.data if isinstance(part, Passage) else part.head + part.source for part in parts]
        if not lines or not lines[-1].endswith(b"\n"):
            return None
        target = without_shape(self._exchange.target)
        answer = await self._exchange.call(
            self._exchange.request.method, target, b"".join((*lines, _REFUSED)), content_type="application/x-ndjson"
        )
        told = without_last_complaint(answer.json()) if answer.status == 400 else answer.json()
        if told is None:
            return None
        return self._exchange.respond(answer.status, told, warnings=self._context.notes, filtered=False)

    @staticmethod
    def _is_untouched(plan: WritePlan) -> bool:
        return not (plan or plan.has_semantic_text or plan.default_pipeline or plan.final_pipeline)

    async def _answer_stream(self) -> web.StreamResponse:
        async def body() -> AsyncIterator[bytes]:
            async for batch in self._prepared(self._read()):
                self._count(batch)
                yield batch.data

        return await self._send(body())

    async def _send(self, body: bytes | AsyncIterator[bytes]) -> web.StreamResponse:
        exchange = self._exchange
        headers = end_to_end(exchange.request.raw_headers, {*OF_THE_ENCODING, "expect", "host"})
        answer_format, _ = exchange.types.answer(exchange.parameters.get("format"))
        is_shaped = answer_format is not Format.JSON or not SHAPING.isdisjoint(exchange.parameters)
        target = exchange.target
        if is_shaped:
            headers["Accept"] = "application/json"
            target = without_shape(target)
        async with exchange.front.cluster.send(exchange.request.method, target, headers, body) as answer:
            if not (is_shaped or self._has_own_items):
                added = [("Warning", warning_header(text, exchange.front.generation)) for text in self._context.notes]
                return await relay(exchange.request, answer, added)
            return await self._respond(answer)

    async def _respond(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        body = orjson.loads(decoded(await answer.read(), answer.headers.get("Content-Encoding")))
        warnings = answer.headers.getall("Warning", ())
        if answer.status == 200:
            await self._repeat_conflicts(body)
            body = self._explained(merged(body, self._failed))
        # Errors of the whole request are never filtered.
        filtered = answer.status < 300
        response = self._exchange.respond(answer.status, body, warnings=self._context.notes, filtered=filtered)
        for warning in warnings:
            response.headers.add("Warning", warning)
        return response

    async def _repeat_conflicts(self, body: dict[str, Any]) -> None:
        """Does updates again that met a change of their document, which only the front's own guard made fail."""
        items = body.get("items") or []
        for place, action in self._guarded.items():
            if place >= len(items):
                continue
            for _ in range(_attempts(action)):
                ((_, about),) = items[place].items()
                if about.get("status") != 409:
                    break
                batch = await self.prepare([action])
                if batch.failed:
                    self._failed[place] = batch.failed[0]
                    break
                target = without_shape(self._exchange.target)
                content_type = "application/x-ndjson"
                answer = await self._exchange.call("POST", target, batch.data, content_type=content_type)
                if answer.status != 200:
                    break
                (items[place],) = answer.json()["items"]
        body["errors"] = any("error" in about for item in items for about in item.values())

    def settled(self, batch: Batch, body: dict[str, Any]) -> dict[str, Any]:
        """The cluster's answer to ``batch`` alone, with the items that never reached it."""
        self._failed, self._errors, self._items = {}, {}, 0
        self._count(batch)
        return self._explained(merged(body, self._failed))

    def _explained(self, body: dict[str, Any]) -> dict[str, Any]:
        items = body.get("items") or []
        for place, errors in self._errors.items():
            for about in items[place].values() if place < len(items) else ():
                error = explained(about.get("error") or {}, errors)
                if error is not None:
                    about["status"], about["error"] = described(error, self._exchange.front.generation)
        return body

    def _count(self, batch: Batch) -> None:
        for place, item in batch.failed.items():
            self._failed[self._items + place] = item
        for place, errors in batch.errors.items():
            self._errors[self._items + place] = errors
        for place, action in batch.guarded.items():
            self._guarded[self._items + place] = action
        self._items += batch.items

    # --- batches

    async def _prepared(self, read: AsyncIterator[list[Part]]) -> AsyncIterator[Batch]:
        """Every batch of what was read, in order, a few of them in the making."""
        waiting: deque[asyncio.Task[Batch]] = deque()
        try:
            async for parts in read:
                waiting.append(asyncio.create_task(self.prepare(parts)))
                if len(waiting) >= BATCHES_AT_ONCE:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)  # the first failure is the one that is told

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
        self._is_opaque = reader.is_opaque
        if parts:
            yield parts

    async def prepare(self, parts: Sequence[Part]) -> Batch:
        """What goes to the cluster for some actions."""
        fresh = self._first_touches(parts)
        plans = await self._plans(parts)
        pipelines = await self._pipelines(parts, plans)
        if not pipelines and not any(plans.values()):
            return _untouched(parts)
        forbidden = {
            key for key, plan in plans.items() if pipelines and not plan and not await self._context.may_infer(*key)
        }
        works: dict[int, _Work] = {}
        for position, part in enumerate(parts):
            if isinstance(part, BulkAction) and part.source and self._key(part) not in forbidden:
                work = self._read_action(part, plans[self._key(part)], pipelines)
                if work is not None:
                    works[position] = work
        await self._examine(list(works.values()))
        await self._read_stored(list(works.values()))
        await self._look_up([works[position] for position in works.keys() & fresh])
        fillings = [d.filling for w in works.values() for d in w.documents if d.filling and not w.failure]
        vectors = await self._context.embed(fillings)
        batch = Batch(b"", 0, {}, False, {}, {})
        data: list[bytes] = []
        for position, part in enumerate(parts):
            if isinstance(part, Passage):
                data.append(part.data)
                continue
            work = works.get(position)
            data += (part.head, part.source) if work is None else self._written(batch, work, vectors)
            batch.items += 1
        batch.data = b"".join(data)
        return batch

    def _written(self, batch: Batch, work: _Work, vectors: Vectors) -> tuple[bytes, ...]:
        """The lines that go to the cluster for an action; notes in ``batch`` what its answer will need."""
        try:
            if work.failure is not None:
                raise work.failure
            source = self._completed(work, vectors)
        except SidecarError as error:
            item = failed_item(work.action, work.plan.index, error, self._exchange.front.generation)
            batch.failed[batch.items] = item
            batch.is_changed = True
            batch.keeps_heads &= work.action.is_plain
            return (placeholder(work.action, item),)
        batch.is_changed |= source is not work.action.source
        if any(document.infers for document in work.documents):
            batch.is_changed = True
            errors = [document.outcome.errors for document in work.documents if document.outcome]
            batch.errors[batch.items] = {reason: error for known in errors for reason, error in known.items()}
        if work.is_missing:
            # Should it have come meanwhile, the guard fails, and the update is done with its vectors.
            batch.is_changed = True
            batch.guarded[batch.items] = work.action
            batch.keeps_heads &= work.action.is_plain
            # Without its texts: a cluster that lacks the endpoint would complain of that first.
            return _guarded_head(work.action, GUARD), changed(work.line.raw, {"doc": b"{}"})
        if work.stored is None:
            return work.action.head, source
        batch.guarded[batch.items] = work.action
        batch.keeps_heads &= work.action.is_plain
        guard = {"_index": work.stored.index, "if_seq_no": work.stored.seq_no}
        return _guarded_head(work.action, guard | {"if_primary_term": work.stored.primary_term}), source

    def _name(self, action: BulkAction) -> str:
        name = action.meta.get("_index", self._index)
        return name if isinstance(name, str) else ""

    def _key(self, action: BulkAction) -> tuple[str, str]:
        return self._name(action), action.operation

    def _first_touches(self, parts: Sequence[Part]) -> set[int]:
        """The places of actions whose documents no earlier action of the bulk can have made or deleted.

        Must run before anything is awaited, so that batches come in their order.
        """
        found = set()
        for position, part in enumerate(parts):
            if isinstance(part, BulkAction) and part.id is not None and len(self._touched) < _MOST_TOUCHED:
                document = hash((self._name(part), part.id))
                if document not in self._touched:
                    found.add(position)
                    self._touched.add(document)
        return found

    async def _look_up(self, works: Sequence[_Work]) -> None:
        """Finds documents that are there and are to be created, and updates of those that are not there."""
        asked = [
            work
            for work in works
            if work.failure is None
            and work.stored is None
            and (work.action.operation == "create" or (work.action.operation == "update" and not _inserts(work)))
            and all(document.pipeline == "" for document in work.documents)
            and "if_seq_no" not in work.action.meta
            and work.wants_inference
        ]
        places = [
            DocumentPlace(self._name(work.action), work.action.id or "", self._routing(work.action)) for work in asked
        ]
        for work, version in zip(asked, await versions(self._exchange, places), strict=True):
            if work.action.operation == "create" and isinstance(version, int):
                work.failure = already_exists(work.action.id or "", version)
            elif work.action.operation == "update" and version == MISSING:
                work.is_missing = True
                work.documents.clear()

    async def _plans(self, parts: Sequence[Part]) -> Mapping[tuple[str, str], WritePlan]:
        """The plans by index and operation: who may create need not be one who may update."""
        asked = list(dict.fromkeys(self._key(part) for part in parts if isinstance(part, BulkAction)))
        plans = await asyncio.gather(*(self._context.plan(name, operation) for name, operation in asked))
        return dict(zip(asked, plans, strict=True))

    async def _pipelines(self, parts: Sequence[Part], plans: Mapping[tuple[str, str], WritePlan]) -> Pipelines:
        names = {plan.default_pipeline or plan.final_pipeline for plan in plans.values()}
        names |= {part.meta.get("pipeline") for part in parts if isinstance(part, BulkAction)}
        if {*names, self._pipeline} <= {None, "_none"}:
            return Pipelines({})
        return Pipelines(await self._exchange.front.catalog.pipelines())

    def _read_action(self, action: BulkAction, plan: WritePlan, pipelines: Pipelines) -> _Work | None:
        pipeline, infers = self._pipeline_of(action, plan, pipelines)
        if not (plan or infers) or action.id == "" or _has_too_long_id(action):
            return None  # such an id is refused by the cluster, whatever is in the document
        if plan.is_refused:
            return _Work(action, plan, SourceText(action.source, {}), failure=changed_meanwhile(plan.index))
        is_update = action.operation == "update"
        try:
            line = read_source(action.source, strict=plan.has_semantic_text and not is_update)
        except SidecarError as error:
            # The cluster would let one such document spoil all others of the bulk.
            return _Work(action, plan, SourceText(action.source, {}), failure=error)
        if line is None:
            return None
        work = _Work(action, plan, line)
        if not is_update:
            work.documents.append(_Document(line, None, False, plan, pipeline, infers))
            return work
        return _with_documents_of_update(work, pipeline, infers)

    def _pipeline_of(self, action: BulkAction, plan: WritePlan, pipelines: Pipelines) -> tuple[str | None, bool]:
        """The pipeline that the request names, ``""`` where none at all runs, ``None`` for the index's own.

        Beside it, whether it or the index's final one infers.
        """
        named = action.meta.get("pipeline", self._pipeline)
        if named is None:
            infers = pipelines.infers(plan.default_pipeline) or pipelines.infers(plan.final_pipeline)
            return (None if plan.default_pipeline or plan.final_pipeline else ""), infers
        infers = pipelines.infers(str(named)) or pipelines.infers(plan.final_pipeline)
        return ("" if named == "_none" and not plan.final_pipeline else str(named)), infers

    async def _examine(self, works: Sequence[_Work]) -> None:
        await self._run_pipelines([(w, d) for w in works for d in w.documents if d.pipeline != ""])
        for work in works:
            for document in work.documents:
                if document.pipeline == "" and document.plan:
                    await _examine_one(work, document, document.source, document.plan)

    async def _run_pipelines(self, held: Sequence[tuple[_Work, _Document]]) -> None:
        groups: dict[tuple[str | None, bool], list[tuple[_Work, _Document]]] = {}
        for work, document in held:
            groups.setdefault((document.pipeline, document.infers), []).append((work, document))

        async def run(pipeline: str | None, infers: bool, members: Sequence[tuple[_Work, _Document]]) -> None:
            drafts = [
                Draft(self._name(work.action), work.action.id, document.source, document.plan, work.action.operation)
                for work, document in members
            ]
            outcomes = await through_pipelines(self._context, drafts, pipeline, infers=infers)
            for (work, document), outcome in zip(members, outcomes, strict=True):
                document.outcome = outcome
                await self._examine_outcome(work, document, outcome)

        await asyncio.gather(*(run(*key, members) for key, members in groups.items()))

    async def _examine_outcome(self, work: _Work, document: _Document, outcome: Outcome) -> None:
        if outcome.source is None or not outcome.plan:
            return
        await _examine_one(work, document, outcome.source, outcome.plan)
        if document.filling is not None and outcome.fates:
            try:
                heed(self._context, document.filling, outcome)
            except SidecarError as error:
                work.failure = error

    async def _read_stored(self, works: Sequence[_Work]) -> None:
        """Reads the documents of which partial updates hold too little, and looks at those updates again."""
        held = [
            (work, document)
            for work in works
            for document in work.documents
            if document.filling is not None and document.filling.needs_stored and work.action.id is not None
        ]
        names = [
            DocumentName(self._name(work.action), work.action.id or "", self._routing(work.action)) for work, _ in held
        ]
        for (work, document), stored in zip(held, await read_stored(self._exchange, names), strict=True):
            if stored is None:
                continue  # inserted, or missing: then there is no more than the update holds
            if isinstance(stored, SidecarError):
                work.failure = stored
                continue
            try:
                document.filling = await examined_with_stored(document.source, stored, document.plan)
            except SidecarError as error:
                work.failure = error
            if "if_seq_no" not in work.action.meta:
                work.stored = stored

    def _routing(self, action: BulkAction) -> str | None:
        routing = action.meta.get("routing", action.meta.get("_routing", self._exchange.parameters.get("routing")))
        return None if routing is None else str(routing)

    def _completed(self, work: _Work, vectors: Vectors) -> bytes:
        changes: dict[str, Change] = {}
        for document in work.documents:
            source = document.source.raw
            if document.filling is not None and not document.filling.is_idle:
                source = self._context.completed(document.filling, vectors, document.source)
            if document.outcome is not None and document.outcome.carrier is not None:
                source = changed(source, {CARRIER: document.outcome.carrier})
            if source is document.source.raw:
                continue
            if document.member is None:
                return source
            changes[document.member] = source
        if work.stored is not None:
            # The document is there; what would insert it does not go together with the guard.
            changes |= {name: None for name in ("upsert", "doc_as_upsert") if name in work.line.document}
        return changed(work.line.raw, changes) if changes else work.action.source


def _untouched(parts: Sequence[Part]) -> Batch:
    lines = [part.data if isinstance(part, Passage) else part.head + part.source for part in parts]
    items = sum(isinstance(part, BulkAction) for part in parts)
    return Batch(b"".join(lines), items, {}, False, {}, {})


def _with_documents_of_update(work: _Work, pipeline: str | None, infers: bool) -> _Work | None:
    body, raw = work.line.document, work.line.raw
    held, _ = members(raw)
    places = {member.name: raw[member.value : member.end] for member in held}
    doc, upsert = body.get("doc"), body.get("upsert")
    if isinstance(doc, dict):
        # A bulk runs pipelines on documents to be inserted alone.
        inserts = body.get("doc_as_upsert") is True
        runs = pipeline if inserts else ""
        source = SourceText(places["doc"], doc, is_alone=True)
        work.documents.append(_Document(source, "doc", True, work.plan, runs, infers and inserts))
    if isinstance(upsert, dict):
        source = SourceText(places["upsert"], upsert, is_alone=True)
        work.documents.append(_Document(source, "upsert", False, work.plan, pipeline, infers))
    return work if work.documents else None


async def _examine_one(work: _Work, document: _Document, source: SourceText, plan: WritePlan) -> None:
    try:
        document.filling = await examined(source, plan, is_partial=document.is_partial)
    except SidecarError as error:
        work.failure = error


def _guarded_head(action: BulkAction, guard: Mapping[str, Any]) -> bytes:
    """The action line, for the document as it was read."""
    meta = {name: value for name, value in action.meta.items() if name != "retry_on_conflict"} | dict(guard)
    return orjson.dumps({action.operation: meta}) + b"\n"


def _inserts(work: _Work) -> bool:
    """Whether an update makes a document that is not there."""
    return not {"upsert", "doc_as_upsert", "scripted_upsert"}.isdisjoint(work.line.document)


def _has_too_long_id(part: Part) -> bool:
    return isinstance(part, BulkAction) and part.operation in ("index", "create") and is_too_long(part.id)


def _is_no_update(source: bytes) -> bool:
    """Whether the source of an update says nothing that could change a document: the whole bulk is refused for it."""
    if b"upsert" in source:
        return False  # does not go together with the guard
    try:
        body = orjson.loads(source)
    except orjson.JSONDecodeError:
        return True
    return not isinstance(body, dict) or not body.keys() & {"doc", "script"}


def _harmless(action: BulkAction) -> bytes:
    """The action in as many lines, without effect; as it is where the whole bulk is refused for it.

    The guard stays where a source is kept: the cluster reads some that are no JSON to others, with comments for one.
    """
    if _has_too_long_id(action):
        return action.head + action.source
    meta = {"_id": "0", **{name: action.meta[name] for name in ("_index", "_id") if name in action.meta}, **GUARD}
    head = orjson.dumps({"update" if action.source else "delete": meta}) + b"\n"
    if not action.source:
        return head
    is_kept = action.operation == "update" and _is_no_update(action.source)
    return head + (action.source if is_kept else b'{"doc":{}}\n')


def _attempts(action: BulkAction) -> int:
    """How often a guarded update is done again: as often as the caller allows, and for changes by the same bulk."""
    wanted = action.meta.get("retry_on_conflict", 0)
    return _OWN_ATTEMPTS + (wanted if isinstance(wanted, int) else 0)


async def _one_by_one(read: Sequence[list[Part]]) -> AsyncIterator[list[Part]]:
    for parts in read:
        yield parts
