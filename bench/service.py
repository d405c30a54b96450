"""A sidecar of its own for a benchmark: started on a free port, watched through /proc, ended with the program."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

_START_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Service:
    """A running sidecar and a session to talk to it."""

    session: aiohttp.ClientSession
    process: subprocess.Popen[bytes]

    async def call(self, method: str, path: str, body: Any = None) -> bytes:
        """One request; the body of the answer, unread. Raises ``RuntimeError`` for any status but 200."""
        async with self.session.request(method, path, json=body) as response:
            content = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
            return content

    def memory(self) -> float:
        """Resident memory of the process in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def processor_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def started_service(**environment: str) -> AsyncIterator[Service]:
    """A sidecar with an empty data directory and default settings but for ``environment``, ready to answer.

    It remembers no embeddings: what is measured is made.
    """
    environment = {"SIDECAR_CACHE_SIZE": "0", "SIDECAR_CACHE_DISK_SIZE": "0"} | environment
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as data_dir:
        command = [sys.executable, "-m", "sidecar", "serve", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(  # noqa: ASYNC220  (started once, before anything is measured)
            [*command, "--data-dir", data_dir, "--log-level", "warning"], env=os.environ | environment
        )
        try:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as session:
                service = Service(session, process)
                await _ready(service)
                yield service
        finally:
            process.terminate()
            process.wait(30)


async def _ready(service: Service) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while service.process.poll() is None:
            try:
                await service.call("GET", "/_sidecar/health/live")
            except (aiohttp.ClientError, RuntimeError):
                await asyncio.sleep(0.1)
            else:
                return
    raise RuntimeError(f"the sidecar ended with status {service.process.returncode}")
