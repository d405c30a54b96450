"""Searches on a local model while ingestion does all it can, beside the same searches alone.

    python -m bench.overload [TEXTS] [--model NAME] [--clients 64] [--texts-per-call 16] [--seconds 20] [--queue N]
                             [--impatient]

One caller searches, one short question at a time; meanwhile so many clients send texts for ingestion, each its next
call as soon as the last is answered, or when the ``Retry-After`` of a refusal has passed (``--impatient``: at once).
Nothing is remembered (no cache). The program starts a sidecar of its own and prints the searches' p50 and p99 alone and
beside ingestion, their ratio, and what became of every call. It alternates between the two, so that other work on the
machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.local_models import read_texts
from bench.service import Service, started_service

PATH = "/_inference/text_embedding/overload"
TURNS = 2
QUESTION = "what is known of the number {number} beside a shock wave"


@dataclass(slots=True)
class Calls:
    """Seconds of each call that was answered, and how all of them ended."""

    seconds: list[float] = field(default_factory=list)
    refusal_seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

    async def make(self, service: Service, body: Mapping[str, object]) -> float:
        """Makes a call; the seconds after which it may be repeated, 0 when it was answered."""
        started = time.perf_counter()
        async with service.session.post(PATH, json=body) as response:
            answer = await response.read()
        elapsed = time.perf_counter() - started
        if response.status == 200:
            self.outcomes["200"] += 1
            self.seconds.append(elapsed)
            return 0
        kind = "timeout" if b"timed out" in answer else "refused"
        self.outcomes[f"{response.status} {kind}"] += 1
        self.refusal_seconds.append(elapsed)
        return float(response.headers.get("Retry-After", 0))


async def search(service: Service, numbers: Iterator[int], seconds: float, calls: Calls) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        number = next(numbers)
        await calls.make(service, {"input": QUESTION.format(number=number), "input_type": "search"})
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def ingestion(
    service: Service, texts: list[str], options: argparse.Namespace, calls: Calls
) -> AsyncIterator[None]:
    feed = itertools.cycle(texts)

    async def client() -> None:
        while True:
            body = {"input": list(itertools.islice(feed, options.texts_per_call)), "input_type": "ingest"}
            with contextlib.suppress(aiohttp.ClientError):
                retry_after = await calls.make(service, body)
                await asyncio.sleep(0 if options.impatient else retry_after)

    tasks = [asyncio.create_task(client()) for _ in range(options.clients)]
    await asyncio.sleep(2)  # until the queue is full
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(1)  # until what they left is gone


async def run(options: argparse.Namespace) -> None:
    texts = read_texts(options.texts)
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"{options.model}; {options.clients} clients x {options.texts_per_call} texts of {words:.0f} words")
    environment = {"SIDECAR_QUEUE_ITEMS": str(options.queue)} if options.queue else {}
    async with started_service(**environment) as service:
        settings = {"model_id": options.model, "num_threads": 1, "num_allocations": 32}
        await service.call("PUT", PATH, {"service": "elasticsearch", "service_settings": settings})
        numbers = itertools.count()
        alone, beside, ingest = Calls(), Calls(), Calls()
        await search(service, numbers, 1, Calls())
        for _ in range(TURNS):
            await search(service, numbers, options.seconds / TURNS, alone)
            async with ingestion(service, texts, options, ingest):
                await search(service, numbers, options.seconds / TURNS, beside)
        memory = service.memory()
    print("\n| searches | p50 ms | p99 ms | outcomes |\n|---|---|---|---|")
    for name, calls in (("alone", alone), ("beside ingestion", beside)):
        print(f"| {name} | {calls.percentile(0.5):.1f} | {calls.percentile(0.99):.1f} | {dict(calls.outcomes)} |")
    ratios = (beside.percentile(share) / alone.percentile(share) for share in (0.5, 0.99))
    print("| ratio | {:.1f} | {:.1f} | |".format(*ratios))
    refused = statistics.median(ingest.refusal_seconds) * 1e3 if ingest.refusal_seconds else 0
    print(f"\ningestion: {dict(ingest.outcomes)}, refusals after {refused:.0f} ms (p50); memory {memory:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="?", help="directory of the Cranfield collection")
    parser.add_argument("--model", default="bge-small-en-v1.5")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--texts-per-call", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="of searches alone, and of searches beside ingestion")
    parser.add_argument("--queue", type=int, help="SIDECAR_QUEUE_ITEMS; default: the setting's own")
    parser.add_argument("--impatient", action="store_true", help="repeat refused calls at once")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
