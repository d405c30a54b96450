"""One loaded model at work: its queue, its worker threads, its counters.

    submit (loop) ──► tokenise ──► BatchQueue ──► worker threads ──► Engine.run ──► Job.set ──► caller's future

The workers are the allocations of all deployments that share the model and its number of threads, never more than
there are cores. Beside them stands the searcher, one thread for searches only: a search neither waits for an ingest
batch to end, nor moves from thread to thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidecar.runtime.config import Allocation, Lane
from sidecar.runtime.cores import Cores, keep_arithmetic_in_its_thread, step_back
from sidecar.runtime.engine import TOKENS, Engine, Work
from sidecar.runtime.errors import DeadlineError, ModelError, ModelRunError, NotFiniteError, RuntimeClosedError
from sidecar.runtime.finite import is_finite
from sidecar.runtime.inputs import Inputs
from sidecar.runtime.job import Item, Job
from sidecar.runtime.memory import release_memory
from sidecar.runtime.pace import Pace
from sidecar.runtime.queue import BatchQueue, QueueLimits
from sidecar.runtime.session import Session
from sidecar.runtime.statistics import BatchReport, Counters
from sidecar.runtime.tokens import Encoded

# Tokenising this many characters takes about half a millisecond; handing them to another thread and back costs a good
# part of that, so a short text is tokenised where it is.
_INLINE_CHARACTERS = 2000

Watcher = Callable[[BatchReport], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: a result per text, and whether the text was longer than the model reads."""

    results: list[Any]
    is_truncated: tuple[bool, ...]

    @property
    def truncated(self) -> tuple[int, ...]:
        """Positions of the texts that were cut."""
        return tuple(index for index, is_cut in enumerate(self.is_truncated) if is_cut)


