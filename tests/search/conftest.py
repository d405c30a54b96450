"""A small index with all kinds of vectors, filled once per test with the built-in models."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from tests.ingest.library import DENSE_MAP, SPARSE_MAP, backfill, fill
from tests.ingest.local_embedder import LocalEmbedder

LIBRARY: dict[str, dict[str, Any]] = {
    "lamp": {"text": "The keeper of the lighthouse trims the lamp every evening.", "n": 1},
    "song": {"text": "Humpback whales sing for hours in the breeding season.", "n": 2},
    "tide": {"text": "The moon pulls the ocean, so the water rises and falls twice a day.", "n": 3},
    "crab": {"text": "A hermit crab moves into a larger shell when it has grown.", "n": 4},
    "knot": {"text": "Sailors once threw a line with knots to measure their speed.", "n": 5},
    "none": {"n": 6},
}


@pytest.fixture
async def client(elasticsearch: str) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(elasticsearch, request_timeout=60) as client:
        yield client


@pytest.fixture
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder()
    yield embedder
    await embedder.close()


@pytest.fixture
async def library(client: AsyncElasticsearch, embedder: LocalEmbedder) -> AsyncIterator[str]:
    """The name of the filled index."""
    name = f"search-{uuid4().hex[:10]}"
    await fill(client, name, LIBRARY)
    summary = await backfill(client, embedder, name, [SPARSE_MAP, DENSE_MAP])
    assert summary.ok
    await client.indices.refresh(index=name)
    yield name
    await client.indices.delete(index=name)
