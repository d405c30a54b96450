"""The stages between reading and writing, and how documents move along them.

    source of pages -> examine -> [candidates] -> embed -> [embedded] -> write -> conflicts, to be read again
         (slices)                  bounded        (n)       bounded       (n)

Nothing waits for ever and nothing piles up: a slow cluster fills the second queue, which stops the embedding, which
fills the first, which stops the reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.ingest.action import Action, build_action, lacks_results
from sidecar.ingest.bulk import BulkLimits
from sidecar.ingest.conveyor import Conveyor
from sidecar.ingest.document import Candidate, Examined, Plan, Ref, Refusal, Verdict
from sidecar.ingest.embedding import Embedded, TextEmbedder, texts_per_call
from sidecar.ingest.marker import attempt_hash
from sidecar.ingest.stop import RunStoppedError, stopped_by
from sidecar.ingest.summary import Summary
from sidecar.ingest.writer import BulkWriter, WriteReport

log = structlog.get_logger(__name__)

Decision = tuple[Ref, Examined]
Decisions = AsyncIterator[Sequence[Decision]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is under way at once.

    ``batch_size`` is the most texts per call, ``None`` as many as suit each endpoint. ``embedders`` calls run at a
    time, ``None`` two of local models, where one runs while the other's result is checked and the next is read, and
    four of providers, where waiting costs nothing and an endpoint's rate limit spaces them out. Queues hold twice what
    these calls take or 16 MB, whichever is less; bulks are written two at a time.
    """

    batch_size: int | None = None
    embedders: int | None = None
    writers: int = 2
    queue_size: int = 16 * 1024 * 1024
    bulk: BulkLimits = field(default_factory=BulkLimits)


LOCAL_CALLS = 2
PROVIDER_CALLS = 4

FAILURES_IN_A_ROW = 100
"""So many documents failing with none in between that does not: the endpoints are asked whether they work at all."""
HOPELESS = 10_000
"""So many failing before the first that does not: the run ends, though the endpoints work."""


_WENT = "went with the passages, which were made anew; map both fields in one run"


class Round(Enum):
    """Why documents are read, which decides how they are counted."""

    FIRST = "first pass"
    LATER = "later pass"
    CONFLICTS = "conflicts"


