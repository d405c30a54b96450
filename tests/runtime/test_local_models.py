"""Deployments, lanes, deadlines, refusals and memory, with the real models behind them."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from sidecar.runtime.config import AdaptiveAllocations, Allocation, Lane, Precision, RuntimeConfig
from sidecar.runtime.errors import (
    DeadlineError,
    ModelRunError,
    NotFiniteError,
    QueueFullError,
    RuntimeClosedError,
    TooManyInputsError,
    UnknownModelError,
    UnusableModelError,
)
from sidecar.runtime.models import LocalModels
from sidecar.runtime.statistics import BatchReport, ModelStatistics
from tests.runtime.tiny import WORDS, TinyModel, ids_of

TEXT = "Heat transfer to a blunt body in hypersonic flow was measured in a shock tube. " * 6
MODEL = "all-MiniLM-L6-v2"
ONE = Allocation(1, 1)


def texts(count: int) -> list[str]:
    return [f"{n} {TEXT}" for n in range(count)]


def statistics(models: LocalModels, name: str = MODEL) -> ModelStatistics:
    (found,) = [entry for entry in models.statistics() if entry.model == name]
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what is waited for happens in worker threads)
            await asyncio.sleep(0.005)


async def test_a_search_overtakes_a_large_ingest_call(models: LocalModels) -> None:
    await models.deploy("endpoint", MODEL, ONE)
    ingest = asyncio.create_task(models.dense("endpoint", texts(60), lane=Lane.INGEST))
    await until(lambda: statistics(models).batches > 0)
    await models.dense("endpoint", ["a short question"], lane=Lane.SEARCH)
    assert not ingest.done()
    assert len(await ingest) == 60
    assert statistics(models).workers == 1


async def test_a_search_does_not_wait_for_an_ingest_batch_to_end() -> None:
    models = LocalModels(RuntimeConfig(batch_tokens=8000, default_allocation=ONE))
    await models.dense(MODEL, ["load"], lane=Lane.INGEST)
    reports: list[BatchReport] = []
    models.watch(reports.append)
    ingest = asyncio.create_task(models.dense(MODEL, texts(60), lane=Lane.INGEST))
    await until(lambda: statistics(models).queued_items == 0 or statistics(models).batches > 1)
    await models.dense(MODEL, ["a short question"], lane=Lane.SEARCH)
    assert reports[0].lane is Lane.SEARCH  # the only worker is still in its first, large batch
    assert len(await ingest) == 60
    assert statistics(models).workers == 1
    await models.close()


async def test_a_full_queue_refuses_at_once_and_serves_the_rest() -> None:
    models = LocalModels(RuntimeConfig(queue_items=10, default_allocation=ONE))
    first = asyncio.create_task(models.dense(MODEL, texts(10), lane=Lane.INGEST))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError) as caught:
        await models.dense(MODEL, texts(10), lane=Lane.INGEST)
    assert caught.value.status == 429
    assert len(await first) == 10
    assert statistics(models).refused == 1
    await models.close()


async def test_a_cancelled_call_costs_nothing_more(models: LocalModels) -> None:
    await models.deploy("endpoint", MODEL, ONE)
    call = asyncio.create_task(models.dense("endpoint", texts(100), lane=Lane.INGEST))
    await until(lambda: statistics(models).batches > 0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (statistics(models).queued_items, statistics(models).queued_tokens) == (0, 0)
    await models.dense("endpoint", ["next"], lane=Lane.SEARCH)
    ran = statistics(models)
    assert ran.dropped > 0
    assert ran.items + ran.dropped <= 101
    assert ran.items < 101


async def test_cancelling_while_the_model_loads_gives_its_room_back() -> None:
    models = LocalModels(RuntimeConfig(queue_items=10))
    call = asyncio.create_task(models.dense(MODEL, texts(10), lane=Lane.INGEST))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert statistics(models).queued_items == 0
    assert len(await models.dense(MODEL, texts(2), lane=Lane.INGEST)) == 2
    await models.close()


async def test_a_deadline_ends_the_wait(models: LocalModels) -> None:
    loop = asyncio.get_running_loop()
    await models.deploy("endpoint", MODEL, ONE)
    ingest = asyncio.create_task(models.dense("endpoint", texts(60), lane=Lane.INGEST))
    await until(lambda: statistics(models).batches > 0)
    with pytest.raises(DeadlineError):
        await models.dense("endpoint", texts(4), lane=Lane.SEARCH, deadline=loop.time() + 0.002)
    with pytest.raises(TimeoutError):
        await models.dense("endpoint", ["late"], lane=Lane.SEARCH, deadline=loop.time() - 1)
    ingest.cancel()
    await asyncio.gather(ingest, return_exceptions=True)
    far = loop.time() + 3600
    assert len(await models.dense("endpoint", ["in time"], lane=Lane.SEARCH, deadline=far)) == 1


async def test_calls_that_wait_together_run_together(models: LocalModels) -> None:
    reports: list[BatchReport] = []
    models.watch(reports.append)
    await models.deploy("endpoint", MODEL, ONE)
    calls = [models.dense("endpoint", [f"question number {n}"], lane=Lane.SEARCH) for n in range(40)]
    vectors = await asyncio.gather(*calls)
    assert len(vectors) == 40
    assert sum(report.items for report in reports) == 40
    assert len(reports) < 20
    assert all(report.lane is Lane.SEARCH and report.model == MODEL for report in reports)
    assert all(report.padded_tokens >= report.tokens > 0 for report in reports)


async def test_batches_keep_to_the_token_budget() -> None:
    models = LocalModels(RuntimeConfig(batch_tokens=300, batch_items=5))
    reports: list[BatchReport] = []
    models.watch(reports.append)
    await models.sparse("splade-tiny", [TEXT[: 40 * n] + str(n) for n in range(1, 12)] * 2, lane=Lane.INGEST)
    assert all(report.padded_tokens <= 300 or report.items == 1 for report in reports)
    assert all(report.items <= 5 for report in reports)
    await models.close()


async def test_deployments_of_one_model_share_it(models: LocalModels) -> None:
    await models.deploy("one", MODEL, ONE)
    await models.deploy("two", MODEL.lower(), Allocation(1, 1))
    assert statistics(models).deployments == ("one", "two")
    assert statistics(models).workers == 2
    assert set(models.deployed()) == {"one", "two"}
    await models.undeploy("one")
    await until(lambda: statistics(models).workers == 1)
    assert len(await models.dense("two", ["still there"], lane=Lane.SEARCH)) == 1
    await models.undeploy("two")
    await models.undeploy("never there")
    assert models.statistics() == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith("model-")] == []


async def test_allocations_do_what_they_say() -> None:
    models = LocalModels(RuntimeConfig(cpus=6))
    await models.deploy("endpoint", MODEL, Allocation(num_allocations=3, num_threads=2))
    assert (statistics(models).workers, statistics(models).threads) == (3, 2)
    assert len(await models.dense("endpoint", texts(6), lane=Lane.INGEST)) == 6
    await models.deploy("endpoint", MODEL, Allocation(num_allocations=1, num_threads=2))
    await until(lambda: statistics(models).workers == 1)
    assert len(await models.dense("endpoint", texts(2), lane=Lane.INGEST)) == 2
    await models.close()


@pytest.mark.parametrize(
    ("allocation", "workers", "threads"),
    [
        (Allocation(num_allocations=1000), 2, 1),
        (Allocation(num_allocations=20, num_threads=32), 1, 2),
        (Allocation(adaptive=AdaptiveAllocations(1000, 2000)), 2, 1),
    ],
)
async def test_no_allocation_gets_more_threads_than_there_are_cores(
    allocation: Allocation, workers: int, threads: int
) -> None:
    models = LocalModels(RuntimeConfig(cpus=2))
    await models.deploy("endpoint", MODEL, allocation)
    await models.deploy("another", MODEL, allocation)  # of the same model: they share what there is
    assert (statistics(models).workers, statistics(models).threads) == (workers, threads)
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("model-")]) == workers
    assert len(await models.dense("endpoint", texts(6), lane=Lane.INGEST)) == 6
    await models.close()


async def test_arithmetic_beside_the_graph_starts_no_threads(models: LocalModels) -> None:
    await models.rerank(MODEL, "red wine", ["bananas", "wine"], lane=Lane.SEARCH)
    assert {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"} == {1}


async def test_more_texts_than_a_call_may_carry_are_refused_before_they_are_read(models: LocalModels) -> None:
    million = ["a"] * 1_000_000
    for call in (
        models.dense(MODEL, million, lane=Lane.INGEST),
        models.sparse("splade-tiny", million, lane=Lane.SEARCH),
        models.rerank(".rerank-v1", "a", million, lane=Lane.SEARCH),
    ):
        with pytest.raises(
            TooManyInputsError, match=r"\[1000000\] inputs, local models take at most \[4096\]"
        ) as caught:
            await call
        assert caught.value.status == 413
    assert models.statistics() == []


async def test_tokenising_ends_with_its_caller(models: LocalModels) -> None:
    """Hundreds of long texts are seconds of tokenising: what a caller leaves behind is the slice at hand."""
    await models.deploy("endpoint", MODEL, ONE)
    long_texts = [TEXT * 100] * 400
    loop = asyncio.get_running_loop()
    call = asyncio.create_task(models.dense("endpoint", long_texts, lane=Lane.INGEST))
    await until(lambda: statistics(models).queued_items == 400)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(DeadlineError):
        await models.dense("endpoint", long_texts, lane=Lane.INGEST, deadline=loop.time() + 0.05)
    assert (statistics(models).queued_items, statistics(models).queued_tokens) == (0, 0)
    assert len(await models.dense("endpoint", texts(10), lane=Lane.INGEST)) == 10
    assert statistics(models).items == 10


async def test_a_call_that_cannot_be_answered_in_its_time_is_refused_at_once(models: LocalModels) -> None:
    loop = asyncio.get_running_loop()
    await models.deploy("endpoint", MODEL, ONE)
    while statistics(models).run_seconds < 1.1:  # until the model's pace is known
        await models.dense("endpoint", texts(16), lane=Lane.INGEST)
    with pytest.raises(QueueFullError, match="s of work") as caught:
        await models.dense("endpoint", texts(4000), lane=Lane.INGEST, deadline=loop.time() + 0.5)
    assert (caught.value.status, statistics(models).queued_items) == (429, 0)
    assert int(caught.value.headers["Retry-After"]) >= 1
    # A search beside it is not held up by what is refused.
    assert len(await models.dense("endpoint", ["a question"], lane=Lane.SEARCH, deadline=loop.time() + 2)) == 1


async def test_slices_give_the_tokens_of_the_whole(models: LocalModels) -> None:
    """Many short and some long texts, tokenised in parts, beside the same texts one by one."""
    mixed = [f"short {n}" for n in range(600)] + [TEXT * n for n in range(1, 120, 20)]
    together = await models.sparse("splade-tiny", mixed, lane=Lane.INGEST)
    for number in (0, 255, 256, 599, 600, 605):
        (alone,) = await models.sparse("splade-tiny", [mixed[number]], lane=Lane.SEARCH)
        assert alone.is_truncated == together[number].is_truncated
        assert list(alone.tokens)[:5] == list(together[number].tokens)[:5]


async def test_adaptive_allocations_follow_the_queue_and_unload_when_idle() -> None:
    models = LocalModels(RuntimeConfig(idle_seconds=0.2, cpus=2))
    await models.deploy("endpoint", MODEL, Allocation(1, 1, AdaptiveAllocations(0, 32)))
    assert (statistics(models).is_loaded, statistics(models).workers) == (False, 0)
    await models.dense("endpoint", ["one text"], lane=Lane.SEARCH)
    assert statistics(models).workers == 1
    call = asyncio.create_task(models.dense("endpoint", texts(30), lane=Lane.INGEST))
    await until(lambda: statistics(models).workers == 2)  # never more than there are cores
    await call
    await until(lambda: not statistics(models).is_loaded)
    assert statistics(models).workers == 0
    assert len(await models.dense("endpoint", ["loaded again"], lane=Lane.SEARCH)) == 1
    await models.close()


async def test_an_adaptive_minimum_stays() -> None:
    models = LocalModels(RuntimeConfig(idle_seconds=0.05, cpus=2))
    await models.deploy("endpoint", MODEL, Allocation(1, 1, AdaptiveAllocations(1, 4)))
    await models.dense("endpoint", texts(10), lane=Lane.INGEST)
    await until(lambda: statistics(models).workers == 1)
    await asyncio.sleep(0.2)
    assert (statistics(models).workers, statistics(models).is_loaded) == (1, True)
    await models.close()


async def test_many_first_calls_load_the_model_once(models: LocalModels) -> None:
    results = await asyncio.gather(*(models.sparse("splade-tiny", [f"text {n}"], lane=Lane.SEARCH) for n in range(20)))
    assert len(results) == 20
    assert len(models.statistics()) == 1
    assert statistics(models, "splade-tiny").items == 20


async def test_a_model_that_cannot_be_loaded_says_so_every_time(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.encoder()
    (tiny.path / "tokenizer.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(UnusableModelError, match="not a readable tokenizer"):
            await models.dense(str(tiny.path), ["text"], lane=Lane.INGEST)
    assert statistics(models, "tiny").queued_items == 0
    with pytest.raises(UnknownModelError):
        await models.deploy("endpoint", "no-such-model", ONE)


async def test_a_text_that_cannot_be_run_fails_its_caller_only(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.embedding = tiny.embedding[:7]  # the words behind "red" have no row
    tiny.encoder()
    calls = [models.dense(str(tiny.path), [text], lane=Lane.INGEST) for text in ("red", "blue", "red red")]
    first, failed, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, ModelRunError)
    assert failed.status == 500
    for text, found in (("red", first), ("red red", last)):
        expected = tiny.hidden(ids_of(text)).mean(axis=0)
        assert isinstance(found, list)
        np.testing.assert_allclose(found[0], expected / np.linalg.norm(expected), atol=1e-5)
    assert statistics(models, "tiny").failures == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
async def test_numbers_that_are_none_are_an_error_that_names_the_input(
    models: LocalModels, tmp_path: Path, bad: float
) -> None:
    tiny = TinyModel(tmp_path / "dense")
    tiny.embedding[WORDS.index("blue")] = bad
    tiny.encoder()
    path = str(tiny.path)
    with pytest.raises(NotFiniteError, match=r"Model \[dense\] made no finite numbers of input \[1\]") as caught:
        await models.dense(path, ["red", "green blue", "fast"], lane=Lane.INGEST)
    assert (caught.value.status, caught.value.index) == (500, 1)
    with pytest.raises(NotFiniteError, match=r"input \[2\]"):
        await models.rerank(path, "red", ["green", "fast", "blue"], lane=Lane.SEARCH)
    with pytest.raises(NotFiniteError, match="of the query"):
        await models.rerank(path, "blue", ["green", "fast"], lane=Lane.SEARCH)
    beside, failed = await asyncio.gather(
        models.dense(path, ["green"], lane=Lane.INGEST),
        models.dense(path, ["blue"], lane=Lane.INGEST),
        return_exceptions=True,
    )
    assert isinstance(beside, list)
    assert isinstance(failed, NotFiniteError)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
async def test_scores_that_are_no_numbers_are_an_error_that_names_the_document(
    models: LocalModels, tmp_path: Path, bad: float
) -> None:
    tiny = TinyModel(tmp_path / "cross")
    tiny.embedding[WORDS.index("blue")] = bad
    tiny.classifier()
    with pytest.raises(NotFiniteError, match=r"input \[1\]"):
        await models.rerank(str(tiny.path), "red", ["green", "blue", "fast"], lane=Lane.SEARCH)
    assert len(await models.rerank(str(tiny.path), "red", ["green", "fast"], lane=Lane.SEARCH)) == 2


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
async def test_token_weights_that_are_no_numbers_are_an_error_that_names_the_input(
    tmp_path: Path, precision: Precision, plain: bool, bad: float
) -> None:
    tiny = TinyModel(tmp_path / "sparse")
    tiny.embedding[WORDS.index("blue")] = bad
    tiny.masked_language_model(plain=plain)
    models = LocalModels(RuntimeConfig(precision={"*": precision}))
    with pytest.raises(NotFiniteError, match=r"input \[1\]"):
        await models.sparse(str(tiny.path), ["red", "green blue", "fast"], lane=Lane.INGEST)
    assert len(await models.sparse(str(tiny.path), ["red", "fast"], lane=Lane.INGEST)) == 2
    await models.close()


async def test_texts_longer_than_the_model_reads_are_told_and_counted(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.encoder(max_position_embeddings=8)
    path = str(tiny.path)
    found = await models.embed(path, ["red", "red " * 6, "red " * 7, "", "blue " * 5000], lane=Lane.INGEST)
    assert found.is_truncated == (False, False, True, False, True)
    assert found.truncated == (2, 4)
    assert statistics(models, "tiny").truncated == 2
    sparse = await models.sparse("splade-tiny", ["short", TEXT * 40], lane=Lane.INGEST)
    assert [item.is_truncated for item in sparse] == [False, True]


async def test_closing_ends_what_waits_and_refuses_more() -> None:
    models = LocalModels(RuntimeConfig(default_allocation=ONE))
    await models.dense(MODEL, ["load"], lane=Lane.SEARCH)
    call = asyncio.create_task(models.dense(MODEL, texts(80), lane=Lane.INGEST))
    await until(lambda: statistics(models).batches > 1)
    await models.close()
    with pytest.raises(RuntimeClosedError) as caught:
        await call
    assert caught.value.status == 429
    with pytest.raises(RuntimeClosedError):
        await models.dense(MODEL, ["more"], lane=Lane.SEARCH)
    await models.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("model-")] == []


async def test_the_list_names_every_usable_model(tmp_path: Path) -> None:
    TinyModel(tmp_path / "acme" / "tiny").encoder()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{}")
    models = LocalModels(RuntimeConfig(models_dir=tmp_path))
    assert [info.name for info in models.list()] == [
        "splade-tiny", "bge-small-en-v1.5", "all-MiniLM-L6-v2", "acme/tiny"
    ]  # fmt: skip
    assert models.aliases()[".elser_model_2"] == "splade-tiny"
    assert models.statistics() == []
    await models.close()


@pytest.mark.parametrize(
    "arguments", [(0, 1), (1, 0), (1, 1, AdaptiveAllocations(3, 2)), (1, 1, AdaptiveAllocations(-1, 2))]
)
def test_allocations_that_make_no_sense(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="allocations"):
        Allocation(*arguments)
