"""Batches of a bulk: which of its documents want vectors, and the lines that go to the cluster with them.

actions -> documents -> what pipelines make of them -> texts -> vectors -> lines
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson

from sidecar.core.errors import SidecarError
from sidecar.front.bulk_answer import FailedItem, failed_item, placeholder
from sidecar.front.bulk_lines import BulkAction, Passage
from sidecar.front.embedding import Vectors
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examine
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
from sidecar.front.simulation import Draft, Outcome, Pipelines
from sidecar.front.source_text import SourceText, read_source
from sidecar.front.stored_documents import DocumentName, StoredDocument, examined_with_stored, read_stored
from sidecar.front.targets import WritePlan
from sidecar.front.update_request import inserts_its_doc
from sidecar.front.vector_probes import heed, through_pipelines
from sidecar.front.write_context import WriteContext

MOST_ACTIONS = 256
MOST_BYTES = 1024 * 1024
"""A batch ends with whichever comes first; a body no longer than this is read whole before anything is sent."""
_MOST_TOUCHED = 100_000
# What an update may say beside its document for the creation of one to be the same.
_OF_CREATION = frozenset({"_index", "_id", "routing", "require_alias", "pipeline", "retry_on_conflict"})

Part = BulkAction | Passage
_Key = tuple[str, str]


@dataclass(slots=True)
class _Document:
    """One source of an action: the whole line, or ``doc`` or ``upsert`` within the line of an update (``member``).

    ``is_replaced``: what stands there is not what came.
    """

    source: SourceText
    member: str | None
    is_partial: bool
    plan: WritePlan
    pipeline: str | None
    infers: bool
    filling: Filling | None = None
    outcome: Outcome | None = None
    is_replaced: bool = False

    @property
    def text_source(self) -> SourceText:
        """What holds the texts: the document as pipelines will make it, where that could be seen."""
        seen = None if self.outcome is None else self.outcome.source
        return seen or self.source

    def is_made_beforehand(self, indices: Collection[str]) -> bool:
        """Whether what pipelines do with it, on its way into one of ``indices``, can be done before it is written."""
        outcome = self.outcome
        if outcome is None or outcome.source is None:
            return False
        return outcome.is_seen and not outcome.fates and outcome.index in indices

    def take_outcome(self) -> None:
        """Puts what the pipelines make of the document in its place, for a write that runs none."""
        if self.outcome is not None and self.outcome.source is not None:
            self.source, self.outcome, self.is_replaced = self.outcome.source, None, True


@dataclass(slots=True)
class _Work:
    """An action with the documents in it that may want vectors.

    ``needs_stored``: these are of what is stored as well. It ``waits`` where an earlier action of the bulk may change
    that, and ``creates`` where nothing is stored and the document is to be inserted; ``is_unguarded`` where it is, and
    one that comes meanwhile is changed unread.
    """

    action: BulkAction
    plan: WritePlan
    line: SourceText
    documents: list[_Document] = field(default_factory=list)
    failure: SidecarError | None = None
    stored: StoredDocument | None = None
    is_missing: bool = False
    creates: bool = False
    is_unguarded: bool = False
    needs_stored: bool = False
    waits: bool = False

    @property
    def wants_inference(self) -> bool:
        return any(True for one in self.documents if one.filling for _ in one.filling.texts())


@dataclass(slots=True)
class Batch:
    """What of a batch goes to the cluster, as ``lines`` for each of its ``parts``.

    By the item's place in the batch of ``items`` items: ``failed``; ``guarded``, actions that may fail by the front's
    guard alone; ``waiting``, those that can be done only behind earlier ones of the bulk; ``dependent``, places whose
    vectors are of what is stored as well; ``unguarded``, those that insert a document, or change unread one that came.
    Without ``keeps_heads`` an action line was replaced for which the cluster might refuse the whole bulk.
    ``plans`` are those that it was made by, by index and operation; ``fresh`` as of ``BatchMaker.prepare``.
    """

    parts: Sequence[Part]
    plans: Mapping[_Key, WritePlan]
    fresh: Collection[int]
    lines: list[tuple[bytes, ...]] = field(default_factory=list)
    items: int = 0
    failed: dict[int, FailedItem] = field(default_factory=dict)
    is_changed: bool = False
    errors: dict[int, Mapping[str, SidecarError]] = field(default_factory=dict)
    guarded: dict[int, BulkAction] = field(default_factory=dict)
    waiting: dict[int, BulkAction] = field(default_factory=dict)
    dependent: set[int] = field(default_factory=set)
    unguarded: set[int] = field(default_factory=set)
    keeps_heads: bool = True

    @property
    def data(self) -> bytes:
        """The lines, for the cluster."""
        return b"".join(chain.from_iterable(self.lines))

    def wait(self, place: int, action: BulkAction) -> tuple[bytes, ...]:
        """Leaves an item for later; the lines that stand in its place."""
        self.guarded.pop(place, None)
        self.errors.pop(place, None)
        self.unguarded.discard(place)
        self.waiting[place] = action
        self.is_changed = True
        self.keeps_heads &= action.is_plain
        return (placeholder(action),)


class BatchMaker:
    """Makes the batches of one bulk, which must be begun in their order.

    ``index`` is that of the path; ``pipeline`` that of the query.
    """

    def __init__(self, exchange: Exchange, context: WriteContext) -> None:
        self._exchange = exchange
        self._context = context
        self._index = exchange.values.get("index") or exchange.parameters.get("index")
        self._pipeline = exchange.parameters.get("pipeline")
        self._touched: set[int] = set()
        self._held: set[int] = set()
        self._concrete: dict[str, str] = {}  # indices that are written, by the names that actions give

    async def prepare(self, parts: Sequence[Part], *, again: bool = False) -> Batch:
        """What goes to the cluster for some actions; ``again``, these are of different documents, none waits."""
        return await self._made(parts, set(range(len(parts))) if again else self._first_touches(parts))

    async def current(self, batch: Batch) -> Batch:
        """The batch to be sent now: another one where mappings, aliases or endpoints changed while it was made."""
        while not await self._context.holds(batch.plans):
            batch = await self._made(batch.parts, batch.fresh)
        return batch

    async def _made(self, parts: Sequence[Part], fresh: Collection[int]) -> Batch:
        keys = [self._key(part) if isinstance(part, BulkAction) else None for part in parts]
        await self._context.finder.renew()
        plans = await self._plans(keys)
        self._concrete |= {name: plan.index for (name, _), plan in plans.items()}
        pipelines = await self._pipelines(parts, plans)
        if not pipelines and not any(plans.values()):
            return _untouched(parts, plans, fresh)
        forbidden = {
            key for key, plan in plans.items() if pipelines and not plan and not await self._context.may_infer(*key)
        }
        works: dict[int, _Work] = {}
        for position, (part, key) in enumerate(zip(parts, keys, strict=True)):
            if isinstance(part, BulkAction) and key is not None and part.source and key not in forbidden:
                work = self._read_action(part, plans[key], pipelines)
                if work is not None:
                    works[position] = work
        await self._examine(list(works.values()))
        await self._read_stored(works, fresh)
        await self._look_up([works[position] for position in works.keys() & fresh])
        fillings = [d.filling for w in works.values() for d in w.documents if d.filling and not w.failure]
        vectors = await self._context.embed(fillings)
        batch = Batch(parts, plans, fresh)
        for position, part in enumerate(parts):
            if isinstance(part, Passage):
                batch.lines.append((part.data,))
                continue
            work = works.get(position)
            batch.lines.append((part.head, part.source) if work is None else self._written(batch, work, vectors))
            batch.items += 1
        return batch

    def keep_order(self, batch: Batch) -> None:
        """Lets actions wait whose document an earlier one of the bulk may have yet to change; batch after batch."""
        if not (self._held or batch.dependent):
            return
        place = -1
        for position, part in enumerate(batch.parts):
            if isinstance(part, Passage):
                continue
            place += 1
            document = self.document_of(part)
            if document in self._held and place not in batch.failed and place not in batch.waiting:
                batch.lines[position] = batch.wait(place, part)
            elif document is not None and place in batch.dependent:
                self._held.add(document)

    def document_of(self, action: BulkAction) -> int | None:
        """Which document an action is of, as far as that can be told; ``None`` for new ones."""
        return None if action.id is None else hash((self._concrete.get(self._name(action)), action.id))

    def _written(self, batch: Batch, work: _Work, vectors: Vectors) -> tuple[bytes, ...]:
        """The lines that go to the cluster for an action; notes in ``batch`` what its answer will need."""
        if work.needs_stored:
            batch.dependent.add(batch.items)
        if work.waits:
            return batch.wait(batch.items, work.action)
        try:
            if work.failure is not None:
                raise work.failure
            source = self._completed(work, vectors)
        except SidecarError as error:
            item = failed_item(work.action, work.plan.index, error, self._exchange.front.generation)
            batch.failed[batch.items] = item
            batch.is_changed = True
            batch.keeps_heads &= work.action.is_plain
            return (placeholder(work.action, item.id),)
        batch.is_changed |= source is not work.action.source
        errors = [document.outcome.errors for document in work.documents if document.infers and document.outcome]
        if errors:
            batch.is_changed = True
            batch.errors[batch.items] = {reason: error for known in errors for reason, error in known.items()}
        if work.is_missing:
            # Should it have come meanwhile, the guard fails, and the update is done with its vectors.
            batch.is_changed = True
            batch.guarded[batch.items] = work.action
            batch.keeps_heads &= work.action.is_plain
            # Without its texts: a cluster that lacks the endpoint would complain of that first.
            return _guarded_head(work.action, GUARD), changed(work.line.raw, {"doc": b"{}"})
        if work.creates:
            batch.is_changed = True
            batch.guarded[batch.items] = work.action
            return _creating(work, source, self._pipeline)
        if work.is_unguarded:
            batch.unguarded.add(batch.items)
            batch.is_changed = True
        if work.stored is None:
            return work.action.head, source
        batch.guarded[batch.items] = work.action
        batch.keeps_heads &= work.action.is_plain
        guard = {"_index": work.stored.index, "if_seq_no": work.stored.seq_no}
        return _guarded_head(work.action, guard | {"if_primary_term": work.stored.primary_term}), source

    def _name(self, action: BulkAction) -> str:
        name = action.meta.get("_index", self._index)
        return name if isinstance(name, str) else ""

    def _key(self, action: BulkAction) -> _Key:
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

    async def _plans(self, keys: Sequence[_Key | None]) -> Mapping[_Key, WritePlan]:
        """The plans by index and operation: who may create need not be one who may update."""
        asked = [key for key in dict.fromkeys(keys) if key is not None]
        plans = await asyncio.gather(*(self._context.plan(name, operation) for name, operation in asked))
        return dict(zip(asked, plans, strict=True))

    async def _pipelines(self, parts: Sequence[Part], plans: Mapping[_Key, WritePlan]) -> Pipelines:
        names = {plan.default_pipeline or plan.final_pipeline for plan in plans.values()}
        names |= {part.meta.get("pipeline") for part in parts if isinstance(part, BulkAction)}
        if {*names, self._pipeline} <= {None, "_none"}:
            return Pipelines({})
        return Pipelines(await self._exchange.front.catalog.pipelines())

    def _read_action(self, action: BulkAction, plan: WritePlan, pipelines: Pipelines) -> _Work | None:
        is_update = action.operation == "update"
        named = self._pipeline_of(action, plan, pipelines)
        own = _own_pipeline(plan, pipelines) if is_update else named
        if not (plan or named[1] or own[1]) or action.id == "" or has_too_long_id(action):
            return None  # such an id is refused by the cluster, whatever is in the document
        if plan.is_refused:
            return _Work(action, plan, SourceText(action.source, {}), failure=changed_meanwhile(plan.index))
        try:
            line = read_source(action.source, strict=plan.has_semantic_text and not is_update)
        except SidecarError as error:
            # The cluster would let one such document spoil all others of the bulk.
            return _Work(action, plan, SourceText(action.source, {}), failure=error)
        if line is None:
            return None
        work = _Work(action, plan, line)
        if not is_update:
            work.documents.append(_Document(line, None, False, plan, *named))
            return work
        return _with_documents_of_update(work, own, named)

    def _pipeline_of(self, action: BulkAction, plan: WritePlan, pipelines: Pipelines) -> tuple[str | None, bool]:
        """The pipeline that the request names, ``""`` where none at all runs, ``None`` for the index's own.

        Beside it, whether it or the index's final one infers.
        """
        named = action.meta.get("pipeline", self._pipeline)
        if named is None:
            return _own_pipeline(plan, pipelines)
        infers = pipelines.infers(str(named)) or pipelines.infers(plan.final_pipeline)
        return ("" if named == "_none" and not plan.final_pipeline else str(named)), infers

    async def _examine(self, works: Sequence[_Work]) -> None:
        await self._run_pipelines([(w, d) for w in works for d in w.documents if d.pipeline != ""])
        await _examine_each(
            [(w, d, d.source, d.plan) for w in works for d in w.documents if d.pipeline == "" and d.plan]
        )

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
            to_examine = []
            for (work, document), outcome in zip(members, outcomes, strict=True):
                document.outcome = outcome
                if outcome.source is not None and outcome.plan:
                    to_examine.append((work, document, outcome.source, outcome.plan))
            await _examine_each(to_examine)
            for work, document in members:
                self._heed(work, document)

        await asyncio.gather(*(run(*key, members) for key, members in groups.items()))

    def _heed(self, work: _Work, document: _Document) -> None:
        if document.filling is None or document.outcome is None or not document.outcome.fates:
            return
        try:
            heed(self._context, document.filling, document.outcome)
        except SidecarError as error:
            work.failure = error

    async def _read_stored(self, works: Mapping[int, _Work], fresh: Collection[int]) -> None:
        """Reads the documents of which partial updates hold too little, and looks at those updates again.

        What an earlier action of the bulk touched is read when that is done.
        """
        held = []
        for position, work in works.items():
            if work.action.operation != "update":
                continue
            wanting = [d for d in work.documents if d.filling is not None and d.filling.needs_stored]
            if not wanting or work.action.id is None or work.failure is not None:
                continue
            work.needs_stored = True
            if position not in fresh:
                work.waits = True
                work.documents.clear()
            held += [(work, document) for document in wanting if not work.waits]
        names = [
            DocumentName(self._name(work.action), work.action.id or "", self._routing(work.action)) for work, _ in held
        ]
        shows_results = any(work.plan.semantic for work, _ in held)
        shows_vectors = any(self._context.needs_places(work.plan) for work, _ in held)
        read = await read_stored(self._exchange, names, shows_results=shows_results, shows_vectors=shows_vectors)
        for (work, document), stored in zip(held, read, strict=True):
            if stored is None:
                self._heed_missing(work)
                continue
            if isinstance(stored, SidecarError):
                work.failure = stored
                continue
            try:
                document.filling = await examined_with_stored(document.text_source, stored, document.plan)
            except SidecarError as error:
                work.failure = error
            self._guard(work, document, stored)

    def _guard(self, work: _Work, document: _Document, stored: StoredDocument) -> None:
        """Lets an update be done only of the document that was read, where the front can do all else that it does."""
        if "if_seq_no" in work.action.meta:
            return
        # An update under a guard inserts nothing, and pipelines run on documents to be inserted.
        if document.pipeline != "":
            if not document.is_made_beforehand({self._name(work.action), work.plan.index}):
                return
            document.take_outcome()
        work.stored = stored

    def _heed_missing(self, work: _Work) -> None:
        """Keeps an update of nothing from a document that comes meanwhile, whose texts its vectors would lack."""
        if "if_seq_no" in work.action.meta:
            return
        body = work.line.document
        if not inserts_its_doc(body) and not isinstance(body.get("upsert"), dict):
            work.is_missing = True
            work.documents.clear()
            return
        shown = self._exchange.parameters.keys() | body.keys()
        is_plain = _OF_CREATION.issuperset(work.action.meta) and not any(name.startswith("_source") for name in shown)
        # A data stream takes creations, and refuses updates.
        work.creates = is_plain and "scripted_upsert" not in body and not work.plan.index.startswith(".ds-")
        work.is_unguarded = not work.creates and "script" not in body

    def _routing(self, action: BulkAction) -> str | None:
        routing = action.meta.get("routing", action.meta.get("_routing", self._exchange.parameters.get("routing")))
        return None if routing is None else str(routing)

    def _completed(self, work: _Work, vectors: Vectors) -> bytes:
        changes: dict[str, Change] = {}
        for document in work.documents:
            source = document.source.raw
            if document.filling is not None and not document.filling.is_idle:
                # Partial documents are compared with what is stored; scripts and pipelines see vectors as they come.
                is_seen = document.member is not None or document.pipeline != ""
                # An alias may lead to another index by now, one that shows vectors as they were written.
                may_pack = not is_seen and self._name(work.action) == work.plan.index
                source = self._context.completed(document.filling, vectors, document.source, may_pack=may_pack)
            if document.outcome is not None and document.outcome.carrier is not None:
                source = changed(source, {CARRIER: document.outcome.carrier})
            if source is document.source.raw and not document.is_replaced:
                continue
            if document.member is None:
                return source
            changes[document.member] = source
        if work.stored is not None:
            # The document is there; what would insert it does not go together with the guard.
            changes |= {name: None for name in ("upsert", "doc_as_upsert") if name in work.line.document}
        return changed(work.line.raw, changes) if changes else work.action.source


def _untouched(parts: Sequence[Part], plans: Mapping[_Key, WritePlan], fresh: Collection[int]) -> Batch:
    lines: list[tuple[bytes, ...]] = [
        (part.data,) if isinstance(part, Passage) else (part.head, part.source) for part in parts
    ]
    return Batch(parts, plans, fresh, lines, sum(isinstance(part, BulkAction) for part in parts))


def _own_pipeline(plan: WritePlan, pipelines: Pipelines) -> tuple[str | None, bool]:
    """The pipeline of a document for which none is named, and whether it or the index's final one infers."""
    infers = pipelines.infers(plan.default_pipeline) or pipelines.infers(plan.final_pipeline)
    return (None if plan.default_pipeline or plan.final_pipeline else ""), infers


