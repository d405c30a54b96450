"""Local models: the one door of this room.

LocalModels ──► Catalog: model id to directory        deploy / undeploy: key to allocation
            └─► Runner per model, threads, precision: queue, workers, engine
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sidecar.core.results import DenseEmbeddings, SparseEmbedding
from sidecar.core.tasks import InputType, TaskType
from sidecar.runtime.catalog import Catalog, LocalModelInfo
from sidecar.runtime.config import Allocation, Lane, RuntimeConfig
from sidecar.runtime.cores import Cores
from sidecar.runtime.cpus import available_cpus
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import STATIC, TOKENS
from sidecar.runtime.errors import ModelError, RuntimeClosedError, TooManyInputsError, WrongTaskError
from sidecar.runtime.inputs import Inputs
from sidecar.runtime.late_interaction import LOWEST
from sidecar.runtime.loading import load_engine
from sidecar.runtime.memory import limit_arenas
from sidecar.runtime.model_tokens import ModelTokens
from sidecar.runtime.queue import QueueLimits
from sidecar.runtime.recognition import ModelKind
from sidecar.runtime.runner import Outcome, Runner, Watcher
from sidecar.runtime.statistics import BatchReport, ModelStatistics
from sidecar.runtime.vocabulary import Vocabulary

_Infos: TypeAlias = list[LocalModelInfo]
_TokenWeights: TypeAlias = list[SparseEmbedding]
_Vectors: TypeAlias = list[npt.NDArray[np.float32]]
_Scores: TypeAlias = list[float]
_Statistics: TypeAlias = list[ModelStatistics]
# (The class below has a method named list, which hides the type inside it.)

_LOWEST_LOGIT = -20.0
"""A cross-encoder's score of an empty document: a probability of 2e-9, below what trained models answer."""


@dataclass(slots=True)
class _Deployment:
    info: LocalModelInfo
    directory: ModelDirectory
    allocation: Allocation
    runner: Runner


