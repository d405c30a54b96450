"""Stores lose what they hold, or hold what cannot be read: nothing goes without a word, and there is a way back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from elasticsearch import AsyncElasticsearch
from pytest_aiohttp.plugin import AiohttpServer

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import ResourceNotFoundError, StatusError
from sidecar.registry import Registry, RegistryHealth, SecretCipher, StoreUnavailableError
from sidecar.registry.elasticsearch_store import ElasticsearchStore
from sidecar.registry.secrets import new_key
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.registry.transfer import from_lines, to_line, transfer
from sidecar.settings import UserError
from tests.impostor import impostor

from .conftest import endpoint
from .test_registry_outage import Place, place

__all__ = ["place"]  # the fixture, for the tests below


async def until(registry: Registry, holds: Callable[[RegistryHealth], bool]) -> RegistryHealth:
    async with asyncio.timeout(30):
        while not holds(health := registry.health()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return health


async def copied(place: Place) -> list[str]:
    copy = SQLiteStore(place.data / "copy.db")
    await copy.open()
    names = [record.inference_id for record in await copy.all()]
    await copy.close()
    return names


async def until_copied(place: Place, names: list[str]) -> None:
    async with asyncio.timeout(20):
        while await copied(place) != names:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(place: Place) -> AsyncIterator[AsyncElasticsearch]:
    async with AsyncElasticsearch(f"http://127.0.0.1:{place.line.port}") as client:
        yield client


async def restore(place: Place) -> list[str]:
    """What the command does: from the copy into the store."""
    copy = SQLiteStore(place.data / "copy.db")
    await copy.open()
    async with cluster(place) as client:
        store = ElasticsearchStore(client, name=place.name)
        await store.open()
        outcome = await transfer(await copy.all(), store)
    await copy.close()
    assert outcome.failed == {}
    return sorted([*outcome.written, *outcome.secrets_written])


def is_whole(health: RegistryHealth) -> bool:
    return health.serves == "store" and not (health.cause or health.blocked or health.without_secrets)


async def test_a_deleted_index_loses_nothing_and_is_restored_from_the_copy(place: Place) -> None:
    async with place.start() as registry, place.start() as other, cluster(place) as client:
        await registry.create(endpoint("a"), {"api_key": "k"})
        await registry.create(endpoint("b"))
        await until(other, lambda health: health.endpoints == 2)
        await until_copied(place, ["a", "b"])
        await client.indices.delete(index=f"{place.name}-endpoints-1")
        with pytest.raises(StoreUnavailableError):
            await registry.create(endpoint("c"))
        for replica in (registry, other):
            health = await until(replica, lambda health: health.serves == "copy")
            assert "is gone" in str(health.cause)
            assert [stored.endpoint.inference_id for stored in await replica.list()] == ["a", "b"]
        assert not await client.indices.exists(index=f"{place.name}-endpoints")
        assert await copied(place) == ["a", "b"]
        assert await restore(place) == ["a", "b"]
        for replica in (registry, other):
            await until(replica, is_whole)
            stored = await replica.get("a")
            assert stored is not None
            assert stored.secrets["api_key"] == "k"


async def test_an_index_that_was_made_anew_is_told_and_its_loss_can_be_accepted(place: Place, tmp_path: Path) -> None:
    async with place.start() as registry, cluster(place) as client:
        await registry.create(endpoint("a"))
        await until_copied(place, ["a"])
        await client.indices.delete(index=f"{place.name}-endpoints-1")
        newcomer = Place(place.line, tmp_path / "newcomer", place.name)
        newcomer.key = place.key
        async with newcomer.start() as fresh:
            assert await fresh.list() == []
            await fresh.create(endpoint("n"))
            health = await until(registry, lambda health: "was made anew" in str(health.cause))
            assert "(a)" in str(health.cause)
            assert "sidecar endpoints restore" in str(health.cause)
            assert await registry.get("a") is not None
            assert await registry.get("n") is not None
            assert "a" in await copied(place)
            copy = SQLiteStore(place.data / "copy.db")
            await copy.open()
            lost = await copy.read_identity()
            await copy.close()
            assert lost is not None
            await ElasticsearchStore(client, name=place.name).accept_loss(lost)
            await until(registry, is_whole)
            assert [stored.endpoint.inference_id for stored in await registry.list()] == ["n"]
    async with place.start() as again:
        assert is_whole(again.health())


async def test_lost_secrets_are_kept_by_those_who_have_them(place: Place, tmp_path: Path) -> None:
    async with place.start() as registry, cluster(place) as client:
        await registry.create(endpoint("a"), {"api_key": "k"})
        await registry.create(endpoint("b"))
        await until_copied(place, ["a", "b"])
        await client.indices.delete(index=f"{place.name}-secrets-1")
        await until(registry, lambda health: health.serves == "copy")
    # one that knows nothing makes the index anew, and says what is missing
    newcomer = Place(place.line, tmp_path / "newcomer", place.name)
    newcomer.key = place.key
    async with newcomer.start() as fresh:
        assert fresh.health().without_secrets == ("a",)
        stored = await fresh.get("a")
        assert stored is not None
        with pytest.raises(StatusError, match="missing from the store"):
            dict(stored.secrets)
        # one with a copy has them still, after a restart too
        async with place.start() as registry:
            assert registry.health().serves == "store"
            assert registry.health().without_secrets == ("a",)
            kept = await registry.get("a")
            assert kept is not None
            assert kept.secrets["api_key"] == "k"
            assert await restore(place) == ["a"]
            for replica in (registry, fresh):
                await until(replica, is_whole)
            healed = await fresh.get("a")
            assert healed is not None
            assert healed.secrets["api_key"] == "k"


async def test_secrets_lost_while_the_service_runs_are_missed_after_its_restart(place: Place, tmp_path: Path) -> None:
    newcomer = Place(place.line, tmp_path / "newcomer", place.name)
    newcomer.key = place.key
    async with place.start() as registry, cluster(place) as client:
        await registry.create(endpoint("a"), {"api_key": "k"})
        await until_copied(place, ["a"])
        await client.indices.delete(index=f"{place.name}-secrets-1")
        await until(registry, lambda health: health.serves == "copy")
        async with newcomer.start():  # makes the index anew
            await until(registry, lambda health: health.serves == "store" and health.without_secrets == ("a",))
    async with place.start() as registry:
        assert registry.health().without_secrets == ("a",)
        kept = await registry.get("a")
        assert kept is not None
        assert kept.secrets["api_key"] == "k"
        assert await restore(place) == ["a"]
        await until(registry, is_whole)


async def test_a_write_never_makes_an_index_of_its_own(place: Place) -> None:
    async with cluster(place) as client:
        store = ElasticsearchStore(client, name=place.name)
        await store.open()
        record = await store.create(endpoint("a"), "sealed")
        await client.indices.delete(index=[f"{place.name}-endpoints-1", f"{place.name}-secrets-1"])
        for write in (
            store.create(endpoint("b"), None),
            store.create(endpoint("b"), "sealed"),
            store.update(record, endpoint("a"), "other"),
            store.delete(record),
        ):
            with pytest.raises(StoreUnavailableError, match="is gone"):
                await write
        for index in ("endpoints", "secrets", "endpoints-1", "secrets-1"):
            assert not await client.indices.exists(index=f"{place.name}-{index}")


async def test_an_index_of_another_form_is_no_store(place: Place) -> None:
    async with cluster(place) as client:
        await client.index(index=f"{place.name}-endpoints", id="x", document={"inference_id": "x"})
        try:
            async with place.start() as registry:
                health = registry.health()
                assert health.serves == "nothing"
                assert "is an index and no alias" in str(health.cause)
        finally:
            await client.indices.delete(index=f"{place.name}-endpoints")
        await client.indices.create(
            index=f"{place.name}-endpoints-1",
            aliases={f"{place.name}-endpoints": {}},
            mappings={"properties": {"inference_id": {"type": "text"}}},
        )
        async with place.start() as registry:
            assert "have other types" in str(registry.health().cause)


async def test_a_closed_or_blocked_index_is_told_and_heals(place: Place) -> None:
    async with place.start() as registry, cluster(place) as client:
        await registry.create(endpoint("a"))
        index = f"{place.name}-endpoints-1"
        await client.indices.close(index=index)
        # While it is being closed its shards fail first.
        await until(registry, lambda health: health.serves == "copy" and "closed" in str(health.cause))
        with pytest.raises(StoreUnavailableError, match="closed"):
            await registry.create(endpoint("b"))
        await client.indices.open(index=index)
        await until(registry, is_whole)
        await client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": True})
        health = await until(registry, lambda health: health.blocked is not None)
        assert "nearly full" in str(health.blocked)
        assert health.serves == "store"
        await client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": None})
        await until(registry, is_whole)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"<html>", b'{"hits": 7}'])
async def test_what_is_no_elasticsearch_is_told(aiohttp_server: AiohttpServer, body: bytes) -> None:
    async with impostor(aiohttp_server, body) as client:
        registry = Registry(ElasticsearchStore(client), SecretCipher([new_key()]))
        await registry.start()
        assert registry.health().serves == "nothing"
        # Elasticsearch answers {} where an index is missing; anything else is no answer of its
        assert ("is gone" in str(registry.health().cause)) == (body == b"{}")
        await registry.close()


# --- records that cannot be read


RECORDS: list[tuple[dict[str, Any], str]] = [
    ({"task_type": "future_task"}, "its task_type [future_task] is unknown"),
    ({"task_type": None}, "its task_type [None] is unknown"),
    ({"service": None}, "its service is a NoneType"),
    ({"service_settings": ["x"]}, "its service_settings is a list"),
    ({"chunking_settings": "sentence"}, "its chunking_settings is a str"),
    ({"inference_id": "other"}, "it calls itself [other]"),
]


@pytest.mark.parametrize(("changes", "cause"), RECORDS, ids=[cause for _, cause in RECORDS])
async def test_a_record_of_another_version_spoils_nothing_but_itself(
    tmp_path: Path, changes: dict[str, Any], cause: str
) -> None:
    path = tmp_path / "endpoints.db"
    registry = Registry(SQLiteStore(path), SecretCipher([new_key()]), poll_interval=0.02)
    await registry.start()
    await registry.create(endpoint("a"))
    document = {"inference_id": "newer", "task_type": "rerank", "service": "cohere"} | changes
    await asyncio.to_thread(_insert, path, document)
    health = await until(registry, lambda health: bool(health.left_aside))
    assert health.left_aside == {"newer": cause}
    assert is_whole(health)
    assert [stored.endpoint.inference_id for stored in await registry.list()] == ["a"]
    with pytest.raises(StatusError, match="cannot read") as caught:
        await registry.get("newer")
    assert caught.value.status == 400
    assert await registry.is_left_aside("newer")
    await registry.create(endpoint("b"))
    await registry.delete("newer")
    assert not await registry.contains("newer")
    with pytest.raises(ResourceNotFoundError):
        await registry.delete("newer")
    await registry.close()


def _insert(path: Path, document: dict[str, Any] | None) -> None:
    text = "not JSON" if document is None else orjson.dumps(document).decode()
    with sqlite3.connect(path) as connection:
        values = ("newer", "r", text, "when", "2020-01-01T00:00:00+00:00")
        connection.execute("INSERT INTO endpoints VALUES (?, ?, ?, ?, ?)", values)
    connection.close()


async def test_a_start_with_a_record_that_is_not_json(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.db"
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    await asyncio.to_thread(_insert, path, None)
    registry = Registry(SQLiteStore(path), SecretCipher([new_key()]))
    await registry.start()
    assert list(registry.health().left_aside) == ["newer"]
    await registry.delete("newer")
    await registry.close()


async def test_a_newer_record_in_elasticsearch_survives_the_copy(place: Place) -> None:
    async with place.start() as registry, cluster(place) as client:
        document = {"inference_id": "newer", "task_type": "future_task", "service": "s", "created_at": 0}
        await client.index(index=f"{place.name}-endpoints", id="newer", document=document, refresh=True)
        await until(registry, lambda health: bool(health.left_aside))
        await until_copied(place, ["newer"])
        await client.indices.delete(index=f"{place.name}-endpoints-1")
        await until(registry, lambda health: health.serves == "copy")
        assert await restore(place) == ["newer"]
        await until(registry, is_whole)
        found = await client.get(index=f"{place.name}-endpoints", id="newer")
        assert found["_source"]["task_type"] == "future_task"


async def test_an_endpoint_that_no_service_knows_is_left_aside(tmp_path: Path) -> None:
    def refuses(found: Endpoint) -> str | None:
        return "unknown" if found.service == "later" else None

    registry = Registry(SQLiteStore(tmp_path / "e.db"), SecretCipher([new_key()]), refuses=refuses)
    await registry.start()
    with pytest.raises(StatusError, match="unknown"):
        await registry.create(endpoint("a", service="later"))
    assert registry.health().left_aside == {"a": "unknown"}
    await registry.close()


# --- SQLite


async def test_a_file_removed_while_in_use_is_told_saved_and_restored(tmp_path: Path) -> None:
    path, copy_path = tmp_path / "endpoints.db", tmp_path / "endpoints-copy.db"
    key = new_key()
    registry = Registry(
        SQLiteStore(path), SecretCipher([key]), copy=SQLiteStore(copy_path), copies_when_lost=True, poll_interval=0.02
    )
    await registry.start()
    await registry.create(endpoint("a"), {"api_key": "k"})
    assert not copy_path.exists()
    for file in tmp_path.glob("endpoints.db*"):  # noqa: ASYNC240
        file.unlink()
    health = await until(registry, lambda health: health.serves == "copy")
    assert "removed" in str(health.cause)
    with pytest.raises(StoreUnavailableError, match="removed"):
        await registry.create(endpoint("b"))
    assert await registry.get("a") is not None
    assert not path.exists()
    environment = os.environ | {"SIDECAR_DATA_DIR": str(tmp_path), "SIDECAR_SECRET_KEY": key}
    async with asyncio.timeout(20):
        while not copy_path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    command = [sys.executable, "-m", "sidecar", "endpoints", "restore"]
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 endpoint written" in done.stdout
    await until(registry, is_whole)
    await registry.create(endpoint("b"))
    stored = await registry.get("a")
    assert stored is not None
    assert stored.secrets["api_key"] == "k"
    await registry.close()


async def test_a_full_disk_is_called_that_and_told_until_there_is_room(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "endpoints.db")
    registry = Registry(store, SecretCipher([new_key()]), poll_interval=0.02)
    await registry.start()
    await registry.create(endpoint("a"))
    connection = store._connection
    assert connection is not None
    # SQLite's own limit answers as a full disk does.
    (pages,) = await asyncio.to_thread(lambda: connection.execute("PRAGMA page_count").fetchone())
    await asyncio.to_thread(connection.execute, f"PRAGMA max_page_count = {pages}")
    big = endpoint("b", task_settings={"text": "x" * 200_000})
    with pytest.raises(StoreUnavailableError, match="database or disk is full"):
        await registry.create(big)
    assert await registry.get("a") is not None
    await asyncio.to_thread(connection.execute, "PRAGMA max_page_count = 100000")
    await registry.create(big)
    assert is_whole(registry.health())
    await registry.close()


async def test_a_broken_file_is_to_be_moved_away_and_a_healthy_one_is_not(tmp_path: Path) -> None:
    broken = tmp_path / "endpoints.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="move it away"):
        await SQLiteStore(broken).open()
    store = SQLiteStore(tmp_path / "locked.db")
    await store.open()
    await store.close()
    with sqlite3.connect(tmp_path / "locked.db") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(UserError, match="newer version"):
        await SQLiteStore(tmp_path / "locked.db").open()


# --- files


async def test_lines_hold_everything_but_readable_secrets(tmp_path: Path) -> None:
    cipher = SecretCipher([new_key()])
    store = SQLiteStore(tmp_path / "a.db")
    await store.open()
    await store.create(endpoint("a"), cipher.seal("a", {"api_key": "sk-secret"}))
    await store.create(endpoint("b"), None)
    lines = [to_line(record) for record in await store.all()]
    assert b"sk-secret" not in b"".join(lines)
    other = SQLiteStore(tmp_path / "b.db")
    await other.open()
    assert (await transfer(from_lines(lines), other)).written == ["a", "b"]
    assert (await transfer(from_lines(lines), other)).present == ["a", "b"]
    read = await other.get("a")
    assert read is not None
    assert read.endpoint == endpoint("a")
    assert cipher.open("a", read.sealed)["api_key"] == "sk-secret"
    for wrong in (b"{}", b"[]", b"x", b'{"endpoint":{"inference_id":1},"sealed_secrets":null}'):
        with pytest.raises(UserError, match="Line 2"):
            list(from_lines([lines[0], wrong]))
    for each in (store, other):
        await each.close()
