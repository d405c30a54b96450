"""Endpoints in both stores: what was written is read, by this process, the next one, and the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from sidecar.core.errors import OtherError, ResourceExistsError, ResourceNotFoundError
from sidecar.core.tasks import TaskType
from sidecar.registry import Registry
from sidecar.registry.store import StoreConflictError
from sidecar.registry.transfer import from_lines, to_line

from .conftest import Backend, Replicas, endpoint


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Returns as soon as the check holds; fails when it never does."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def ids(registry: Registry) -> list[str]:
    return [stored.endpoint.inference_id for stored in await registry.list()]


async def test_an_endpoint_is_read_as_it_was_written(replicas: Replicas) -> None:
    registry = await replicas.start()
    written = await registry.create(endpoint(), {"api_key": "k"})
    assert await registry.get("my-endpoint") == written
    other = await replicas.start()
    read = await other.get("my-endpoint")
    assert read is not None
    assert read.endpoint == endpoint()
    assert list(read.endpoint.service_settings) == list(endpoint().service_settings)
    assert dict(read.secrets) == {"api_key": "k"}


async def test_what_json_can_name_and_utf_8_or_64_bits_cannot_is_kept(replicas: Replicas, backend: Backend) -> None:
    """Half surrogates and any whole number, as Elasticsearch 9.4.3 stores and returns them."""
    odd = {"model_id": "m\ud800", "half \udfff": ["\ud83d"], "large": 10**30, "unsigned": 2**64}
    written = endpoint(service_settings=odd, task_settings={"user": "\ud800"})
    registry = await replicas.start()
    await registry.create(written, {"api_key": "k\ud800"})
    await registry.close()
    read = await (await replicas.start()).get("my-endpoint")
    assert read is not None
    assert (read.endpoint, dict(read.secrets)) == (written, {"api_key": "k\ud800"})
    store = backend.connect()
    await store.open()
    try:
        lines = [to_line(record) for record in await store.load(["my-endpoint"])]
    finally:
        await store.close()
    assert [record.endpoint for record in from_lines(lines)] == [written]


async def test_unknown_ids_are_none(replicas: Replicas) -> None:
    registry = await replicas.start()
    assert await registry.get("nobody") is None
    assert await registry.get(".elser-2-elasticsearch") is None
    assert await registry.list() == []


async def test_a_second_create_is_refused_in_every_replica(replicas: Replicas) -> None:
    first, second = await replicas.start(), await replicas.start()
    await first.create(endpoint(), {"api_key": "first"})
    for registry in (first, second):
        with pytest.raises(ResourceExistsError, match=r"^Inference endpoint \[my-endpoint\] already exists$"):
            await registry.create(endpoint(service="cohere"), {"api_key": "second"})
    stored = await first.get("my-endpoint")
    assert stored is not None
    assert (stored.endpoint.service, stored.secrets["api_key"]) == ("openai", "first")


async def test_of_many_creates_at_once_one_wins(replicas: Replicas) -> None:
    registries = [await replicas.start() for _ in range(3)]
    outcomes = await asyncio.gather(
        *(
            registry.create(endpoint(task_settings={"n": n}), {"api_key": str(n)})
            for n, registry in enumerate(registries * 3)
        ),
        return_exceptions=True,
    )
    winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(outcome, ResourceExistsError) for outcome in outcomes if outcome is not winners[0])
    read = await (await replicas.start()).get("my-endpoint")
    assert read is not None
    assert read == winners[0]
    assert read.secrets["api_key"] == str(read.endpoint.task_settings["n"])


async def test_endpoints_outlive_the_process(replicas: Replicas) -> None:
    registry = await replicas.start()
    for name in ("b", "a", "c"):
        await registry.create(endpoint(name), {"api_key": name})
    await registry.delete("c")
    await registry.close()
    again = await replicas.start()
    assert await ids(again) == ["a", "b"]
    assert [stored.secrets["api_key"] for stored in await again.list()] == ["a", "b"]


async def test_an_update_keeps_secrets_unless_new_ones_are_given(replicas: Replicas) -> None:
    registry = await replicas.start()
    await registry.create(endpoint(), {"api_key": "old"})
    changed = endpoint(task_settings={"user": "v"}, chunking_settings=None)
    assert dict((await registry.update(changed)).secrets) == {"api_key": "old"}
    assert dict((await registry.update(changed, {"api_key": "new"})).secrets) == {"api_key": "new"}
    read = await (await replicas.start()).get("my-endpoint")
    assert read is not None
    assert (read.endpoint, dict(read.secrets)) == (changed, {"api_key": "new"})
    assert dict((await registry.update(changed, {})).secrets) == {}


async def test_what_is_not_there_cannot_be_changed(replicas: Replicas) -> None:
    registry = await replicas.start()
    with pytest.raises(ResourceNotFoundError, match=r"\[my-endpoint\]"):
        await registry.update(endpoint())
    with pytest.raises(ResourceNotFoundError, match=r"^Inference endpoint not found \[my-endpoint\]$"):
        await registry.delete("my-endpoint")


async def test_replicas_see_each_others_endpoints(replicas: Replicas) -> None:
    here, there = await replicas.start(), await replicas.start()
    created = await here.create(endpoint(), {"api_key": "k"})
    # Used at once, although the other replica has not looked since.
    assert await there.get("my-endpoint") == created

    async def listed() -> bool:
        return await ids(there) == ["my-endpoint"]

    await eventually(listed)
    changed = replace(endpoint(), task_type=TaskType.RERANK)
    await here.update(changed)

    async def updated() -> bool:
        stored = await there.get("my-endpoint")
        return stored is not None and stored.endpoint == changed

    await eventually(updated)
    await there.delete("my-endpoint")

    async def gone() -> bool:
        return await here.get("my-endpoint") is None and await ids(here) == []

    await eventually(gone)


async def test_what_others_remove_is_named_in_the_log(replicas: Replicas) -> None:
    here, there = await replicas.start(), await replicas.start()
    for name in ("a", "b", "mine"):
        await here.create(endpoint(name))

    async def all_known() -> bool:
        return await ids(there) == ["a", "b", "mine"]

    async def all_gone() -> bool:
        return not await ids(there)

    await eventually(all_known)
    with capture_logs() as events:
        await there.delete("mine")
        await here.delete("a")
        await here.delete("b")
        await eventually(all_gone)
    removed = [event["inference_ids"] for event in events if event["event"] == "registry_endpoints_removed"]
    # `here` tells of the one that went on the other replica, if its poll came to it by now
    assert sorted(name for names in removed for name in names if name != "mine") == ["a", "b"]


async def test_an_endpoint_created_anew_elsewhere_is_the_new_one(replicas: Replicas) -> None:
    here, there = await replicas.start(), await replicas.start()
    await here.create(endpoint(), {"api_key": "old"})
    assert await there.get("my-endpoint") is not None
    await here.delete("my-endpoint")
    await here.create(endpoint(), {"api_key": "new"})

    async def renewed() -> bool:
        stored = await there.get("my-endpoint")
        return stored is not None and stored.secrets["api_key"] == "new"

    await eventually(renewed)


async def test_watchers_find_what_others_did_in_the_list(replicas: Replicas) -> None:
    here, there = await replicas.start(), await replicas.start()
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append(await ids(there))
        raise ValueError("a watcher's mistake ends nothing")

    async def saw(wanted: list[str]) -> bool:
        return bool(seen) and seen[-1] == wanted

    with there.watched_by(look):
        await here.create(endpoint())
        await eventually(lambda: saw(["my-endpoint"]))
        await here.delete("my-endpoint")
        await eventually(lambda: saw([]))
    calls = len(seen)
    await asyncio.sleep(0.3)
    assert len(seen) == calls


async def test_writes_stay_visible_while_polls_run(replicas: Replicas) -> None:
    registry = await replicas.start()
    for n in range(8):
        await registry.create(endpoint(f"e{n}"))
        assert await registry.get(f"e{n}") is not None
        assert f"e{n}" in await ids(registry)
    for n in range(8):
        await registry.delete(f"e{n}")
        assert await registry.get(f"e{n}") is None
        assert f"e{n}" not in await ids(registry)


async def test_a_write_based_on_an_old_state_is_refused(backend: Backend) -> None:
    store = backend.connect()
    await store.open()
    old = await store.create(endpoint(), "sealed")
    new = await store.update(old, endpoint(task_settings={}), "sealed again")
    with pytest.raises(StoreConflictError):
        await store.update(old, endpoint(), "late")
    with pytest.raises(StoreConflictError):
        await store.delete(old)
    assert await store.get("my-endpoint") == new
    await store.delete(new)
    with pytest.raises(StoreConflictError):
        await store.delete(new)
    assert await store.revisions() == {}
    await store.close()


async def test_updates_at_once_leave_one_whole_state(replicas: Replicas) -> None:
    registries = [await replicas.start() for _ in range(2)]
    await registries[0].create(endpoint(), {"api_key": "start"})
    outcomes = await asyncio.gather(
        *(
            registry.update(endpoint(task_settings={"n": n}), {"api_key": str(n)})
            for n, registry in enumerate(registries * 4)
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) < len(outcomes)
    assert all(isinstance(outcome, OtherError) and outcome.status == 409 for outcome in refused)
    read = await (await replicas.start()).get("my-endpoint")
    assert read is not None
    assert read.secrets["api_key"] == str(read.endpoint.task_settings["n"])


async def test_opening_at_once_is_no_failure(backend: Backend) -> None:
    stores = [backend.connect() for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    assert [await store.revisions() for store in stores] == [{}] * 4
    for store in stores:
        await store.close()
