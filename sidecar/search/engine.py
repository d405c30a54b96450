"""Searches whose retrievers the cluster cannot or may not run: planned, executed, answered as the cluster would.

tree ─┬► vectors ───────┬► one _msearch of all legs ─► fusion, reranking ─► one search for the page
      └► point in time ─┘
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import structlog

from sidecar.core.errors import IllegalArgumentError, RelayedError, ResourceNotFoundError
from sidecar.elastic.index_catalog import SEARCHED
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.search.bodies import whole_number, write_object
from sidecar.search.executor import Executor, Reply
from sidecar.search.failures import with_own_reasons
from sidecar.search.matching_tokens import add_matching_tokens
from sidecar.search.own_parameters import EXPLAIN, OWN_PARAMETERS, PLAN, is_asked_for
from sidecar.search.preparation import Catalog, Preparation, known_vectors
from sidecar.search.retrievers.counting import TARGET, page_beside_count, page_with_total
from sidecar.search.retrievers.fusing import Found
from sidecar.search.retrievers.parsing import TreeParser, needs_us
from sidecar.search.retrievers.planning import Plan, plan_of, shown_plan
from sidecar.search.retrievers.reading import Locate, nowhere
from sidecar.search.retrievers.requests import Requests, shows_with_hits
from sidecar.search.retrievers.running import NO_SHARD_FIRST, Evaluation, rerank_error
from sidecar.search.retrievers.tree import Node, Over, Reranked, walk
from sidecar.search.retrievers.validation import check_search
from sidecar.search.rewriting import Context, Rewriter
from sidecar.search.scope import SearchScope

_log = structlog.stdlib.get_logger(__name__)

KEEP_ALIVE = "1m"
DEFAULT_SIZE = 10
# What says which indices and shards are searched: it belongs to the point in time.
_OF_THE_INDICES = frozenset(
    {"ignore_unavailable", "allow_no_indices", "expand_wildcards", "ignore_throttled", "routing", "preference"}
)
_OF_THE_LEGS = frozenset({"search_type", "request_cache", "allow_partial_search_results"})
"""Parameters that the cluster does not know."""
_NOT_FOR_THE_PAGE = (_OF_THE_INDICES | OWN_PARAMETERS) | {
    "index",
    "size",
    "from",
    "source",
    "source_content_type",
    "ccs_minimize_roundtrips",
}
_TOOK = re.compile(rb'("took"\s*:\s*)\d+')


@dataclass(frozen=True, slots=True)
class Search:
    """One search: index expression (decoded), parsed body, parameters of the address, decoded."""

    expression: str
    body: dict[str, Any]
    parameters: Mapping[str, str] = field(default_factory=dict)
    locate: Locate = nowhere


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer: as the cluster gave it (``reply``), or a ``value`` where something was added to it."""

    status: int
    reply: Reply | None = None
    value: Any = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PointInTime:
    """What searches name in ``pit``; ``shards`` is how many it is of, where that is known."""

    body: Mapping[str, Any]
    shards: int | None = None


def _expanded(search: Search) -> str:
    return search.parameters.get("expand_wildcards", SEARCHED)


def is_ours(body: Mapping[str, Any]) -> bool:
    """Whether a search has a retriever tree that the cluster is not to run by itself."""
    return needs_us(body.get("retriever"))


def wants_plan(parameters: Mapping[str, str]) -> bool:
    """Whether a search is to be told how it would be done, and not done."""
    return is_asked_for(PLAN, parameters)


