"""The real application in front of the stand-in, both on sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from sidecar.app import create_app
from sidecar.core.generations import GENERATION_HEADER
from sidecar.settings import load_settings
from tests.services.recordings import GENERATION_OF
from tests.services.stand_in import StandIn

Json = Any


@dataclass
class Bench:
    """A sidecar whose provider calls all go to ``provider``."""

    provider: StandIn
    session: aiohttp.ClientSession
    url: str

    async def send(
        self, method: str, path: str, body: Json = None, *, version: str = "9.4.3", query: dict[str, str] | None = None
    ) -> dict[str, Json]:
        """The sidecar's answer: status, content type, body (JSON parsed)."""
        async with self.open(method, path, body, version=version, query=query) as response:
            text = (await response.read()).decode()
            content_type = response.headers.get("content-type", "")
            parsed = await response.json(content_type=None) if "json" in content_type and text else text
            return {"status": response.status, "content_type": content_type, "body": parsed}

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: Json = None, *, version: str = "9.4.3", query: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response with its body still to be read."""
        url = URL(self.url + path, encoded=True)
        headers = {GENERATION_HEADER: GENERATION_OF[version]}
        async with self.session.request(
            method, url.update_query(query or {}), json=body, headers=headers, allow_redirects=False
        ) as response:
            yield response


MakeBench = Callable[[], Awaitable[Bench]]


@pytest.fixture
async def make_bench(tmp_path: Path) -> AsyncIterator[MakeBench]:
    """Starts a stand-in and a sidecar in front of it, any number of times."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        count = 0

        async def make() -> Bench:
            nonlocal count
            count += 1
            provider = StandIn()
            base = await stack.enter_async_context(_served(provider.create_app()))
            settings = load_settings(
                {
                    "data_dir": tmp_path / str(count),
                    "upstream_overrides": {"*": base},
                    # Every call of these tests is to reach the provider.
                    "cache_size": 0,
                    # Retries are the same in number, only sooner.
                    "retry_initial_delay": 0.005,
                    "retry_max_delay": 0.01,
                }
            )
            url = await stack.enter_async_context(_served(create_app(settings)))
            return Bench(provider, session, url)

        yield make


@pytest.fixture
async def bench(make_bench: MakeBench) -> Bench:
    return await make_bench()


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    """The base URL of ``app``, listening on a free port of the loopback interface."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
