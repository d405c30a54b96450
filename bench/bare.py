"""The loop that nothing can beat: batches made in advance, sorted by length, run one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sidecar.core.tasks import InputType
from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.cores import keep_arithmetic_in_its_thread
from sidecar.runtime.engine import TOKENS, Engine, Work
from sidecar.runtime.loading import load_engine
from sidecar.runtime.session import Session

BUDGETS = (256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Rate:
    """Documents per second of wall time and per second of processor time, with the token budget that gave them."""

    per_second: float
    per_processor_second: float
    budget: int


class BareLoop:
    """A model's engine without queue, tasks and HTTP; tokenising is done before the clock starts."""

    def __init__(self, model: str, threads: int, *, exact: bool = True) -> None:
        keep_arithmetic_in_its_thread()
        _, directory = Catalog(RuntimeConfig()).resolve(model)
        self.engine: Engine = load_engine(directory, exact=exact)
        self._session: Session = self.engine.open(1)
        self._threads = threads

    def encoded(self, texts: Sequence[str], purpose: Any = None) -> list[Work]:
        """Texts as work, shortest first."""
        work = [Work(text, purpose) for text in self.engine.word_pieces.encode(texts)]
        return sorted(work, key=lambda item: len(item.encoded))

    def query(self, text: str) -> Any:
        """A query's vectors, to score documents against."""
        work = self.encoded([text], TOKENS)
        return self.engine.run(self._session, work, self.engine.batch(work))[0]

    def best_rate(self, work: list[Work]) -> Rate:
        """The best rate over several token budgets; as many batches at a time as there are threads."""
        rates = []
        for budget in BUDGETS:
            batches = [(part, self.engine.batch(part)) for part in _cut(work, budget)]
            with ThreadPoolExecutor(self._threads) as workers:
                list(workers.map(self._run, batches[: self._threads]))
                started, used = time.perf_counter(), time.process_time()
                list(workers.map(self._run, batches))
                seconds, processor = time.perf_counter() - started, time.process_time() - used
            rates.append(Rate(len(work) / seconds, len(work) / processor, budget))
        return max(rates, key=lambda rate: rate.per_processor_second)

    @property
    def query_prompt(self) -> str:
        """What the service puts before a query; not part of ``latency`` and ``best_rate`` by itself."""
        return self.engine.directory.prompts.of(InputType.SEARCH)

    @cached_property
    def _one_call(self) -> Session:
        """A session that spends all threads on one call."""
        return self.engine.open(self._threads)

    def latency(self, text: str) -> float:
        """Seconds of one text, tokenising included."""
        session = self._one_call
        started = time.perf_counter()
        work = self.encoded([text])
        self.engine.run(session, work, self.engine.batch(work))
        return time.perf_counter() - started

    def _run(self, batch: tuple[list[Work], PaddedBatch]) -> None:
        self.engine.run(self._session, *batch)


def _cut(work: list[Work], budget: int) -> list[list[Work]]:
    batches: list[list[Work]] = [[]]
    for item in work:
        if batches[-1] and len(item.encoded) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(item)
    return batches