class SearchEngine:
    """Executes retriever trees for callers of the API and of the command line alike."""

    def __init__(self, catalog: Catalog, embedder: Embedder) -> None:
        self._preparation = Preparation(catalog, embedder)
        self._embedder = embedder
        self._closing: set[asyncio.Task[Any]] = set()

    async def search(self, search: Search, executor: Executor, version: ServerVersion = NEWEST) -> Outcome:
        """Answers one search with a tree of ours.

        Raises:
            SidecarError: with Elasticsearch's words; ``RelayedError`` for what the cluster itself said.
        """
        body = search.body
        scope = await self._preparation.scope(search.expression, body, version, _expanded(search))
        tree = TreeParser(scope, search.locate).parse(body["retriever"])
        check_search(tree, body, search.parameters)
        plan = plan_of(tree, body, search.parameters)
        await self._check_rerankers(tree, executor)
        if wants_plan(search.parameters):
            requests = Requests(await self._rewriter(scope, plan, body), [view.name for view in scope.views])
            return Outcome(200, value=orjson.loads(write_object(shown_plan(plan, requests))))
        if body.get("pit") is not None:
            rewriter = await self._rewriter(scope, plan, body)
            return await self._run(search, executor, plan, scope, rewriter, PointInTime(body["pit"]))
        opening = asyncio.create_task(self._open(search, executor))
        try:
            rewriter = await self._rewriter(scope, plan, body)
            # Shielded, so that a caller who leaves meanwhile leaves nothing open.
            return await self._run(search, executor, plan, scope, rewriter, await asyncio.shield(opening))
        finally:
            self._close(executor, opening)

    async def answer(self, search: Search, executor: Executor, version: ServerVersion = NEWEST) -> Outcome:
        """Answers any search: a tree of ours, or one that the cluster runs by itself once its texts are vectors.

        Raises:
            SidecarError: as :meth:`search`.
        """
        if is_ours(search.body):
            return await self.search(search, executor, version)
        scope = await self._preparation.scope(search.expression, search.body, version, _expanded(search))
        size = whole_number(search.parameters.get("size", search.body.get("size")))
        shown = DEFAULT_SIZE if size is None else size
        rewriter = await self._preparation.rewriter(scope, search.body, shown)
        body = rewriter.body(search.body, shown)
        warnings = (*rewriter.warnings, *scope.complaints)
        if wants_plan(search.parameters):
            return Outcome(200, value=orjson.loads(write_object({"forward": body})), warnings=warnings)
        tells = is_asked_for(EXPLAIN, search.parameters)
        path = f"/{quote(search.expression, safe=',*')}/_search" if search.expression else "/_search"
        kept = {name: value for name, value in search.parameters.items() if name not in OWN_PARAMETERS}
        target = f"{path}?{urlencode(kept)}" if kept else path
        is_shown = not (rewriter.planted or tells)
        sent = write_object({**body, "explain": True} if tells else body)
        reply = await executor.call("POST", target, sent, as_shown=is_shown)
        if is_shown:
            return Outcome(reply.status, reply=reply, warnings=warnings)
        value = with_own_reasons(reply.json(), rewriter.planted)
        if tells:
            add_matching_tokens(value, keeps_explanation=bool(body.get("explain")))
        return Outcome(reply.status, value=value, warnings=warnings)

    async def _rewriter(self, scope: SearchScope, plan: Plan, body: Mapping[str, Any]) -> Rewriter:
        """A rewriter with all vectors of the tree and of the rest of the body."""
        collecting = Rewriter(scope)
        requests = Requests(collecting, [view.name for view in scope.views])
        for leg in plan.legs:
            requests.leg(leg)
        collecting.body(dict(plan.rest), plan.size)
        for node in walk(plan.tree):
            if isinstance(node, Over):
                collecting.retriever({node.kind: dict(node.body)}, _context(plan))
        await self._preparation.refuse_unknown(collecting)
        wants = collecting.wants
        vectors = known_vectors(await self._preparation.vectors(wants), wants)
        return Rewriter(scope, vectors)

    async def _check_rerankers(self, tree: Node, executor: Executor) -> None:
        """Raises where a reranker's endpoint is unknown here and in the cluster, or is none."""
        for node in walk(tree):
            if not isinstance(node, Reranked):
                continue
            try:
                await self._embedder.profile(node.inference_id)
            except ResourceNotFoundError as error:
                if node.inference_id:
                    reply = await executor.call("GET", f"/_inference/{quote(node.inference_id, safe='')}")
                    if reply.status == 200:
                        raise ForeignEndpointError(node.inference_id) from error
                if node.chunks is not None and node.chunks.settings is None:
                    raise  # the size of its chunks is asked for before anything runs
                if not (node.allows_failures or node.keeps_order):
                    raise rerank_error(node, error) from error

    # --- running

    async def _run(
        self,
        search: Search,
        executor: Executor,
        plan: Plan,
        scope: SearchScope,
        rewriter: Rewriter,
        pit: PointInTime,
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        explain = plan.explain or plan.details
        is_one_shard = pit.shards == 1
        requests = Requests(rewriter, [view.name for view in scope.views], explain, is_one_shard)
        header = {name: value for name, value in search.parameters.items() if name in _OF_THE_LEGS}
        evaluation = Evaluation(
            plan.tree,
            executor,
            self._embedder,
            requests,
            pit.body,
            header,
            equal_is_one=scope.version.since(None, (9, 2)),
            is_one_shard=is_one_shard and scope.counts_once,
        )
        await evaluation.run_legs(plan.legs)
        outcome = await self._page(search, executor, plan, evaluation)
        took = int((loop.time() - started) * 1000)
        warnings = (*rewriter.warnings, *evaluation.warnings, *scope.complaints)
        if outcome.reply is not None:
            body = _TOOK.sub(rb"\g<1>%d" % took, outcome.reply.body, count=1)
            return replace(outcome, reply=replace(outcome.reply, body=body), warnings=warnings)
        if isinstance(outcome.value, dict) and "took" in outcome.value:
            outcome.value["took"] = took
        return replace(outcome, warnings=warnings)

    async def _page(self, search: Search, executor: Executor, plan: Plan, evaluation: Evaluation) -> Outcome:
        tree, requests = plan.tree, evaluation.requests
        body = {**requests.rewriter.body(dict(plan.rest), plan.size), "pit": evaluation.pit}
        if not isinstance(tree, Over) or tree.kind == "rescorer":
            # A rescorer sees what its child ranked alone, not what else is counted.
            return await self._ranked_page(search, executor, plan, evaluation, body)
        found = await evaluation.ranking(tree.child, tree.filters)
        tails = requests.tails(tree.child, plan.size, tree.filters, evaluation.found)
        body["retriever"] = requests.rewriter.retriever(requests.over(tree, found, tails, ()), _context(plan))
        return await self._shown_page(search, executor, plan, evaluation, {**body, **plan.paging}, found)

    async def _ranked_page(
        self, search: Search, executor: Executor, plan: Plan, evaluation: Evaluation, body: dict[str, Any]
    ) -> Outcome:
        tree, requests = plan.tree, evaluation.requests
        found = await evaluation.ranking(tree)
        scored = plan.scored(found)
        size = max(0, min(plan.size, len(found) - plan.start))
        body |= {"from": plan.start, "size": size}
        if "indices_boost" in body:
            body["indices_boost"] = _without_boost(body["indices_boost"])
        least = plan.min_score(tree)
        if least is not None:
            body["min_score"] = least
        matching = requests.tails(tree, size, (), evaluation.found) if plan.needs_tails(len(found)) else None
        is_matched = matching is not None and evaluation.matches_found(matching)
        counts_apart = size > 0 and plan.counts_apart() and not requests.rewriter.planted
        if matching is not None and counts_apart:
            shown = matching if shows_with_hits(matching) else None
            query = requests.page(tree, found, scored, shown, is_matched=is_matched, only_scored=True)
            page = {**body, "query": query}
            counted = requests.matched(found, matching, is_matched=is_matched)
            if outcome := await _page_beside_count(search, executor, page, counted):
                return outcome
        body["query"] = requests.page(tree, found, scored, matching, is_matched=is_matched)
        return await self._shown_page(search, executor, plan, evaluation, body, found)

    async def _shown_page(
        self,
        search: Search,
        executor: Executor,
        plan: Plan,
        evaluation: Evaluation,
        body: dict[str, Any],
        found: Sequence[Found],
    ) -> Outcome:
        """The cluster's answer to the last search, with what was asked for beside it."""
        planted = evaluation.requests.rewriter.planted
        is_shown = not (plan.adds_to_hits or planted)
        target = "/_search" + _page_query(search, has_own_pit="pit" in search.body)
        reply = await executor.call("POST", target, write_object(body), as_shown=is_shown)
        if is_shown or (reply.status >= 400 and not planted):
            return Outcome(reply.status, reply=reply)
        value = with_own_reasons(reply.json(), planted)
        if plan.adds_to_hits and reply.status < 400:
            plan.add_to_hits(value, found, evaluation)
        return Outcome(reply.status, value=value)

    # --- the point in time

    async def _open(self, search: Search, executor: Executor) -> PointInTime:
        parameters = {name: value for name, value in search.parameters.items() if name in _OF_THE_INDICES}
        target = f"/{quote(search.expression or '_all', safe=',*')}/_pit?" + urlencode(
            {"keep_alive": KEEP_ALIVE, **parameters}
        )
        reply = await executor.call("POST", target)
        if reply.status != 200:
            raise RelayedError(reply.status, reply.json() or {"error": None})
        opened = reply.json()
        body = {"id": opened["id"], "keep_alive": KEEP_ALIVE}
        return PointInTime(body, opened.get("_shards", {}).get("total"))  # nodes before 8.16 do not say

    def _close(self, executor: Executor, opening: asyncio.Task[PointInTime]) -> None:
        """Closes the point in time, once it is open, beside the answer, which does not wait for it."""
        task = asyncio.create_task(_closed(executor, opening))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Waits for points in time that are being closed."""
        await asyncio.gather(*self._closing, return_exceptions=True)


class ForeignEndpointError(IllegalArgumentError):
    """An endpoint that the cluster has and the sidecar has not: the request is the cluster's."""

    def __init__(self, inference_id: str) -> None:
        super().__init__(f"[{inference_id}] is an endpoint of the cluster")


async def _closed(executor: Executor, opening: asyncio.Task[PointInTime]) -> None:
    await asyncio.wait({opening})
    if opening.cancelled() or opening.exception() is not None:
        return
    try:
        await executor.call("DELETE", "/_pit", write_object({"id": opening.result().body["id"]}))
    except Exception as error:  # of whatever client the executor has; the cluster closes it when its time is over
        _log.warning("point_in_time_not_closed", cause=f"{type(error).__name__}: {error}")


async def _page_beside_count(
    search: Search, executor: Executor, page: Mapping[str, Any], counted: Mapping[str, Any]
) -> Outcome | None:
    """The page with what was counted beside it; ``None`` where that takes one search for both."""
    if "pit" in search.body or not search.parameters.keys() <= _NOT_FOR_THE_PAGE:
        return None  # the answer has another shape
    lines = page_beside_count(page, counted)
    reply = await executor.call("POST", TARGET, lines, content_type="application/x-ndjson", as_shown=True)
    body = page_with_total(reply.body) if reply.status == HTTPStatus.OK else None
    return None if body is None else Outcome(reply.status, reply=replace(reply, body=body))


def _context(plan: Plan) -> Context:
    return Context(plan.size)


def _without_boost(boosts: Any) -> Any:
    """``indices_boost`` that changes no scores, as beside a compound retriever; what it names is still checked."""
    if isinstance(boosts, list):
        return [_without_boost(boost) for boost in boosts]
    if not isinstance(boosts, dict):
        return boosts
    return {name: 1.0 if isinstance(boost, int | float) and boost >= 0 else boost for name, boost in boosts.items()}


def _page_query(search: Search, *, has_own_pit: bool) -> str:
    kept = {name: value for name, value in search.parameters.items() if name not in _NOT_FOR_THE_PAGE}
    if "filter_path" not in kept and not has_own_pit:
        kept["filter_path"] = "-pit_id"
    kept.setdefault("pre_filter_shard_size", NO_SHARD_FIRST)
    return "?" + urlencode(kept)
