"""The one cache of embeddings, under front, backfill, index, search and the API: where all of them meet.

inputs ──► memory ──► file ──► what others are computing just now ──► the endpoint, for the rest, once
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sidecar.core.requests import Input
from sidecar.core.results import Answer, DenseEmbeddings, SparseEmbeddings
from sidecar.inference.cache.disk import DiskStore
from sidecar.inference.cache.identity import input_key
from sidecar.inference.cache.memory import MemoryStore
from sidecar.inference.cache.packing import Embedded, joined, pack_all, parted, unpack

CHARACTERS_PER_TOKEN = 4
"""How many characters a token of ordinary prose has, for the estimate of what was saved."""

# Keys of so many characters are made in a millisecond; more are made beside the event loop.
_IN_LOOP_CHARACTERS = 256 * 1024
Compute = Callable[[Sequence[Input]], Awaitable[Answer]]


@dataclass(slots=True)
class CacheCount:
    """What a cache did: inputs found and not found, calls that were not made, tokens (estimated) not embedded."""

    hits: int = 0
    misses: int = 0
    saved_calls: int = 0
    saved_tokens: int = 0

    def since(self, earlier: CacheCount) -> CacheCount:
        """What came since ``earlier``, a copy taken then."""
        return CacheCount(
            self.hits - earlier.hits,
            self.misses - earlier.misses,
            self.saved_calls - earlier.saved_calls,
            self.saved_tokens - earlier.saved_tokens,
        )


class CacheObserver(Protocol):
    """Hears of every call that went by the cache."""

    def observe_cache(self, hits: int, misses: int, saved_calls: int, saved_tokens: int) -> None: ...


@dataclass(slots=True)
class _Gathering:
    """One request's embeddings as they come together, by key."""

    places: dict[bytes, list[int]]
    items: Sequence[Input]
    found: dict[bytes, Embedded] = field(default_factory=dict)

    @property
    def missing(self) -> list[bytes]:
        return [key for key in self.places if key not in self.found]

    def item(self, key: bytes) -> Input:
        return self.items[self.places[key][0]]

    def result(self) -> SparseEmbeddings | DenseEmbeddings:
        order: list[Embedded | None] = [None] * len(self.items)
        for key, positions in self.places.items():
            for position in positions:
                order[position] = self.found[key]
        return joined(part for part in order if part is not None)


