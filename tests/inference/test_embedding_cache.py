"""The cache of embeddings: never another text's, model's or input type's vector, and no work done twice."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.errors import StatusError
from sidecar.core.requests import Content, ContentGroup, Input
from sidecar.core.results import Answer, DenseEmbeddings, SparseEmbedding, SparseEmbeddings
from sidecar.core.tasks import ElementType
from sidecar.inference.cache.cache import EmbeddingCache
from sidecar.inference.cache.disk import DiskStore
from sidecar.inference.cache.identity import input_key
from sidecar.inference.cache.memory import MemoryStore
from sidecar.inference.cache.packing import Embedded, pack, unpack

KINDS = ("sparse", ElementType.FLOAT, ElementType.BYTE, ElementType.BIT)


def expected(model: int, item: Input) -> Any:
    """What ``model`` makes of ``item``: a value that no other pair has. The kind follows from the model."""
    digest = hashlib.sha256(repr((model, item)).encode()).digest()
    if KINDS[model % len(KINDS)] == "sparse":
        return {f"token-{digest[0]}": digest[1] + 0.5, digest[:4].hex(): 1.25}
    signed = np.frombuffer(digest[:8], dtype=np.int8)
    return [float(n) / 3 for n in signed] if model % len(KINDS) == 1 else [int(n) for n in signed]


def answer_of(model: int, items: Sequence[Input]) -> Answer:
    kind = KINDS[model % len(KINDS)]
    values = [expected(model, item) for item in items]
    if kind == "sparse":
        return Answer(SparseEmbeddings(tuple(SparseEmbedding(value, len(value) > 5) for value in values)))
    return Answer(DenseEmbeddings(tuple(values), ElementType(kind)))


def assert_right(answer: Answer, model: int, items: Sequence[Input]) -> None:
    result = answer.result
    if isinstance(result, SparseEmbeddings):
        assert [item.tokens for item in result.items] == [expected(model, item) for item in items]
    else:
        assert isinstance(result, DenseEmbeddings)
        assert result.element_type == KINDS[model % len(KINDS)]
        wanted = [np.asarray(expected(model, item), dtype=np.float32) for item in items]
        assert len(result.vectors) == len(items)
        for vector, right in zip(result.vectors, wanted, strict=True):
            np.testing.assert_array_equal(np.asarray(vector, dtype=np.float32), right)


@dataclass
class Model:
    """A model that counts what it is asked; ``fails`` names the calls, by number, that end in an error."""

    number: int
    fails: frozenset[int] = frozenset()
    calls: list[list[Input]] = field(default_factory=list)

    @property
    def identity(self) -> bytes:
        return b"model-%d" % self.number

    async def compute(self, items: Sequence[Input]) -> Answer:
        self.calls.append(list(items))
        if len(self.calls) in self.fails:
            await asyncio.sleep(0)
            raise StatusError("the model is away", status=503)
        for _ in range(len(items) % 3):
            await asyncio.sleep(0)
        return answer_of(self.number, items)


TEXTS = st.one_of(
    st.sampled_from(["", " ", "a", "a ", "A", "ab", "a\x00b", "\ud83d", "\ude00", "\ufffd", "t", "g[]"]),
    st.text(max_size=6),
)
GROUPS = st.lists(st.tuples(st.sampled_from(["text", "image"]), st.text(max_size=3)), min_size=1, max_size=2).map(
    lambda parts: ContentGroup(tuple(Content(kind, value) for kind, value in parts))
)
REQUESTS = st.tuples(
    st.integers(0, 7), st.lists(st.one_of(TEXTS, GROUPS), min_size=1, max_size=6), st.sampled_from(["search", "ingest"])
)


@settings(max_examples=200)
@given(
    requests=st.lists(REQUESTS, min_size=1, max_size=12),
    size=st.sampled_from([0, 600, 3_000, 1 << 20]),
    fails=st.frozensets(st.integers(1, 6), max_size=2),
    leaves=st.frozensets(st.integers(0, 11), max_size=2),
)
async def test_whatever_is_asked_side_by_side_everyone_gets_their_own(
    requests: list[tuple[int, list[Input], str]], size: int, fails: frozenset[int], leaves: frozenset[int]
) -> None:
    cache = EmbeddingCache(MemoryStore(size))
    models = [Model(number, fails) for number in range(8)]

    async def ask(number: int, items: list[Input], lane: str) -> None:
        model = models[number]
        try:
            answer = await cache.answer(model.identity, items, model.compute, lane=lane)
        except StatusError:
            return
        assert_right(answer, number, items)

    tasks = [asyncio.create_task(ask(*request)) for request in requests]
    await asyncio.sleep(0)
    for number in leaves:
        if number < len(tasks):
            tasks[number].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [error for error in done if isinstance(error, AssertionError)] == []
    assert all(error is None or isinstance(error, asyncio.CancelledError) for error in done)
    for number, items, _ in requests:  # and once more, from whatever was kept
        answer = await cache.answer(models[number].identity, items, Model(number).compute, lane="search")
        assert_right(answer, number, items)


async def test_equal_texts_in_flight_are_computed_once() -> None:
    model, cache = Model(1), EmbeddingCache(MemoryStore(1 << 20))
    gate = asyncio.Event()

    async def slow(items: Sequence[Input]) -> Answer:
        answer = await model.compute(items)
        await gate.wait()
        return answer

    first = asyncio.create_task(cache.answer(model.identity, ["a", "b", "a"], slow, lane="ingest"))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.answer(model.identity, ["b", "c"], slow, lane="ingest"))
    other_lane = asyncio.create_task(cache.answer(model.identity, ["a"], slow, lane="search"))
    await asyncio.sleep(0)
    # the search did not wait for what stands in the other lane
    assert model.calls == [["a", "b"], ["c"], ["a"]]
    gate.set()
    assert_right(await first, 1, ["a", "b", "a"])
    assert_right(await second, 1, ["b", "c"])
    assert_right(await other_lane, 1, ["a"])
    assert (cache.count.hits, cache.count.misses, cache.count.saved_calls) == (1, 5, 0)
    assert_right(await cache.answer(model.identity, ["c", "b"], slow, lane="search"), 1, ["c", "b"])
    assert len(model.calls) == 3
    assert (cache.count.hits, cache.count.saved_calls) == (3, 1)


async def test_who_waited_for_a_call_that_failed_or_was_left_asks_itself() -> None:
    model, cache = Model(1, fails=frozenset({1})), EmbeddingCache(MemoryStore(1 << 20))
    first = asyncio.create_task(cache.answer(model.identity, ["a"], model.compute, lane="ingest"))
    second = asyncio.create_task(cache.answer(model.identity, ["a"], model.compute, lane="ingest"))
    with pytest.raises(StatusError):
        await first
    assert_right(await second, 1, ["a"])
    assert model.calls == [["a"], ["a"]]


@pytest.mark.parametrize(
    "short", [DenseEmbeddings(([1.0],)), DenseEmbeddings(([1.0], [2.0], [3.0]))], ids=["fewer", "more"]
)
async def test_an_answer_of_another_length_is_passed_on_and_not_kept(short: DenseEmbeddings) -> None:
    cache = EmbeddingCache(MemoryStore(1 << 20))
    asked: list[list[Input]] = []

    async def compute(items: Sequence[Input]) -> Answer:
        asked.append(list(items))
        return Answer(short)

    for _ in range(2):
        answer = await cache.answer(b"model", ["a", "b"], compute, lane="ingest")
        assert answer.result is short
    assert asked == [["a", "b"], ["a", "b"]]


async def test_an_answer_with_headers_is_nobody_elses() -> None:
    cache = EmbeddingCache(MemoryStore(1 << 20))
    answers = iter([Answer(DenseEmbeddings(([1.0],)), {"session": "1"}), Answer(DenseEmbeddings(([1.0],)), {})])

    async def compute(items: Sequence[Input]) -> Answer:
        return next(answers)

    assert (await cache.answer(b"model", ["a"], compute, lane="ingest")).headers == {"session": "1"}
    assert (await cache.answer(b"model", ["a"], compute, lane="ingest")).headers == {}


@pytest.mark.parametrize("bad", [[float("nan")], [1e300], ["x"]])
def test_what_is_no_finite_number_is_not_kept(bad: list[Any]) -> None:
    assert pack(Embedded(bad, ElementType.FLOAT)) is None


@pytest.mark.parametrize("bad", [[128], [-129], [1 << 70]])
def test_what_is_no_byte_is_not_kept(bad: list[Any]) -> None:
    assert pack(Embedded(bad, ElementType.BYTE)) is None


def test_memory_stays_within_its_bound_and_the_longest_unused_goes() -> None:
    store = MemoryStore(10_000)
    for number in range(100):
        store.put(b"%d" % number, bytes(500))
        store.get(b"0")
        assert store.used <= 10_000
    assert store.get(b"0") is not None
    assert store.get(b"99") is not None
    assert store.get(b"1") is None
    store.put(b"large", bytes(9_000))
    assert store.get(b"large") is None


async def test_the_file_is_shared_and_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "data" / "embeddings.db"
    for number in range(4):
        writer, reader = (EmbeddingCache(MemoryStore(0), DiskStore(path, 1 << 20)) for _ in range(2))
        await writer.open()
        await reader.open()
        model = Model(number)
        await writer.answer(model.identity, ["a", "\ud83d"], model.compute, lane="ingest")
        await writer.close()
        assert_right(
            await reader.answer(model.identity, ["\ud83d", "a"], model.compute, lane="x"), number, ["\ud83d", "a"]
        )
        assert len(model.calls) == 1
        await reader.close()


async def test_a_damaged_value_is_a_miss_and_a_damaged_file_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.db"
    model = Model(1)

    async def asked() -> None:
        cache = EmbeddingCache(MemoryStore(0), DiskStore(path, 1 << 20))
        await cache.open()
        assert_right(await cache.answer(model.identity, ["a"], model.compute, lane="ingest"), 1, ["a"])
        await cache.close()

    await asked()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE embeddings SET value = ?", (b"\x01" + bytes(32),))
    connection.close()
    await asked()
    path.write_bytes(b"this is no database" * 1000)
    await asked()
    assert len(model.calls) == 3


async def test_the_file_stays_within_its_bound(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "embeddings.db", 100_000)
    await store.open()
    for number in range(60):
        await store.put({b"%d-%d" % (number, n): bytes(1_000) for n in range(10)})
    with sqlite3.connect(tmp_path / "embeddings.db") as connection:
        (total,) = connection.execute("SELECT sum(length(value)) FROM embeddings").fetchone()
    connection.close()
    assert 0 < total <= 112_500  # the bound, and what is written between two looks at it
    assert len(await store.get([b"59-%d" % n for n in range(10)])) == 10
    await store.close()


@given(item=st.one_of(TEXTS, GROUPS), other=st.one_of(TEXTS, GROUPS))
def test_different_inputs_have_different_keys(item: Input, other: Input) -> None:
    assert (input_key(b"model", item) == input_key(b"model", other)) == (item == other)
    assert input_key(b"model", item) != input_key(b"other", item)


@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_floats_come_back_as_they_are_written_to_callers(values: list[float]) -> None:
    packed = pack(Embedded(values, ElementType.FLOAT))
    assert packed is not None
    np.testing.assert_array_equal(np.asarray(unpack(packed).value), np.asarray(values, dtype=np.float32))
