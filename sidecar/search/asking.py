"""Judged questions put to the engine: one retriever's rankings of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sidecar.core.errors import RelayedError
from sidecar.elastic.version import ServerVersion
from sidecar.search.engine import Search, SearchEngine
from sidecar.search.executor import Executor
from sidecar.search.query_templates import Template, filled, window_of

AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Scored:
    """A document in a ranking."""

    id: str
    score: float


Rankings = Mapping[str, Sequence[Scored]]
"""What was found for each question, best first."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks questions about one index expression. ``id_field``: the field with the judgments' ids, else ``_id``."""

    engine: SearchEngine
    executor: Executor
    version: ServerVersion
    index: str
    id_field: str | None = None

    async def rankings(self, template: Template, questions: Mapping[str, str], depth: int) -> dict[str, list[Scored]]:
        """The first ``depth`` documents of every question, a few questions at a time.

        Raises:
            SidecarError: a search fails, with its cause.
        """
        # A local reranker has all cores busy with one question: several at once would run out of their time.
        turn = asyncio.Semaphore(1 if b'"text_similarity_reranker"' in orjson.dumps(template) else AT_ONCE)

        async def one(text: str) -> list[Scored]:
            async with turn:
                hits = await self.hits(template, text, depth)
            return [Scored(self.id_of(hit), float(hit.get("_score") or 0.0)) for hit in hits]

        tasks = [asyncio.create_task(one(text)) for text in questions.values()]
        try:
            return dict(zip(questions, await asyncio.gather(*tasks), strict=True))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def hits(
        self, template: Template, text: str, depth: int, *, explain: bool = False, source: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The hits of one question; ``explain`` adds ``_sidecar`` to each.

        Raises:
            SidecarError: the search fails, or shards of it do: half an answer is none to judge.
        """
        body: dict[str, Any] = {
            "retriever": filled(template, text),
            "size": window_of(template, depth),
            "_source": list(source) or False,
        }
        if self.id_field is not None:
            body["fields"] = [self.id_field]
        parameters = {"allow_partial_search_results": "false"} | ({"sidecar.explain": "true"} if explain else {})
        outcome = await self.engine.answer(Search(self.index, body, parameters), self.executor, self.version)
        answer = outcome.value if outcome.reply is None else outcome.reply.json()
        if outcome.status >= 400:
            raise RelayedError(outcome.status, answer)
        found: list[dict[str, Any]] = answer["hits"]["hits"]
        return found

    def id_of(self, hit: Mapping[str, Any]) -> str:
        """The id by which the judgments know a hit."""
        if self.id_field is None:
            return str(hit["_id"])
        values = (hit.get("fields") or {}).get(self.id_field) or [hit["_id"]]
        return str(values[0])
