"""A front as it is served, over a real socket, before whatever nodes a test names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from aiohttp import web

from sidecar.app import create_app
from sidecar.server import HTTP_OPTIONS
from sidecar.settings import load_settings

StartFront: TypeAlias = Callable[..., Awaitable[str]]


@pytest.fixture
async def start_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartFront]:
    """``await start_front(url, ...)``: the address of a front before these nodes; further settings by keyword."""
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:

        async def start(*urls: str, **settings: object) -> str:
            values = {"front": True, "elasticsearch_url": ",".join(urls), "data_dir": str(tmp_path), **settings}
            app = create_app(load_settings(values))
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1, **HTTP_OPTIONS)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            return f"http://{host}:{port}"

        yield start