class Runner:
    """Runs one model for all its deployments. Its methods belong to the event loop, except the workers' own."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Engine],
        limits: QueueLimits,
        *,
        threads: int,
        longest: int,
        cores: Cores,
        idle_seconds: float,
        tokenisers: Mapping[Lane, ThreadPoolExecutor],
        watch: Watcher,
    ) -> None:
        self.name = name
        self.threads = threads
        self.counters = Counters()
        self._pace = Pace()
        self.queue = BatchQueue(name, limits, self._pace)
        self._longest = longest
        self._cores = cores
        self._load = load
        self._idle_seconds = idle_seconds
        self._tokenisers = tokenisers
        self._watch = watch
        self._engine: Engine | None = None
        self._loading: asyncio.Task[Engine] | None = None
        self._shared: Session | None = None
        self._minimum = 0
        self._maximum = 1
        self._workers = 0
        self._calls = 0
        self._closed = False
        self._lock = threading.Lock()
        self._started: list[threading.Thread] = []
        self._searcher: threading.Thread | None = None

    @property
    def workers(self) -> int:
        """Worker threads that are there now."""
        return self._workers

    @property
    def is_loaded(self) -> bool:
        return self._engine is not None

    def resize(self, allocations: Sequence[Allocation]) -> None:
        """Sets how many workers there may be: as the allocations say, and no more than find a core each."""
        room = self._cores.workers(self.threads)
        self._minimum = min(room, sum(a.minimum for a in allocations))
        self._maximum = max(1, min(room, sum(a.maximum for a in allocations)))
        self.queue.workers = self._maximum
        self.queue.wake()

    async def ready(self) -> Engine:
        """The engine, loaded once however many ask at the same time; starts the workers that must always be there."""
        if self._closed:
            raise RuntimeClosedError("The sidecar is shutting down")
        engine = self._engine
        if engine is None:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load_engine())
            engine = await asyncio.shield(self._loading)
        self._start_workers(self._minimum)
        return engine

    async def submit(self, inputs: Inputs, lane: Lane, deadline: float | None) -> Outcome:
        """Runs a call's texts; one result per text.

        Raises ``QueueFullError`` at once when there is no room or not enough time, ``DeadlineError`` when ``deadline``
        (loop time) passes, ``ModelRunError`` when the model fails. Cancelling the call ends its tokenising and takes
        its waiting texts out of the queue.
        """
        if not inputs.texts:
            return Outcome([], ())
        loop = asyncio.get_running_loop()
        left = None if deadline is None else deadline - loop.time()
        if left is not None and left <= 0:
            raise DeadlineError("The deadline had passed before the input reached the model")
        tokens = inputs.tokens(self._pace.characters_per_token, self._longest)
        room = self.queue.reserve(lane, len(inputs), tokens, left)
        self._calls += 1
        try:
            async with asyncio.timeout_at(deadline):
                engine = await self.ready()
                encoded = await self._tokenise(engine, inputs, lane)
                job = Job([Work(text, inputs.purpose) for text in encoded], lane, deadline, loop)
                self.queue.put(job, room)
                self._scale(lane)
                try:
                    return Outcome(await job.future, tuple(text.is_truncated for text in encoded))
                except BaseException:
                    job.abandon()
                    self.queue.discard(job)
                    raise
        except TimeoutError as error:
            if isinstance(error, DeadlineError):
                raise
            raise DeadlineError("The deadline passed while the input waited for the model") from None
        finally:
            self.queue.release(room)
            self._calls -= 1

    async def close(self) -> None:
        """Ends the workers after their present batch; what waits fails with ``RuntimeClosedError``."""
        self._closed = True
        self.queue.close()
        if self._loading is not None:
            await asyncio.wait([self._loading])
        for thread in self._started:
            await asyncio.to_thread(thread.join)
        self._engine = self._shared = None

    async def _load_engine(self) -> Engine:
        def load() -> tuple[Engine, Session | None]:
            keep_arithmetic_in_its_thread()
            engine = self._load()
            # One thread per call: the caller's own, so all workers share one session and its weights.
            session = engine.open(1) if self.threads == 1 else None
            release_memory()
            return engine, session

        try:
            engine, self._shared = await asyncio.to_thread(load)
            self._engine = engine
            return engine
        finally:
            self._loading = None

    async def _tokenise(self, engine: Engine, inputs: Inputs, lane: Lane) -> list[Encoded]:
        """Tokens of all texts, slice by slice: nothing goes on for a caller that left or is out of time."""
        pieces = engine.pieces(inputs.purpose)
        started = time.perf_counter()
        if inputs.characters <= _INLINE_CHARACTERS:
            encoded = inputs.encode(pieces, inputs.texts)
        else:
            loop = asyncio.get_running_loop()
            encoded = []
            for part in inputs.slices():
                encoded += await loop.run_in_executor(self._tokenisers[lane], inputs.encode, pieces, part)
        self._pace.tokenised(inputs.characters, sum(map(len, encoded)))
        self.counters.tokenised(time.perf_counter() - started, sum(text.is_truncated for text in encoded))
        return encoded

    def _scale(self, lane: Lane) -> None:
        """As many workers as there are batches waiting, within the allocations, and a searcher for searches."""
        self._start_workers(min(self._maximum, max(1, self.queue.batches)))
        # With more threads per call each worker has a session of its own, and a searcher's would double the memory.
        if lane is Lane.SEARCH and self.threads == 1 and not self._has_searcher:
            self._searcher = self._start_thread(self._search, "searcher")

    @property
    def _has_searcher(self) -> bool:
        return self._searcher is not None and self._searcher.is_alive()

    def _start_workers(self, wanted: int) -> None:
        with self._lock:
            missing = wanted - self._workers
            self._workers += max(0, missing)
        for _ in range(missing):
            self._start_thread(self._work, "worker")

    def _start_thread(self, target: Callable[[Engine, asyncio.AbstractEventLoop], None], what: str) -> threading.Thread:
        arguments = (self._engine, asyncio.get_running_loop())
        thread = threading.Thread(target=target, args=arguments, name=f"model-{self.name}-{what}", daemon=True)
        self._started = [other for other in self._started if other.is_alive()] + [thread]
        thread.start()
        return thread

    def _search(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        """The searcher: searches only; it ends when there are none for a while."""
        session = self._shared
        try:
            while session is not None and not self._closed:
                batch = self.queue.take(self._idle_seconds, lambda: self._closed, searches_only=True)
                if batch is None:
                    break
                self._run(engine, session, batch)
        finally:
            self._searcher = None
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._unload_when_idle)

    def _work(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        """A worker: batches until there is none for a while, or the worker is one too many."""
        session = self._shared
        step_back()
        try:
            if session is None:
                session = engine.open(self.threads)
            while True:
                batch = self.queue.take(self._idle_seconds, self._is_surplus)
                if batch is None:
                    if self._leave():
                        break
                    release_memory()
                else:
                    self._run(engine, session, batch)
                    del batch
        except BaseException as error:
            self._fail_waiting(error)
            with self._lock:
                self._workers -= 1
            raise
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._unload_when_idle)

    def _is_surplus(self) -> bool:
        return self._closed or self._workers > self._maximum

    def _leave(self) -> bool:
        """Whether this worker may end now; counts it out when it may."""
        with self._lock:
            if self._closed or self._workers > self._minimum:
                self._workers -= 1
                return True
            return False

    def _unload_when_idle(self) -> None:
        """Gives a model's memory back when its allocations are down to none. Runs in the loop."""
        if self._closed or self._calls or self._workers or self._minimum or self.queue.items or self._has_searcher:
            if self.queue.items and not self._workers and self._engine is not None and not self._closed:
                self._start_workers(1)  # work came in while the last worker was leaving
            return
        self._engine = self._shared = None
        release_memory()

    def _fail_waiting(self, error: BaseException) -> None:
        reason = error if isinstance(error, Exception) else ModelRunError(str(error))
        while batch := self.queue.take(0):
            for item in batch:
                item.job.fail(reason)

    def _run(self, engine: Engine, session: Session, items: list[Item]) -> None:
        """Runs a batch; ingestion waits for cores that are free, a search does not."""
        taken = time.monotonic()
        is_ingest = items[0].job.lane is Lane.INGEST
        with self._cores.held(self.threads) if is_ingest else nullcontext():
            self._run_batch(engine, session, items)
        self._pace.ran(sum(item.tokens for item in items), time.monotonic() - taken)

    def _run_batch(self, engine: Engine, session: Session, items: list[Item]) -> None:
        started = time.monotonic()
        work = [item.work for item in items]
        try:
            padded = engine.batch(work)
            with np.errstate(all="ignore"):  # what is no number is found in the results
                results = _all_finite(engine.run(session, work, padded))
        except Exception as error:
            self._run_apart(engine, session, items, error)
            return
        report = BatchReport(
            model=self.name,
            lane=items[0].job.lane,
            items=len(items),
            unique_items=len(padded.lengths),
            tokens=sum(padded.lengths),
            padded_tokens=padded.padded_tokens,
            queue_seconds=max(started - item.queued_at for item in items),
            run_seconds=time.monotonic() - started,
        )
        self.counters.ran(report)
        try:
            self._watch(report)  # before the results, so that a caller who has them finds his batch counted
        finally:
            for item, result in zip(items, results, strict=True):
                item.job.set(item.index, result)

    def _run_apart(self, engine: Engine, session: Session, items: list[Item], error: Exception) -> None:
        """Runs the texts of a batch that failed one by one: a text that cannot be run spoils no other's result."""
        if len(items) > 1:
            for item in items:
                if not item.job.is_over:
                    self._run_batch(engine, session, [item])
            return
        self.counters.failed()
        (item,) = items
        if isinstance(error, FloatingPointError):
            error = NotFiniteError(self.name, None if item.work.purpose is TOKENS else item.index)
        elif not isinstance(error, ModelError):
            error = ModelRunError(f"Running the model failed: {error}")
        item.job.fail(error)


def _all_finite(results: list[Any]) -> list[Any]:
    if not all(map(is_finite, results)):
        raise FloatingPointError("a result is NaN or infinite")
    return results