def _with_documents_of_update(
    work: _Work, own: tuple[str | None, bool], named: tuple[str | None, bool]
) -> _Work | None:
    """The ``doc`` and the ``upsert`` of an update.

    Pipelines run on documents to be inserted alone: the index's ``own`` on a ``doc`` that may be, the one that the bulk
    or the action names on an ``upsert``.
    """
    body, raw = work.line.document, work.line.raw
    held, _ = members(raw)
    places = {member.name: raw[member.value : member.end] for member in held}
    doc, upsert = body.get("doc"), body.get("upsert")
    if isinstance(doc, dict):
        pipeline, infers = own if inserts_its_doc(body) else ("", False)
        source = SourceText(places["doc"], doc, is_alone=True)
        work.documents.append(_Document(source, "doc", True, work.plan, pipeline, infers))
    if isinstance(upsert, dict):
        source = SourceText(places["upsert"], upsert, is_alone=True)
        work.documents.append(_Document(source, "upsert", False, work.plan, *named))
    return work if work.documents else None


async def _examine_each(held: Sequence[tuple[_Work, _Document, SourceText, WritePlan]]) -> None:
    """Looks at the sources of documents, beside the event loop where tokens are counted."""

    def look() -> None:
        for work, document, source, plan in held:
            try:
                document.filling = examine(source, plan, is_partial=document.is_partial)
            except SidecarError as error:
                work.failure = error

    if any(plan.counts_tokens for _, _, _, plan in held):
        await asyncio.to_thread(look)
    else:
        look()


