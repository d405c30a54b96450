"""A call's texts on their way through the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from threading import Lock
from typing import Any

from sidecar.runtime.config import Lane
from sidecar.runtime.engine import Work
from sidecar.runtime.errors import DeadlineError


class Job:
    """One call: its items, its results as they come in, and the future its caller waits on.

    Items of one job may run in several batches and in several threads; the last one resolves the future in the
    caller's loop. ``deadline`` is in the loop's time.
    """

    def __init__(
        self, work: Sequence[Work], lane: Lane, deadline: float | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.lane = lane
        self.deadline = deadline
        self.future: asyncio.Future[list[Any]] = loop.create_future()
        self.items = [Item(self, index, text) for index, text in enumerate(work)]
        self._loop = loop
        self._results: list[Any] = [None] * len(self.items)
        self._left = len(self.items)
        self._lock = Lock()
        self._over = False

    @property
    def tokens(self) -> int:
        return sum(item.tokens for item in self.items)

    @property
    def is_over(self) -> bool:
        """True once nobody waits any more: answered, failed, cancelled or past its deadline."""
        if not self._over and self.deadline is not None and self._loop.time() > self.deadline:
            self.fail(DeadlineError("The deadline passed while the input waited for the model"))
        return self._over

    def abandon(self) -> None:
        """The caller went away: no item that is still waiting will run."""
        self._over = True

    def set(self, index: int, result: Any) -> None:
        """Takes the result of one item."""
        with self._lock:
            self._results[index] = result
            self._left -= 1
            if self._left or self._over:
                return
            self._over = True
        self._resolve(None)

    def fail(self, error: BaseException) -> None:
        """Ends the job with an error, once."""
        with self._lock:
            if self._over:
                return
            self._over = True
        self._resolve(error)

    def _resolve(self, error: BaseException | None) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._wake, error)

    def _wake(self, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self._results)
        else:
            self.future.set_exception(error)


class Item:
    """One text of a job."""

    __slots__ = ("index", "job", "queued_at", "taken", "tokens", "work")

    def __init__(self, job: Job, index: int, work: Work) -> None:
        self.job = job
        self.index = index
        self.work = work
        self.tokens = len(work.encoded)
        self.queued_at = 0.0
        self.taken = False
