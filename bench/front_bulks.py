"""Bulks through the front: how much of the direct rate is left, and what a body of any size costs in memory.

    python -m bench.front_bulks ELASTICSEARCH_URL [--gigabytes 2]

A node with any licence. The ways take turns, in bulks of 500 documents by two callers: into an index without bindings,
straight and through the front; with the vectors of a provider that answers at once, made by the front, beside the same
documents sent straight with their vectors, as client libraries write them, into an index of the same mapping (that of
``sidecar bind``, then one whose field is stored and not indexed, without a marker); with a local model, beside that
model alone over the same texts. The memory is that of the sidecar while one bulk is streamed through it to a node that
reads and forgets. Beside the rates stands the sidecar's own processor time for a document, which a busy machine changes
less.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any
from uuid import uuid4

import aiohttp
import typer
from rich.console import Console
from rich.table import Table

from bench.front import free_port, run, until_open
from bench.front_peers import DIMENSIONS, vectors
from bench.service import Service, started_service
from sidecar.elastic.fields import dense_field
from sidecar.elastic.version import ServerVersion
from sidecar.ingest.marker import MARKER_FIELD, MARKER_MAPPING

ROUNDS = 4
CALLERS = 2
BULK = 500
_OF_A_MODEL = 128
_MODEL = {"model_id": "all-MiniLM-L6-v2", "num_threads": 1, "num_allocations": 1}


class Bulks:
    """A cluster and the sidecar before it; indices of its own."""

    def __init__(self, node: aiohttp.ClientSession, service: Service) -> None:
        self.node, self.service = node, service
        self.name = f"bench-{uuid4().hex[:8]}"
        self.indices: list[str] = []

    async def create(self, kind: str, mapping: dict[str, Any] | None = None) -> str:
        """An index without replicas that is refreshed by nobody."""
        index = f"{self.name}-{kind}"
        settings = {"number_of_replicas": 0, "refresh_interval": -1}
        body = {"settings": settings, "mappings": mapping or {}}
        async with self.node.put(f"/{index}", json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())
        self.indices.append(index)
        return index

    async def endpoint(self, kind: str, body: dict[str, Any]) -> str:
        """A dense endpoint of the sidecar."""
        inference_id = f"{self.name}-{kind}"
        await self.service.call("PUT", f"/_inference/text_embedding/{inference_id}", body)
        return inference_id

    async def rate(self, session: aiohttp.ClientSession, index: str, bulks: Sequence[bytes]) -> float:
        """Documents per second. Raises ``RuntimeError`` where one was refused."""
        waiting = list(bulks)

        async def caller() -> None:
            while waiting:
                body = waiting.pop()
                headers = {"Content-Type": "application/x-ndjson"}
                async with session.post(f"/{index}/_bulk?filter_path=errors", data=body, headers=headers) as answer:
                    content = await answer.read()
                    if answer.status != 200 or json.loads(content) != {"errors": False}:
                        raise RuntimeError(f"{index}: {answer.status} {content[:300]!r}")

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return sum(body.count(b"\n") // 2 for body in bulks) / (time.perf_counter() - started)


def documents(round_number: int, bulks: int, *, size: int = BULK, with_vectors: bool = False) -> list[bytes]:
    """Bulks of documents of about one kilobyte; no text comes twice."""
    given = vectors() if with_vectors else []
    made = []
    for bulk in range(bulks):
        lines = []
        for number in range(size):
            text = f"Report {round_number}-{bulk}-{number}: " + "how boundary layers behave at supersonic speed. " * 20
            more = {"vector": given[number % len(given)]} if given else {}
            lines += [b'{"index":{}}', json.dumps({"text": text, **more}, separators=(",", ":")).encode()]
        made.append(b"\n".join([*lines, b""]))
    return made


def main(
    elasticsearch: Annotated[str, typer.Argument(help="A node whose indices this program may add to.")],
    bulks: Annotated[int, typer.Option(help="Bulks of 500 documents per way and round.")] = 6,
    gigabytes: Annotated[float, typer.Option(help="Size of the one large bulk; 0 for none.")] = 2.0,
) -> None:
    """Print rates, ratios and memory."""
    asyncio.run(_measured(elasticsearch, bulks, gigabytes))


async def _measured(url: str, count: int, gigabytes: float) -> None:
    with ExitStack() as stack:
        ports = [free_port(), free_port()]
        for part, port in zip(("provider", "node"), ports, strict=True):
            run(stack, [sys.executable, "-m", "bench.front_peers", part, str(port)])
            until_open(port)
        settings = {"SIDECAR_FRONT": "true", "SIDECAR_ELASTICSEARCH_URL": url, "SIDECAR_ALLOW_UNREADABLE_SECRETS": "1"}
        async with started_service(**settings) as service, aiohttp.ClientSession(url) as node:
            held = Bulks(node, service)
            try:
                await _print_rates(held, ports[0], count)
            finally:
                for kind in ("provider", "model"):
                    await service.session.delete(f"/_inference/{held.name}-{kind}?force=true")
                await node.delete("/" + ",".join(held.indices))
        if gigabytes:
            await _print_memory(f"http://127.0.0.1:{ports[1]}", gigabytes)


async def _print_rates(held: Bulks, provider_port: int, count: int) -> None:
    table = Table(title="documents per second")
    for column in ("", "direct", "front", "ratio", "sidecar, µs a document"):
        table.add_column(column, justify="right" if column else "left")
    session, processor = held.service.session, held.service.processor_seconds
    free = await held.create("free")
    table.add_row(
        "no bindings",
        *await _compared(
            lambda n: held.rate(held.node, free, documents(n, count)),
            lambda n: held.rate(session, free, documents(n + ROUNDS, count)),
            processor,
            count * BULK,
        ),
    )
    settings: dict[str, Any] = {"model_id": "m", "api_key": "k", "dimensions": DIMENSIONS, "similarity": "cosine"}
    settings |= {"url": f"http://127.0.0.1:{provider_port}/v1/embeddings"}
    settings |= {"rate_limit": {"requests_per_minute": 100_000_000}}
    provider = await held.endpoint("provider", {"service": "openai", "service_settings": settings})
    async with held.node.get("/") as answer:
        version = ServerVersion.parse((await answer.json())["version"]["number"])
    plain = {"type": "dense_vector", "dims": DIMENSIONS, "index": False}
    bound = {"vector": dense_field(version, DIMENSIONS), MARKER_FIELD: MARKER_MAPPING}
    instant = "a provider that answers at once"
    table.add_row(instant, *await _beside_given(held, "", provider, bound, count))
    table.add_row(f"{instant}, not indexed", *await _beside_given(held, "-plain", provider, {"vector": plain}, count))
    model = await held.endpoint("model", {"service": "elasticsearch", "service_settings": _MODEL})
    local = await held.create("local", _bound(model, {"vector": {**plain, "dims": 384}}))
    table.add_row(
        "a local model (direct: the model alone)",
        *await _compared(
            lambda n: _model_alone(held, model, documents(n, 1, size=_OF_A_MODEL)[0]),
            lambda n: held.rate(session, local, documents(n + ROUNDS, 1, size=_OF_A_MODEL)),
            processor,
            _OF_A_MODEL,
        ),
    )
    Console(width=100).print(table)


async def _beside_given(
    held: Bulks, kind: str, provider: str, fields: dict[str, Any], count: int
) -> tuple[str, str, str, str]:
    """Vectors made by ``provider`` on the way, beside the same documents that bring theirs."""
    mapping = _bound(provider, fields)
    given = await held.create(f"given{kind}", {"properties": mapping["properties"]})
    made = await held.create(f"made{kind}", mapping)
    return await _compared(
        lambda n: held.rate(held.node, given, documents(n, count, with_vectors=True)),
        lambda n: held.rate(held.service.session, made, documents(n, count)),
        held.service.processor_seconds,
        count * BULK,
    )


def _bound(inference_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    maps = {"sidecar": {"maps": [f"text:vector={inference_id}"]}}
    return {"_meta": maps, "properties": {"text": {"type": "text"}, **fields}}


Rate = Callable[[int], Awaitable[float]]


async def _compared(direct: Rate, front: Rate, processor: Callable[[], float], count: int) -> tuple[str, str, str, str]:
    """Both ways in turns, the best of each: what else the machine did is in the others.

    Beside them what ``processor`` counts for each of the ``count`` documents of a round through the front, on average.
    """
    rates: tuple[list[float], list[float]] = ([], [])
    used = 0.0
    for number in range(ROUNDS):
        rates[0].append(await direct(number))
        before = processor()
        rates[1].append(await front(number))
        used += processor() - before
    best = [max(found) for found in rates]
    return f"{best[0]:.0f}", f"{best[1]:.0f}", f"{best[1] / best[0]:.2f}", f"{used / ROUNDS / count * 1e6:.0f}"


async def _model_alone(held: Bulks, inference_id: str, bulk: bytes) -> float:
    """Texts per second of calls with 64 texts each, two at a time."""
    texts = [json.loads(line)["text"] for line in bulk.splitlines()[1::2]]
    waiting = [texts[at : at + 64] for at in range(0, len(texts), 64)]

    async def caller() -> None:
        while waiting:
            body = {"input": waiting.pop(), "input_type": "ingest"}
            await held.service.call("POST", f"/_inference/text_embedding/{inference_id}?timeout=10m", body)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(texts) / (time.perf_counter() - started)


async def _print_memory(node: str, gigabytes: float) -> None:
    block = documents(0, 1)[0]
    blocks = int(gigabytes * 1e9 / len(block))
    peak = 0.0

    async with started_service(SIDECAR_FRONT="true", SIDECAR_ELASTICSEARCH_URL=node) as service:

        async def body() -> AsyncIterator[bytes]:
            nonlocal peak
            for number in range(blocks):
                yield block
                if number % 50 == 0:
                    peak = max(peak, service.memory())

        before = service.memory()
        started = time.perf_counter()
        headers = {"Content-Type": "application/x-ndjson"}
        async with service.session.post("/bench/_bulk", data=body(), headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        seconds = time.perf_counter() - started
    print(
        f"one bulk of {gigabytes:g} GB: memory {before:.0f} MB before, {peak:.0f} MB at most,"
        f" {gigabytes * 1000 / seconds:.0f} MB/s"
    )


if __name__ == "__main__":
    typer.run(main)
