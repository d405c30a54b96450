"""How many calls one host is sent at a time, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sidecar.core.errors import RejectedExecutionError, StatusError
from sidecar.upstream.network_errors import NetworkError


@dataclass(slots=True)
class _Host:
    free: asyncio.Semaphore
    taken: int = 0


class HostSlots:
    """At most ``limit`` calls per host, connections of streams among them; ``patience`` in seconds bounds the wait."""

    def __init__(self, limit: int, patience: float) -> None:
        self._limit = limit
        self._patience = patience
        self._hosts: dict[str, _Host] = {}

    @property
    def taken(self) -> int:
        """Calls under way or waiting, of all hosts."""
        return sum(host.taken for host in self._hosts.values())

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """While inside, one of the host's slots is taken.

        Raises:
            NetworkError: none became free in time.
        """
        host = self._hosts.setdefault(name, _Host(asyncio.Semaphore(self._limit)))
        host.taken += 1
        try:
            await self._acquire(name, host)
            try:
                yield
            finally:
                host.free.release()
        finally:
            host.taken -= 1
            if not host.taken:
                del self._hosts[name]

    async def _acquire(self, name: str, host: _Host) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await host.free.acquire()
        except TimeoutError:
            cause = RejectedExecutionError(
                f"All [{self._limit}] connections to [{name}] are in use and none became free in [{self._patience:g}s]"
            )
            raise NetworkError(cause, is_final=True, whole=StatusError(cause.reason, status=429, cause=cause)) from None
