"""Endpoints from the outside: what the API, ingestion and search ask for.

create   service -> settings -> validation call or model check -> store -> deploy
perform  endpoint -> service -> local models or provider -> result
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sidecar.core.chunking import LEGACY_CHUNKING, TokenCounter
from sidecar.core.endpoint import Endpoint, Secrets
from sidecar.core.errors import RequestTimeoutError, ResourceNotFoundError, SidecarError, StatusError
from sidecar.core.generations import DEFAULT_GENERATION, Generation
from sidecar.core.javatext import java_text
from sidecar.core.requests import InferenceRequest, Input
from sidecar.core.results import Answer, Completion, Result, StreamItem
from sidecar.core.tasks import ANY_TASK_TYPE, TaskType
from sidecar.inference.cache.cache import CacheCount, Compute, EmbeddingCache
from sidecar.inference.cache.identity import local_identity, remote_identity
from sidecar.inference.checks import (
    check_query,
    check_update_body,
    deprecations,
    resolve_task_type,
    service_gone,
    streaming_refused,
)
from sidecar.inference.local import LocalBackend, lane_of
from sidecar.inference.preconfigured import PRECONFIGURED
from sidecar.inference.remote import RemoteBackend, completed, make_call, probe_call
from sidecar.registry.registry import Registry, StoredEndpoint
from sidecar.runtime.catalog import LocalModelInfo
from sidecar.runtime.errors import ModelError, NotFiniteError
from sidecar.runtime.vocabulary import Vocabulary
from sidecar.services.catalogue import Catalogue
from sidecar.services.declaration import RemoteTask, Service, Task
from sidecar.services.reading import (
    merge_task_settings,
    read_endpoint,
    read_update,
    shown_settings,
    unsupported_task,
)


@dataclass(frozen=True, slots=True)
class Created:
    """A new endpoint, with deprecation warnings for the caller."""

    endpoint: Endpoint
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """What came of a delete; ``error_message`` is ``None`` unless it was a dry run."""

    acknowledged: bool
    pipelines: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    error_message: str | None = None


class FoundReferences(Protocol):
    """Who uses an endpoint."""

    @property
    def pipelines(self) -> tuple[str, ...]: ...

    @property
    def indexes(self) -> tuple[str, ...]: ...

    def message(self, inference_id: str, generation: Generation) -> str:
        """Why the endpoint should stay; empty when nothing uses it."""


SERVICE = "service"
_PLATFORM = "_linux-x86_64"
FindReferences = Callable[[str], Awaitable[FoundReferences]]
FindModelSettings = Callable[[str], Awaitable[Mapping[str, Sequence[Mapping[str, Any]]]]]
"""What filled fields of indices say of the vectors of an endpoint's id, by index."""


class InferenceObserver(Protocol):
    """Hears of every inference; ``outcome`` is ``ok`` or the error's type."""

    def observe_inference(self, service: str, task_type: str, outcome: str, inputs: int, seconds: float) -> None: ...

    def observe_truncated(self, service: str, task_type: str, inputs: int) -> None: ...


