"""Two sidecars with the same endpoints in one Elasticsearch: what one does to a local endpoint, the other follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.requests import InferenceRequest
from sidecar.core.tasks import TaskType
from sidecar.registry.secrets import new_key
from sidecar.resources import Resources, open_resources
from sidecar.settings import load_settings

SECONDS = 5.0
SETTINGS = {"model_id": "splade-tiny", "num_allocations": 1, "num_threads": 1}
BODY: dict[str, Any] = {"service": "elasticsearch", "service_settings": SETTINGS}


@pytest.fixture
async def replicas(clean_cluster: str, tmp_path: Path) -> AsyncIterator[tuple[Resources, Resources]]:
    shared = {"elasticsearch_url": clean_cluster, "secret_key": new_key(), "registry_poll_interval": 0.1}
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(open_resources(load_settings({"data_dir": tmp_path / name, **shared})))
            for name in ("one", "two")
        ]
        yield one, two


async def use(replica: Resources, inference_id: str) -> None:
    endpoint = await replica.inference.find(inference_id)
    await replica.inference.perform(endpoint, InferenceRequest(input=("tide",)))


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_model_goes_with_its_endpoint_wherever_it_was_deleted(replicas: tuple[Resources, Resources]) -> None:
    here, there = replicas
    await here.inference.create("mine", TaskType.SPARSE_EMBEDDING, BODY)
    await use(there, "mine")
    assert "mine" in there.models.deployed()
    await here.inference.delete("mine")
    await eventually(lambda: "mine" not in there.models.deployed())
    assert there.models.statistics() == []


async def test_a_deployment_follows_what_another_replica_changed(replicas: tuple[Resources, Resources]) -> None:
    here, there = replicas
    await here.inference.create("mine", TaskType.SPARSE_EMBEDDING, BODY)
    await use(there, "mine")
    assert [model.workers for model in there.models.statistics()] == [1]
    await here.inference.update("mine", TaskType.SPARSE_EMBEDDING, {"service_settings": {"num_allocations": 2}})
    await eventually(lambda: [model.workers for model in there.models.statistics()] == [2])


async def test_an_id_that_became_a_providers_keeps_no_model(replicas: tuple[Resources, Resources]) -> None:
    here, there = replicas
    await here.inference.create("mine", TaskType.SPARSE_EMBEDDING, BODY)
    await use(there, "mine")
    await here.inference.delete("mine")
    body = {
        "service": "hugging_face",
        "service_settings": {"api_key": "k", "url": "http://127.0.0.1:9/sparse"},
    }
    unasked = replace(DEFAULT_GENERATION, validates_at_create=frozenset())
    await here.inference.create("mine", TaskType.SPARSE_EMBEDDING, body, generation=unasked)
    await eventually(lambda: "mine" not in there.models.deployed())
    assert (await there.inference.find("mine")).service == "hugging_face"


async def test_a_built_in_endpoint_stays_deployed(replicas: tuple[Resources, Resources]) -> None:
    here, _ = replicas
    await use(here, ".elser-2-elasticsearch")
    await here.inference.create("mine", TaskType.SPARSE_EMBEDDING, BODY)
    await here.inference.delete("mine")
    await asyncio.sleep(0.5)
    assert ".elser-2-elasticsearch" in here.models.deployed()
