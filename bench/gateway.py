"""What the sidecar adds to a provider's call, beside a bare relay, the LiteLLM proxy and Elasticsearch, in one run.

    python -m bench.gateway [--litellm VENV/bin/litellm] [--elasticsearch URL]...

All stand in front of the same upstream, which answers at once. Latency: one caller, calls one after the other, in
rounds over all gateways; what a gateway adds is its median less that of the upstream alone. Rate: sixteen callers;
calls divided by the processor seconds that the gateway's own process used, so calls per second of one core.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.service import started_service

TEXT = "Which documents tell how boundary layers behave at supersonic speed?"
ROUNDS = 5
CALLERS = 16
_START_SECONDS = 90
# LiteLLM does not start without a key of its own.
_KEY = "sk-bench-" + uuid.uuid4().hex
_UNLIMITED = {"requests_per_minute": 100_000_000}


@dataclass
class Gateway:
    """One way to the upstream: ``path`` takes ``body``; ``processor_seconds`` is what its process used so far."""

    name: str
    session: aiohttp.ClientSession
    path: str
    body: Any
    processor_seconds: Callable[[], Awaitable[float]]
    calls: int = 300
    latencies: list[float] = field(default_factory=list)
    rate: float = 0.0
    core_rate: float = 0.0

    async def call(self) -> None:
        """One embedding. Raises ``RuntimeError`` for any status but 200."""
        async with self.session.post(self.path, json=self.body) as response:
            content = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{self.name}: {response.status} {content[:300]!r}")

    async def time_calls(self, count: int) -> None:
        for _ in range(count):
            started = time.perf_counter()
            await self.call()
            self.latencies.append(time.perf_counter() - started)

    async def measure_rate(self, seconds: float) -> None:
        finished = 0
        ends = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal finished
            while time.perf_counter() < ends:
                await self.call()
                finished += 1

        used = await self.processor_seconds()
        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        self.rate = finished / (time.perf_counter() - started)
        self.core_rate = finished / max(await self.processor_seconds() - used, 1e-9)

    def percentile(self, which: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.latencies, which)) * 1000


def main(
    litellm: Annotated[
        str | None, typer.Option(help="Command that starts the LiteLLM proxy, if it is measured.")
    ] = None,
    elasticsearch: Annotated[list[str] | None, typer.Option(help="Elasticsearch with a trial licence.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of load per gateway.")] = 4.0,
    calls: Annotated[int, typer.Option(help="Calls per gateway whose latency is taken.")] = 1500,
) -> None:
    """Print latency and rate of every gateway."""
    asyncio.run(_run(litellm, elasticsearch or [], seconds, calls))


async def _run(litellm: str | None, clusters: list[str], seconds: float, calls: int) -> None:
    async with AsyncExitStack() as stack:
        port = _free_port()
        stack.enter_context(_Process([sys.executable, "-m", "bench.relay", "upstream", str(port)]))
        upstream = f"http://127.0.0.1:{port}/v1/embeddings"
        openai_body = {"input": [TEXT], "model": "m"}
        direct = await _session(stack, f"http://127.0.0.1:{port}")
        gateways = [Gateway("upstream alone", direct, "/v1/embeddings", openai_body, _nothing, calls)]
        await _until_answers(gateways[0])
        for make in (_relay, _sidecar):
            gateways.append(await stack.enter_async_context(make(upstream, calls)))
        if litellm is not None:
            gateways.append(await stack.enter_async_context(_litellm(litellm, upstream, max(calls // 5, 1))))
        for url in clusters:
            gateways.append(await stack.enter_async_context(_elasticsearch(url, upstream, max(calls // 10, 1))))
        for gateway in gateways:
            await gateway.time_calls(50)
            gateway.latencies.clear()
        for _ in range(ROUNDS):
            for gateway in gateways:
                await gateway.time_calls(max(gateway.calls // ROUNDS, 1))
        for gateway in gateways:
            await gateway.measure_rate(seconds)
    _print(gateways)


def _print(gateways: list[Gateway]) -> None:
    alone, relay, sidecar, *_ = gateways
    table = Table(title=f"POST of one text, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for head in ("", "p50 ms", "p99 ms", "added p50", "added p99", "calls/s", "calls/s of a core"):
        table.add_column(head, justify="right" if head else "left")
    for gateway in gateways:
        added = [gateway.percentile(p) - alone.percentile(p) for p in (50, 99)]
        shown = ["", ""] if gateway is alone else [f"{value:.2f}" for value in added]
        core = "" if gateway is alone else f"{gateway.core_rate:.0f}"
        times = (f"{gateway.percentile(50):.2f}", f"{gateway.percentile(99):.2f}")
        table.add_row(gateway.name, *times, *shown, f"{gateway.rate:.0f}", core)
    console = Console(width=110)
    console.print(table)
    ours = sidecar.percentile(50) - alone.percentile(50)
    console.print(f"sidecar: {ours:.2f} ms added; {sidecar.core_rate / relay.core_rate:.2f} of the bare relay's rate")
    for gateway in gateways[3:]:
        theirs = gateway.percentile(50) - alone.percentile(50)
        console.print(
            f"{gateway.name}: {theirs:.2f} ms added, {theirs / ours:.0f} times the sidecar's;"
            f" {gateway.core_rate / sidecar.core_rate:.3f} of its rate"
        )


# --- gateways


@asynccontextmanager
async def _relay(upstream: str, calls: int) -> AsyncIterator[Gateway]:
    port = _free_port()
    async with AsyncExitStack() as stack:
        process = stack.enter_context(_Process([sys.executable, "-m", "bench.relay", "relay", str(port), upstream]))
        session = await _session(stack, f"http://127.0.0.1:{port}")
        body = {"input": [TEXT], "model": "m"}
        gateway = Gateway("bare aiohttp relay", session, "/", body, process.processor_seconds, calls)
        await _until_answers(gateway)
        yield gateway


@asynccontextmanager
async def _sidecar(upstream: str, calls: int) -> AsyncIterator[Gateway]:
    async with started_service() as service:
        await service.call("PUT", "/_inference/text_embedding/gateway", _endpoint(upstream))

        async def used() -> float:
            return service.processor_seconds()

        path = "/_inference/text_embedding/gateway"
        yield Gateway("sidecar", service.session, path, {"input": [TEXT]}, used, calls)


@asynccontextmanager
async def _litellm(command: str, upstream: str, calls: int) -> AsyncIterator[Gateway]:
    port = _free_port()
    base = upstream.removesuffix("/embeddings")
    config = (
        f"general_settings:\n  master_key: {_KEY}\nmodel_list:\n  - model_name: m\n    litellm_params:\n"
        f"      model: openai/m\n      api_base: {base}\n      api_key: k\n"
    )
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "config.yaml").write_text(config)
        arguments = ["--config", str(directory / "config.yaml"), "--port", str(port), "--host", "127.0.0.1"]
        process = stack.enter_context(_Process([*shlex.split(command), *arguments]))
        session = await _session(stack, f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {_KEY}"})
        body = {"input": [TEXT], "model": "m"}
        gateway = Gateway("LiteLLM proxy", session, "/v1/embeddings", body, process.processor_seconds, calls)
        await _until_answers(gateway)
        yield gateway


@asynccontextmanager
async def _elasticsearch(url: str, upstream: str, calls: int) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        session = await _session(stack, url)
        path = f"/_inference/text_embedding/bench-gateway-{uuid.uuid4().hex[:8]}"
        async with session.get("/") as response:
            version = (await response.json())["version"]["number"]
        async with session.put(path, json=_endpoint(upstream)) as response:
            if response.status != 200:
                raise RuntimeError(f"Elasticsearch {version}: {await response.text()}")

        async def used() -> float:
            async with session.get("/_nodes/_local/stats/process") as response:
                (node,) = (await response.json())["nodes"].values()
                return float(node["process"]["cpu"]["total_in_millis"]) / 1000

        try:
            yield Gateway(f"Elasticsearch {version}", session, path, {"input": [TEXT]}, used, calls)
        finally:
            async with session.delete(path, params={"force": "true"}) as response:
                await response.read()


def _endpoint(upstream: str) -> dict[str, Any]:
    settings = {"api_key": "k", "model_id": "m", "url": upstream, "rate_limit": _UNLIMITED}
    return {"service": "openai", "service_settings": settings}


# --- processes


class _Process:
    """A process that ends with the ``with`` block."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Process:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    async def processor_seconds(self) -> float:
        assert self._process is not None
        return await asyncio.to_thread(_processor_seconds, self._process.pid)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _session(stack: AsyncExitStack, base: str, headers: dict[str, str] | None = None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return await stack.enter_async_context(aiohttp.ClientSession(base, connector=connector, headers=headers))


async def _until_answers(gateway: Gateway) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                await gateway.call()
            except (aiohttp.ClientError, RuntimeError):
                await asyncio.sleep(0.2)
            else:
                return


async def _nothing() -> float:
    return 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    typer.run(main)
