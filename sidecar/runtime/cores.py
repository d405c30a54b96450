"""The machine's cores, shared by the workers of all models."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from threadpoolctl import threadpool_limits

# A search has three times the weight of an ingest batch where both want the same core (Linux: sched(7), "nice").
_INGEST_NICENESS = 5
_MOST_NICENESS = 19


class Cores:
    """So many batches at a time as there are cores for their threads, in the order in which they came."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def threads(self, wanted: int) -> int:
        """How many threads a batch gets that asks for ``wanted``."""
        return min(wanted, self.count)

    def workers(self, threads: int) -> int:
        """How many workers of one model find a core each, at least one."""
        return max(1, self.count // threads)

    @contextmanager
    def held(self, threads: int) -> Iterator[None]:
        """Waits for cores and keeps them for as long as the context lasts."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            while self._waiting[0] is not ticket or (self._used and self._used + threads > self.count):
                self._changed.wait()
            self._waiting.popleft()
            self._used += threads
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used -= threads
                self._changed.notify_all()


def keep_arithmetic_in_its_thread() -> None:
    """Keeps numpy's BLAS from starting a thread per core inside every worker; for the whole process.

    Here the workers are the parallelism.
    """
    threadpool_limits(1, user_api="blas")


def step_back() -> None:
    """Lets the calling thread give way to searches, where the system counts niceness by thread (Linux)."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            thread = threading.get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(niceness + _INGEST_NICENESS, _MOST_NICENESS))
