"""How long the event loop is held at most while bodies of up to 10 MB come in.

    python -m bench.event_loop [--bodies 1000] [--seed 1] [--at-a-time 2]

The sidecar runs in a process of its own, with a task beside it that wants to run every 5 ms and notes how late it was.
The bodies are generated, good and bad, for every route; endpoints do not exist or are local models with a deadline of
a second, so that what is measured is reading, checking, refusing and answering.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.generated_requests import Generated, requests
from sidecar.server import serve
from sidecar.settings import load_settings
from sidecar.telemetry import configure_logging

_INTERVAL = 0.005
_LARGEST = 10_000_000
_PORT = 9839
_IDS = ("none", "none", "none", ".elser-2-elasticsearch")


def _service(pipe: Connection, port: int, data_dir: str) -> None:
    """The process of the sidecar: serves until it is told to stop, then sends how late its loop was, and when."""
    configure_logging(level="error")

    async def watch() -> list[tuple[float, float, float]]:
        late: list[tuple[float, float, float]] = []
        loop = asyncio.get_running_loop()
        while not pipe.poll():
            due, computed = loop.time() + _INTERVAL, time.process_time()
            await asyncio.sleep(_INTERVAL)
            by = loop.time() - due
            late.append((time.time(), by, min(by, time.process_time() - computed)))
        return late

    async def run() -> None:
        serving = asyncio.create_task(serve(load_settings({"port": port, "data_dir": Path(data_dir)})))
        pipe.send(await watch())
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `sidecar serve` does
        runner.run(run())


async def _send(session: aiohttp.ClientSession, request: Generated) -> str:
    headers = request.headers | {"Accept": "application/json"}
    async with session.request(request.method, request.path, data=request.body, headers=headers) as response:
        await response.read()
        return str(response.status)


async def _send_all(port: int, generated: list[Generated], at_a_time: int) -> list[tuple[float, float, str, str]]:
    """When each request began and ended, its kind and its status."""
    waiting = iter(generated)
    sent: list[tuple[float, float, str, str]] = []

    async def one_after_the_other(session: aiohttp.ClientSession) -> None:
        for request in waiting:
            began = time.time()
            try:
                status = await _send(session, request)
            except aiohttp.ClientError as error:
                status = type(error).__name__
            what = f"{request.kind}, {len(request.body or b'') / 1e6:.2f} MB, {request.method} {request.path}"
            sent.append((began, time.time(), what, status))

    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
        for _ in range(600):
            try:
                await _send(session, Generated("", "GET", "/_sidecar/health/live"))
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        sent.append((time.time() - 2, time.time(), "idle", "200"))
        await asyncio.gather(*(one_after_the_other(session) for _ in range(at_a_time)))
    return sent


def _report(late: list[tuple[float, float, float]], sent: list[tuple[float, float, str, str]]) -> dict[str, Any]:
    idle, *loaded = sent
    quiet = [held for at, _, held in late if idle[0] <= at <= idle[1]]
    began, ended = loaded[0][0], max(end for _, end, _, _ in loaded)
    busy = sorted(((held, by, at) for at, by, held in late if began <= at <= ended), reverse=True)
    worst = [
        (round(held * 1000, 1), [what for start, end, what, _ in loaded if start <= at and end >= at - by])
        for held, by, at in busy[:8]
    ]
    return {
        "requests": len(loaded),
        "seconds": round(ended - began, 1),
        "answers": dict(sorted(Counter(status for _, _, _, status in loaded).items())),
        "idle, held longest, ms": round(max(quiet, default=0) * 1000, 1),
        "held longest, ms": round(busy[0][0] * 1000, 1),
        "p99, ms": round(busy[len(busy) // 100][0] * 1000, 1),
        "p50, ms": round(busy[len(busy) // 2][0] * 1000, 1),
        "over 50 ms": sum(held > 0.05 for held, _, _ in busy),
        "late longest, ms": round(max(by for _, by, _ in busy) * 1000, 1),
        "worst": worst,
    }


def main() -> None:
    """Runs the measurement and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, default=2)
    parser.add_argument("--port", type=int, default=_PORT)
    options = parser.parse_args()
    generated = list(requests(options.seed, options.bodies, _LARGEST, _IDS))
    here, there = multiprocessing.get_context("spawn").Pipe()
    with tempfile.TemporaryDirectory() as data_dir:
        process = multiprocessing.get_context("spawn").Process(target=_service, args=(there, options.port, data_dir))
        process.start()
        sent = asyncio.run(_send_all(options.port, generated, options.at_a_time))
        here.send("stop")
        late = here.recv()
        process.join(30)
        process.kill()
    for name, value in _report(late, sent).items():
        if name == "worst":
            for milliseconds, whats in value:
                print(f"  {milliseconds} ms: {'; '.join(whats)}")
        else:
            print(f"{name}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
