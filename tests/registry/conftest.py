"""The two kinds of state, real ones: every test that asks for `backend` runs on SQLite and on both lines of nodes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import orjson
import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.endpoint import Endpoint
from sidecar.core.tasks import TaskType
from sidecar.registry import EndpointStore, Registry, SecretCipher
from sidecar.registry.elasticsearch_store import ElasticsearchStore
from sidecar.registry.secrets import new_key
from sidecar.registry.sqlite_store import SQLiteStore


class Backend(Protocol):
    """One state that several processes share."""

    def connect(self) -> EndpointStore:
        """A store as another process would have it."""

    async def raw(self) -> bytes:
        """Everything that is stored, as it lies there."""


@dataclass
class SQLiteBackend:
    path: Path

    def connect(self) -> EndpointStore:
        return SQLiteStore(self.path)

    async def raw(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.path.parent.glob(self.path.name + "*"))


@dataclass
class ElasticsearchBackend:
    url: str
    name: str
    client: AsyncElasticsearch

    def connect(self) -> EndpointStore:
        return ElasticsearchStore(self.client, name=self.name)

    async def raw(self) -> bytes:
        await self.client.indices.refresh(index=f"{self.name}-*", expand_wildcards="all")
        found = await self.client.search(index=f"{self.name}-*", expand_wildcards="all", size=1000)
        return orjson.dumps(found.body)


@pytest.fixture(params=["sqlite", "elasticsearch_8", "elasticsearch_9"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    if request.param == "sqlite":
        yield SQLiteBackend(tmp_path / "state" / "endpoints.db")
        return
    name = f"registry-{uuid.uuid4().hex[:8]}"
    url: str = request.getfixturevalue(request.param)
    async with AsyncElasticsearch(url) as client:
        yield ElasticsearchBackend(url, name, client)
        await client.indices.delete(index=[f"{name}-endpoints-1", f"{name}-secrets-1"], ignore_unavailable=True)


@dataclass
class Replicas:
    """Starts registries, as so many processes would; all are closed when the test ends."""

    backend: Backend
    key: str = field(default_factory=new_key)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(
        self, key: str | None = None, *, is_generated: bool = False, allow_unreadable: bool = False
    ) -> Registry:
        cipher = SecretCipher((key or self.key).split(","), is_generated=is_generated)
        registry = Registry(self.backend.connect(), cipher, poll_interval=0.1, allow_unreadable=allow_unreadable)
        self.stack.push_async_callback(registry.close)
        await registry.start()
        return registry


@pytest.fixture
async def replicas(backend: Backend) -> AsyncIterator[Replicas]:
    started = Replicas(backend)
    async with started.stack:
        yield started


def endpoint(inference_id: str = "my-endpoint", **changes: object) -> Endpoint:
    """An endpoint with settings of every JSON kind, odd names among them."""
    values: dict[str, object] = {
        "inference_id": inference_id,
        "task_type": TaskType.TEXT_EMBEDDING,
        "service": "openai",
        "service_settings": {
            "model_id": "m",
            "dimensions": 3,
            "dimensions_set_by_user": False,
            "rate_limit": {"requests_per_minute": 3000},
            "headers": {"X..Odd.": "1", "": {".": None}, " ": [1, 2.5, {"ä": "ß"}]},
        },
        "task_settings": {"user": "u"},
        "chunking_settings": {"strategy": "sentence", "max_chunk_size": 250, "sentence_overlap": 1},
    } | changes
    return Endpoint(**values)  # type: ignore[arg-type]
