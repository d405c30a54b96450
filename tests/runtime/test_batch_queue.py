"""The waiting lines: what goes into a batch, who goes first, who is refused, who is dropped."""

import asyncio
import os
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.runtime.config import Lane
from sidecar.runtime.cores import Cores, step_back
from sidecar.runtime.engine import Work
from sidecar.runtime.errors import DeadlineError, QueueFullError, RuntimeClosedError
from sidecar.runtime.job import Job
from sidecar.runtime.lane import WaitingLine
from sidecar.runtime.pace import Pace
from sidecar.runtime.queue import BatchQueue, QueueLimits, Room
from sidecar.runtime.tokens import Encoded


def job(*lengths: int, lane: Lane = Lane.INGEST, deadline: float | None = None) -> Job:
    """A call with texts of some lengths, in tokens."""
    work = [Work(Encoded(np.arange(length), None, is_truncated=False, is_empty=False)) for length in lengths]
    return Job(work, lane, deadline, asyncio.get_event_loop())


def queue(
    items: int = 100, tokens: int = 10_000, batch_tokens: int = 100, batch_items: int = 8, pace: Pace | None = None
) -> BatchQueue:
    return BatchQueue("tiny", QueueLimits(items, tokens, batch_tokens, batch_items), pace)


def put(to: BatchQueue, what: Job) -> Job:
    to.put(what, reserve(to, len(what.items), lane=what.lane))
    return what


def reserve(
    to: BatchQueue, items: int, tokens: int = 0, *, lane: Lane = Lane.INGEST, left: float | None = None
) -> Room:
    return to.reserve(lane, items, tokens, left)


def measured(tokens_per_second: int) -> Pace:
    """The pace of a model that has worked for two seconds."""
    pace = Pace()
    for _ in range(20):
        pace.ran(tokens_per_second // 10, 0.1)
    return pace


def lengths(to: BatchQueue) -> list[int]:
    return [item.tokens for item in to.take(0) or []]


@given(
    calls=st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=40), min_size=1, max_size=8),
    budget=st.integers(1, 600),
    most=st.integers(1, 20),
)
async def test_every_text_runs_once_within_the_budget_and_nobody_starves(
    calls: list[list[int]], budget: int, most: int
) -> None:
    line = WaitingLine()
    items = []
    for call in calls:
        added = job(*call).items
        items += added
        line.add(added)
    waiting = list(items)
    while batch := line.take(budget, most):
        assert waiting[0] in batch
        sizes = [item.tokens for item in batch]
        assert sizes == sorted(sizes)
        assert len(batch) == 1 or max(sizes) * len(batch) <= budget
        assert len(batch) <= most
        # Neighbours in length: nothing left waiting would have fitted between two of the batch.
        left = [item for item in waiting if item not in batch]
        assert not any(min(sizes) < item.tokens < max(sizes) for item in left)
        waiting = left
        assert line.tokens == sum(item.tokens for item in waiting)
    assert waiting == []
    assert len(line) == 0


async def test_a_batch_is_of_like_lengths() -> None:
    waiting = queue()
    put(waiting, job(10, 90, 12, 95, 11))
    assert lengths(waiting) == [10, 11, 12]
    assert lengths(waiting) == [90]
    assert lengths(waiting) == [95]


async def test_searches_overtake_ingestion() -> None:
    waiting = queue()
    put(waiting, job(50, 50, 50, 50))
    put(waiting, job(5, 6, lane=Lane.SEARCH))
    assert lengths(waiting) == [5, 6]
    assert lengths(waiting) == [50, 50]


async def test_searches_do_not_stop_ingestion() -> None:
    waiting = queue(items=1000)
    put(waiting, job(70))
    for _ in range(40):
        put(waiting, job(60, lane=Lane.SEARCH))
    order = [lengths(waiting)[0] for _ in range(41)]
    assert 70 in order[:16]
    assert order.count(60) == 40


