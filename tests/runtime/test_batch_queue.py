"""The waiting lines: what goes into a batch, who goes first, who is refused, who is dropped."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.runtime.config import Lane
from sidecar.runtime.engine import Work
from sidecar.runtime.errors import DeadlineError, QueueFullError, RuntimeClosedError
from sidecar.runtime.job import Job
from sidecar.runtime.lane import WaitingLine
from sidecar.runtime.queue import BatchQueue, QueueLimits
from sidecar.runtime.tokens import Encoded


def job(*lengths: int, lane: Lane = Lane.INGEST, deadline: float | None = None) -> Job:
    """A call with texts of some lengths, in tokens."""
    work = [Work(Encoded(np.arange(length), None, is_truncated=False, is_empty=False)) for length in lengths]
    return Job(work, lane, deadline, asyncio.get_event_loop())


def queue(items: int = 100, tokens: int = 10_000, batch_tokens: int = 100, batch_items: int = 8) -> BatchQueue:
    return BatchQueue("tiny", QueueLimits(items, tokens, batch_tokens, batch_items))


def put(to: BatchQueue, what: Job) -> Job:
    to.reserve(len(what.items))
    to.put(what)
    return what


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
        waiting.reserve(3)
    assert (caught.value.status, caught.value.type) == (429, "es_rejected_execution_exception")
    assert "[tiny]" in str(caught.value.reason)
    waiting.reserve(2)
    with pytest.raises(QueueFullError):
        waiting.reserve(1)
    waiting.release(2)
    waiting.reserve(1)
    assert waiting.refused == 2


async def test_tokens_are_bounded_too() -> None:
    waiting = queue(tokens=100)
    put(waiting, job(60))
    with pytest.raises(QueueFullError, match="60 tokens wait, 50 more"):
        put(waiting, job(50))
    put(waiting, job(40))
    with pytest.raises(QueueFullError):
        waiting.reserve(1)
    assert waiting.items == 2


async def test_a_call_larger_than_the_queue_runs_when_nothing_else_waits() -> None:
    waiting = queue(items=2, tokens=10)
    put(waiting, job(20, 20, 20))
    with pytest.raises(QueueFullError):
        waiting.reserve(1)
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
        waiting.reserve(1)
    assert waiting.take() is None


async def test_results_come_in_the_order_of_the_call() -> None:
    call = job(30, 10, 20)
    for item in sorted(call.items, key=lambda item: item.tokens):
        call.set(item.index, item.tokens)
    assert await call.future == [30, 10, 20]


async def test_an_express_worker_takes_searches_only_while_others_ingest() -> None:
    waiting = queue()
    put(waiting, job(50, 50, 50))
    put(waiting, job(5, lane=Lane.SEARCH))
    assert waiting.take(0, is_express=True) is None  # nobody is busy with ingestion: a worker takes the search
    assert lengths(waiting) == [5]
    ingest = waiting.take(0)
    assert ingest is not None
    put(waiting, job(6, lane=Lane.SEARCH))
    assert [item.tokens for item in waiting.take(0, is_express=True) or []] == [6]
    assert waiting.take(0, is_express=True) is None
    waiting.done(ingest)
    put(waiting, job(7, lane=Lane.SEARCH))
    assert waiting.take(0, is_express=True) is None
