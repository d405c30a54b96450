"""Endpoints answered by models in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from sidecar.core.chunking import TokenCounter
from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import IllegalArgumentError, RequestTimeoutError, SidecarError, StatusError, ValidationError
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import Answer, RankedDocument, Ranking, SparseEmbeddings
from sidecar.core.tasks import InputType, TaskType
from sidecar.inference.long_documents import passages_of, whole_documents
from sidecar.runtime.catalog import LocalModelInfo
from sidecar.runtime.config import AdaptiveAllocations, Allocation, Lane
from sidecar.runtime.errors import DeadlineError, ModelError, NotFiniteError, UnknownModelError
from sidecar.runtime.inputs import Inputs
from sidecar.runtime.models import LocalModels
from sidecar.runtime.vocabulary import Vocabulary
from sidecar.services.allocations import ANSWERED_BY
from sidecar.services.reading import dimensions_differ

_log = structlog.stdlib.get_logger(__name__)

DEFAULT_MAX_ALLOCATIONS = 32


class LocalBackend:
    """Deploys the models of local endpoints and asks them."""

    def __init__(self, models: LocalModels) -> None:
        self._models = models
        self._deployed: dict[str, Mapping[str, Any]] = {}

    def checked(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with the settings that its model decides.

        Raises:
            IllegalArgumentError: no such model is here, or it cannot do the endpoint's task.
            StatusError: dimensions other than the model's were asked for.
        """
        settings = dict(endpoint.service_settings)
        if (deployment := settings.get("deployment_id")) is not None:
            settings = self._with_deployment(settings, deployment)
        info = self._model(settings["model_id"], endpoint.task_type)
        if info.is_alias:
            settings[ANSWERED_BY] = info.name
        if endpoint.task_type is TaskType.TEXT_EMBEDDING and not endpoint.is_preconfigured and not info.is_alias:
            wanted = settings.get("dimensions")
            if wanted not in (None, info.dimensions):
                raise dimensions_differ(endpoint.inference_id, info.dimensions, wanted)
            settings |= {"dimensions": info.dimensions, "similarity": settings.get("similarity", "cosine")}
        return replace(endpoint, service_settings=settings)

    async def deploy(self, endpoint: Endpoint) -> None:
        """Put the endpoint's model to work; the log says which model really answers."""
        settings = endpoint.service_settings
        info = self._models.resolve(settings["model_id"])
        await self._models.deploy(endpoint.inference_id, settings["model_id"], allocation(settings))
        self._deployed[endpoint.inference_id] = dict(settings)
        _log.info(
            "local_model_deployed",
            inference_id=endpoint.inference_id,
            model_id=settings["model_id"],
            answered_by=info.name,
            graph=info.graph,
            precision=info.precision.value,
            revision=info.revision,
        )

    async def undeploy(self, inference_id: str) -> None:
        """Let the endpoint's model go."""
        self._deployed.pop(inference_id, None)
        await self._models.undeploy(inference_id)

    async def follow(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Bring the deployments to what other replicas made of their endpoints: changed, or removed.

        ``endpoints`` are all local ones by inference id. A model that is not here is let go; who asks for it next
        hears why.
        """
        for inference_id, settings in list(self._deployed.items()):
            endpoint = endpoints.get(inference_id)
            if endpoint is None:
                await self.undeploy(inference_id)
                _log.info("local_model_undeployed", inference_id=inference_id)
            elif endpoint.service_settings != settings:
                try:
                    await self.deploy(endpoint)
                except SidecarError as error:
                    await self.undeploy(inference_id)
                    _log.warning("local_model_not_deployed", inference_id=inference_id, cause=error.reason)

    def shown_settings(self, endpoint: Endpoint) -> dict[str, Any]:
        """Service settings with the model that answers, where it is another than the one named.

        An endpoint whose model is gone or has become unusable is shown as it is; only its use fails.
        """
        settings = dict(endpoint.service_settings)
        if ANSWERED_BY not in settings:
            try:
                info = self._models.resolve(settings["model_id"])
            except ModelError:
                return settings
            if info.is_alias:
                settings[ANSWERED_BY] = info.name
        return settings

    def model(self, endpoint: Endpoint) -> LocalModelInfo:
        """The model behind the endpoint: the one at work, which is known, else what is found by its name."""
        settings = endpoint.service_settings
        at_work = self._models.at_work(endpoint.inference_id)
        if at_work is not None and settings == self._deployed.get(endpoint.inference_id):
            return at_work
        return self._models.resolve(settings["model_id"])

    async def vocabulary(self, endpoint: Endpoint) -> Vocabulary:
        """The tokens of the endpoint's model."""
        return await self._models.vocabulary(endpoint.service_settings["model_id"])

    def token_counter(self, endpoint: Endpoint) -> TokenCounter:
        """Counts tokens of texts to be stored as the endpoint's model does."""
        return self._models.token_counter(endpoint.service_settings["model_id"])

    def check(self, request: InferenceRequest) -> None:
        """Refuse, before it costs anything, a request with more inputs than a call may carry.

        Raises:
            StatusError: 413.
        """
        self._models.check_count(len(request.input))

    async def perform(self, endpoint: Endpoint, request: InferenceRequest, task_settings: Mapping[str, Any]) -> Answer:
        """The models' answer.

        Raises:
            RequestTimeoutError: the request's time ran out, waiting or running.
            RejectedExecutionError: the model's queue is full, or the answer would come too late.
        """
        if endpoint.service_settings != self._deployed.get(endpoint.inference_id):
            await self.deploy(endpoint)
        deadline = asyncio.get_running_loop().time() + request.timeout
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask(endpoint, request, task_settings, deadline)
        except (DeadlineError, TimeoutError) as error:
            raise RequestTimeoutError(request.timeout_text, endpoint.inference_id) from error

    async def _ask(
        self, endpoint: Endpoint, request: InferenceRequest, task_settings: Mapping[str, Any], deadline: float
    ) -> Answer:
        key, texts = endpoint.inference_id, request.texts
        lane = lane_of(request.input_type)
        if endpoint.task_type is TaskType.SPARSE_EMBEDDING:
            weights = await self._models.sparse(key, texts, input_type=request.input_type, lane=lane, deadline=deadline)
            return Answer(SparseEmbeddings(tuple(weights)))
        if endpoint.task_type is TaskType.TEXT_EMBEDDING:
            return Answer(
                await self._models.embed(key, texts, input_type=request.input_type, lane=lane, deadline=deadline)
            )
        if request.query is None:
            raise ValidationError("Rerank task type requires a non-null query field")
        scores, cut = await self._scores(endpoint, request.query, texts, deadline)
        return Answer(replace(_ranking(scores, texts, request, task_settings), truncated=cut))

    async def _scores(
        self, endpoint: Endpoint, query: str, texts: Sequence[str], deadline: float
    ) -> tuple[list[float], tuple[int, ...]]:
        """A score for each text, and the positions of those that were cut."""
        key, settings = endpoint.inference_id, endpoint.service_settings
        if settings.get("long_document_strategy") != "chunk":
            found = await self._models.score(key, query, texts, lane=Lane.SEARCH, deadline=deadline)
            return found.results, found.truncated
        passages, owners = await self._passages(query, texts, settings.get("max_chunks_per_doc"))
        try:
            found = await self._models.score(key, query, passages, lane=Lane.SEARCH, deadline=deadline)
        except NotFiniteError as error:
            raise NotFiniteError(error.model, None if error.index is None else owners[error.index]) from error
        cut = tuple(sorted({owners[index] for index in found.truncated}))
        return whole_documents(found.results, owners, len(texts)), cut

    async def _passages(self, query: str, texts: Sequence[str], most: int | None) -> tuple[list[str], list[int]]:
        """Passages of long documents, cut beside the loop, some documents at a time: the rest ends with the call.

        Raises ``TooManyInputsError`` as soon as there are more than a call may carry.
        """
        passages: list[str] = []
        owners: list[int] = []
        done = 0
        for part in Inputs(texts).slices():
            found, of = await asyncio.to_thread(passages_of, query, part, most)
            passages += found
            owners += [done + index for index in of]
            done += len(part)
            self._models.check_count(len(passages))
        return passages, owners

    def _model(self, model_id: str, task_type: TaskType) -> LocalModelInfo:
        try:
            info = self._models.resolve(model_id)
        except UnknownModelError as error:
            raise IllegalArgumentError(
                "Error parsing request config, model id does not match any models available on this platform. "
                f"Was [{model_id}]. You may need to load it into the cluster using eland."
            ) from error
        if task_type not in info.tasks:
            raise IllegalArgumentError(
                f"Deployed model [{model_id}] with type [{info.kind.elasticsearch_name}] "
                f"does not match the requested task type [{task_type}]"
            )
        return info

    def _with_deployment(self, settings: dict[str, Any], deployment: str) -> dict[str, Any]:
        """Settings copied from an existing deployment, as its name stands for them."""
        found = self._deployment(deployment)
        model_id = settings.get("model_id", found["model_id"])
        if model_id != found["model_id"]:
            raise StatusError(
                f"Deployment [{deployment}] uses model [{found['model_id']}] "
                f"which does not match the model [{model_id}] in the request."
            )
        copied = ("num_allocations", "num_threads", "model_id", "adaptive_allocations")
        own = {name: value for name, value in settings.items() if name not in copied}
        return {**own, **{name: found[name] for name in copied if name in found}}

    def _deployment(self, name: str) -> Mapping[str, Any]:
        """The settings of an endpoint's deployment, or of a model's own, which is always there under its name."""
        if (found := self._deployed.get(name)) is not None:
            return found
        try:
            self._models.resolve(name)
        except UnknownModelError as error:
            raise StatusError(f"Cannot find deployment [{name}]", status=404) from error
        return {"model_id": name, "num_allocations": 1, "num_threads": 1}


def allocation(settings: Mapping[str, Any]) -> Allocation:
    """How much of the machine the settings ask for."""
    threads = settings.get("num_threads", 1)
    adaptive = settings.get("adaptive_allocations") or {}
    if not adaptive.get("enabled"):
        return Allocation(settings.get("num_allocations", 1), threads)
    smallest = adaptive.get("min_number_of_allocations", 0)
    largest = adaptive.get("max_number_of_allocations", DEFAULT_MAX_ALLOCATIONS)
    return Allocation(num_threads=threads, adaptive=AdaptiveAllocations(smallest, max(smallest, largest)))


def lane_of(input_type: InputType | None) -> Lane:
    """Searches overtake ingestion."""
    is_search = input_type is not None and input_type.public is InputType.SEARCH
    return Lane.SEARCH if is_search else Lane.INGEST


def _ranking(
    scores: Sequence[float], texts: Sequence[str], request: InferenceRequest, task_settings: Mapping[str, Any]
) -> Ranking:
    wanted = request.return_documents
    shows_text = task_settings.get("return_documents", True) if wanted is None else wanted
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: request.top_n]
    return Ranking(
        tuple(RankedDocument(index, float(scores[index]), texts[index] if shows_text else None) for index in order)
    )
