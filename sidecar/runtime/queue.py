"""The batching queue of one model: two lanes, each bounded by itself, and no timer.

    reserve() ──► put() ──► [ search lane ]──┬─► take(): the searcher, one thread for searches only
      429 when full         [ ingest lane ]──┴─► take(): one batch per free worker

A batch is what arrived while the last one ran; nothing sleeps to make a batch larger. Searches are the searcher's while
it keeps up; beyond that workers help, and then the search lane goes first, but of every sixteen batches one is the
ingest lane's, so that a steady stream of searches cannot stop ingestion.

What is refused is refused before it costs anything: a call that its lane has no room for, and one that would be
answered too late at the pace at which the model works.
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
from sidecar.runtime.pace import Pace

_INGEST_TURN = 16
_LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds on what waits in each lane (items, tokens) and on one batch (tokens with padding, items)."""

    items: int
    tokens: int
    batch_tokens: int
    batch_items: int


@dataclass(slots=True)
class Room:
    """What a call holds of its lane while its texts are tokenised; ``tokens`` is an estimate."""

    lane: Lane
    items: int
    tokens: int


class BatchQueue:
    """Jobs of one model, taken by worker threads in batches."""

    def __init__(self, name: str, limits: QueueLimits, pace: Pace | None = None) -> None:
        self._name = name
        self._limits = limits
        self._pace = pace or Pace()
        self._lines = {lane: WaitingLine() for lane in Lane}
        self._reserved = {lane: Room(lane, 0, 0) for lane in Lane}
        self._lock = Lock()
        # Apart, so that work wakes those who will do it and no others: each waking costs a turn of the interpreter.
        self._workers = Condition(self._lock)
        self._searcher = Condition(self._lock)
        self._searchers_waiting = 0
        self._turn = 0
        self._closed = False
        self.workers = 1
        """How many workers may take batches side by side; for estimates only."""
        self.refused = 0
        self.dropped = 0

    @property
    def items(self) -> int:
        """Texts that wait, those still being tokenised included."""
        return sum(self._items(lane) for lane in Lane)

    @property
    def tokens(self) -> int:
        """Tokens that wait."""
        return sum(line.tokens for line in self._lines.values())

    @property
    def batches(self) -> int:
        """About how many batches wait; a few short texts count as one."""
        return math.ceil(self.tokens / self._limits.batch_tokens)

    def reserve(self, lane: Lane, items: int, tokens: int, seconds_left: float | None = None) -> Room:
        """Room for a call's texts before they cost anything; ``tokens`` is an estimate.

        A call larger than its whole lane is let in when nothing else waits there. Raises ``QueueFullError`` when there
        is no room, or when the texts before it and its own would take more than ``seconds_left``.
        """
        with self._lock:
            self._refuse_when_closed()
            self._refuse_when_full(lane, items, tokens)
            self._refuse_when_late(lane, tokens, seconds_left)
            reserved = self._reserved[lane]
            reserved.items += items
            reserved.tokens += tokens
            return Room(lane, items, tokens)

    def release(self, room: Room) -> None:
        """Gives room back that was reserved; once more does nothing."""
        with self._lock:
            self._release(room)

    def put(self, job: Job, room: Room) -> None:
        """Queues a job in its room. Raises ``QueueFullError`` when it has more tokens than estimated and no room."""
        tokens = job.tokens
        line = self._lines[job.lane]
        with self._lock:
            self._release(room)
            self._refuse_when_closed()
            if line.tokens and line.tokens + tokens > self._limits.tokens:
                why = f"{line.tokens} tokens wait, {tokens} more asked for"
                self._refuse(f"The queue of model [{self._name}] is full: {why}", self._seconds(tokens))
            now = time.monotonic()
            for item in job.items:
                item.queued_at = now
            line.add(job.items)
            self._call()

    def discard(self, job: Job) -> None:
        """Takes out what is left of a job whose caller went away."""
        with self._lock:
            self.dropped += self._lines[job.lane].discard(lambda item: item.job is job)

    def take(
        self, timeout: float | None = None, leave: Callable[[], bool] = lambda: False, *, searches_only: bool = False
    ) -> list[Item] | None:
        """The next batch, waiting for one.

        ``None`` after ``timeout`` seconds without work, when closed, or when ``leave`` says so (asked at each look).
        The searcher takes ``searches_only``.
        """
        end = None if timeout is None else time.monotonic() + timeout
        work = self._searcher if searches_only else self._workers
        with self._lock:
            while not leave():
                batch = self._next(searches_only=searches_only)
                if batch:
                    if searches_only:  # what it leaves is the workers' from here on
                        self._call_workers()
                    return batch
                left = None if end is None else end - time.monotonic()
                if self._closed or (left is not None and left <= 0):
                    return None
                self._searchers_waiting += searches_only
                work.wait(left)
                self._searchers_waiting -= searches_only
            work.notify()  # whoever leaves may have been woken for work
            return None

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
        self._searcher.notify_all()

    def _call(self) -> None:
        """Wakes those who will do what waits."""
        if len(self._lines[Lane.SEARCH]) and self._searchers_waiting:
            self._searcher.notify()
        self._call_workers()

    def _call_workers(self) -> None:
        search, ingest = self._lines[Lane.SEARCH], self._lines[Lane.INGEST]
        waiting = ingest.tokens if self._searcher_keeps_up() else ingest.tokens + search.tokens
        self._workers.notify(math.ceil(waiting / self._limits.batch_tokens))

    def _searcher_keeps_up(self) -> bool:
        """Whether all searches that wait are the next batch of a searcher who has nothing else to do."""
        search = self._lines[Lane.SEARCH]
        is_one_batch = search.tokens <= self._limits.batch_tokens and len(search) <= self._limits.batch_items
        return self._searchers_waiting > 0 and is_one_batch

    def _next(self, *, searches_only: bool) -> list[Item]:
        search, ingest = self._lines[Lane.SEARCH], self._lines[Lane.INGEST]
        while True:
            may_search = len(search) > 0 and (searches_only or not self._searcher_keeps_up())
            may_ingest = len(ingest) > 0 and not searches_only
            if not (may_search or may_ingest):
                return []
            turn_of_ingest = may_ingest and (not may_search or self._turn + 1 >= _INGEST_TURN)
            if not searches_only:
                self._turn = 0 if turn_of_ingest else self._turn + 1
            line = ingest if turn_of_ingest else search
            batch = line.take(self._limits.batch_tokens, self._limits.batch_items)
            wanted = [item for item in batch if not item.job.is_over]
            self.dropped += len(batch) - len(wanted)
            if wanted:
                return wanted

    def _items(self, lane: Lane) -> int:
        return self._reserved[lane].items + len(self._lines[lane])

    def _tokens(self, lane: Lane) -> int:
        return self._reserved[lane].tokens + self._lines[lane].tokens

    def _release(self, room: Room) -> None:
        reserved = self._reserved[room.lane]
        reserved.items -= room.items
        reserved.tokens -= room.tokens
        room.items = room.tokens = 0

    def _refuse_when_full(self, lane: Lane, items: int, tokens: int) -> None:
        waiting, waiting_tokens = self._items(lane), self._tokens(lane)
        if not waiting or (waiting + items <= self._limits.items and waiting_tokens + tokens <= self._limits.tokens):
            return
        needed = max(
            waiting_tokens + tokens - self._limits.tokens,
            (waiting + items - self._limits.items) * waiting_tokens // waiting,
        )
        why = f"{waiting} texts of {waiting_tokens} tokens wait, {items} of {tokens} more asked for"
        self._refuse(f"The queue of model [{self._name}] is full: {why}", self._seconds(needed))

    def _refuse_when_late(self, lane: Lane, tokens: int, seconds_left: float | None) -> None:
        """Searches wait for searches only, ingestion waits for both."""
        before = self._tokens(Lane.SEARCH) + (self._tokens(Lane.INGEST) if lane is Lane.INGEST else 0)
        seconds = self._seconds(before + tokens)
        is_one_batch = before + tokens <= self._limits.batch_tokens  # too little to foretell
        if seconds_left is None or seconds is None or seconds <= seconds_left or is_one_batch:
            return
        what = (
            f"{before} tokens wait, {tokens} more asked for, about {seconds:.1f} s of work, {seconds_left:.1f} s left"
        )
        alone = self._seconds(tokens) or 0
        advice = "; send fewer inputs at once, or give it more time" if alone > seconds_left else ""
        self._refuse(f"Model [{self._name}] would answer too late: {what}{advice}", seconds - seconds_left)

    def _seconds(self, tokens: int) -> float | None:
        return self._pace.seconds(tokens, self.workers)

    def _refuse(self, reason: str, seconds: float | None) -> None:
        """Refuses a call that may come again after about ``seconds``."""
        self.refused += 1
        retry_after = min(_LONGEST_RETRY_SECONDS, max(1, math.ceil(seconds or 1)))
        raise QueueFullError(reason, headers={"Retry-After": str(retry_after)})

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeClosedError("The sidecar is shutting down")
