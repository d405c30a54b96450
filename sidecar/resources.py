"""Everything with a lifetime, opened in order and closed in reverse: for the service and for commands alike.

settings -> Elasticsearch client -> registry -> local models -> sender to providers -> cache -> inference
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from sidecar.core.errors import StatusError
from sidecar.core.generations import DEFAULT_GENERATION, GENERATIONS, Generation, generation_of
from sidecar.elastic.client import create_client, failure_text, ssl_option
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.elastic.references import References, find_model_settings, find_references
from sidecar.elastic.version import server_version
from sidecar.front.cluster import Cluster
from sidecar.front.exchange import Front
from sidecar.inference.cache.cache import EmbeddingCache
from sidecar.inference.cache.disk import DiskStore
from sidecar.inference.cache.memory import MemoryStore
from sidecar.inference.facade import Inference
from sidecar.inference.local import LocalBackend
from sidecar.inference.remote import RemoteBackend
from sidecar.registry import EndpointStore, Registry, SecretCipher
from sidecar.registry.elasticsearch_store import ElasticsearchStore
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.runtime.config import AdaptiveAllocations, Allocation, Precision, RuntimeConfig
from sidecar.runtime.models import LocalModels
from sidecar.services.catalogue import Catalogue
from sidecar.settings import Settings, UserError
from sidecar.settings.table import AUTO
from sidecar.telemetry import Metrics
from sidecar.upstream.connection import ConnectionConfig
from sidecar.upstream.sender import RetryConfig, Sender

_log = structlog.stdlib.get_logger(__name__)

STORE_FILE = "endpoints.db"
COPY_FILE = "endpoints-copy.db"
CACHE_FILE = "embeddings.db"


@dataclass(frozen=True, slots=True)
class Resources:
    """What is open while the sidecar, or one of its commands, runs; ``elasticsearch`` only where one is configured."""

    settings: Settings
    metrics: Metrics
    elasticsearch: AsyncElasticsearch | None
    registry: Registry
    models: LocalModels
    sender: Sender
    inference: Inference
    generation: Generation


@asynccontextmanager
async def open_resources(
    settings: Settings, metrics: Metrics | None = None, *, is_guest: bool = False
) -> AsyncIterator[Resources]:
    """Open everything that ``settings`` ask for; a guest uses what is there and creates no place for endpoints.

    Raises ``UserError`` for what the user has to change. An Elasticsearch that does not answer is no error: the
    registry then serves its local copy.
    """
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        elasticsearch: AsyncElasticsearch | None = None
        if settings.elasticsearch_url is not None:
            elasticsearch = create_client(settings)
            stack.push_async_callback(elasticsearch.close)
        catalogue = Catalogue.discover()
        registry = create_registry(settings, elasticsearch, catalogue, is_guest=is_guest)
        stack.push_async_callback(registry.close)
        await registry.start()
        models = LocalModels(runtime_config(settings))
        stack.push_async_callback(models.close)
        models.watch(metrics.observe_batch)
        metrics.watch_models(models.statistics)
        sender = create_sender(settings, metrics)
        stack.push_async_callback(sender.close)
        cache = create_cache(settings, metrics)
        if cache is not None:
            stack.push_async_callback(cache.close)
            await cache.open()
        inference = Inference(
            registry,
            catalogue,
            RemoteBackend(sender),
            LocalBackend(models),
            references=None if elasticsearch is None else partial(references_of, elasticsearch),
            model_settings=None if elasticsearch is None else partial(model_settings_of, elasticsearch),
            observer=metrics,
            cache=cache,
        )
        stack.enter_context(registry.watched_by(inference.follow))
        generation = await spoken_generation(settings, elasticsearch)
        yield Resources(settings, metrics, elasticsearch, registry, models, sender, inference, generation)


async def spoken_generation(settings: Settings, elasticsearch: AsyncElasticsearch | None) -> Generation:
    """The generation of the Inference API to speak; ``auto`` is the cluster's, the default where it cannot be asked."""
    if settings.api_generation != AUTO:
        return GENERATIONS[settings.api_generation]
    if elasticsearch is None:
        return DEFAULT_GENERATION
    try:
        version = str(await server_version(elasticsearch))
    except (ApiError, TransportError) as error:
        _log.warning("cluster_version_unknown", cause=failure_text(error), api_generation=DEFAULT_GENERATION.name)
        return DEFAULT_GENERATION
    generation = generation_of(version) or DEFAULT_GENERATION
    _log.info("cluster_version", elasticsearch=version, api_generation=generation.name)
    return generation


