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

from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.ingest.action import Action, build_action
from sidecar.ingest.bulk import BulkLimits
from sidecar.ingest.conveyor import Conveyor
from sidecar.ingest.document import Candidate, Plan, Ref, Verdict
from sidecar.ingest.embedding import Embedded, TextEmbedder, texts_per_call
from sidecar.ingest.stop import RunStoppedError, stopped_by
from sidecar.ingest.summary import Summary
from sidecar.ingest.writer import BulkWriter, WriteReport

Decision = tuple[Ref, Candidate | Verdict]
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
"""So many documents failing with none in between that does not: the fault lies elsewhere."""


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
                    if not isinstance(decision, Candidate):
                        self._skip(decision, round)
                    elif ref.key not in self._failed:
                        self._summary.read += round is not Round.CONFLICTS
                        await candidates.put(decision)
        except (ApiError, TransportError) as error:
            raise stopped_by(error, "reading") from error

    def _skip(self, verdict: Verdict, round: Round) -> None:
        if round is Round.LATER:
            return
        self._summary.read += round is Round.FIRST
        if verdict is Verdict.UP_TO_DATE:
            self._summary.up_to_date += 1
        else:
            self._summary.no_text += 1

    async def _embed_all(self, candidates: Conveyor[Candidate], embedded: Conveyor[Embedded]) -> None:
        while (batch := await candidates.get_batch(self._texts, lambda item: item.texts)) is not None:
            for result in await self._embed.embed(batch):
                await embedded.put(result)

    async def _write_all(self, embedded: Conveyor[Embedded], conflicts: list[Candidate]) -> None:
        writer = BulkWriter(self._client, self._pace.bulk)
        while (batch := await embedded.get_batch(self._pace.bulk.actions)) is not None:
            now = datetime.now(UTC)
            actions = [build_action(item.candidate, self._plan, item.values, item.failure, now) for item in batch]
            report = await _finish(writer.write(actions), lambda report: self._account(report, conflicts))
            self._account(report, conflicts)
            if marks := self._marks(report, now):
                # The reason is kept with the document; whether that succeeds changes nothing in the summary.
                await writer.write(marks)
            if self._failures_in_a_row >= FAILURES_IN_A_ROW:
                reasons = max(self._summary.failures.items(), key=lambda item: item[1].count)[0]
                raise RunStoppedError(f"the last [{self._failures_in_a_row}] documents all failed: {reasons}")

    def _account(self, report: WriteReport, conflicts: list[Candidate]) -> None:
        summary = self._summary
        summary.bulks += report.bulks
        summary.retried_bulks += report.retries
        summary.gone += len(report.gone)
        summary.conflicts += len(report.conflicts)
        conflicts.extend(action.candidate for action in report.conflicts)
        for action in report.written:
            if action.failure is not None:
                self._fail(action, action.failure)
                continue
            self._failures_in_a_row = 0
            if action.candidate.pieces or action.candidate.document is not None:
                summary.written += 1
            else:
                summary.cleared += 1
        for action, reason in report.failed:
            self._fail(action, reason)

    def _fail(self, action: Action, reason: str) -> None:
        candidate = action.candidate
        self._failures_in_a_row += 1
        self._failed.add(candidate.ref.key)
        self._summary.fail(candidate.label or candidate.ref.id, reason)

    def _marks(self, report: WriteReport, now: datetime) -> list[Action]:
        """Writes of nothing but the marker, for documents that are there and whose vectors were refused."""
        return [
            build_action(replace(action.candidate, clears=()), self._plan, {}, reason, now)
            for action, reason in report.failed
            if action.candidate.document is None
        ]


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
