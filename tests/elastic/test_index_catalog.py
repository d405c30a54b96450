"""What the catalog keeps of a cluster's indices, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
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


async def test_what_is_not_there_is_soon_looked_for_again(
    client: AsyncElasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that another way than this front makes: its meaning can be searched for half a second later."""
    index = f"catalog-{uuid4().hex[:8]}"
    now = [100.0]
    monkeypatch.setattr("sidecar.elastic.index_catalog.time", SimpleNamespace(monotonic=lambda: now[0]))
    catalog = IndexCatalog(client)
    assert await catalog.resolve(f"{index}*") == ()
    await client.indices.create(index=index)
    try:
        now[0] += 0.4
        assert await catalog.resolve(f"{index}*") == ()
        now[0] += 0.2
        (bare,) = await catalog.resolve(f"{index}*")
        await client.indices.put_mapping(index=index, meta=BOUND["_meta"])
        now[0] += 0.6
        assert (await catalog.resolve(f"{index}*"))[0] is bare
        now[0] += 5
        assert [binding.target for binding in (await catalog.resolve(f"{index}*"))[0].bindings] == ["v"]
    finally:
        await client.indices.delete(index=index)


async def test_what_templates_would_bind_is_seen(client: AsyncElasticsearch) -> None:
    name = f"catalog-{uuid4().hex[:8]}"
    meant = {"mappings": {"properties": {"s": {"type": "semantic_text", "inference_id": "dense"}}}}
    catalog = IndexCatalog(client)

    async def seen() -> dict[str, tuple[int, int]]:
        views = await catalog.templated()
        return {view.name: (len(view.bindings), len(view.semantic)) for view in views if view.name.startswith(name)}

    try:
        await client.indices.put_template(name=f"{name}-old", index_patterns=[f"{name}-a*"], mappings=BOUND)
        await client.indices.put_index_template(
            name=f"{name}-new", index_patterns=[f"{name}-b*"], template={"mappings": BOUND}
        )
        await client.cluster.put_component_template(name=f"{name}-part", template=meant)
        await client.indices.put_index_template(
            name=f"{name}-whole", index_patterns=[f"{name}-c*"], composed_of=[f"{name}-part"], priority=7
        )
        await client.indices.put_index_template(
            name=f"{name}-other", index_patterns=[f"{name}-d*"], template={"mappings": {"properties": {}}}
        )
        assert await seen() == {f"{name}-old": (1, 0), f"{name}-new": (1, 0), f"{name}-whole": (0, 1)}
    finally:
        for end in ("new", "whole", "other"):
            await client.options(ignore_status=404).indices.delete_index_template(name=f"{name}-{end}")
        await client.options(ignore_status=404).cluster.delete_component_template(name=f"{name}-part")
        await client.options(ignore_status=404).indices.delete_template(name=f"{name}-old")
    assert await seen() == {}