@asynccontextmanager
async def open_front(resources: Resources) -> AsyncIterator[Front]:
    """What the front works with: the nodes of the configured cluster, and what is known of its indices.

    Raises ``UserError`` where no cluster is configured or its CA file cannot be read.
    """
    settings = resources.settings
    if resources.elasticsearch is None:
        raise UserError("SIDECAR_FRONT needs a cluster to stand in front of: set SIDECAR_ELASTICSEARCH_URL.")
    cluster = Cluster(settings.elasticsearch_urls, ssl=ssl_option(settings))
    try:
        front = Front(
            cluster=cluster,
            catalog=IndexCatalog(resources.elasticsearch),
            inference=resources.inference,
            max_body_size=settings.max_body_size,
            generation=resources.generation,
            observer=resources.metrics,
        )
        yield front
        await front.searches.close()
    finally:
        await cluster.close()


async def model_settings_of(client: AsyncElasticsearch, inference_id: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """:func:`find_model_settings`; nothing where the cluster does not say, which must not stand in a creation's way."""
    try:
        return await find_model_settings(client, inference_id)
    except (ApiError, TransportError) as error:
        _log.warning("mappings_unreadable", inference_id=inference_id, cause=failure_text(error))
        return {}


async def references_of(client: AsyncElasticsearch, inference_id: str) -> References:
    """Who uses an endpoint.

    Raises ``StatusError`` 503 when the cluster cannot be asked: an endpoint in use must not vanish for that.
    """
    try:
        return await find_references(client, inference_id)
    except (ApiError, TransportError) as error:
        raise StatusError(
            f"Cannot find out what uses inference endpoint [{inference_id}]: {failure_text(error)}. "
            "Use force to delete it all the same.",
            status=503,
        ) from error


def create_registry(
    settings: Settings, elasticsearch: AsyncElasticsearch | None, catalogue: Catalogue, *, is_guest: bool = False
) -> Registry:
    """The registry on Elasticsearch with a local copy, or on SQLite with one for the day its file is lost; not started.

    A guest, see :class:`Registry`, keeps no copy.
    """
    store, copy = create_stores(settings, elasticsearch)
    return Registry(
        store,
        SecretCipher.from_settings(settings),
        copy=None if is_guest else copy,
        copies_when_lost=elasticsearch is None,
        poll_interval=settings.registry_poll_interval,
        allow_unreadable=settings.allow_unreadable_secrets,
        refuses=catalogue.refusal,
        is_guest=is_guest,
    )


def create_stores(settings: Settings, elasticsearch: AsyncElasticsearch | None) -> tuple[EndpointStore, SQLiteStore]:
    """Where the endpoints are, and the local copy of that; neither is opened."""
    copy = SQLiteStore(settings.data_path / COPY_FILE)
    if elasticsearch is None:
        return SQLiteStore(settings.data_path / STORE_FILE), copy
    return ElasticsearchStore(elasticsearch), copy


def create_cache(settings: Settings, metrics: Metrics) -> EmbeddingCache | None:
    """The cache of embeddings, not opened; ``None`` where the settings want none."""
    if not settings.cache_size and not settings.cache_disk_size:
        return None
    size = settings.cache_disk_size
    disk = DiskStore(settings.data_path / CACHE_FILE, size) if size else None
    return EmbeddingCache(MemoryStore(settings.cache_size), disk, metrics)


def runtime_config(settings: Settings) -> RuntimeConfig:
    """What the settings tell the local models."""
    return RuntimeConfig(
        models_dir=settings.models_path,
        # a caller of the API must not reach into the file system; aliases, which the operator sets, may
        allow_paths=False,
        aliases=settings.model_aliases,
        dimensions=settings.model_dimensions,
        precision={name: Precision(value) for name, value in settings.model_precision.items()},
        call_items=settings.call_items,
        queue_items=settings.queue_items,
        queue_tokens=settings.queue_tokens,
        batch_tokens=settings.batch_tokens,
        default_allocation=Allocation(num_threads=settings.model_threads, adaptive=AdaptiveAllocations()),
    )


def create_sender(settings: Settings, metrics: Metrics) -> Sender:
    """The sender of all provider calls; to be made inside a running loop."""
    return Sender(
        connection=ConnectionConfig(
            overrides=settings.upstream_overrides,
            max_connections=settings.max_connections,
            max_response_bytes=settings.max_response_size,
        ),
        retries=RetryConfig(
            initial_delay=settings.retry_initial_delay,
            max_delay=settings.retry_max_delay,
            timeout=settings.retry_timeout,
        ),
        queue_capacity=settings.upstream_queue_capacity,
        stream_idle_timeout=settings.stream_idle_timeout,
        observer=metrics,
    )