async def test_a_full_queue_refuses_at_once_with_429() -> None:
    waiting = queue(items=10)
    put(waiting, job(*[5] * 8))
    with pytest.raises(QueueFullError) as caught:
        reserve(waiting, 3)
    assert (caught.value.status, caught.value.type) == (429, "es_rejected_execution_exception")
    assert "[tiny]" in str(caught.value.reason)
    assert caught.value.headers == {"Retry-After": "1"}  # nobody knows yet how fast the model is
    room = reserve(waiting, 2)
    with pytest.raises(QueueFullError):
        reserve(waiting, 1)
    waiting.release(room)
    waiting.release(room)  # once more does nothing
    reserve(waiting, 1)
    assert waiting.refused == 2


async def test_tokens_are_bounded_too() -> None:
    waiting = queue(tokens=100)
    put(waiting, job(60))
    with pytest.raises(QueueFullError, match="60 tokens wait, 50 more"):
        put(waiting, job(50))
    put(waiting, job(40))
    with pytest.raises(QueueFullError, match="100 tokens wait, 1 of 1 more"):
        reserve(waiting, 1, tokens=1)
    assert waiting.items == 2


async def test_tokens_are_bounded_before_they_are_made() -> None:
    waiting = queue(tokens=100)
    reserve(waiting, 1, tokens=60)
    with pytest.raises(QueueFullError, match="60 tokens wait, 2 of 50 more"):
        reserve(waiting, 2, tokens=50)
    assert (waiting.items, waiting.refused) == (1, 1)


async def test_ingestion_leaves_the_room_of_searches_alone() -> None:
    waiting = queue(items=10, tokens=100)
    put(waiting, job(*[10] * 10))
    with pytest.raises(QueueFullError):
        reserve(waiting, 1)
    put(waiting, job(*[10] * 10, lane=Lane.SEARCH))
    with pytest.raises(QueueFullError):
        reserve(waiting, 1, lane=Lane.SEARCH)


async def test_what_would_come_too_late_is_refused_at_once_and_told_when_to_come_again() -> None:
    waiting = queue(tokens=100_000, items=1000, pace=measured(1000))
    put(waiting, job(*[100] * 80))  # eight seconds of work
    with pytest.raises(QueueFullError, match=r"too late: 8000 .* about 9\.0 s of work, 5\.5 s left$") as caught:
        reserve(waiting, 10, tokens=1000, left=5.5)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "4"})
    room = reserve(waiting, 10, tokens=1000, left=9.5)
    waiting.release(room)
    # Searches wait for searches only.
    reserve(waiting, 10, tokens=1000, lane=Lane.SEARCH, left=5.0)
    # With a second worker it takes half the time.
    waiting.workers = 2
    reserve(waiting, 10, tokens=1000, left=6.0)


async def test_a_call_that_never_fits_its_time_is_told_so() -> None:
    waiting = queue(tokens=100_000, pace=measured(1000))
    with pytest.raises(QueueFullError, match="send fewer inputs at once, or give it more time"):
        reserve(waiting, 50, tokens=9000, left=5.0)


async def test_a_single_batch_is_tried_whatever_the_pace() -> None:
    waiting = queue(pace=measured(1))
    reserve(waiting, 1, tokens=100, left=0.001)


async def test_a_pace_is_known_only_after_some_work() -> None:
    pace = Pace()
    assert pace.seconds(1000, 1) is None
    pace.ran(10, 0.1)
    assert pace.seconds(1000, 1) is None
    for _ in range(200):
        pace.ran(100, 0.1)
    assert pace.seconds(1000, 1) == pytest.approx(1.0, rel=0.05)
    assert pace.seconds(1000, 4) == pytest.approx(0.25, rel=0.05)
    for _ in range(400):
        pace.ran(50, 0.1)  # what came last counts
    assert pace.seconds(1000, 1) == pytest.approx(2.0, rel=0.05)


def test_characters_per_token_follow_the_texts() -> None:
    pace = Pace()
    assert pace.characters_per_token == pytest.approx(4.5)
    for _ in range(100):
        pace.tokenised(10_000, 9_000)
    assert pace.characters_per_token == pytest.approx(10 / 9, rel=0.01)


