import asyncio
from dataclasses import dataclass

from sidecar.ingest.conveyor import Conveyor


@dataclass(frozen=True)
class Sized:
    size: int


async def test_full_by_count_or_size_makes_the_sender_wait() -> None:
    for belt, items in ((Conveyor[Sized](2, 100), [1, 1, 1]), (Conveyor[Sized](9, 10), [6, 4, 1])):
        await belt.put(Sized(items[0]))
        await belt.put(Sized(items[1]))
        third = asyncio.ensure_future(belt.put(Sized(items[2])))
        await asyncio.sleep(0)
        assert not third.done()
        assert await belt.get_batch(1) == [Sized(items[0])]
        await third


async def test_an_item_larger_than_the_belt_passes_alone() -> None:
    belt = Conveyor[Sized](9, 10)
    await belt.put(Sized(50))
    second = asyncio.ensure_future(belt.put(Sized(1)))
    await asyncio.sleep(0)
    assert not second.done()
    assert await belt.get_batch(5) == [Sized(50)]
    await second


async def test_after_closing_what_is_left_is_handed_out() -> None:
    belt = Conveyor[Sized](9, 10)
    await belt.put(Sized(1))
    await belt.close()
    assert await belt.get_batch(5) == [Sized(1)]
    assert await belt.get_batch(5) is None


async def test_closing_wakes_those_who_wait() -> None:
    belt = Conveyor[Sized](9, 10)
    waiting = asyncio.ensure_future(belt.get_batch(5))
    await asyncio.sleep(0)
    await belt.close()
    assert await waiting is None
