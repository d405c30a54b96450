"""A front as it is served, over a real socket, before whatever nodes a test names."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from sidecar.app import create_app
from sidecar.server import HTTP_OPTIONS, create_runner
from sidecar.settings import load_settings
from tests.front.provider import provider

# One key for all: the sidecars of several tests keep their endpoints in the same node.
SHARED = {"front": True, "secret_key": base64.urlsafe_b64encode(bytes(range(32))).decode()}
StartFront: TypeAlias = Callable[..., Awaitable[str]]


@pytest.fixture
async def start_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartFront]:
    """``await start_front(url, ...)``: the address of a front before these nodes; further settings by keyword."""
    monkeypatch.chdir(tmp_path)
    async with AsyncExitStack() as stack:

        async def start(*urls: str, **settings: object) -> str:
            values = {**SHARED, "elasticsearch_url": ",".join(urls), "data_dir": str(tmp_path), **settings}
            runner = create_runner(load_settings(values))
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            return f"http://{host}:{port}"

        yield start


@dataclass(slots=True)
class FilledFront:
    """A front with the endpoints ``sparse`` and ``dense``; ``asked`` are the texts that their provider was sent."""

    url: str
    node: str
    asked: list[str]
    services: str = ""

    def send(
        self, method: str, path: str, body: object = None, *, base: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of the answer of the front, or of ``base``; bytes are sent as they are."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        request = urllib.request.Request((base or self.url) + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, raw = error.code, error.read()
        return status, json.loads(raw) if raw else None

    def headers(self, method: str, path: str, body: object) -> list[tuple[str, str]]:
        """Headers of the front's answer, which must be a success."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, data, sent, method=method), timeout=60
        ) as answer:
            return list(answer.headers.items())

    def text(self, path: str) -> str:
        """A page of the front that is not JSON."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return str(answer.read().decode())

    def index(self, name: str, **body: object) -> None:
        """Makes an index of one shard, in place of any of that name."""
        self.send("DELETE", f"/{name}?ignore_unavailable=true")
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        assert self.send("PUT", f"/{name}", {"settings": settings, **body})[0] == 200

    def source(self, index: str, identity: str) -> dict[str, Any]:
        """A stored document with its vectors."""
        version = self.send("GET", "/")[1]["version"]["number"]
        query = "" if version.startswith("8.") else "?_source_exclude_vectors=false"
        body = self.send("POST", f"/{index}/_mget{query}", {"ids": [identity]})[1]
        return dict(body["docs"][0].get("_source") or {})


@pytest.fixture(scope="session")
def filled_front(elasticsearch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilledFront]:
    """A front in a thread of its own, so that tests may wait for it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[FilledFront, list[web.AppRunner]]:
        app, asked = provider()
        services = web.AppRunner(app, access_log=None)
        data = tmp_path_factory.mktemp("front")
        values = {**SHARED, "elasticsearch_url": elasticsearch, "data_dir": str(data)}
        values["allow_unreadable_secrets"] = True  # a node that serves several test runs keeps their endpoints
        front = web.AppRunner(
            create_app(load_settings(values)), access_log=None, handler_cancellation=True, **HTTP_OPTIONS
        )
        addresses = []
        for runner in (services, front):
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            addresses.append("http://{}:{}".format(*runner.addresses[0][:2]))
        return FilledFront(addresses[1], elasticsearch, asked), [services, front]

    started, runners = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    services = started.services = "http://{}:{}".format(*runners[0].addresses[0][:2])
    for task, kind in (("sparse_embedding", "sparse"), ("text_embedding", "dense")):
        started.send("DELETE", f"/_inference/{kind}?force=true")
        settings = {"api_key": "k", "url": f"{services}/{kind}"}
        body = {"service": "hugging_face", "service_settings": settings}
        assert started.send("PUT", f"/_inference/{task}/{kind}", body)[0] == 200
    yield started
    for kind in ("sparse", "dense"):
        started.send("DELETE", f"/_inference/{kind}?force=true")
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
