"""The batching queue of one model: two lanes, bounded, and no timer.

    reserve() ──► put() ──► [ search lane ]──┐
      429 when full         [ ingest lane ]──┴─► take(): one batch per free worker ──► worker thread

A batch is what arrived while the last one ran; nothing sleeps to make a batch larger. The search lane goes first, but
of every sixteen batches one is the ingest lane's, so that a steady stream of searches cannot stop ingestion. A search
that finds every worker in the middle of an ingest batch is run at once by an express worker beside them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Lock

from sidecar.runtime.config import Lane
from sidecar.runtime.errors import QueueFullError, RuntimeClosedError
from sidecar.runtime.job import Item, Job
from sidecar.runtime.lane import WaitingLine

_INGEST_TURN = 16


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds on what waits (items, tokens) and on one batch (tokens with padding, items)."""

    items: int
    tokens: int
    batch_tokens: int
    batch_items: int


class BatchQueue:
    """Jobs of one model, taken by worker threads in batches."""

    def __init__(self, name: str, limits: QueueLimits) -> None:
        self._name = name
        self._limits = limits
        self._lines = {lane: WaitingLine() for lane in Lane}
        self._lock = Lock()
        # Apart, so that work wakes those who will do it and no others: each waking costs a turn of the interpreter.
        self._workers = Condition(self._lock)
        self._express = Condition(self._lock)
        self._reserved = 0
        self._ingesting = 0
        self._turn = 0
        self._closed = False
        self.refused = 0
        self.dropped = 0

    @property
    def items(self) -> int:
        """Texts that wait, those still being tokenised included."""
        return self._reserved + sum(len(line) for line in self._lines.values())

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return sum(line.tokens for line in self._lines.values())

    @property
    def batches(self) -> int:
        """About how many batches wait; a few short texts count as one."""
        return math.ceil(self.tokens / self._limits.batch_tokens)

    def reserve(self, items: int) -> None:
        """Room for a call's texts before they cost anything.

        A call larger than the whole queue is let in when nothing else waits. Raises ``QueueFullError``.
        """
        with self._lock:
            self._refuse_when_closed()
            waiting = self.items
            if waiting and (waiting + items > self._limits.items or self.tokens >= self._limits.tokens):
                self._refuse(f"{waiting} texts of {self.tokens} tokens wait, {items} more asked for")
            self._reserved += items

    def release(self, items: int) -> None:
        """Gives room back that was reserved and not used."""
        with self._lock:
            self._reserved -= items

    def put(self, job: Job) -> None:
        """Queues a job whose room was reserved. Raises ``QueueFullError`` when its tokens do not fit."""
        tokens = job.tokens
        with self._lock:
            self._reserved -= len(job.items)
            self._refuse_when_closed()
            if self.tokens and self.tokens + tokens > self._limits.tokens:
                self._refuse(f"{self.tokens} tokens wait, {tokens} more asked for")
            now = time.monotonic()
            for item in job.items:
                item.queued_at = now
            self._lines[job.lane].add(job.items)
            self._workers.notify(self.batches)
            self._call_express()

    def discard(self, job: Job) -> None:
        """Takes out what is left of a job whose caller went away."""
        with self._lock:
            self.dropped += self._lines[job.lane].discard(lambda item: item.job is job)

    def take(
        self, timeout: float | None = None, leave: Callable[[], bool] = lambda: False, *, is_express: bool = False
    ) -> list[Item] | None:
        """The next batch, waiting for one; to be given back to ``done`` when it ran.

        ``None`` after ``timeout`` seconds without work, when closed, or when ``leave`` says so (asked at each look).
        An express worker gets searches only, and only while another worker is busy with ingestion.
        """
        end = None if timeout is None else time.monotonic() + timeout
        work = self._express if is_express else self._workers
        with self._lock:
            while not leave():
                if not is_express or self._ingesting:
                    batch = self._next(searches_only=is_express)
                    if batch:
                        self._ingesting += batch[0].job.lane is Lane.INGEST
                        self._call_express()
                        return batch
                left = None if end is None else end - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                work.wait(left)
            work.notify()  # whoever leaves may have been woken for work
            return None

    def done(self, batch: list[Item]) -> None:
        """A batch ran, or failed."""
        with self._lock:
            self._ingesting -= batch[0].job.lane is Lane.INGEST

    def close(self) -> None:
        """Refuses new work and wakes all workers; what still waits fails."""
        with self._lock:
            self._closed = True
            for line in self._lines.values():
                for item in line.items():
                    item.job.fail(RuntimeClosedError("The sidecar is shutting down"))
                line.discard(lambda _: True)
            self._wake_all()

    def wake(self) -> None:
        """Makes waiting workers look again, so that surplus ones can end."""
        with self._lock:
            self._wake_all()

    def _wake_all(self) -> None:
        self._workers.notify_all()
        self._express.notify_all()

    def _call_express(self) -> None:
        """Wakes the express worker for searches that wait beside ingestion."""
        if self._ingesting and len(self._lines[Lane.SEARCH]):
            self._express.notify()

    def _next(self, *, searches_only: bool) -> list[Item]:
        search, ingest = self._lines[Lane.SEARCH], self._lines[Lane.INGEST]
        while len(search) or (len(ingest) and not searches_only):
            turn_of_ingest = not len(search) or (len(ingest) > 0 and self._turn + 1 >= _INGEST_TURN)
            turn_of_ingest = turn_of_ingest and not searches_only
            self._turn = 0 if turn_of_ingest else self._turn + 1
            line = ingest if turn_of_ingest else search
            batch = line.take(self._limits.batch_tokens, self._limits.batch_items)
            wanted = [item for item in batch if not item.job.is_over]
            self.dropped += len(batch) - len(wanted)
            if wanted:
                return wanted
        return []

    def _refuse(self, why: str) -> None:
        self.refused += 1
        raise QueueFullError(f"The queue of model [{self._name}] is full: {why}")

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeClosedError("The sidecar is shutting down")