async def test_a_call_larger_than_the_queue_runs_when_nothing_else_waits() -> None:
    waiting = queue(items=2, tokens=10)
    put(waiting, job(20, 20, 20))
    with pytest.raises(QueueFullError):
        reserve(waiting, 1)
    assert len(lengths(waiting)) == 3


async def test_texts_of_a_caller_that_left_are_not_run() -> None:
    waiting = queue()
    gone = put(waiting, job(10, 10))
    stays = put(waiting, job(11))
    gone.abandon()
    waiting.discard(gone)
    assert (waiting.items, waiting.tokens) == (1, 11)
    assert [item.job for item in waiting.take(0) or []] == [stays]
    assert waiting.dropped == 2
    late = put(waiting, job(10))
    late.abandon()  # not yet discarded: the worker itself looks
    assert waiting.take(0) is None
    assert waiting.dropped == 3


async def test_texts_past_their_deadline_are_not_run() -> None:
    waiting = queue()
    late = put(waiting, job(10, deadline=asyncio.get_running_loop().time() - 1))
    assert waiting.take(0) is None
    with pytest.raises(DeadlineError) as caught:
        await late.future
    assert caught.value.status == 408


async def test_closing_fails_what_waits_and_refuses_more() -> None:
    waiting = queue()
    last = put(waiting, job(10))
    waiting.close()
    with pytest.raises(RuntimeClosedError):
        await last.future
    with pytest.raises(RuntimeClosedError):
        reserve(waiting, 1)
    assert waiting.take() is None


async def test_results_come_in_the_order_of_the_call() -> None:
    call = job(30, 10, 20)
    for item in sorted(call.items, key=lambda item: item.tokens):
        call.set(item.index, item.tokens)
    assert await call.future == [30, 10, 20]


async def test_the_searcher_takes_searches_only() -> None:
    waiting = queue()
    put(waiting, job(50, 50, 50))
    assert waiting.take(0, searches_only=True) is None
    put(waiting, job(5, lane=Lane.SEARCH))
    assert [item.tokens for item in waiting.take(0, searches_only=True) or []] == [5]
    assert lengths(waiting) == [50, 50]


async def test_workers_leave_searches_to_a_searcher_who_keeps_up() -> None:
    waiting = queue()
    seen: list[list[int]] = []

    def search() -> None:
        while batch := waiting.take(30, searches_only=True):
            seen.append([item.tokens for item in batch])

    searcher = threading.Thread(target=search)
    searcher.start()
    try:
        async with asyncio.timeout(30):
            for size in (5, 6, 7):
                put(waiting, job(60))
                put(waiting, job(size, lane=Lane.SEARCH))
                while waiting.items > 1:  # noqa: ASYNC110  (what is waited for happens in the other thread)
                    await asyncio.sleep(0.001)
                assert lengths(waiting) == [60]
    finally:
        waiting.close()
        searcher.join()
    assert seen == [[5], [6], [7]]


def test_batches_of_all_models_share_the_cores() -> None:
    cores = Cores(2)
    assert (cores.threads(32), cores.workers(1), cores.workers(2), cores.workers(3)) == (2, 2, 1, 1)
    running, most, lock = 0, 0, threading.Lock()

    def work(threads: int) -> None:
        nonlocal running, most
        for _ in range(20):
            with cores.held(threads):
                with lock:
                    running += threads
                    most = max(most, running)
                time.sleep(0.0005)
                with lock:
                    running -= threads

    workers = [threading.Thread(target=work, args=(threads,)) for threads in (1, 1, 1, 2, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (running, most) == (0, 2)


def test_a_batch_with_more_threads_than_cores_runs_alone() -> None:
    with Cores(1).held(4):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is the thread's own on Linux only")
def test_a_worker_steps_back_and_nobody_else() -> None:
    found = []

    def work() -> None:
        step_back()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    worker = threading.Thread(target=work)
    worker.start()
    worker.join(10)
    assert found == [min(before + 5, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
