"""A client, an index of its own for every test, and the built-in models."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from tests.ingest.local_embedder import LocalEmbedder


@pytest.fixture
async def client(elasticsearch: str) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(elasticsearch, request_timeout=60) as client:
        yield client


@pytest.fixture
async def index(client: AsyncElasticsearch) -> AsyncIterator[str]:
    """The name of an index that does not exist yet and is gone after the test."""
    name = f"ingest-{uuid4().hex[:10]}"
    yield name
    made = await client.indices.get(index=f"{name}*", features="aliases")
    if names := list(made):
        await client.indices.delete(index=names)


@pytest.fixture
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder()
    yield embedder
    await embedder.close()
