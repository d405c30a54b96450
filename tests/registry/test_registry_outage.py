"""Elasticsearch comes and goes: known endpoints keep working, writes say why they cannot, everything heals."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.registry import Registry, SecretCipher, StoreUnavailableError
from sidecar.registry.elasticsearch_store import ElasticsearchStore
from sidecar.registry.secrets import new_key
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.settings import UserError

from .conftest import endpoint


class Line:
    """A line to a real node that can be cut: while it is, connections are refused."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 9200)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            self._open -= {writer, there_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


class Place:
    """One replica's surroundings: its line, its data directory, its key."""

    def __init__(self, line: Line, data: Path, name: str) -> None:
        self.line, self.data, self.name, self.key = line, data, name, new_key()

    @asynccontextmanager
    async def start(self) -> AsyncIterator[Registry]:
        async with AsyncElasticsearch(f"http://127.0.0.1:{self.line.port}", max_retries=0) as client:
            registry = Registry(
                ElasticsearchStore(client, name=self.name, timeout=5),
                SecretCipher([self.key]),
                copy=SQLiteStore(self.data / "copy.db"),
                poll_interval=0.05,
            )
            try:
                await registry.start()
                yield registry
            finally:
                await registry.close()


@pytest.fixture
async def place(elasticsearch: str, tmp_path: Path) -> AsyncIterator[Place]:
    line, name = Line(elasticsearch), f"outage-{uuid.uuid4().hex[:8]}"
    await line.mend()
    yield Place(line, tmp_path, name)
    await line.cut()
    async with AsyncElasticsearch(elasticsearch) as client:
        await client.indices.delete(index=[f"{name}-endpoints-1", f"{name}-secrets-1"], ignore_unavailable=True)


async def until(registry: Registry, serves: str) -> None:
    async with asyncio.timeout(20):
        while registry.health().serves != serves:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_without_elasticsearch_known_endpoints_work_and_writes_answer_503(place: Place) -> None:
    async with place.start() as registry:
        assert registry.health().serves == "store"
        await registry.create(endpoint("a"), {"api_key": "k"})
        await place.line.cut()
        await until(registry, "copy")
        stored = await registry.get("a")
        assert stored is not None
        assert stored.secrets["api_key"] == "k"
        for write in (registry.create(endpoint("b")), registry.update(endpoint("a")), registry.delete("a")):
            with pytest.raises(StoreUnavailableError, match=r"does not answer.*cannot be created, changed") as caught:
                await write
            assert caught.value.status == 503
        with pytest.raises(StoreUnavailableError):
            await registry.get("never-heard-of")
        await place.line.mend()
        await until(registry, "store")
        assert registry.health().cause is None
        await registry.create(endpoint("b"))
        assert await registry.get("never-heard-of") is None


async def test_a_start_without_elasticsearch_serves_the_copy(place: Place) -> None:
    async with place.start() as registry:
        await registry.create(endpoint("a"), {"api_key": "k"})
        await registry.create(endpoint("b"))
        await registry.delete("b")
        async with asyncio.timeout(10):
            copied: list[str] = []
            while copied != ["a"]:
                await asyncio.sleep(0.05)
                copy = SQLiteStore(place.data / "copy.db")
                await copy.open()
                copied = [record.inference_id for record in await copy.all()]
                await copy.close()
    await place.line.cut()
    async with place.start() as registry:
        assert registry.health().serves == "copy"
        assert [stored.endpoint for stored in await registry.list()] == [endpoint("a")]
        stored = await registry.get("a")
        assert stored is not None
        assert stored.secrets["api_key"] == "k"
        with pytest.raises(StoreUnavailableError):
            await registry.create(endpoint("c"))
        await place.line.mend()
        await until(registry, "store")
        await registry.create(endpoint("c"))


async def test_a_first_start_without_elasticsearch_has_nothing_until_it_comes(place: Place) -> None:
    await place.line.cut()
    async with place.start() as registry:
        health = registry.health()
        assert health.serves == "nothing"
        assert health.cause is not None
        assert "does not answer" in health.cause
        await place.line.mend()
        await until(registry, "store")


async def test_secrets_that_a_dead_writer_left_are_swept_away(elasticsearch: str, place: Place) -> None:
    async with place.start() as registry:
        await registry.create(endpoint("a"), {"api_key": "k"})
        async with AsyncElasticsearch(elasticsearch) as client:
            index = f"{place.name}-secrets"
            for name, created in (("old", "2020-01-01T00:00:00+00:00"), ("new", "2099-01-01T00:00:00+00:00")):
                document = {"inference_id": "a", "sealed": "x", "created_at": created}
                await client.index(index=index, id=name, document=document, refresh=True)
            async with place.start() as other:
                assert await other.get("a") == await registry.get("a")
            assert not await client.exists(index=index, id="old")
            assert await client.exists(index=index, id="new")
            assert (await client.count(index=index))["count"] >= 1


async def test_refused_credentials_stop_the_start() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, AsyncElasticsearch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        registry = Registry(ElasticsearchStore(client), SecretCipher([new_key()]))
        with pytest.raises(UserError, match="SIDECAR_ELASTICSEARCH_API_KEY"):
            await registry.start()
        await registry.close()
