"""A queue between two stages, bounded by items and by size, that can be closed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic

from sidecar.ingest.bulk import SizedItem


class Conveyor(Generic[SizedItem]):
    """Holds at most ``items`` items and ``size`` units of their ``size``; one larger item passes alone.

    ``put`` waits while it is full, ``get`` waits while it is empty; after ``close`` what is left is handed out, then
    ``None``. For one event loop.
    """

    def __init__(self, items: int, size: int) -> None:
        self._most_items = items
        self._most_size = size
        self._held: deque[SizedItem] = deque()
        self._size = 0
        self._closed = False
        self._changed = asyncio.Condition()

    async def put(self, item: SizedItem) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(item.size))
            self._held.append(item)
            self._size += item.size
            self._changed.notify_all()

    async def get_batch(self, most: int, weigh: Callable[[SizedItem], int] = lambda item: 1) -> list[SizedItem] | None:
        """What is there, of at most ``most`` items by ``weigh`` and at least one; ``None`` when closed and empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._held or self._closed)
            if not self._held:
                return None
            batch = [self._held.popleft()]
            weight = weigh(batch[0])
            while self._held and (weight := weight + weigh(self._held[0])) <= most:
                batch.append(self._held.popleft())
            self._size -= sum(item.size for item in batch)
            self._changed.notify_all()
            return batch

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        return not self._held or (len(self._held) < self._most_items and self._size + size <= self._most_size)
