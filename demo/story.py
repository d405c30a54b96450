"""What the demo does, step by step.

endpoints over HTTP -> passages indexed -> index bound, backfill -> questions asked in six ways -> tables
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from rich.console import Console
from rich.progress import track

from demo.judged_corpus import Passage, Question, passages, questions
from demo.searches import (
    DENSE_ENDPOINT,
    DENSE_FIELD,
    INDEX,
    RERANK_ENDPOINT,
    SPARSE_ENDPOINT,
    SPARSE_FIELD,
    Result,
    ask,
    query_tokens,
)
from demo.tables import explanation, legend, score_table, side_by_side

WHY = (
    "Rank fusion sees places only: a first place among weak hits counts as much as one among strong ones,",
    "so the two lists that miss these paraphrases pull the dense one down. The default weighs the lists and",
    "keeps the distances between scores; its weights are not fitted to these questions. The reranker here is",
    "late interaction with the same dense model, which helps on this corpus and hardly on published ones.",
)
SHOWCASE = ("q24", "q12", "q06", "q16")
EXPLAINED = "q16"

_MAPPINGS = {
    "properties": {
        "id": {"type": "keyword"},
        "title": {"type": "text", "analyzer": "english"},
        "text": {"type": "text", "analyzer": "english"},
        "topic": {"type": "keyword"},
    }
}


class StoryError(Exception):
    """A step failed; the text says which and why."""


class Story:
    """One telling. `sidecar_url` and `elasticsearch_url` answer; `environment` is for commands."""

    def __init__(self, console: Console, sidecar_url: str, elasticsearch_url: str, environment: dict[str, str]) -> None:
        self._console = console
        self._sidecar_url = sidecar_url
        self._elasticsearch_url = elasticsearch_url
        self._environment = environment
        self._step = 0

    async def tell(self, *, keep: bool = False, asked: Sequence[Question] | None = None) -> list[Result]:
        """All steps, with all questions or those `asked`; index and endpoints are removed at the end unless `keep`."""
        async with (
            AsyncElasticsearch(self._elasticsearch_url, request_timeout=60) as elasticsearch,
            AsyncElasticsearch(self._sidecar_url, request_timeout=60) as sidecar,
        ):
            try:
                await self._remove(elasticsearch, sidecar)
                await self._create_endpoints(sidecar)
                corpus = passages()
                await self._index(elasticsearch, corpus)
                await self._backfill()
                await elasticsearch.indices.refresh(index=INDEX)
                await self._check(elasticsearch, len(corpus))
                results = await self._ask(sidecar, questions() if asked is None else asked)
                await self._show(sidecar, results, {passage.id: passage for passage in corpus})
                return results
            finally:
                if not keep:
                    await self._remove(elasticsearch, sidecar)

    async def _create_endpoints(self, sidecar: AsyncElasticsearch) -> None:
        self._heading("Three endpoints, created over HTTP")
        workers = min(2, os.cpu_count() or 1)
        for task_type, inference_id, model_id in (
            ("sparse_embedding", SPARSE_ENDPOINT, "splade-tiny"),
            ("text_embedding", DENSE_ENDPOINT, "bge-small-en-v1.5"),
            ("rerank", RERANK_ENDPOINT, "bge-small-en-v1.5"),
        ):
            settings: dict[str, Any] = {"model_id": model_id, "num_allocations": workers, "num_threads": 1}
            await sidecar.inference.put(
                task_type=task_type,
                inference_id=inference_id,
                inference_config={"service": "elasticsearch", "service_settings": settings},
            )
            self._say(
                f"PUT _inference/{task_type}/{inference_id}   [dim]{model_id}, in the sidecar's own process[/dim]"
            )

    async def _index(self, elasticsearch: AsyncElasticsearch, corpus: Sequence[Passage]) -> None:
        self._heading(f"{len(corpus)} passages about the sea, indexed without vectors")
        await elasticsearch.indices.create(
            index=INDEX, mappings=_MAPPINGS, settings={"number_of_shards": 1, "number_of_replicas": 0}
        )
        actions: list[dict[str, Any]] = [{"_index": INDEX, "_id": p.id, "_source": vars(p)} for p in corpus]
        await async_bulk(elasticsearch, actions, refresh=True)

    async def _backfill(self) -> None:
        self._heading("Every passage gets a sparse_vector and a dense_vector")
        maps = (f"text:{SPARSE_FIELD}={SPARSE_ENDPOINT}", f"text:{DENSE_FIELD}={DENSE_ENDPOINT}")
        await self._command("bind", INDEX, *(word for each in maps for word in ("--map", each)))
        await self._command("backfill", INDEX)

    async def _command(self, *command: str) -> None:
        self._say(f"$ sidecar {' '.join(command)}")
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sidecar", *command, env=self._environment)
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        if status != 0:
            raise StoryError(f"sidecar {command[0]} ended with status {status}")

    async def _check(self, elasticsearch: AsyncElasticsearch, count: int) -> None:
        for field in (SPARSE_FIELD, DENSE_FIELD):
            found = (await elasticsearch.count(index=INDEX, query={"exists": {"field": field}}))["count"]
            if found != count:
                raise StoryError(f"{found} of {count} passages have the field {field}")

    async def _ask(self, sidecar: AsyncElasticsearch, asked: Sequence[Question]) -> list[Result]:
        self._heading(f"{len(asked)} questions to the sidecar in front of the cluster, each in six ways")
        began = time.monotonic()
        at_once = asyncio.Semaphore(2)

        async def one(question: Question) -> Result:
            async with at_once:
                return await ask(sidecar, question)

        asking = [asyncio.ensure_future(one(question)) for question in asked]
        try:
            for result in track(asking, "  asking", console=self._console, transient=True):
                await result
        finally:
            for task in asking:
                task.cancel()
        self._say(
            "BM25, sparse, dense; the three by the default weights, by ranks alone; the default reranked"
            f"   [dim]{time.monotonic() - began:.1f} s[/dim]"
        )
        return [task.result() for task in asking]

    async def _show(self, sidecar: AsyncElasticsearch, results: Sequence[Result], corpus: dict[str, Passage]) -> None:
        by_id = {result.question.id: result for result in results}
        self._console.print()
        self._console.print(legend())
        for name in SHOWCASE:
            if name in by_id:
                self._console.print(side_by_side(by_id[name]))
        if explained := by_id.get(EXPLAINED):
            best = max(explained.question.judgements, key=lambda name: explained.question.judgements[name])
            asked = await query_tokens(sidecar, explained.question.text)
            self._console.print(explanation(explained, corpus[best], asked, await _tokens(sidecar, best)))
        self._console.print(score_table(results))
        for line in WHY:
            self._say(line)

    async def _remove(self, elasticsearch: AsyncElasticsearch, sidecar: AsyncElasticsearch) -> None:
        await elasticsearch.options(ignore_status=404).indices.delete(index=INDEX)
        for inference_id in (SPARSE_ENDPOINT, DENSE_ENDPOINT, RERANK_ENDPOINT):
            await sidecar.options(ignore_status=404).inference.delete(inference_id=inference_id)

    def _heading(self, text: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold blue]{self._step}.[/bold blue] [bold]{text}[/bold]")

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False)


async def _tokens(sidecar: AsyncElasticsearch, passage_id: str) -> dict[str, float]:
    """The stored token weights: named in the request, they come back from both lines."""
    answer = await sidecar.get(index=INDEX, id=passage_id, source_includes=[SPARSE_FIELD])
    value = answer["_source"][SPARSE_FIELD]
    return dict(value[0] if isinstance(value, list) else value)