class Inference:
    """All endpoints. ``references`` looks up who uses one, where there is a cluster to ask.

    Embeddings are kept in ``cache``, and equal texts that are asked for at the same time are computed once.
    """

    def __init__(
        self,
        registry: Registry,
        catalogue: Catalogue,
        remote: RemoteBackend,
        local: LocalBackend,
        *,
        references: FindReferences | None = None,
        model_settings: FindModelSettings | None = None,
        observer: InferenceObserver | None = None,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._remote = remote
        self._local = local
        self._references = references
        self._model_settings = model_settings
        self._observer = observer
        self._cache = cache
        self._followed: frozenset[str] = frozenset()

    # --- looking up

    async def find(self, inference_id: str) -> Endpoint:
        """The endpoint of that id.

        Raises:
            ResourceNotFoundError: there is none.
        """
        return (await self._stored(inference_id)).endpoint

    async def is_left_aside(self, inference_id: str) -> bool:
        """Whether an endpoint of that id is stored in a form that this version cannot read: it can only be deleted."""
        return inference_id not in PRECONFIGURED and await self._registry.is_left_aside(inference_id)

    async def find_by_model(self, name: str) -> Endpoint:
        """The endpoint of that id, else one of a local model of that name, which may lack its platform's suffix.

        Raises:
            ResourceNotFoundError: there is neither.
        """
        try:
            return await self.find(name)
        except ResourceNotFoundError:
            for endpoint in await self.endpoints():
                model = str(endpoint.service_settings.get("model_id"))
                if self._is_local(endpoint) and name in (model, model.removesuffix(_PLATFORM)):
                    return endpoint
            raise

    async def endpoints(self, task_type: TaskType | None = None) -> list[Endpoint]:
        """All endpoints, of one task type or any, by inference id."""
        stored = [stored.endpoint for stored in await self._registry.list()]
        found = [e for e in (*PRECONFIGURED.values(), *stored) if task_type is None or e.task_type is task_type]
        return sorted(found, key=lambda endpoint: endpoint.inference_id)

    def is_reserved(self, inference_id: str) -> bool:
        """True for ids that no user endpoint may have."""
        return inference_id in PRECONFIGURED

    def local_model(self, endpoint: Endpoint) -> LocalModelInfo | None:
        """The model in this process that answers for the endpoint, ``None`` where a provider does."""
        return self._local.model(endpoint) if self._is_local(endpoint) else None

    async def vocabulary(self, endpoint: Endpoint) -> Vocabulary:
        """The tokens of the endpoint's local model.

        Raises:
            StatusError: a provider answers for the endpoint.
        """
        if not self._is_local(endpoint):
            whose = f"[{endpoint.service}] answers for endpoint [{endpoint.inference_id}]"
            raise StatusError(f"{whose}, and its tokens are not known here")
        return await self._local.vocabulary(endpoint)

    def token_counter(self, endpoint: Endpoint) -> TokenCounter | None:
        """Counts tokens of texts to be stored as the endpoint's model does, ``None`` where a provider has it."""
        return self._local.token_counter(endpoint) if self._is_local(endpoint) else None

    def batch_size(self, endpoint: Endpoint) -> int | None:
        """How many texts ingestion sends to the endpoint's provider in one call, ``None`` for a local model."""
        service = self._catalogue.get(endpoint.service)
        task = service.tasks.get(endpoint.task_type) if service is not None else None
        return task.ingest_batch(endpoint.service_settings) if isinstance(task, RemoteTask) else None

    @property
    def cache_count(self) -> CacheCount:
        """What the cache did so far; all zeros where there is none."""
        return CacheCount() if self._cache is None else replace(self._cache.count)

    def describe_services(self, task_type: TaskType | None, generation: Generation) -> list[dict[str, Any]]:
        """The services and their settings."""
        return self._catalogue.describe(task_type, generation)

    def shown(self, endpoint: Endpoint, generation: Generation) -> dict[str, Any]:
        """The endpoint as GET returns it, without secrets."""
        service = self._catalogue.get(endpoint.service)
        task = service.tasks.get(endpoint.task_type) if service else None
        if service is None or task is None:
            raise service_gone(endpoint)
        if service.is_local:
            endpoint = replace(endpoint, service_settings=self._local.shown_settings(endpoint))
        name = endpoint.service
        if name == "elser" and not generation.service_elser_echoed:
            name = "elasticsearch"
        body: dict[str, Any] = {
            generation.id_field: endpoint.inference_id,
            "task_type": endpoint.task_type.value,
            "service": name,
            "service_settings": shown_settings(task, endpoint, generation),
        }
        if endpoint.task_settings or generation.shows_empty_task_settings or task.shows_empty_task_settings:
            body["task_settings"] = dict(endpoint.task_settings)
        if endpoint.chunking_settings is not None and generation.has_chunking_settings:
            body["chunking_settings"] = dict(endpoint.chunking_settings)
        return body

    # --- changing

    async def create(
        self,
        inference_id: str,
        url_task_type: TaskType | None,
        body: Mapping[str, Any],
        *,
        generation: Generation = DEFAULT_GENERATION,
        timeout: float = 30.0,
        timeout_text: str = "30s",
    ) -> Created:
        """Create an endpoint: read its settings, make one real call or check the model, store it.

        Raises:
            SidecarError: with Elasticsearch's wording for whatever is wrong; nothing is stored then.
        """
        rest = dict(body)
        task_type = resolve_task_type(url_task_type, rest.pop("task_type", None), generation)
        name = rest.pop("service", None)
        if name is None:
            raise StatusError(
                "Inference endpoint configuration is missing the [service] setting"
                if generation.endpoint_noun != "Model"
                else "Model configuration is missing [service]"
            )
        service = self._catalogue.service(name if isinstance(name, str) else java_text(name), generation)
        warnings = deprecations(service, rest)
        try:
            draft = read_endpoint(service, task_type, inference_id, rest, generation)
        except SidecarError as error:
            error.warnings = warnings[1:]
            raise
        endpoint = draft.endpoint
        task = service.tasks[task_type]
        if isinstance(task, RemoteTask):
            if task_type in generation.validates_at_create:
                request = InferenceRequest(timeout=timeout, timeout_text=timeout_text)
                fresh = StoredEndpoint(endpoint, Secrets(draft.secrets))
                endpoint = await self._validated(service, task, fresh, request, generation)
        else:
            endpoint = self._local.checked(endpoint)
        await self._refuse_other_vectors(endpoint)
        stored = await self._registry.create(endpoint, draft.secrets)
        if not isinstance(task, RemoteTask):
            await self._deploy_or_remove(stored.endpoint)
        return Created(stored.endpoint, warnings)

    async def update(
        self,
        inference_id: str,
        url_task_type: TaskType | None,
        body: Mapping[str, Any],
        *,
        generation: Generation = DEFAULT_GENERATION,
        timeout: float = 30.0,
        timeout_text: str = "30s",
    ) -> Endpoint:
        """Change task settings, secrets and the mutable service settings; validated anew when something changed.

        ``timeout`` in seconds bounds that validation. From 9.5 on chunking settings may change as well.

        Raises:
            SidecarError: with Elasticsearch's wording; nothing is changed then.
        """
        named = body.get(SERVICE)
        if len(body) > 1 and isinstance(named, str) and await self._is_service_of(inference_id, named):
            # typed clients always send it
            body = {name: value for name, value in body.items() if name != SERVICE}
        check_update_body(body, generation)
        task_type = resolve_task_type(url_task_type, body.get("task_type"), generation)
        try:
            stored = await self._stored(inference_id)
        except ResourceNotFoundError:
            raise StatusError(
                f"The inference endpoint [{inference_id}] does not exist and cannot be updated", status=404
            ) from None
        if stored.endpoint.task_type is not task_type:
            raise StatusError("Task type must match the task type of the existing endpoint")
        service = self._catalogue.service(stored.endpoint.service, generation)
        task = service.tasks[task_type]
        update = read_update(task, stored.endpoint, stored.secrets, body, generation)
        endpoint = update.endpoint
        if isinstance(task, RemoteTask):
            if update.changes and generation.update_validates:
                secrets = stored.secrets if update.secrets is None else Secrets(update.secrets)
                changed = StoredEndpoint(endpoint, secrets)
                request = InferenceRequest(timeout=timeout, timeout_text=timeout_text)
                endpoint = await self._validated(service, task, changed, request, generation)
        else:
            endpoint = self._local.checked(endpoint)
        if not generation.update_keeps_chunking and endpoint.task_type is TaskType.TEXT_EMBEDDING:
            endpoint = replace(endpoint, chunking_settings=dict(LEGACY_CHUNKING))
        if endpoint.is_preconfigured:
            raise StatusError(f"[{inference_id}] is a reserved inference endpoint and cannot be updated")
        if endpoint != stored.endpoint or update.secrets is not None:
            endpoint = (await self._registry.update(endpoint, update.secrets)).endpoint
        if not isinstance(task, RemoteTask):
            await self._local.deploy(endpoint)
        return endpoint

    async def delete(
        self,
        inference_id: str,
        url_task_type: TaskType | None = None,
        *,
        dry_run: bool = False,
        force: bool = False,
        generation: Generation = DEFAULT_GENERATION,
    ) -> Deletion:
        """Delete an endpoint that nothing uses, or any with ``force``; ``dry_run`` only says who uses it.

        Raises:
            ResourceNotFoundError: there is no such endpoint.
            StatusError: 409 when it is in use, 400 when its id is reserved.
        """
        is_built_in = inference_id in PRECONFIGURED
        # One that this version cannot read is there too, and can go.
        if not is_built_in and not await self._registry.contains(inference_id):
            raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
        if dry_run:
            found = await self._references(inference_id) if self._references else None
            if found is None:
                return Deletion(False, error_message="")
            return Deletion(False, found.pipelines, found.indexes, found.message(inference_id, generation))
        if not force:
            if is_built_in:
                raise StatusError(
                    f"[{inference_id}] is a reserved inference endpoint. "
                    "Use the force=true query parameter to delete the inference endpoint."
                )
            found = await self._references(inference_id) if self._references else None
            if found is not None and (message := found.message(inference_id, generation)):
                raise StatusError(message, status=409)
        if not is_built_in:
            await self._registry.delete(inference_id)
        await self._local.undeploy(inference_id)
        self._remote.forget(inference_id)
        return Deletion(True)

    async def follow(self) -> None:
        """Take over what other replicas did to endpoints, where this one keeps something for them."""
        endpoints = {endpoint.inference_id: endpoint for endpoint in await self.endpoints()}
        await self._local.follow({name: e for name, e in endpoints.items() if self._is_local(e)})
        for inference_id in self._followed - endpoints.keys():
            self._remote.forget(inference_id)
        self._followed = frozenset(endpoints)

    # --- using

    async def perform(
        self, endpoint: Endpoint, request: InferenceRequest, *, generation: Generation = DEFAULT_GENERATION
    ) -> Answer:
        """The endpoint's result for a request.

        Raises:
            SidecarError: the request cannot be served, the provider failed, or the time ran out.
        """
        started, outcome = time.monotonic(), "ok"
        try:
            answer = await self._perform(endpoint, request, generation)
        except SidecarError as error:
            outcome = error.type
            raise
        else:
            self._note_truncated(endpoint, answer.result)
            return answer
        finally:
            if self._observer is not None:
                elapsed = time.monotonic() - started
                inputs = len(request.input)
                self._observer.observe_inference(endpoint.service, endpoint.task_type.value, outcome, inputs, elapsed)

    def _note_truncated(self, endpoint: Endpoint, result: Result) -> None:
        if self._observer is not None and not isinstance(result, Completion) and result.truncated:
            self._observer.observe_truncated(endpoint.service, endpoint.task_type.value, len(result.truncated))

    async def _perform(self, endpoint: Endpoint, request: InferenceRequest, generation: Generation) -> Answer:
        service, task = self._service_and_task(endpoint, generation)
        if not isinstance(task, RemoteTask):
            return await self._perform_locally(task, endpoint, request, generation)
        check_query(service, endpoint.task_type, request, generation)
        stored = await self._stored(endpoint.inference_id)
        call = make_call(task, endpoint, stored.secrets, request, generation)

        async def compute(items: Sequence[Input]) -> Answer:
            return await self._remote.perform(service, task, replace(call, inputs=tuple(items)), request)

        identity = self._identity(
            endpoint, request, lambda: remote_identity(service.name, task, call, stored.created_at)
        )
        return await self._cached(identity, endpoint, request, compute)

    async def _perform_locally(
        self, task: Task, endpoint: Endpoint, request: InferenceRequest, generation: Generation
    ) -> Answer:
        settings = merge_task_settings(task, endpoint.task_settings, request.task_settings, generation)
        self._local.check(request)

        async def compute(items: Sequence[Input]) -> Answer:
            try:
                return await self._local.perform(endpoint, replace(request, input=tuple(items)), settings)
            except NotFiniteError as error:
                if error.index is None or items is request.input:
                    raise
                # the caller counts his own inputs, not those that were left to compute
                raise NotFiniteError(error.model, request.input.index(items[error.index])) from error

        identity = self._identity(
            endpoint, request, lambda: local_identity(endpoint, self._local.model(endpoint), request, settings)
        )
        return await self._cached(identity, endpoint, request, compute)

    def _identity(self, endpoint: Endpoint, request: InferenceRequest, of_model: Callable[[], bytes]) -> bytes | None:
        """What decides the embeddings; ``None`` where nothing is kept, or the call itself will say what is wrong."""
        if self._cache is None or not endpoint.task_type.is_embedding or not request.input or request.timeout <= 0:
            return None
        try:
            return of_model()
        except (SidecarError, ModelError):
            return None

    async def _cached(
        self, identity: bytes | None, endpoint: Endpoint, request: InferenceRequest, compute: Compute
    ) -> Answer:
        if self._cache is None or identity is None:
            return await compute(request.input)
        try:
            async with asyncio.timeout(request.timeout):
                return await self._cache.answer(
                    identity, request.input, compute, lane=lane_of(request.input_type).value
                )
        except TimeoutError as error:
            raise RequestTimeoutError(request.timeout_text, endpoint.inference_id) from error

    async def stream(
        self, endpoint: Endpoint, request: InferenceRequest, *, generation: Generation = DEFAULT_GENERATION
    ) -> AsyncGenerator[StreamItem, None]:
        """The result piece by piece; closing the iterator cancels the provider's call.

        Raises:
            StatusError: 405 when the endpoint's service or task cannot stream.
            SidecarError: as :meth:`perform`, before or between items.
        """
        service, task = self._service_and_task(endpoint, generation)
        if not isinstance(task, RemoteTask) or task.stream is None:
            raise streaming_refused(service, endpoint.task_type.value, generation)
        check_query(service, endpoint.task_type, request, generation)
        stored = await self._stored(endpoint.inference_id)
        call = make_call(task, endpoint, stored.secrets, replace(request, stream=True), generation)
        async with aclosing(self._remote.stream(service, task, call, request)) as items:
            async for item in items:
                yield item

    def check_streaming(self, endpoint: Endpoint, requested: str, generation: Generation) -> None:
        """Refuse to stream on behalf of ``requested``, a task type or ``any``.

        Raises:
            StatusError: 405.
        """
        service, task = self._service_and_task(endpoint, generation)
        is_any_refused = requested == ANY_TASK_TYPE and not generation.stream_without_task_type
        if is_any_refused or not isinstance(task, RemoteTask) or task.stream is None:
            raise streaming_refused(service, requested, generation)

    # --- inside

    async def _deploy_or_remove(self, endpoint: Endpoint) -> None:
        """Deploy a new endpoint's model; where that fails nothing of the endpoint stays behind."""
        try:
            await self._local.deploy(endpoint)
        except Exception:
            await self._registry.delete(endpoint.inference_id)
            await self._local.undeploy(endpoint.inference_id)
            raise

    def _is_local(self, endpoint: Endpoint) -> bool:
        service = self._catalogue.get(endpoint.service)
        return service is not None and service.is_local

    async def _is_service_of(self, inference_id: str, name: str) -> bool:
        """Whether an update may name this service: the endpoint's own, or none at all."""
        if not name:
            return True
        try:
            return (await self._stored(inference_id)).endpoint.service == name
        except ResourceNotFoundError:
            return False

    async def _stored(self, inference_id: str) -> StoredEndpoint:
        if inference_id in PRECONFIGURED:
            return StoredEndpoint(PRECONFIGURED[inference_id], Secrets())
        stored = await self._registry.get(inference_id)
        if stored is None:
            raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
        return stored

    def _service_and_task(self, endpoint: Endpoint, generation: Generation) -> tuple[Service, Task]:
        service = self._catalogue.get(endpoint.service)
        if service is None:
            raise StatusError(f"Unknown service [{endpoint.service}] for model [{endpoint.inference_id}]")
        task = service.tasks.get(endpoint.task_type)
        if task is None:
            raise unsupported_task(service.name, endpoint.task_type)
        return service, task

    async def _refuse_other_vectors(self, endpoint: Endpoint) -> None:
        """Refuses an endpoint whose id filled ``semantic_text`` fields name, with vectors unlike those in them."""
        if self._model_settings is None:
            return
        found = await self._model_settings(endpoint.inference_id)
        wrong = [index for index, held in found.items() if any(_is_unlike(endpoint, one) for one in held)]
        if wrong:
            raise StatusError(
                f"Inference endpoint [{endpoint.inference_id}] could not be created because the inference_id is being"
                f" used in mappings with incompatible settings for indices: [{', '.join(wrong)}]. Please either use a"
                " different inference_id or update the index mappings to refer to a different inference_id."
            )

    async def _validated(
        self,
        service: Service,
        task: RemoteTask,
        stored: StoredEndpoint,
        request: InferenceRequest,
        generation: Generation,
    ) -> Endpoint:
        call = probe_call(task, stored.endpoint, stored.secrets, generation)
        try:
            answer = await self._remote.probe(service, task, call, request)
        except SidecarError as error:
            if task.stores_unvalidated:
                return stored.endpoint
            if not generation.wraps_validation_failure:
                raise
            raise StatusError(
                f"Could not complete {task.creation} as validation call to service threw an exception.",
                cause=error,
            ) from error
        return completed(task, stored.endpoint, answer)


def _is_unlike(endpoint: Endpoint, held: Mapping[str, Any]) -> bool:
    """Whether an endpoint makes other vectors than a field holds; what either does not say is not compared."""
    made: dict[str, Any] = {"task_type": endpoint.task_type.value, **endpoint.service_settings}
    names = ("task_type", "dimensions", "element_type")
    return any(held[name] != made[name] for name in names if name in held and made.get(name) is not None)
