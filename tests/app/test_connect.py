"""``sidecar connect`` and ``disconnect`` against real clusters, with the service that the endpoints call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.tasks import TaskType
from sidecar.elastic.outward_endpoints import Source, outward_endpoints, outward_name
from sidecar.elastic.roads import ClusterFacts, roads
from sidecar.elastic.version import ServerVersion
from tests.app.conftest import Services

SPARSE, RERANK = ".elser-2-elasticsearch", ".rerank-v1-elasticsearch"


@pytest.fixture
async def prefix(clean_cluster: str) -> AsyncIterator[str]:
    """A beginning of ids that nobody else uses; what begins with it is removed."""
    name = f"connect-{uuid4().hex[:8]}-"
    yield name
    async with AsyncElasticsearch(clean_cluster) as client:
        await client.indices.delete(index=f"{name}index", ignore_unavailable=True)
        for endpoint in (await client.inference.get())["endpoints"]:
            if endpoint["inference_id"].startswith(name):
                await client.inference.delete(inference_id=endpoint["inference_id"], force=True)


async def test_a_cluster_is_connected_used_and_disconnected(
    services: Services, clean_cluster: str, prefix: str
) -> None:
    service = await services.start(elasticsearch_url=clean_cluster)
    name = f"{prefix}minilm"
    local = {"model_id": "all-MiniLM-L6-v2", "num_threads": 1, "num_allocations": 1}
    body = {"service": "elasticsearch", "service_settings": local}
    assert (await service.request("PUT", f"/_inference/text_embedding/{name}", body))[0] == 200
    arguments = ["--url", service.url, "--prefix", prefix]
    connect = ["connect", *arguments, "--endpoint", SPARSE, "--endpoint", name]

    code, out, error = await services.finish(*connect, "--dry-run", elasticsearch_url=clean_cluster)
    assert code == 0, error
    assert f"PUT /_inference/sparse_embedding/{outward_name(SPARSE, prefix)}-search\n" in out
    async with AsyncElasticsearch(clean_cluster, request_timeout=60) as cluster:
        assert await _ids(cluster, prefix) == set()

        code, out, error = await services.finish(*connect, elasticsearch_url=clean_cluster)
        assert code == 0, out + error
        made = {outward_name(source, prefix) + end for source in (SPARSE, name) for end in ("", "-search")}
        assert await _ids(cluster, prefix) == made
        assert out.count(": set up\n") == 4
        code, out, error = await services.finish(*connect, elasticsearch_url=clean_cluster)
        assert (code, out.count(": is there already\n")) == (0, 4)

        dense = outward_name(name, prefix)
        index = f"{prefix}index"
        field = {"type": "semantic_text", "inference_id": dense, "search_inference_id": f"{dense}-search"}
        await cluster.indices.create(index=index, mappings={"properties": {"meaning": field}})
        for number, text in enumerate(("Whales sing for hours.", "The moon pulls the ocean.")):
            await cluster.index(index=index, id=str(number), document={"meaning": text}, refresh=True)
        query = {"semantic": {"field": "meaning", "query": "Which animals make music?"}}
        assert (await cluster.search(index=index, query=query))["hits"]["hits"][0]["_id"] == "0"

        code, out, error = await services.finish("disconnect", *arguments, elasticsearch_url=clean_cluster)
        assert code == 1
        assert f"{dense}: refused: status 409" in out
        assert await _ids(cluster, prefix) == {dense, f"{dense}-search"}
        code, out, _ = await services.finish("disconnect", *arguments, "--force", elasticsearch_url=clean_cluster)
        assert (code, out.count(": deleted\n")) == (0, 2)
        assert await _ids(cluster, prefix) == set()
        code, out, error = await services.finish("disconnect", *arguments, elasticsearch_url=clean_cluster)
        assert (code, out, error) == (0, "", f"No endpoint of the cluster calls {service.url}.\n")

        service.stop()
        await service.ended()
        code, out, _ = await services.finish(*connect, elasticsearch_url=clean_cluster)
        assert (code, out.count(": refused: status 400"), "A field for" in out) == (1, 4, False)
        assert await _ids(cluster, prefix) == set()


async def _ids(cluster: AsyncElasticsearch, prefix: str) -> set[str]:
    found = (await cluster.inference.get())["endpoints"]
    made = {endpoint["inference_id"] for endpoint in found if endpoint["inference_id"].startswith(prefix)}
    return {name for name in made if name != f"{prefix}minilm"}


async def test_a_basic_cluster_is_told_which_roads_are_left(services: Services, elasticsearch_basic: str) -> None:
    code, out, _ = await services.finish("connect", elasticsearch_url=elasticsearch_basic)
    assert code == 0
    assert "closed" in out
    assert "no endpoints were set up" in out
    code, out, error = await services.finish("connect", "--dry-run", elasticsearch_url=elasticsearch_basic)
    assert (code, error) == (0, "Elasticsearch may not call the sidecar here: it would refuse these requests.\n")
    assert "PUT /_inference/" in out
    async with AsyncElasticsearch(elasticsearch_basic) as client:
        indices = ["sidecar-endpoints-1", "sidecar-secrets-1"]
        await client.indices.delete(index=indices, ignore_unavailable=True)


def facts(version: str, licence: str | None, *modules: str, is_active: bool = True) -> ClusterFacts:
    return ClusterFacts(ServerVersion.parse(version), licence, is_active, frozenset(modules))


def test_what_is_open_by_version_licence_and_modules() -> None:
    everything = ("x-pack-inference", "x-pack-ml", "rank-rrf")
    assert all(road.is_open for road in roads(facts("9.4.3", "enterprise", *everything)))
    assert all(road.is_open for road in roads(facts("9.4.3", None, *everything)))
    expired = [road.name for road in roads(facts("9.4.3", "trial", *everything, is_active=False)) if road.is_open]
    assert len(expired) == 3
    older = {road.name: road.is_open for road in roads(facts("8.16.1", "basic", *everything))}
    assert older["Elasticsearch calls the sidecar: its own endpoints"]
    assert not older["semantic_text filled by the sidecar"]
    assert not older["rrf and linear run by Elasticsearch"]


def test_requests_suit_the_version() -> None:
    dense = Source("my-dense", TaskType.TEXT_EMBEDDING, 384, "cosine")
    newer, _ = outward_endpoints(dense, "http://sidecar:9800/", ServerVersion(9, 4, 3))
    older, search = outward_endpoints(dense, "http://sidecar:9800", ServerVersion(8, 16, 1))
    assert newer.body["service"] == "custom"
    assert newer.body["service_settings"]["dimensions"] == 384
    assert newer.url == "http://sidecar:9800/_inference/text_embedding/my-dense"
    assert older.url == "http://sidecar:9800/compat/hf/my-dense/embed/ingest"
    assert search.inference_id == "sidecar-my-dense-search"
    (rerank,) = outward_endpoints(Source(RERANK, TaskType.RERANK), "http://s", ServerVersion(8, 16, 1))
    assert (rerank.inference_id, rerank.body["service"]) == ("sidecar-rerank-v1-elasticsearch", "cohere")
    assert outward_endpoints(Source("chat", TaskType.CHAT_COMPLETION), "http://s", ServerVersion(9, 4)) == ()
