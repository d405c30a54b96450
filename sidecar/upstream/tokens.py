"""Bearer tokens that services fetch: cached per credential, refreshed before they expire, dropped on a 401."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar.services.calls import ProviderAnswer, ProviderRequest, TokenRequest
from sidecar.upstream.network_errors import NetworkError

# a token is renewed this long before its end, so that it cannot expire on the way; short-lived ones at 4/5
REFRESH_MARGIN_SECONDS = 60.0
TRIES = 3
# from this many on, tokens that are due for renewal are dropped: their endpoints may be gone
MANY_TOKENS = 1000


@dataclass(slots=True)
class _Token:
    value: str
    renew_at: float


class Tokens:
    """A cache of tokens; concurrent callers share one request."""

    def __init__(
        self, send: Callable[[ProviderRequest], Awaitable[ProviderAnswer]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._clock = clock
        self._tokens: dict[str, _Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, request: TokenRequest, delays: Callable[[int], float]) -> str:
        """A valid token; ``delays`` gives the seconds before try number n.

        Raises:
            SidecarError: as the service words a refusal.
        """
        key = _digest(request.key)
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                token = self._tokens.get(key)
                if token is None or self._clock() >= token.renew_at:
                    token = await self._fetch(request, delays)
                    self._drop_due()
                    self._tokens[key] = token
                return token.value
        finally:
            # whoever waits keeps the lock alive; for a key without a token nobody else needs it
            if key not in self._tokens:
                self._locks.pop(key, None)

    def drop(self, request: TokenRequest) -> None:
        """Forget a token that was refused."""
        key = _digest(request.key)
        self._tokens.pop(key, None)
        self._locks.pop(key, None)

    def _drop_due(self) -> None:
        if len(self._tokens) < MANY_TOKENS:
            return
        now = self._clock()
        for key in [key for key, token in self._tokens.items() if now >= token.renew_at]:
            del self._tokens[key]
            self._locks.pop(key, None)

    async def _fetch(self, request: TokenRequest, delays: Callable[[int], float]) -> _Token:
        for attempt in range(1, TRIES + 1):
            answer: ProviderAnswer | None
            try:
                answer = await self._send(request.request())
            except NetworkError as error:
                if error.is_final or attempt == TRIES:
                    raise request.failure(None) from error
                answer = None
            if answer is not None and answer.status < 300:
                try:
                    value, lifetime = request.read(answer)
                except ValueError as error:
                    raise request.failure(answer) from error
                return _Token(value, self._clock() + max(lifetime - REFRESH_MARGIN_SECONDS, lifetime * 0.8))
            if answer is not None and (answer.status not in request.retried or attempt == TRIES):
                raise request.failure(answer)
            await asyncio.sleep(delays(attempt))
        raise AssertionError("unreachable")


def _digest(key: str) -> str:
    """Credentials are part of the key and must not stand in memory as one."""
    return hashlib.sha256(key.encode()).hexdigest()
