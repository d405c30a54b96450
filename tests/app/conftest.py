"""The service as its users have it: a process of its own, reached over a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
from elasticsearch import AsyncElasticsearch

from tests.app.forks import Fork, Forks, running_forks

TIMEOUT = 60
Process: TypeAlias = asyncio.subprocess.Process | Fork


@dataclass
class Service:
    """A running ``sidecar serve``; ``log`` holds its lines so far."""

    process: Process
    session: aiohttp.ClientSession
    log: list[str] = field(default_factory=list)
    url: str = ""
    reader: asyncio.Task[None] | None = None

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, json=body) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def ready(self, status: int = 200) -> Any:
        async with asyncio.timeout(TIMEOUT):
            while True:
                answered, body = await self.request("GET", "/_sidecar/health/ready")
                if answered == status:
                    return body
                await asyncio.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(TIMEOUT):
            code = await self.process.wait()
            assert self.reader is not None
            await self.reader
            return code

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in map(json.loads, self.log) if event["message"] == name]


@dataclass
class Services:
    """Starts services with settings of their own; what the tests' environment sets does not reach them.

    ``forks`` makes the processes, and without it Python anew for each.
    """

    directory: Path
    session: aiohttp.ClientSession
    stack: contextlib.AsyncExitStack
    forks: Forks | None = None

    async def run(self, *arguments: str, **settings: str) -> Process:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")},
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SIDECAR_DATA_DIR": str(self.directory / "data"),
            **{f"SIDECAR_{name.upper()}": value for name, value in settings.items()},
        }
        if self.forks is not None:
            return await self.forks.start(arguments, self.directory, environ)
        command = [sys.executable, "-m", "sidecar", *arguments]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, cwd=self.directory, env=environ, stdout=pipe, stderr=pipe)

    async def finish(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command that ends by itself."""
        process = await self.run(*arguments, **settings)
        async with asyncio.timeout(TIMEOUT):
            out, error = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    async def start(self, *arguments: str, **settings: str) -> Service:
        process = await self.run("serve", "--port", "0", "--log-format", "json", *arguments, **settings)
        service = Service(process, self.session)
        self.stack.push_async_callback(_kill, process)
        listening = asyncio.Event()

        async def read() -> None:
            assert process.stderr is not None
            async for line in process.stderr:
                service.log.append(line.decode())
                if not listening.is_set() and b'"listening"' in line:
                    service.url = json.loads(line)["url"]
                    listening.set()
            listening.set()

        service.reader = asyncio.create_task(read())
        async with asyncio.timeout(TIMEOUT):
            await listening.wait()
        assert service.url, "".join(service.log)
        return service


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with running_forks() as forks:
        yield forks


@pytest.fixture
async def services(tmp_path: Path, forks: Forks) -> AsyncIterator[Services]:
    async with contextlib.AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        yield Services(tmp_path, session, stack, forks)


@pytest.fixture
async def whole_services(tmp_path: Path) -> AsyncIterator[Services]:
    """Services that begin with the interpreter, as ``python -m sidecar`` does."""
    async with contextlib.AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        yield Services(tmp_path, session, stack)


@pytest.fixture
async def clean_cluster(elasticsearch: str) -> AsyncIterator[str]:
    """A node whose endpoints of the sidecar are removed afterwards."""
    yield elasticsearch
    async with AsyncElasticsearch(elasticsearch) as client:
        indices = ["sidecar-endpoints-1", "sidecar-secrets-1"]
        await client.indices.delete(index=indices, ignore_unavailable=True)
