"""Rate limits per endpoint and the bounded wait for them."""

from __future__ import annotations

from aiolimiter import AsyncLimiter

from sidecar.core.errors import RejectedExecutionError
from sidecar.services.calls import Call


class RateLimits:
    """One leaky bucket per endpoint and limit; at most ``capacity`` calls wait for each (0: any number).

    A bucket holds one second's worth of requests, at least one.
    """

    def __init__(self, capacity: int = 2000) -> None:
        self._capacity = capacity
        self._limiters: dict[tuple[str, int], AsyncLimiter] = {}
        self._waiting: dict[str, int] = {}

    async def wait(self, call: Call) -> None:
        """Return when the call may be sent.

        Raises:
            RejectedExecutionError: too many calls are waiting already.
        """
        limiter = self._limiter(call)
        if limiter is None:
            return
        key = call.inference_id
        waiting = self._waiting.get(key, 0)
        if self._capacity and waiting >= self._capacity:
            raise RejectedExecutionError(
                f"Failed to execute task for inference id [{key}] because the request service [{key}] queue is full"
            )
        self._waiting[key] = waiting + 1
        try:
            await limiter.acquire()
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def forget(self, inference_id: str) -> None:
        """Drop the buckets of an endpoint that is gone."""
        for key in [key for key in self._limiters if key[0] == inference_id]:
            del self._limiters[key]

    def _limiter(self, call: Call) -> AsyncLimiter | None:
        rate_limit = call.settings.get("rate_limit")
        if not rate_limit:
            return None
        per_minute = rate_limit["requests_per_minute"]
        key = (call.inference_id, per_minute)
        if key not in self._limiters:
            self.forget(call.inference_id)
            per_second = per_minute / 60
            self._limiters[key] = AsyncLimiter(per_second, 1.0) if per_second >= 1 else AsyncLimiter(1, 60 / per_minute)
        return self._limiters[key]
