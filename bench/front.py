"""What the front adds to a request that it forwards, beside a bare relay and nginx, in one run.

    python -m bench.front [--requests N]

All stand before one node that answers at once: a search of ten hits, and a bulk of 1 MB into an index without bindings
(whose lines the front reads to know that). One caller, then 32; the ways take turns, and what a way adds is its
percentile less that of the node alone. Processor time is that of the way's own process, which a busy machine changes
less than latencies.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.front_peers import nginx_command

ROUNDS = 5
CALLERS = (1, 32)
_START_SECONDS = 120


@dataclass
class Way:
    """One way to the node; latencies in seconds and processor seconds by what was asked and by how many callers."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | None
    latencies: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    processor: dict[tuple[str, int], float] = field(default_factory=dict)

    def processor_seconds(self) -> float:
        """Used so far by the process and its children."""
        if self.process is None:
            return 0.0
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sum(_processor_seconds(pid) for pid in (self.process.pid, *map(int, listed)))

    def percentile(self, key: tuple[str, int], which: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.latencies[key], which)) * 1000


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests() -> dict[str, bytes]:
    """What is asked, as it stands on the wire."""
    search = json.dumps({"query": {"match": {"text": "boundary layers at supersonic speed"}}, "size": 10}).encode()
    document = json.dumps({"text": "How boundary layers behave at supersonic speed. " * 20}).encode()
    bulk = (b'{"index":{}}\n' + document + b"\n") * (1_000_000 // (len(document) + 14))
    return {
        "search": _request("/bench/_search", "application/json", search),
        "bulk of 1 MB": _request("/bench/_bulk", "application/x-ndjson", bulk),
    }


def _request(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    """One request on a kept connection. Raises ``RuntimeError`` for any status but 200."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    lowered = head.lower()
    if b"content-length:" in lowered:
        await reader.readexactly(int(lowered.split(b"content-length:")[1].split(b"\r\n")[0]))
        return
    while size := int(await reader.readline(), 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def measure(way: Way, what: str, request: bytes, callers: int, count: int) -> None:
    """``count`` requests by ``callers`` callers, each on its own connection."""
    times = way.latencies.setdefault((what, callers), [])

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port, limit=2**22)
        await call(reader, writer, request)
        for _ in range(max(1, count // callers)):
            started = time.perf_counter()
            await call(reader, writer, request)
            times.append(time.perf_counter() - started)
        writer.close()

    used = way.processor_seconds()
    await asyncio.gather(*(caller() for _ in range(callers)))
    way.processor[what, callers] = way.processor.get((what, callers), 0.0) + way.processor_seconds() - used


def main(
    searches: Annotated[int, typer.Option(help="Searches per way and number of callers.")] = 3000,
    bulks: Annotated[int, typer.Option(help="Bulks per way and number of callers.")] = 300,
) -> None:
    """Print what each way adds."""
    with ExitStack() as stack:
        ways = _started(stack)
        uvloop.run(_measured(ways, {"search": searches, "bulk of 1 MB": bulks}))
    _print(ways)


def _started(stack: ExitStack) -> list[Way]:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ports = [free_port() for _ in range(4)]
    node = f"http://127.0.0.1:{ports[0]}"
    python = sys.executable
    settings = {"SIDECAR_FRONT": "true", "SIDECAR_ELASTICSEARCH_URL": node, "SIDECAR_DATA_DIR": str(directory)}
    settings |= {"SIDECAR_LOG_LEVEL": "info", "SIDECAR_LOG_FORMAT": "json", "SIDECAR_PORT": str(ports[2])}
    run(stack, [python, "-m", "bench.front_peers", "node", str(ports[0])])
    until_open(ports[0])
    ways = [
        Way("the node alone", ports[0], None),
        Way("bare relay", ports[1], run(stack, [python, "-m", "bench.front_peers", "relay", str(ports[1]), node])),
        Way("sidecar", ports[2], run(stack, [python, "-m", "sidecar", "serve"], settings)),
    ]
    nginx = nginx_command(directory, ports[3], ports[0])
    if nginx is None:
        print("nginx is not installed: not measured")
    else:
        ways.append(Way("nginx", ports[3], run(stack, nginx)))
    for way in ways:
        until_open(way.port)
    return ways


def run(stack: ExitStack, command: list[str], settings: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process that ends with ``stack``."""
    process = subprocess.Popen(
        command, env=os.environ | (settings or {}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    return process


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_open(port: int) -> None:
    """Waits until somebody listens; raises ``RuntimeError`` after two minutes."""
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")


async def _measured(ways: list[Way], counts: dict[str, int]) -> None:
    for what, request in requests().items():
        for callers in CALLERS:
            for _ in range(ROUNDS):
                for way in ways:
                    await measure(way, what, request, callers, counts[what] // ROUNDS)


def _print(ways: list[Way]) -> None:
    node, relay = ways[0], ways[1]
    for what, callers in node.latencies:
        key = (what, callers)
        table = Table(title=f"{what}, {callers} caller{'s' if callers > 1 else ''}")
        for column in ("", "p50 ms", "added", "beside the relay", "p99 ms", "added", "processor ms"):
            table.add_column(column, justify="right" if column else "left")
        for way in ways:
            p50, p99 = way.percentile(key, 50), way.percentile(key, 99)
            added = p50 - node.percentile(key, 50)
            beside = added / max(relay.percentile(key, 50) - node.percentile(key, 50), 1e-6)
            processor = 1000 * way.processor[key] / (len(way.latencies[key]) + callers * ROUNDS)
            cells = [f"{p50:.2f}", f"{added:+.2f}", f"{beside:.2f}", f"{p99:.2f}"]
            table.add_row(way.name, *cells, f"{p99 - node.percentile(key, 99):+.2f}", f"{processor:.2f}")
        Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