class LocalModels:
    """Local models behind deployments. Created once, used from one event loop, closed at the end.

    A deployment's key is any name that the caller chooses, such as an endpoint's id. Deployments of the same model
    with the same number of threads share its sessions and its queue. A model's name or id works in place of a key:
    it is then deployed on first use with the default allocation. Nothing is loaded before it is needed.
    """

    def __init__(self, config: RuntimeConfig) -> None:
        limit_arenas()
        self._config = config
        self._catalog = Catalog(config)
        self._cores = Cores(config.cpus or available_cpus())
        self._deployments: dict[str, _Deployment] = {}
        self._runners: dict[tuple[Path, int], Runner] = {}
        # Apart, so that no search stands behind the texts of ingestion.
        self._tokenisers = {lane: ThreadPoolExecutor(1, f"tokenise-{lane.value}") for lane in Lane}
        self._vocabularies: dict[Path, Vocabulary] = {}
        self._named_vocabularies: dict[str, Vocabulary] = {}
        self._watchers: list[Watcher] = []
        self._closed = False

    def resolve(self, model_id: str) -> LocalModelInfo:
        """What is known of a model, by its name, id, alias or path (case ignored).

        Raises ``UnknownModelError`` when there is none, ``UnusableModelError`` when its directory cannot be used.
        """
        return self._catalog.resolve(model_id)[0]

    def token_counter(self, model_id: str) -> ModelTokens:
        """Counts what a model reads of texts to be stored; its tokenizer is loaded with the first count, once.

        Raises as :meth:`resolve`.
        """
        return ModelTokens(self._vocabulary(model_id))

    def list(self) -> _Infos:
        """All usable models that have a name: built-in ones and those of the models directory."""
        found = []
        for name in self._catalog.names():
            try:
                found.append(self.resolve(name))
            except ModelError:
                continue
        return found

    def aliases(self) -> dict[str, str]:
        """Names that stand for other models, with the model that answers."""
        return self._catalog.aliases()

    async def deploy(self, key: str, model_id: str, allocation: Allocation) -> None:
        """Puts a model behind a key, or changes the allocation of the one that is there.

        Waits until the model is loaded, unless its allocations may fall to none: then it is loaded on first use.
        Raises ``UnknownModelError`` or ``UnusableModelError``.
        """
        deployment = self._deploy(key, model_id, allocation)
        if allocation.minimum:
            await deployment.runner.ready()

    async def undeploy(self, key: str) -> None:
        """Takes a deployment away; a model that no deployment uses any more is unloaded. Unknown keys are ignored."""
        deployment = self._deployments.pop(key, None)
        if deployment is not None:
            await self._settle(deployment.runner)

    def deployed(self) -> dict[str, LocalModelInfo]:
        """Deployments by key."""
        return {key: deployment.info for key, deployment in self._deployments.items()}

    def at_work(self, key: str) -> LocalModelInfo | None:
        """The model of a deployment, without a look at the disk; ``None`` where there is none."""
        deployment = self._deployments.get(key)
        return None if deployment is None else deployment.info

    async def sparse(
        self,
        key_or_model: str,
        texts: Sequence[str],
        *,
        input_type: InputType | None = None,
        lane: Lane,
        deadline: float | None = None,
    ) -> _TokenWeights:
        """Token weights of each text, heaviest first; an empty text has none.

        A text of the search lane is a query: its prompt is the queries', and where the model looks queries up
        instead of running them, so is this one. Without an input type the ingest lane takes no prompt.

        ``deadline`` is in the loop's time. Raises ``TooManyInputsError`` (413), ``WrongTaskError``, ``QueueFullError``
        (429, at once), ``DeadlineError`` and ``ModelRunError``; so do ``dense`` and ``rerank``.
        """
        self.check_count(len(texts))
        runner, directory = self._runner(key_or_model, TaskType.SPARSE_EMBEDDING)
        is_query = lane is Lane.SEARCH
        prompt = directory.prompts.of(InputType.SEARCH if is_query and input_type is None else input_type)
        purpose = STATIC if is_query and directory.query is not None else None
        return (await runner.submit(Inputs(texts, prompt, purpose=purpose), lane, deadline)).results

    async def dense(
        self,
        key_or_model: str,
        texts: Sequence[str],
        *,
        input_type: InputType | None = None,
        lane: Lane,
        deadline: float | None = None,
    ) -> _Vectors:
        """The vectors of ``embed``."""
        found = await self.embed(key_or_model, texts, input_type=input_type, lane=lane, deadline=deadline)
        return [np.asarray(vector) for vector in found.vectors]

    async def embed(
        self,
        key_or_model: str,
        texts: Sequence[str],
        *,
        input_type: InputType | None = None,
        lane: Lane,
        deadline: float | None = None,
    ) -> DenseEmbeddings:
        """One float32 vector per text, after the model's prompt for ``input_type``; of length 1 where it normalises.

        Says which texts were longer than the model reads.
        """
        self.check_count(len(texts))
        runner, directory = self._runner(key_or_model, TaskType.TEXT_EMBEDDING)
        prompt = directory.prompts.of(input_type)
        outcome = await runner.submit(Inputs(texts, prompt), lane, deadline)
        return DenseEmbeddings(tuple(outcome.results), is_truncated=outcome.is_truncated)

    async def rerank(
        self,
        key_or_model: str,
        query: str,
        documents: Sequence[str],
        *,
        lane: Lane,
        deadline: float | None = None,
    ) -> _Scores:
        """The scores of ``score``."""
        return (await self.score(key_or_model, query, documents, lane=lane, deadline=deadline)).results

    async def score(
        self,
        key_or_model: str,
        query: str,
        documents: Sequence[str],
        *,
        lane: Lane,
        deadline: float | None = None,
    ) -> Outcome:
        """A score per document, in input order: a cross-encoder's logit, or late interaction with a dense encoder.

        Says which documents were cut; a query that is cut is so for all of them.
        """
        self.check_count(len(documents))
        runner, directory = self._runner(key_or_model, TaskType.RERANK)
        if directory.kind is ModelKind.CROSS_ENCODER:
            inputs = Inputs(documents, query=directory.prompts.default + query)
            found = await runner.submit(inputs, lane, deadline)
            lowest = min([_LOWEST_LOGIT, *found.results])
            scores = zip(found.results, documents, strict=True)
            return replace(found, results=[s if query.strip() and d.strip() else lowest for s, d in scores])
        if not query.strip() or not documents:
            return Outcome([LOWEST] * len(documents), (False,) * len(documents))
        prompt = directory.prompts.of(InputType.SEARCH)
        asked = await runner.submit(Inputs([query], prompt, purpose=TOKENS), lane, deadline)
        prompt = directory.prompts.of(InputType.INGEST)
        found = await runner.submit(Inputs(documents, prompt, purpose=asked.results[0]), lane, deadline)
        return replace(found, is_truncated=tuple(is_cut or asked.is_truncated[0] for is_cut in found.is_truncated))

    async def vocabulary(self, model_id: str) -> Vocabulary:
        """The tokens of a model, loaded. Raises ``UnknownModelError`` or ``UnusableModelError``."""
        known = self._vocabulary(model_id)
        if not known.is_loaded:
            await asyncio.to_thread(known.load)
        return known

    def _vocabulary(self, model_id: str) -> Vocabulary:
        """A model's tokens, one for all who ask."""
        named = self._named_vocabularies.get(model_id)
        if named is not None:
            return named
        info, directory = self._catalog.resolve(model_id)
        known = self._vocabularies.get(info.directory)
        if known is None:
            known = self._vocabularies[info.directory] = Vocabulary(directory)
        self._named_vocabularies[model_id] = known
        return known

    def check_count(self, count: int) -> None:
        """Raises ``TooManyInputsError`` for more texts than one call may carry; costs nothing."""
        most = self._config.call_items
        if count > most:
            raise TooManyInputsError(
                f"The call has [{count}] inputs, local models take at most [{most}] in one call: send them in several"
            )

    def watch(self, watcher: Callable[[BatchReport], None]) -> None:
        """Calls ``watcher`` after every batch, in the thread that ran it: it must be quick and safe for threads."""
        self._watchers.append(watcher)

    def statistics(self) -> _Statistics:
        """State and sums of every model at work."""
        return [self._statistics(runner) for runner in self._runners.values()]

    async def close(self) -> None:
        """Ends all workers; calls that still wait fail with ``RuntimeClosedError``. May be called twice."""
        self._closed = True
        runners = list(self._runners.values())
        self._runners.clear()
        self._deployments.clear()
        await asyncio.gather(*(runner.close() for runner in runners))
        for tokenisers in self._tokenisers.values():
            tokenisers.shutdown(wait=False, cancel_futures=True)

    def _runner(self, key_or_model: str, task: TaskType) -> tuple[Runner, ModelDirectory]:
        if self._closed:
            raise RuntimeClosedError("The sidecar is shutting down")
        deployment = self._deployments.get(key_or_model)
        if deployment is None:
            deployment = self._deploy(key_or_model, key_or_model, self._config.default_allocation)
        if task not in deployment.info.tasks:
            raise WrongTaskError(
                f"Model [{deployment.info.name}] is a {deployment.info.kind.value} and does not do [{task}]"
            )
        return deployment.runner, deployment.directory

    def _deploy(self, key: str, model_id: str, allocation: Allocation) -> _Deployment:
        info, directory = self._catalog.resolve(model_id)
        threads = self._cores.threads(allocation.num_threads)
        place = (info.directory, threads)
        runner = self._runners.get(place)
        if runner is None:
            runner = self._runners[place] = self._new_runner(info, directory, threads)
        before = self._deployments.get(key)
        deployment = self._deployments[key] = _Deployment(info, directory, allocation, runner)
        self._resize(runner)
        if before is not None and before.runner is not runner:
            self._resize(before.runner)
        return deployment

    def _new_runner(self, info: LocalModelInfo, directory: ModelDirectory, threads: int) -> Runner:
        config = self._config
        return Runner(
            info.name,
            partial(load_engine, directory, exact=self._catalog.exact(info.name)),
            QueueLimits(config.queue_items, config.queue_tokens, config.batch_tokens, config.batch_items),
            threads=threads,
            longest=directory.max_length,
            cores=self._cores,
            idle_seconds=config.idle_seconds,
            tokenisers=self._tokenisers,
            watch=self._report,
        )

    def _resize(self, runner: Runner) -> None:
        runner.resize([d.allocation for d in self._deployments.values() if d.runner is runner])

    async def _settle(self, runner: Runner) -> None:
        if any(deployment.runner is runner for deployment in self._deployments.values()):
            self._resize(runner)
            return
        self._runners = {place: other for place, other in self._runners.items() if other is not runner}
        await runner.close()

    def _report(self, report: BatchReport) -> None:
        for watcher in self._watchers:
            watcher(report)

    def _statistics(self, runner: Runner) -> ModelStatistics:
        counters, queue = runner.counters, runner.queue
        return ModelStatistics(
            model=runner.name,
            deployments=tuple(key for key, d in self._deployments.items() if d.runner is runner),
            threads=runner.threads,
            workers=runner.workers,
            is_loaded=runner.is_loaded,
            queued_items=queue.items,
            queued_tokens=queue.tokens,
            refused=queue.refused,
            dropped=queue.dropped,
            batches=counters.batches,
            items=counters.items,
            tokens=counters.tokens,
            padded_tokens=counters.padded_tokens,
            queue_seconds=counters.queue_seconds,
            run_seconds=counters.run_seconds,
            tokenise_seconds=counters.tokenise_seconds,
            truncated=counters.truncated,
            failures=counters.failures,
        )
