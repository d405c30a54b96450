"""Reading when the cluster groans: pages shrink, and the run waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import orjson
import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch
from hypothesis import given
from hypothesis import strategies as st
from pytest_aiohttp.plugin import AiohttpServer

from sidecar.ingest.backoff import Backoff
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.pages import FIRST_PAGE, PageSize
from sidecar.ingest.planning import make_plan
from sidecar.ingest.reader import require_all_shards
from sidecar.ingest.stop import RunStoppedError
from tests.ingest.library import fill
from tests.ingest.test_data_safety import run
from tests.ingest.word_embedder import WordEmbedder

Answer = Callable[[str, bytes], Awaitable[web.Response | None]]


HANG_UP = web.Response(status=500)
"""Said instead of an answer: the connection breaks."""


class Proxied(Protocol):
    """Makes a client that reaches the node through a proxy, which may answer in the node's place."""

    def __call__(self, answer: Answer, timeout: float = 30) -> AbstractAsyncContextManager[AsyncElasticsearch]: ...


@given(weights=st.lists(st.integers(1, 10**8), min_size=1, max_size=60), most=st.integers(1, 500))
def test_pages_follow_the_weight_of_documents(weights: list[int], most: int) -> None:
    size = PageSize(most)
    for weight in weights:
        before = size.now
        size.read(before, before * weight)
        assert 1 <= size.now <= min(most, 2 * before)
        assert size.now == 1 or size.now * weight <= size.bytes


def test_pages_halve_down_to_one() -> None:
    size = PageSize()
    steps = 0
    while size.halve():
        steps += 1
    assert (size.now, steps) == (1, len(bin(FIRST_PAGE)) - 3)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(self: Backoff) -> float:
        self.failures += 1
        return 0.01

    monkeypatch.setattr(Backoff, "next_delay", counted)


@pytest.fixture
async def proxied(elasticsearch: str, aiohttp_server: AiohttpServer) -> AsyncIterator[Proxied]:
    clients: list[AsyncElasticsearch] = []
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        @asynccontextmanager
        async def between(answer: Answer, timeout: float = 30) -> AsyncIterator[AsyncElasticsearch]:
            async def forward(request: web.Request) -> web.Response:
                body = await request.read()
                if (instead := await answer(request.path, body)) is HANG_UP and request.transport:
                    request.transport.abort()
                if instead is not None:
                    return instead
                headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
                url = elasticsearch + request.raw_path
                async with session.request(request.method, url, data=body, headers=headers) as there:
                    kept = {"content-type", "x-elastic-product", "content-encoding"}
                    shown = {name: value for name, value in there.headers.items() if name.lower() in kept}
                    return web.Response(status=there.status, body=await there.read(), headers=shown)

            app = web.Application(client_max_size=10**9)
            app.router.add_route("*", "/{path:.*}", forward)
            server = await aiohttp_server(app)
            client = AsyncElasticsearch(str(server.make_url("/")), request_timeout=timeout)
            clients.append(client)
            yield client

        yield between
        for client in clients:
            await client.close()


def busy() -> web.Response:
    error = {"type": "circuit_breaking_exception", "reason": "[parent] Data too large"}
    headers = {"x-elastic-product": "Elasticsearch"}
    return web.json_response({"error": error, "status": 429}, status=429, headers=headers)


async def test_a_busy_cluster_is_asked_again(client: AsyncElasticsearch, index: str, proxied: Proxied) -> None:
    await fill(client, index, {str(n): {"text": f"note {n}"} for n in range(60)})
    refused = 0

    async def answer(path: str, body: bytes) -> web.Response | None:
        nonlocal refused
        if path.endswith(("_search", "_count", "_pit", "_mapping")) and refused < 8:
            refused += 1
            return busy()
        return None

    async with proxied(answer) as between:
        summary = await run(between, WordEmbedder(), index, ["text:d=dense"])
    assert (summary.written, summary.stopped, refused) == (60, None, 8)


async def test_pages_that_are_too_much_become_smaller(client: AsyncElasticsearch, index: str, proxied: Proxied) -> None:
    await fill(client, index, {str(n): {"text": f"note {n}"} for n in range(30)})
    sizes: list[int] = []

    async def answer(path: str, body: bytes) -> web.Response | None:
        if path.endswith("_search"):
            sizes.append(orjson.loads(body)["size"])
            if sizes[-1] > 6:
                return HANG_UP
        return None

    async with proxied(answer) as between:
        summary = await run(between, WordEmbedder(), index, ["text:d=dense"], slices=1)
    assert (summary.written, summary.stopped) == (30, None)
    assert sizes[:3] == [25, 12, 6]


async def test_a_cluster_that_never_answers_is_named_with_the_setting(
    client: AsyncElasticsearch, index: str, proxied: Proxied
) -> None:
    await fill(client, index, {"1": {"text": "note"}})

    async def answer(path: str, body: bytes) -> web.Response | None:
        if path.endswith("_search"):
            await asyncio.sleep(60)
        return None

    async with proxied(answer, timeout=0.3) as between:
        summary = await run(between, WordEmbedder(), index, ["text:d=dense"], slices=1)
    assert "SIDECAR_ELASTICSEARCH_TIMEOUT" in str(summary.stopped)


def test_an_answer_without_all_shards_stops() -> None:
    failure = {"index": "a", "reason": {"type": "number_format_exception", "reason": "For input string"}}
    with pytest.raises(RunStoppedError, match=r"\[1\] of \[2\] shards failed, the first of index \[a\]: number_format"):
        require_all_shards({"_shards": {"total": 2, "failed": 1, "failures": [failure]}})
    with pytest.raises(RunStoppedError, match="timed_out"):
        require_all_shards({"timed_out": True, "_shards": {"total": 1, "failed": 0}})
    require_all_shards({"timed_out": False, "_shards": {"total": 1, "failed": 0}})


async def test_a_data_stream_is_no_index_to_index_into(proxied: Proxied) -> None:
    # What a node says of one; none is made, because nodes without the module for it cannot delete it again.
    shown = {".ds-logs-2026.01.31-000001": {"aliases": {}, "data_stream": "logs"}}

    async def answer(path: str, body: bytes) -> web.Response | None:
        headers = {"x-elastic-product": "Elasticsearch"}
        return web.json_response(shown, headers=headers) if path in ("/logs", "/alias-of-logs") else None

    async with proxied(answer) as between:
        plan = await make_plan(WordEmbedder(), parse_field_maps(["text:d=dense"]))
        for name in ("logs", "alias-of-logs"):
            summary = await Indexing(between, WordEmbedder(), IndexJob(name, plan)).run([b'{"text": "whales"}'])
            assert str(summary.stopped).startswith(f"[{name}] is the data stream [logs]")