class Line:
    """One run's stages; ``run`` is called for every pass and for every round of conflicts."""

    def __init__(
        self,
        client: AsyncElasticsearch,
        embedder: Embedder,
        plan: Plan,
        *,
        version: ServerVersion,
        summary: Summary,
        pace: Pace,
    ) -> None:
        self._client = client
        self._embed = TextEmbedder(embedder, plan, version, pace.batch_size)
        profiles = [target.profile for target in plan.targets]
        has_provider = any(profile.batch_size is not None for profile in profiles)
        self._embedders = pace.embedders or (PROVIDER_CALLS if has_provider else LOCAL_CALLS)
        self._texts = max((texts_per_call(profile, pace.batch_size) for profile in profiles), default=1)
        self._plan = plan
        self._summary = summary
        self._pace = pace
        self._failures_in_a_row = 0
        self._patience = FAILURES_IN_A_ROW
        self._failed: set[tuple[str, str, str | None]] = set()

    async def run(self, sources: Sequence[Decisions], round: Round) -> list[Candidate]:
        """Takes every candidate to its end; returns those whose documents changed meanwhile.

        Raises :class:`RunStoppedError` as soon as one stage finds that going on makes no sense.
        """
        items = 2 * self._embedders * self._texts
        candidates: Conveyor[Candidate] = Conveyor(items, self._pace.queue_size)
        embedded: Conveyor[Embedded] = Conveyor(items, self._pace.queue_size)
        conflicts: list[Candidate] = []
        readers = [lambda source=source: self._take(source, candidates, round) for source in sources]
        embedders = [lambda: self._embed_all(candidates, embedded)] * self._embedders
        writers = [lambda: self._write_all(embedded, conflicts)] * self._pace.writers
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_stage(readers, candidates.close))
                group.create_task(_stage(embedders, embedded.close))
                group.create_task(_stage(writers, None))
        except BaseExceptionGroup as failures:
            raise _first(failures) from failures
        finally:
            self._summary.embedded_texts = self._embed.count.texts
            self._summary.truncated_texts = self._embed.count.truncated
        return conflicts

    async def _take(self, source: Decisions, candidates: Conveyor[Candidate], round: Round) -> None:
        try:
            async for decisions in source:
                for ref, decision in decisions:
                    if isinstance(decision, Refusal):
                        self._refuse(ref, decision, round)
                    elif isinstance(decision, Verdict):
                        self._skip(decision, round)
                    elif ref.key not in self._failed:
                        # What was withheld in the first pass was counted there.
                        new = round is Round.FIRST or (round is Round.LATER and bool(decision.pieces))
                        self._summary.read += new
                        await candidates.put(decision)
        except (ApiError, TransportError) as error:
            raise stopped_by(error, "reading") from error

    def _skip(self, verdict: Verdict, round: Round) -> None:
        if round is Round.LATER:
            return
        self._summary.read += round is Round.FIRST
        self._summary.skip(verdict)

    def _refuse(self, ref: Ref, refusal: Refusal, round: Round) -> None:
        """Documents that cannot be written without harm are told once, and never touched."""
        if ref.key not in self._failed:
            self._summary.read += round is not Round.CONFLICTS
            self._failed.add(ref.key)
            self._summary.fail(refusal.label or ref.id, refusal.reason, index=ref.index, for_good=True)

    async def _embed_all(self, candidates: Conveyor[Candidate], embedded: Conveyor[Embedded]) -> None:
        while (batch := await candidates.get_batch(self._texts, lambda item: item.texts)) is not None:
            for result in await self._embed.embed(batch):
                await embedded.put(result)

    async def _write_all(self, embedded: Conveyor[Embedded], conflicts: list[Candidate]) -> None:
        writer = BulkWriter(self._client, self._pace.bulk)
        while (batch := await embedded.get_batch(self._pace.bulk.actions)) is not None:
            now = datetime.now(UTC)
            actions = [action for item in batch if (action := self._action(item, now)) is not None]
            report = await _finish(writer.write(actions), lambda report: self._account(report, conflicts))
            self._account(report, conflicts)
            if marks := self._marks(report, now):
                # The reason is kept with the document; whether that succeeds changes nothing in the summary.
                await writer.write(marks)
            if self._failures_in_a_row >= self._patience:
                await self._look_for_the_fault()

    def _action(self, item: Embedded, now: datetime) -> Action | None:
        """The write of one document; whatever goes wrong in making it fails this document alone."""
        if item.failure is not None and lacks_results(item.candidate, self._plan, item.values):
            self._fail(item.candidate, item.failure, for_good=bool(item.failed))
            return None
        try:
            return build_action(item.candidate, self._plan, item.values, item.failure, now, item.failed)
        except Exception as error:
            log.warning("document_unwritten", id=item.candidate.ref.id, exc_info=error)
            self._fail(item.candidate, f"{type(error).__name__}: {error}", for_good=False)
            return None

    async def _look_for_the_fault(self) -> None:
        """Ends the run when every document fails because an endpoint does; else it goes on, to those behind."""
        row = self._failures_in_a_row
        hopeless = row >= HOPELESS and not self._summary.written
        if hopeless or not await self._embed.works():
            raise RunStoppedError(f"the last [{row}] documents all failed: {self._summary.commonest_failure}")
        self._patience = 10 * row

    def _account(self, report: WriteReport, conflicts: list[Candidate]) -> None:
        summary = self._summary
        summary.bulks += report.bulks
        summary.retried_bulks += report.retries
        summary.gone += len(report.gone)
        summary.conflicts += len(report.conflicts)
        conflicts.extend(action.candidate for action in report.conflicts)
        for action in report.written:
            if action.failure is not None:
                self._fail(action.candidate, action.failure, for_good=bool(action.failed))
                continue
            self._failures_in_a_row = 0
            summary.notes.update(f"vectors of [{name}] {_WENT}" for name in action.dropped)
            if action.candidate.pieces or action.candidate.document is not None:
                summary.written += 1
            else:
                summary.cleared += 1
        for action, reason in report.failed:
            self._fail(action.candidate, reason, for_good=True)

    def _fail(self, candidate: Candidate, reason: str, *, for_good: bool) -> None:
        self._failures_in_a_row += 1
        self._failed.add(candidate.ref.key)
        self._summary.fail(candidate.label or candidate.ref.id, reason, index=candidate.ref.index, for_good=for_good)

    def _marks(self, report: WriteReport, now: datetime) -> list[Action]:
        """Writes of nothing but the marker, for documents that are there and whose vectors were refused."""
        return [
            build_action(
                replace(action.candidate, clears=(), objects={}), self._plan, {}, reason, now, _remembered(action)
            )
            for action, reason in report.failed
            if action.candidate.document is None
        ]


def _remembered(action: Action) -> dict[str, str]:
    """What a document's marker says of fields that Elasticsearch refused, all that were written at once."""
    stamps = action.candidate.stamps
    return {name: attempt_hash(stamp.hash, stamp.model, stamps) for name, stamp in stamps.items()} | dict(action.failed)


async def _stage(workers: Sequence[Callable[[], Awaitable[None]]], close: Callable[[], Awaitable[None]] | None) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker())  # type: ignore[arg-type]
    if close is not None:
        await close()


async def _finish(
    writing: Coroutine[None, None, WriteReport], account: Callable[[WriteReport], None], patience: float = 10
) -> WriteReport:
    """Waits for a write; when cancelled, waits ``patience`` seconds more so that what was written is counted."""
    task = asyncio.ensure_future(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait([task], timeout=patience)
        if done and not task.cancelled() and task.exception() is None:
            account(task.result())
        task.cancel()
        raise


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception that a person should see: the first sentence, else the first of any kind."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [failures]
    while waiting:
        failure = waiting.pop(0)
        if isinstance(failure, BaseExceptionGroup):
            waiting.extend(failure.exceptions)
        else:
            leaves.append(failure)
    return next((leaf for leaf in leaves if isinstance(leaf, RunStoppedError)), leaves[0])
