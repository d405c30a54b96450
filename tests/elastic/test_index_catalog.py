"""What the catalog keeps of a cluster's indices, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.elastic.index_catalog import IndexCatalog

BOUND = {"_meta": {"sidecar": {"maps": ["text:v=dense"]}}}


@pytest.fixture
async def client(elasticsearch: str) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(elasticsearch, request_timeout=60) as client:
        yield client


async def test_what_was_asked_for_before_a_change_is_not_kept_behind_it(
    client: AsyncElasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = f"catalog-{uuid4().hex[:8]}"
    await client.indices.create(index=index)
    catalog = IndexCatalog(client)
    get = client.indices.get

    async def get_and_be_late(**arguments: Any) -> Any:
        """The answer comes when the index was bound, through the front, after it was asked for."""
        monkeypatch.undo()
        answer = await get(**arguments)
        await client.indices.put_mapping(index=index, meta=BOUND["_meta"])
        catalog.drop()
        return answer

    for ask in (catalog.written, catalog.resolve):
        monkeypatch.setattr(client.indices, "get", get_and_be_late)
        await ask(index)
        known = await ask(index)
        view = known[0] if isinstance(known, tuple) else known
        assert [binding.target for binding in view.bindings] == ["v"]
        assert await ask(index) is known
        await client.indices.put_mapping(index=index, meta={})
        catalog.drop()
    await client.indices.delete(index=index)
