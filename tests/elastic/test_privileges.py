"""The privileges that docs/settings.md names for each road suffice: a real node with security is the judge."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from elasticsearch import AsyncElasticsearch

from sidecar.app import create_app
from sidecar.settings import load_settings

PASSWORD = "nobody-may-see-this"
STORE = ["sidecar-endpoints*", "sidecar-secrets*"]
MODEL = {"model_id": "splade-tiny", "num_allocations": 1, "num_threads": 1}


def privileges(cluster: list[str], *indices: tuple[list[str], list[str]]) -> dict[str, Any]:
    return {"cluster": cluster, "indices": [{"names": names, "privileges": given} for names, given in indices]}


ROADS = {
    "endpoints": privileges(["monitor"], (STORE, ["read", "write", "manage"])),
    "endpoints_later": privileges(["monitor"], (STORE, ["read", "write", "view_index_metadata"])),
    "deletes": privileges(
        ["monitor", "read_pipeline"], (STORE, ["read", "write", "manage"]), (["*"], ["view_index_metadata"])
    ),
    "backfill": privileges(["monitor"], (["filled"], ["read", "write", "view_index_metadata", "manage"])),
    "search": privileges(["monitor"], (["filled"], ["read", "view_index_metadata"])),
}


@dataclass(frozen=True)
class Cluster:
    """A node with security: a client that may do all, and an API key for each road."""

    url: str
    admin: AsyncElasticsearch
    keys: Mapping[str, str]

    def settings(self, road: str, data: Path) -> dict[str, str]:
        return {"elasticsearch_url": self.url, "elasticsearch_api_key": self.keys[road], "data_dir": str(data)}


@pytest.fixture
async def cluster(elasticsearch_secured: str) -> AsyncIterator[Cluster]:
    # Users get the privileges of the anonymous one besides their own, API keys do not.
    async with AsyncElasticsearch(elasticsearch_secured, request_timeout=60) as nobody:
        await nobody.security.put_user(username="maker", password=PASSWORD, roles=["superuser"])
    async with AsyncElasticsearch(elasticsearch_secured, request_timeout=60, basic_auth=("maker", PASSWORD)) as admin:
        made = {
            road: await admin.security.create_api_key(name=road, role_descriptors={road: ROADS[road]}) for road in ROADS
        }
        yield Cluster(elasticsearch_secured, admin, {road: key["encoded"] for road, key in made.items()})


def sidecar(cluster: Cluster, road: str, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {f"SIDECAR_{name.upper()}": value for name, value in cluster.settings(road, data).items()}
    command = [sys.executable, "-m", "sidecar", *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


async def test_each_road_is_open_to_who_has_its_privileges(cluster: Cluster, tmp_path: Path) -> None:
    admin = cluster.admin
    await admin.indices.create(index="filled", mappings={"properties": {"text": {"type": "text"}}})
    await admin.index(index="filled", id="1", document={"text": "whales sing"}, refresh=True)
    lines = tmp_path / "lines.jsonl"
    lines.write_text(json.dumps({"id": "2", "text": "ferries sail"}) + "\n")
    fill = ("--map", "text:v=.elser-2-elasticsearch")
    for road, arguments in (
        ("backfill", ("backfill", "filled", *fill)),
        ("backfill", ("index", "filled", str(lines), *fill)),
        ("search", ("search", "filled", "whales", "--json")),
        ("backfill", ("bind", "filled", *fill)),
        ("search", ("bindings", "filled")),
        ("backfill", ("unbind", "filled")),
    ):
        done = await asyncio.to_thread(sidecar, cluster, road, tmp_path / road, *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    # commands use what is there: the store of endpoints is not theirs to make
    assert not await admin.indices.exists(index="sidecar-endpoints")
    for road in ("endpoints", "endpoints_later", "deletes"):
        app = create_app(load_settings(cluster.settings(road, tmp_path / road)))
        async with TestClient(TestServer(app)) as client:
            requests: tuple[tuple[str, str, Any], ...] = (
                ("GET", "/_sidecar/health/ready", None),
                ("PUT", "/_inference/sparse_embedding/a", {"service": "elasticsearch", "service_settings": MODEL}),
                ("PUT", "/_inference/sparse_embedding/a/_update", {"service_settings": {"num_allocations": 2}}),
                ("POST", "/_inference/a", {"input": "whales"}),
                ("DELETE", "/_inference/a" if road == "deletes" else "/_inference/a?force=true", None),
            )
            for method, path, body in requests:
                async with client.request(method, path, json=body) as response:
                    assert response.status == 200, (road, method, path, await response.text())
    done = await asyncio.to_thread(sidecar, cluster, "endpoints", tmp_path / "x", "endpoints", "list")
    assert done.returncode == 0, done.stderr


async def test_what_is_missing_is_named(cluster: Cluster, tmp_path: Path) -> None:
    done = await asyncio.to_thread(sidecar, cluster, "search", tmp_path, "unbind", "others")
    assert done.returncode == 2
    assert done.stderr.endswith("; the privileges that it takes stand in docs/settings.md\n")
    wrong = replace(cluster, keys={"search": "d3Jvbmc6d3Jvbmc="})
    done = await asyncio.to_thread(sidecar, wrong, "search", tmp_path, "bindings", "filled")
    assert done.returncode == 2
    assert done.stderr.endswith(": check SIDECAR_ELASTICSEARCH_API_KEY or _USERNAME and _PASSWORD\n")
    done = await asyncio.to_thread(sidecar, cluster, "search", tmp_path, "endpoints", "list")
    assert done.returncode == 2
    assert cluster.keys["search"] not in done.stderr
    app = create_app(load_settings(cluster.settings("endpoints", tmp_path / "e")))
    async with TestClient(TestServer(app)) as client:
        body = {"service": "elasticsearch", "service_settings": MODEL}
        async with client.put("/_inference/sparse_embedding/b", json=body) as response:
            assert response.status == 200
        async with client.delete("/_inference/b") as response:
            text = await response.text()
            assert response.status == 503
            assert "cluster privileges [read_pipeline" in text
            assert "force" in text
