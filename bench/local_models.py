"""The HTTP service on local models, beside the bare ONNX Runtime loop: same model, same threads, same texts.

    python -m bench.local_models [TEXTS] [--seconds 10] [--requests 10000] [--parts rates,latency,memory] [--task NAME]

TEXTS is a directory with the Cranfield collection; without it the passages of the demo corpus are used. The program
starts a sidecar of its own. It prints documents per second and the p50 and p99 of requests at concurrency 1, 8 and 64;
the same rate of the bare loop (batches of the best token budget, tokenised, padded and sorted beforehand, one thread
per core), and two ratios: of documents per second, which other work on the machine disturbs, and of documents per
second of processor time of the two processes, which it disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bare import BareLoop, Rate
from bench.cranfield import Collection
from bench.service import Service, started_service
from sidecar.runtime.cpus import available_cpus

CONCURRENCY = (1, 8, 64)
PER_REQUEST = 16
SAMPLE = 400
TURN = 30
QUESTION = "what is the effect of a shock wave on the boundary layer of a wing"
QUESTIONS = ("how high are spring tides", "shock waves over a blunt body", "who keeps the light at night")
INT8_SPARSE = "sparse, int8"
ENDPOINTS = {
    "sparse": ("sparse_embedding", "splade-tiny"),
    INT8_SPARSE: ("sparse_embedding", "splade-tiny"),
    "dense, fast": ("text_embedding", "all-MiniLM-L6-v2"),
    "dense, default": ("text_embedding", "bge-small-en-v1.5"),
    "rerank": ("rerank", ".rerank-v1"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What a load gave: documents per second (wall, processor time), and latencies in seconds."""

    per_second: float
    per_processor_second: float
    latencies: list[float]

    def percentile(self, share: float) -> float:
        """A latency in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


def name_of(kind: str) -> str:
    return kind.replace(", ", "-")


def service_for(kind: str) -> AbstractAsyncContextManager[Service]:
    """A sidecar of its own, since precision is a setting of the process."""
    return started_service(SIDECAR_MODEL_PRECISION=json.dumps({"splade-tiny": "int8"} if kind == INT8_SPARSE else {}))


async def create(service: Service, kind: str, allocations: int, threads: int = 1) -> None:
    task, model = ENDPOINTS[kind]
    settings = {"model_id": model, "num_threads": threads, "num_allocations": allocations}
    path = f"/_inference/{task}/{name_of(kind)}"
    await service.call("PUT", path, {"service": "elasticsearch", "service_settings": settings})


def request_of(kind: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Path and body of one request."""
    task, _ = ENDPOINTS[kind]
    path = f"/_inference/{task}/{name_of(kind)}?timeout=5m"
    if task == "rerank":
        return path, {"query": QUESTION, "input": list(texts), "return_documents": False}
    body: dict[str, Any] = {"input": list(texts)}
    return path, body | ({"input_type": "ingest"} if task == "text_embedding" else {})


async def load(service: Service, kind: str, slices: list[list[str]], concurrency: int, seconds: float) -> Load:
    """Keeps ``concurrency`` requests under way for some seconds."""
    latencies: list[float] = []
    documents = 0
    feed: Iterator[list[str]] = itertools.cycle(slices)
    end = 0.0

    async def caller() -> None:
        nonlocal documents
        while time.perf_counter() < end:
            texts = next(feed)
            path, body = request_of(kind, texts)
            started = time.perf_counter()
            await service.call("POST", path, body)
            latencies.append(time.perf_counter() - started)
            documents += len(texts)

    started, used = time.perf_counter(), service.processor_seconds()
    end = started + seconds
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    elapsed, processor = time.perf_counter() - started, service.processor_seconds() - used
    return Load(documents / elapsed, documents / max(processor, 1e-9), latencies)


async def measure_rates(texts: list[str], kinds: Sequence[str], seconds: float, threads: int) -> None:
    print(f"\nRates: {PER_REQUEST} documents a request, {threads} threads.\n")
    print("| task | concurrency | docs/s | p50 ms | p99 ms | bare docs/s | ratio | ratio by processor time |")
    print("|---|---|---|---|---|---|---|---|")
    slices = [texts[n : n + PER_REQUEST] for n in range(0, len(texts) - PER_REQUEST + 1, PER_REQUEST)]
    for kind in kinds:
        bare = await asyncio.to_thread(bare_rate, kind, texts, threads)
        async with service_for(kind) as service:
            await create(service, kind, threads)
            await load(service, kind, slices, 8, seconds)  # not counted: screening is fitted to the first texts
            for concurrency in CONCURRENCY:
                found = await load(service, kind, slices, concurrency, seconds)
                print(
                    f"| {kind} | {concurrency} | {found.per_second:.1f} | {found.percentile(0.5):.0f} "
                    f"| {found.percentile(0.99):.0f} | {bare.per_second:.1f} ({bare.budget}) "
                    f"| {found.per_second / bare.per_second:.2f} "
                    f"| {found.per_processor_second / bare.per_processor_second:.2f} |",
                    flush=True,
                )