class EmbeddingCache:
    """Answers from memory and ``disk``; equal inputs that are asked for side by side are computed once.

    ``lane`` names who waits for whom: a search never waits for what an ingestion has in the queue.
    """

    def __init__(
        self, memory: MemoryStore, disk: DiskStore | None = None, observer: CacheObserver | None = None
    ) -> None:
        self._memory = memory
        self._disk = disk
        self._observer = observer
        self._running: dict[tuple[str, bytes], asyncio.Future[Embedded | None]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self.count = CacheCount()

    async def open(self) -> None:
        """Open the file, where there is one."""
        if self._disk is not None:
            await self._disk.open()

    async def close(self) -> None:
        """Wait for what is being written and close the file."""
        if self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)
        if self._disk is not None:
            await self._disk.close()

    async def answer(self, identity: bytes, items: Sequence[Input], compute: Compute, *, lane: str) -> Answer:
        """The embeddings of ``items`` by the model of ``identity``; ``compute`` makes those that are nowhere.

        Raises whatever ``compute`` does. An answer of another length than what was asked is passed on, not kept.
        """
        if _characters(items) > _IN_LOOP_CHARACTERS:
            places = await asyncio.to_thread(_places, identity, items)
        else:
            places = _places(identity, items)
        gathering = _Gathering(places, items)
        await self._look_up(gathering)
        hits = sum(len(places[key]) for key in gathering.found)
        calls = 0
        while missing := gathering.missing:
            others = {key: self._running[lane, key] for key in missing if (lane, key) in self._running}
            mine = [key for key in missing if key not in others]
            if mine:
                calls += 1
                answer = await self._made(gathering, mine, compute, lane)
                if _embeddings(answer, len(mine)) is None:
                    # no telling which input an embedding belongs to: whoever asked hears it in full
                    return answer if len(mine) == len(items) else await compute(items)
                if len(mine) == len(items):
                    self._counted(items, 0, calls)
                    return answer
            for key, running in others.items():
                part = await _outcome(running)
                if part is not None:
                    gathering.found[key] = part
                    hits += len(places[key])
        self._counted(items, hits, calls)
        return Answer(gathering.result())

    async def _look_up(self, gathering: _Gathering) -> None:
        packed: dict[bytes, bytes] = {}
        for key in gathering.places:
            value = self._memory.get(key)
            if value is not None:
                packed[key] = value
        if self._disk is not None and len(packed) < len(gathering.places):
            stored = await self._disk.get(key for key in gathering.places if key not in packed)
            for key, value in stored.items():
                self._memory.put(key, value)
            packed |= stored
        for key, value in packed.items():
            gathering.found[key] = unpack(value)

    async def _made(self, gathering: _Gathering, keys: list[bytes], compute: Compute, lane: str) -> Answer:
        """The answer for the inputs of ``keys``, which is kept and handed to whoever waits for one of them."""
        loop = asyncio.get_running_loop()
        running = {key: loop.create_future() for key in keys}
        self._running |= {(lane, key): future for key, future in running.items()}
        parts: Mapping[bytes, Embedded] = {}
        try:
            answer = await compute([gathering.item(key) for key in keys])
            result = _embeddings(answer, len(keys))
            if result is not None:
                parts = dict(zip(keys, parted(result), strict=True))
                gathering.found |= parts
                # headers speak of one call: such an answer is nobody else's
                if not answer.headers:
                    self._keep(parts)
            return answer
        finally:
            for key, future in running.items():
                del self._running[lane, key]
                future.set_result(parts.get(key))

    def _keep(self, parts: Mapping[bytes, Embedded]) -> None:
        values = pack_all(list(parts.values()))
        packed = {key: value for key, value in zip(parts, values, strict=True) if value is not None}
        for key, value in packed.items():
            self._memory.put(key, value)
        if self._disk is not None and packed:
            task = asyncio.create_task(self._disk.put(packed))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def _counted(self, items: Sequence[Input], hits: int, calls: int) -> None:
        misses = len(items) - hits
        saved_calls = 0 if calls else 1
        saved = _characters(items) * hits // max(1, len(items)) // CHARACTERS_PER_TOKEN if hits else 0
        self.count.hits += hits
        self.count.misses += misses
        self.count.saved_calls += saved_calls
        self.count.saved_tokens += saved
        if self._observer is not None:
            self._observer.observe_cache(hits, misses, saved_calls, saved)


def _places(identity: bytes, items: Sequence[Input]) -> dict[bytes, list[int]]:
    """Where each input stands, by its key."""
    places: dict[bytes, list[int]] = {}
    for position, item in enumerate(items):
        places.setdefault(input_key(identity, item), []).append(position)
    return places


async def _outcome(running: asyncio.Future[Embedded | None]) -> Embedded | None:
    """What another call makes of an input, ``None`` when nothing came of it; leaving does not disturb that call."""
    await asyncio.wait({running})
    return running.result()


def _embeddings(answer: Answer, count: int) -> SparseEmbeddings | DenseEmbeddings | None:
    """The embeddings of an answer that has one for each of ``count`` inputs."""
    result = answer.result
    if isinstance(result, SparseEmbeddings):
        return result if len(result.items) == count else None
    if isinstance(result, DenseEmbeddings):
        return result if len(result.vectors) == count else None
    return None


def _characters(items: Iterable[Input]) -> int:
    return sum(len(item) if isinstance(item, str) else sum(len(part.value) for part in item.items) for item in items)
