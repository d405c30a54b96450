"""What a search through the front costs beside its parts called one by one, and beside a backfill, in one run.

    python -m bench.search [--elasticsearch URL] [--queries 200] [--seconds 20]

The parts are one embedding of the question for each vector leg (side by side, as the front makes them), one
``_msearch`` of the same legs with these vectors sent straight to the node, and where hits are reranked one rerank call
of as many texts. Both ways get the same questions by turns, no two alike, and nothing is remembered (no cache).
Processor time is the sidecar's own in both ways, then that of all three together: sidecar, node and caller, as the
caller of the parts reads hundreds of hits that the front otherwise reads. One caller, then 16.

Then the fused search, one at a time, alone and while ``sidecar backfill`` fills another index as fast as it can, by
turns. Any Elasticsearch that knows the ``sparse_vector`` query will do. The indices are the program's own and are
deleted at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import aiohttp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.search_kinds import DENSE, KINDS, MAPPING, RERANK_WINDOW, RERANKER, SPARSE, Kind, passages, questions
from bench.service import Service, started_service

ROUNDS = 4
CALLERS = (1, 16)
TURNS = 2
# A node reckons its own processor time once a second.
_NODE_SECONDS = 1.1
NO_CACHE = {"SIDECAR_CACHE_SIZE": "0", "SIDECAR_CACHE_DISK_SIZE": "0"}
_EMBEDDINGS: Mapping[str, tuple[str, str, dict[str, str]]] = {
    "sparse": ("sparse_embedding", SPARSE, {}),
    "dense": ("text_embedding", DENSE, {"input_type": "search"}),
}
_Search = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class Taken:
    """Seconds of each search, and the processor seconds for all of them: the sidecar's, and everybody's."""

    seconds: list[float] = field(default_factory=list)
    processor: float = 0.0
    all_processors: float = 0.0

    def percentile(self, which: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.seconds, which)) * 1000

    def processor_each(self) -> float:
        """Milliseconds."""
        return self.processor / len(self.seconds) * 1000

    def all_each(self) -> float:
        """Milliseconds."""
        return self.all_processors / len(self.seconds) * 1000


@dataclass(frozen=True, slots=True)
class Stage:
    """The sidecar in front of the node, the node itself, and what the index holds."""

    service: Service
    node: aiohttp.ClientSession
    index: str
    texts: Sequence[str]

    @property
    def backlog(self) -> str:
        """The index that waits for its vectors."""
        return f"{self.index}-backlog"

    async def others_seconds(self) -> float:
        """Processor time that the node and this program have used."""
        own = time.process_time()
        await asyncio.sleep(_NODE_SECONDS)
        async with self.node.get("/_nodes/_local/stats/process") as response:
            (node,) = (await response.json())["nodes"].values()
        return own + float(node["process"]["cpu"]["total_in_millis"]) / 1000

    async def through_front(self, kind: Kind, question: str) -> None:
        """Raises ``RuntimeError`` where nothing is found, which would be no search to measure."""
        answer = await self.service.call("POST", f"/{self.index}/_search", kind.request(question))
        if not json.loads(answer)["hits"]["hits"]:
            raise RuntimeError(f"{kind.name}: no hits")

    async def by_parts(self, kind: Kind, question: str) -> None:
        """Raises ``RuntimeError`` where a leg fails."""
        legs = [leg for leg in kind.legs if leg in _EMBEDDINGS]
        made = await asyncio.gather(*(self._embedded(leg, question) for leg in legs))
        bodies = kind.direct(question, dict(zip(legs, made, strict=True)))
        lines = "".join(f"{json.dumps(line)}\n" for body in bodies for line in ({"index": self.index}, body))
        answers = json.loads(await sent(self.node, "POST", "/_msearch", lines))["responses"]
        if failed := [answer["error"] for answer in answers if "error" in answer]:
            raise RuntimeError(f"{kind.name}: {failed[0]}")
        if kind.is_reranked:
            hits = answers[-1]["hits"]["hits"][:RERANK_WINDOW]
            body = {"query": question, "input": [self.texts[int(hit["_id"])] for hit in hits]}
            await self.service.call("POST", f"/_inference/rerank/{RERANKER}", body)

    async def _embedded(self, leg: str, question: str) -> Any:
        task, endpoint, options = _EMBEDDINGS[leg]
        answer = await self.service.call("POST", f"/_inference/{task}/{endpoint}", {"input": question, **options})
        return json.loads(answer)[task][0]["embedding"]


async def sent(session: aiohttp.ClientSession, method: str, path: str, lines: str) -> bytes:
    """The answer to lines of JSON, or to one. Raises ``RuntimeError`` for any status but 200."""
    form = {"Content-Type": "application/x-ndjson" if lines.endswith("\n") else "application/json"}
    async with session.request(method, path, data=lines.encode(), headers=form) as response:
        content = await response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
        return content


@asynccontextmanager
async def started_stage(url: str, documents: int, backlog: int) -> AsyncIterator[Stage]:
    """Fills the index through the front, and its backlog past it."""
    settings = {"SIDECAR_FRONT": "true", "SIDECAR_ELASTICSEARCH_URL": url}
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(started_service(**settings))
        node = await stack.enter_async_context(aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)))
        stage = Stage(service, node, f"bench-search-{os.getpid()}", passages(documents, 1))
        for index, session, texts in (
            (stage.index, service.session, stage.texts),
            (stage.backlog, node, passages(backlog, 2)),
        ):
            stack.push_async_callback(_deleted, node, index)
            await sent(session, "PUT", f"/{index}", json.dumps({"mappings": MAPPING}))
            await _fill(session, index, texts)
        yield stage


async def _deleted(node: aiohttp.ClientSession, index: str) -> None:
    async with node.delete(f"/{index}?ignore_unavailable=true") as response:
        await response.read()


async def _fill(session: aiohttp.ClientSession, index: str, texts: Sequence[str]) -> None:
    numbered = enumerate(texts)
    while batch := list(itertools.islice(numbered, 200)):
        lines = "".join(f'{{"index":{{"_id":"{place}"}}}}\n{json.dumps({"text": text})}\n' for place, text in batch)
        answer = json.loads(await sent(session, "POST", f"/{index}/_bulk?refresh=true", lines))
        if answer["errors"]:
            raise RuntimeError(f"[{index}] could not be filled: {answer['items'][0]}")


async def measure(stage: Stage, search: _Search, asked: Sequence[str], callers: int, taken: Taken) -> None:
    """All questions by so many callers, each its next one as soon as the last is answered."""
    waiting = iter(asked)
    others = await stage.others_seconds()
    used = stage.service.processor_seconds()

    async def caller() -> None:
        for question in waiting:
            started = time.perf_counter()
            await search(question)
            taken.seconds.append(time.perf_counter() - started)

    await asyncio.gather(*(caller() for _ in range(callers)))
    own = stage.service.processor_seconds() - used
    taken.processor += own
    taken.all_processors += own + await stage.others_seconds() - others


async def side_by_side(
    stage: Stage, kind: Kind, feed: Iterator[str], queries: int, callers: int
) -> tuple[Taken, Taken]:
    """``queries`` searches each way: through the front, and by parts."""

    async def front(question: str) -> None:
        await stage.through_front(kind, question)

    async def parts(question: str) -> None:
        await stage.by_parts(kind, question)

    taken = (Taken(), Taken())
    for search in (front, parts):
        await measure(stage, search, list(itertools.islice(feed, callers)), callers, Taken())
    for _ in range(ROUNDS):
        asked = list(itertools.islice(feed, max(callers, queries // ROUNDS)))
        for search, one in zip((front, parts), taken, strict=True):
            await measure(stage, search, asked, callers, one)
    return taken


async def beside_backfill(stage: Stage, url: str, feed: Iterator[str], seconds: float) -> tuple[Taken, Taken]:
    """The fused search alone, and while a backfill runs."""
    kind = next(kind for kind in KINDS if kind.joined_by == "linear")
    alone, beside = Taken(), Taken()

    async def searches(taken: Taken, running: Callable[[], bool]) -> None:
        ends = time.perf_counter() + seconds / TURNS
        while time.perf_counter() < ends and running():
            started = time.perf_counter()
            await stage.through_front(kind, next(feed))
            taken.seconds.append(time.perf_counter() - started)

    for _ in range(TURNS):
        await searches(alone, lambda: True)
        with tempfile.TemporaryDirectory() as data_dir:
            process = _backfill(stage.backlog, url, data_dir)
            try:
                await _writes(stage, process)
                await searches(beside, lambda: process.poll() is None)  # noqa: B023  (used up within this turn)
            finally:
                process.terminate()
                process.wait(60)
    return alone, beside


def _backfill(index: str, url: str, data_dir: str) -> subprocess.Popen[bytes]:
    settings = {"SIDECAR_ELASTICSEARCH_URL": url, "SIDECAR_DATA_DIR": data_dir, "SIDECAR_LOG_LEVEL": "warning"}
    return subprocess.Popen(
        [sys.executable, "-m", "sidecar", "backfill", index],
        env=os.environ | NO_CACHE | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _writes(stage: Stage, process: subprocess.Popen[bytes]) -> None:
    """Waits until the backfill has written its next documents; raises ``RuntimeError`` when it ends before."""
    before = await filled(stage)
    while await filled(stage) == before:
        if process.poll() is not None:
            raise RuntimeError(f"the backfill ended with status {process.returncode}; --backlog may be too small")
        await asyncio.sleep(0.5)


async def filled(stage: Stage) -> int:
    """Documents of the backlog that have their vectors."""
    await sent(stage.node, "POST", f"/{stage.backlog}/_refresh", "")
    exists = json.dumps({"query": {"exists": {"field": "vector"}}})
    count: int = json.loads(await sent(stage.node, "POST", f"/{stage.backlog}/_count", exists))["count"]
    return count


def main(
    elasticsearch: Annotated[
        str, typer.Option(envvar="ELASTICSEARCH_URL", help="A node for the program's own indices.")
    ] = "http://localhost:9200",
    queries: Annotated[int, typer.Option(help="Searches per kind, way and number of callers.")] = 200,
    documents: Annotated[int, typer.Option(help="Passages that are searched.")] = 400,
    backlog: Annotated[int, typer.Option(help="Passages that the backfill fills.")] = 5000,
    seconds: Annotated[float, typer.Option(help="Of searches alone, and of searches beside the backfill.")] = 20,
) -> None:
    """Print both tables."""
    asyncio.run(_run(elasticsearch, queries, documents, backlog, seconds))


async def _run(url: str, queries: int, documents: int, backlog: int, seconds: float) -> None:
    feed = questions()
    async with started_stage(url, documents, backlog) as stage:
        for callers in CALLERS:
            found = [(kind, *await side_by_side(stage, kind, feed, queries, callers)) for kind in KINDS]
            _print_ways(found, callers)
        alone, beside = await beside_backfill(stage, url, feed, seconds)
        _print_backfill(alone, beside, await filled(stage))


def _print_ways(found: Sequence[tuple[Kind, Taken, Taken]], callers: int) -> None:
    table = Table(title=f"through the front / by parts, ms, {callers} caller{'s' if callers > 1 else ''}")
    for column in ("", "p50", "added", "ratio", "p99", "ratio", "processor", "ratio", "of all", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for kind, front, parts in found:
        cells: list[str] = []
        for which in (50, 99):
            here, there = front.percentile(which), parts.percentile(which)
            added = [f"{here - there:+.1f}"] if which == 50 else []
            cells += [f"{here:.1f} / {there:.1f}", *added, f"{here / there:.2f}"]
        here, there = front.processor_each(), parts.processor_each()
        # the parts of a forwarded search do not touch the sidecar
        ratio = f"{here / there:.2f}" if there else "-"
        cells += [f"{here:.1f} / {there:.1f}", ratio]
        here, there = front.all_each(), parts.all_each()
        table.add_row(kind.name, *cells, f"{here:.1f} / {there:.1f}", f"{here / there:.2f}")
    Console(width=150).print(table)


def _print_backfill(alone: Taken, beside: Taken, documents: int) -> None:
    table = Table(title=f"linear of three, one caller; the backfill wrote {documents} documents")
    for column in ("", "searches", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    for name, taken in (("alone", alone), ("beside a backfill", beside)):
        table.add_row(name, str(len(taken.seconds)), f"{taken.percentile(50):.1f}", f"{taken.percentile(99):.1f}")
    ratios = (beside.percentile(which) / alone.percentile(which) for which in (50, 99))
    table.add_row("ratio", "", *(f"{ratio:.2f}" for ratio in ratios))
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