def bare_rate(kind: str, texts: list[str], threads: int) -> Rate:
    task, model = ENDPOINTS[kind]
    loop = BareLoop(model, threads, exact=kind != INT8_SPARSE)
    return loop.best_rate(loop.encoded(texts, loop.query(QUESTION) if task == "rerank" else None))


async def measure_latency(count: int, threads: int) -> None:
    print(f"\nOne short query at a time, {count} times, one thread a call and {threads}.")
    print("Other work on the machine disturbs p10 less than p50, and processor time least.\n")
    print("| task | threads | p50 ms | bare | p10 ms | bare | p99 ms | processor ms | bare |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, used in itertools.product(("dense, fast", "dense, default", "sparse", INT8_SPARSE), (1, threads)):
        bare_loop = BareLoop(ENDPOINTS[kind][1], used, exact=kind != INT8_SPARSE)
        prompt = bare_loop.query_prompt if "dense" in kind else ""
        async with service_for(kind) as service:
            await create(service, kind, 1, used)
            path, _ = request_of(kind, [])
            query = {"input_type": "search"} if "dense" in kind else {}
            times: list[float] = []
            bare_times: list[float] = []
            processor = bare_processor = 0.0
            questions = itertools.cycle(QUESTIONS)
            # By turns, so that both find the machine as it is, but not call by call: each would find its weights
            # driven out of the cache by the other's.
            while len(times) < count:
                used_before = service.processor_seconds()
                for question in itertools.islice(questions, TURN):
                    started = time.perf_counter()
                    await service.call("POST", path, {"input": question} | query)
                    times.append(time.perf_counter() - started)
                processor += service.processor_seconds() - used_before
                used_before = time.process_time()
                bare_times += [bare_loop.latency(prompt + next(questions)) for _ in range(TURN)]
                bare_processor += time.process_time() - used_before
            figures = (
                *(sorted(seconds)[len(seconds) // part] for part in (2, 10) for seconds in (times, bare_times)),
                sorted(times)[int(len(times) * 0.99)],
                processor / len(times),
                bare_processor / len(bare_times),
            )
            print(f"| {kind} | {used} | {' | '.join(f'{figure * 1e3:.2f}' for figure in figures)} |", flush=True)


async def measure_memory(texts: list[str], requests: int) -> None:
    """Memory of a fresh service with the sparse and the fast dense model, over many requests."""
    async with started_service() as service:
        for kind in ("sparse", "dense, fast"):
            await create(service, kind, available_cpus())
        print(
            f"\nMemory over {requests} requests, sparse and fast dense loaded: {service.memory():.0f} MB at the start"
        )
        print("\n| requests | MB |\n|---|---|")
        feed = enumerate(itertools.cycle(texts))
        kinds: list[Callable[[str], tuple[str, dict[str, Any]]]] = [
            lambda text: request_of("sparse", [text[:200]]),
            lambda text: request_of("dense, fast", [text[:200]]),
            lambda text: request_of("dense, fast", [text]),
            lambda text: request_of("sparse", [text]),
        ]
        # Nine requests in ten are short, so that ten thousand of them take minutes, not an hour.
        order = [0, 1] * 9 + [2, 3]
        done = 0

        async def caller(share: int) -> None:
            nonlocal done
            for _ in range(share):
                number, text = next(feed)
                await service.call("POST", *kinds[order[number % len(order)]](text))
                done += 1

        for _ in range(10):
            await asyncio.gather(*(caller(requests // 80) for _ in range(8)))
            print(f"| {done} | {service.memory():.0f} |", flush=True)


def read_texts(path: Path | None) -> list[str]:
    if path is not None:
        return [text for text in Collection.read(path).documents.values() if text]
    corpus = Path(__file__).parent.parent / "demo" / "corpus" / "passages.jsonl"
    return [json.loads(line)["text"] for line in corpus.read_text().splitlines()]


async def run(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    if task is not None:  # so that the service ends with this program
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    texts = read_texts(options.texts)
    words = statistics.mean(len(text.split()) for text in texts)
    print(f"{len(texts)} texts of {words:.0f} words on average, {available_cpus()} cores")
    parts = options.parts.split(",")
    if "latency" in parts:
        await measure_latency(300, available_cpus())
    if "rates" in parts:
        await measure_rates(texts[:SAMPLE], options.task or list(ENDPOINTS), options.seconds, available_cpus())
    if "memory" in parts:
        await measure_memory(texts, options.requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="?", help="directory of the Cranfield collection")
    parser.add_argument("--seconds", type=float, default=10, help="length of each load")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of the memory run")
    parser.add_argument("--task", action="append", choices=ENDPOINTS, help="whose rate; repeatable, default all")
    parser.add_argument("--parts", default="latency,rates,memory", help="what to measure, separated by commas")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
