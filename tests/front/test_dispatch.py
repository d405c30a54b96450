"""Whose request is it: the paths of the sidecar, and the cluster's."""

from __future__ import annotations

import aiohttp
import pytest
from yarl import URL

from tests.front.conftest import StartFront

OWN = ["/_inference/_all", "/_inference", "/_sidecar/health/live", "/metrics", "/compat/nothing", "/v1/nothing"]
OWN += ["/search/v1/nothing", "/openai/deployments/nothing", "/search/openai/nothing"]
THE_CLUSTERS = [
    "/",
    "/_cluster/health",
    "/missing/_search",
    "/metrics2",
    "/_inferences",
    "/v2",
    "/v2/_mapping",
    "/v1/_doc/1",
    "/%5",
    "/a/b/c",
]


async def test_a_path_decides_who_answers(start_front: StartFront, elasticsearch: str) -> None:
    front = await start_front(elasticsearch)
    async with aiohttp.ClientSession() as session:
        for path in OWN:
            async with session.get(front + path) as answer:
                assert "Date" in answer.headers, path  # Elasticsearch sends none
        for path in THE_CLUSTERS:
            through, straight = (URL(base + path, encoded=True) for base in (front, elasticsearch))
            async with session.get(through) as answer, session.get(straight) as direct:
                assert answer.status == direct.status, path
                assert "Date" not in answer.headers, path
                assert answer.headers["Content-Type"] == direct.headers["Content-Type"], path


async def test_a_front_without_a_cluster_is_refused(start_front: StartFront) -> None:
    with pytest.raises(Exception, match="SIDECAR_ELASTICSEARCH_URL"):
        await start_front()


async def test_a_cluster_that_is_away_is_told_as_elasticsearch_tells_errors(start_front: StartFront) -> None:
    front = await start_front("http://127.0.0.1:1")
    async with aiohttp.ClientSession() as session, session.get(f"{front}/a/_search?pretty") as answer:
        body = await answer.json()
    assert answer.status == body["status"] == 503
    assert answer.headers["X-elastic-product"] == "Elasticsearch"
    assert body["error"]["reason"] == "Elasticsearch does not answer"
    assert "127.0.0.1:1" in body["error"]["caused_by"]["reason"]