def has_too_long_id(part: Part) -> bool:
    """Whether the cluster refuses an action, or the whole bulk, for the length of its id."""
    return isinstance(part, BulkAction) and part.operation in ("index", "create") and is_too_long(part.id)


def _guarded_head(action: BulkAction, guard: Mapping[str, Any]) -> bytes:
    """The action line, for the document as it was read."""
    meta = {name: value for name, value in action.meta.items() if name != "retry_on_conflict"} | dict(guard)
    return orjson.dumps({action.operation: meta}) + b"\n"


def _creating(work: _Work, source: bytes, pipeline: str | None) -> tuple[bytes, ...]:
    """The lines that create the document that an update would insert, from its ``source`` with vectors.

    ``pipeline`` is the one that the query names: for an ``upsert``, as is that of the action.
    """
    meta = {name: value for name, value in work.action.meta.items() if name != "retry_on_conflict"}
    inserts_doc = inserts_its_doc(work.line.document)
    if inserts_doc and meta.get("pipeline", pipeline) is not None:
        meta["pipeline"] = work.plan.default_pipeline or "_none"
    held, _ = members(source)
    name = "doc" if inserts_doc else "upsert"
    (inserted,) = [source[member.value : member.end] for member in held if member.name == name]
    return orjson.dumps({"create": meta}) + b"\n", inserted + b"\n"


def _inserts(work: _Work) -> bool:
    """Whether an update makes a document that is not there."""
    return not {"upsert", "doc_as_upsert", "scripted_upsert"}.isdisjoint(work.line.document)
