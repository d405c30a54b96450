"""Gives the documents of an index the vectors they lack, as often as it takes.

    check the mapping, add missing fields
    check the sources, the rules of _source
    repeat (bounded):                           one pass
        point in time -> slices -> examine -> embed -> write
        conflicts -> read again -> examine -> embed -> write (bounded)
    until a pass finds nothing to do

Every write carries vectors and marker of one document together, guarded by the state in which the document was read:
killed at any moment, a backfill leaves each document either untouched or right, and the next run sees which.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError, TransportError

from sidecar.elastic.version import NEWEST, ServerVersion, server_version
from sidecar.inference.embedder import Embedder
from sidecar.ingest.document import Candidate, Examined, Plan, Ref, Refusal, Target, Verdict, examine
from sidecar.ingest.line import Decision, Line, Pace, Round
from sidecar.ingest.marker import model_term
from sidecar.ingest.presence import lacks_vector, telling_presence
from sidecar.ingest.reader import (
    Fields,
    Hit,
    Page,
    PointInTime,
    Slice,
    fields_of,
    patiently,
    read_slice,
    require_all_shards,
    reread,
)
from sidecar.ingest.run import examined, recorded, settle
from sidecar.ingest.standing_values import seen, wants_look
from sidecar.ingest.stop import RunStoppedError, stopped_by
from sidecar.ingest.summary import Summary
from sidecar.ingest.target_fields import MappingChange, prepare_indices

log = structlog.get_logger(__name__)

REREAD_SIZE = 200
LARGEST_CLEARED_PART = 0.1
"""Of the documents read: more than that losing their text at once looks like a mistake."""


@dataclass(frozen=True, slots=True)
class BackfillJob:
    """What to bring up to date and how hard to try.

    ``index`` is a name, alias, data stream or pattern. ``only_missing`` asks the index for documents without a vector
    of the present model, in place of reading every text: much less to read, but changed texts go unnoticed.
    ``may_clear`` lets more than a tenth of the documents lose vectors whose text is gone. ``accept_source_loss`` writes
    where ``_source`` does not hold documents whole.
    """

    index: str
    plan: Plan
    query: Mapping[str, Any] | None = None
    slices: int = 2
    page_size: int = 500
    most_passes: int = 5
    only_missing: bool = False
    dry_run: bool = False
    may_clear: bool = False
    accept_source_loss: bool = False
    pace: Pace = field(default_factory=Pace)


def selection(job: BackfillJob) -> dict[str, Any]:
    """The query that finds the documents to read."""
    query = dict(job.query) if job.query else {"match_all": {}}
    if not job.only_missing:
        return query
    missing = [
        clause
        for target in job.plan.targets
        for clause in (
            *(() if target.is_bound_by_mapping else ({"bool": {"must_not": [_of_the_model(target)]}},)),
            lacks_vector(target),
        )
    ]
    return {"bool": {"filter": [query], "should": missing, "minimum_should_match": 1}}


def _of_the_model(target: Target) -> dict[str, Any]:
    return model_term(target.name, target.profile.model)


def _missing(error: NotFoundError) -> str | None:
    """Which of several names has no index, where Elasticsearch says it."""
    cause = error.body.get("error") if isinstance(error.body, dict) else None
    return cause.get("index") if isinstance(cause, dict) else None


class Backfill:
    """One run over one index. ``summary`` is live; ``changes`` names the mapping fields that were added."""

    def __init__(self, client: AsyncElasticsearch, embedder: Embedder, job: BackfillJob) -> None:
        self._client = client
        self._embedder = embedder
        self._job = job
        self.summary = Summary(dry_run=job.dry_run)
        self.changes: tuple[MappingChange, ...] = ()
        self._clears_withheld = not job.may_clear and not job.dry_run
        self._fields = Fields(())
        self._version = NEWEST

    async def run(self) -> Summary:
        """Runs to the end; what stops it early is in the summary, which is right so far when it is cancelled."""
        with recorded("backfill", self._job.index, self._job.plan, self.summary):
            await self._run()
        return self.summary

    async def _run(self) -> None:
        version = await self._prepare()
        line = Line(
            self._client, self._embedder, self._job.plan, version=version, summary=self.summary, pace=self._job.pace
        )
        summary = self.summary
        for number in range(self._job.most_passes):
            before = summary.written + summary.cleared + summary.conflicts
            summary.withheld = 0
            if number:
                await self._refresh()
            conflicts = await self._pass(line, Round.FIRST if number == 0 else Round.LATER)
            summary.passes += 1
            summary.unsettled = len(await settle(line, conflicts, self._reread))
            if self._job.dry_run:
                return
            if self._clears_withheld and summary.withheld:
                self._ask_or_clear()
            elif before == summary.written + summary.cleared + summary.conflicts:
                return

    def _ask_or_clear(self) -> None:
        """Vectors without text are cleared by the next pass, when they are few or a person said so."""
        summary = self.summary
        if summary.withheld > LARGEST_CLEARED_PART * summary.read:
            raise RunStoppedError(
                f"[{summary.withheld}] of [{summary.read}] documents have lost the text of their vectors, which would"
                " be cleared; all else is done. If that is meant, run it again with --yes"
            )
        self._clears_withheld = False

    async def _prepare(self) -> ServerVersion:
        job = self._job
        try:
            self._version = version = await server_version(self._client)
            if job.query is not None:
                await self._count(job.query)  # a query that some index cannot answer ends the run before any change
            prepared = await patiently(
                lambda: prepare_indices(
                    self._client,
                    job.index,
                    job.plan,
                    version,
                    dry_run=job.dry_run,
                    accept_source_loss=job.accept_source_loss,
                )
            )
            self.changes = prepared.changes
            self._job = job = replace(job, plan=prepared.plan)
            self._fields = fields_of(job.plan, version)
            await self._refresh()
            self.summary.total = await self._count(selection(job))
        except NotFoundError as error:
            raise RunStoppedError(f"index [{_missing(error) or job.index}] does not exist") from error
        except (ApiError, TransportError) as error:
            raise stopped_by(error, f"preparing index [{job.index}]") from error
        return version

    async def _count(self, query: Mapping[str, Any]) -> int:
        client = self._client.options(max_retries=0)
        counted = await patiently(lambda: client.count(index=self._job.index, query=query))
        require_all_shards(counted.body)
        found: int = counted["count"]
        return found

    async def _refresh(self) -> None:
        """Makes the latest writes visible to the pass; without the privilege the next pass sees them."""
        try:
            await self._client.indices.refresh(index=self._job.index)
        except (ApiError, TransportError) as error:
            log.debug("index_not_refreshed", index=self._job.index, cause=type(error).__name__)

    async def _pass(self, line: Line, round: Round) -> list[Candidate]:
        job = self._job
        query = telling_presence(selection(job), job.plan)
        try:
            async with PointInTime(self._client, job.index) as view:
                parts = [Slice(number, job.slices) for number in range(job.slices)]
                pages = [read_slice(view, query, self._fields, job.page_size, part) for part in parts]
                return await line.run([self._examine(source) for source in pages], round)
        except (ApiError, TransportError) as error:
            raise stopped_by(error, f"opening index [{job.index}] for reading") from error

    async def _examine(self, pages: AsyncIterator[Page]) -> AsyncIterator[Sequence[Decision]]:
        async for page in pages:
            decisions = await self._judged(page)
            yield self._only_counted(decisions) if self._job.dry_run else decisions

    async def _judged(self, hits: Iterable[Hit]) -> Sequence[Decision]:
        plan = self._job.plan
        decisions: list[Decision] = []
        for hit in hits:
            if hit.unreadable is not None:
                decisions.append((hit.ref, Refusal(hit.unreadable)))
                continue
            decision = await examined(plan, hit.ref, examine, hit.ref, hit.source, plan, hit.present)
            decisions.append((hit.ref, self._withheld(decision)))
        return await self._looked_at(decisions)

    def _withheld(self, decision: Examined) -> Examined:
        """A decision without the clearing, as long as nobody knows how much of it there is."""
        if not self._clears_withheld or not isinstance(decision, Candidate) or not decision.clears:
            return decision
        self.summary.withheld += 1
        return replace(decision, clears=()) if decision.pieces else Verdict.CLEAR

    async def _looked_at(self, decisions: list[Decision]) -> Sequence[Decision]:
        """Candidates as far as what stands in their targets may be replaced, with the keys under which it stands.

        ``{"a.b": 1}`` and ``{"a": {"b": 1}}`` are one field: written in the other form, both values would stand there.
        And a document may hold what the index never saw, written before the field was mapped. Only a look with the
        vectors tells, so only documents that will be written are looked at.
        """
        plan = self._job.plan
        targets = [target for target in plan.targets if not (target.each or target.passages or target.semantic)]
        asked = [ref for ref, decision in decisions if wants_look(decision, plan, targets)]
        if not asked:
            return decisions
        fields = Fields(tuple(target.name for target in targets), vectors=self._version.has_vectors_left_out)
        again = await reread(self._client, asked, fields)

        def shown(ref: Ref, decision: Examined) -> Examined:
            if isinstance(decision, Candidate) and (hit := again.found.get(ref.key)) is not None:
                return seen(decision, hit.source, plan, targets)
            return decision

        return [(ref, shown(ref, decision)) for ref, decision in decisions]

    def _only_counted(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """A dry run's way: candidates are counted as if written and go no further."""
        kept = []
        for ref, decision in decisions:
            if isinstance(decision, Candidate):
                self.summary.read += 1
                if decision.failure is not None:
                    self.summary.fail(ref.id, decision.failure, index=ref.index)
                    continue
                self.summary.written += bool(decision.pieces)
                self.summary.cleared += not decision.pieces
            else:
                kept.append((ref, decision))
        return kept

    async def _reread(self, conflicts: Sequence[Candidate]) -> AsyncIterator[Sequence[Decision]]:
        for start in range(0, len(conflicts), REREAD_SIZE):
            refs = [candidate.ref for candidate in conflicts[start : start + REREAD_SIZE]]
            again = await reread(self._client, refs, self._fields)
            self.summary.gone += len(again.gone)
            yield [(ref, Refusal(again.unreadable[ref.key])) for ref in refs if ref.key in again.unreadable]
            yield await self._judged(again.found.values())
