"""Waiting before another try: exponential, with jitter so that many writers do not come back together."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Waits of ``first``, twice that, ... up to ``most`` seconds, each cut by up to a half at random.

    With the defaults ten waits span about four minutes: longer than a rolling restart of a node.
    """

    first: float = 0.5
    most: float = 60.0
    tries: int = 10
    failures: int = 0

    @property
    def exhausted(self) -> bool:
        return self.failures >= self.tries

    def next_delay(self) -> float:
        """Seconds to wait after one more failure."""
        delay = min(self.most, self.first * float(2**self.failures))
        self.failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311

    async def wait(self) -> None:
        await asyncio.sleep(self.next_delay())

    def reset(self) -> None:
        self.failures = 0
