"""Runs a tree from its leaves up: one ``_msearch`` for all legs, fusion here, reranking by endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson

from sidecar.core.errors import ActionRequestValidationError, RelayedError, SidecarError, StatusError
from sidecar.core.javatext import java_text
from sidecar.core.tasks import TaskType
from sidecar.inference.embedder import Embedder
from sidecar.search.bodies import write_object
from sidecar.search.executor import Executor
from sidecar.search.failures import described, partial, with_own_reasons
from sidecar.search.reranking import positive_score
from sidecar.search.retrievers.chunk_scoring import best_chunks
from sidecar.search.retrievers.fusing import (
    LAST,
    Found,
    found_of,
    has_order,
    key_of,
    pinned_before,
    reciprocal_ranks,
    sort_found,
    weighted_scores,
)
from sidecar.search.retrievers.requests import BY_SCORE, Leg, Requests, over_window, without_name
from sidecar.search.retrievers.tree import LEAVES, Compound, Filters, Fused, Native, Node, Over, Pinned, Reranked, walk

_WANTED = (
    "responses.status,responses.error,responses._shards.failures,responses.hits.hits._index,responses.hits.hits._id,"
    "responses.hits.hits._routing,responses.hits.hits._score,responses.hits.hits.sort,responses.hits.hits.fields,responses.hits.hits._explanation"
)
# Shards that are looked at beforehand are put into another order, of which places among equals are made.
NO_SHARD_FIRST = str((1 << 31) - 1)
_TARGET = "/_msearch?" + urlencode({"filter_path": _WANTED, "pre_filter_shard_size": NO_SHARD_FIRST})
# Errors of a body's form: Elasticsearch finds them before anything runs, so they are not a leg's.
_OF_THE_FORM = frozenset(
    {"parsing_exception", "x_content_parse_exception", "named_object_not_found_exception", "json_parse_exception"}
    | {"action_request_validation_exception", "parse_exception"}
)
_RANKED = "rank_docs_retriever"
_DEFAULT_CHUNKS: Mapping[str, Any] = {"strategy": "sentence", "max_chunk_size": 300, "sentence_overlap": 0}


@dataclass(slots=True)
class Evaluation:
    """One run of a tree on a point in time. ``found`` are the hits of every leg, by its node.

    ``is_one_shard``: the point in time is of a single shard, in which a sequence number names one document.
    """

    tree: Node
    executor: Executor
    embedder: Embedder
    requests: Requests
    pit: Mapping[str, Any]
    header: Mapping[str, Any] = field(default_factory=dict)
    equal_is_one: bool = True
    is_one_shard: bool = False
    found: dict[int, list[Found]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    compared: dict[int, list[Sequence[Found]]] = field(default_factory=dict)
    _queries: list[Any] = field(default_factory=list)

    async def run_legs(self, legs: Sequence[Leg]) -> None:
        """All legs side by side; raises ``RelayedError`` when one fails."""
        if not legs:
            return
        bodies = [self.requests.leg(leg) for leg in legs]
        self._queries = [body.get("query", body.get("retriever")) for body in bodies]
        if self.is_one_shard and not self.requests.explain and self._fuses_only():
            numbered = [body for body in map(self.requests.numbered, bodies) if body is not None]
            if len(numbered) == len(legs) and await self._found_by_number(legs, numbered):
                return
        try:
            answers = await self._search(bodies)
        except RelayedError as error:
            if error.type not in _OF_THE_FORM:
                raise
            raise await self._form_error(legs, bodies, error) from error
        for leg, answer in zip(legs, answers, strict=True):
            if "error" in answer:
                raise self._leg_error(leg, [a for a in answers if "error" in a], legs, answers)
            self.found[id(leg.node)] = _all_found(answer)
            if warning := partial(leg.node.label, answer):
                self.warnings.append(warning)
        unordered = [ranking for ranking in self.found.values() if not has_order(ranking)]
        if unordered:
            await self._learn_order(unordered)

    def matches_found(self, tails: Sequence[Any]) -> bool:
        """Whether the tails of the whole tree match everything that its legs found.

        Those of neighbours list them; a query may look at fewer neighbours there than in its leg.
        """
        if not self._fuses_only():
            return False
        matched = {write_object(without_name(tail)) for tail in tails}  # as text: arrays are not compared with ==
        return all(query is None or write_object(query) in matched for query in self._queries)

    def _fuses_only(self) -> bool:
        """Whether what the legs find is fused and nothing else."""
        return all(isinstance(node, Fused | Native) for node in walk(self.tree))

    async def _found_by_number(self, legs: Sequence[Leg], bodies: Sequence[Mapping[str, Any]]) -> bool:
        """Runs the legs for sequence numbers; false where the index has none to offer or a leg is refused."""
        try:
            answers = await self._search(bodies)
        except RelayedError as error:
            if error.type not in _OF_THE_FORM:
                raise
            return False
        rankings = [_numbered(answer) for answer in answers]
        if any("error" in answer for answer in answers) or None in rankings:
            return False
        found = [ranking or [] for ranking in rankings]
        if any(ranking and ranking[0].key[0] not in self.requests.indices for ranking in found):
            return False  # an index that took the place of another since these were looked up
        for leg, ranking in zip(legs, found, strict=True):
            self.found[id(leg.node)] = ranking
        return True

    async def _form_error(
        self, legs: Sequence[Leg], bodies: Sequence[Mapping[str, Any]], whole: RelayedError
    ) -> RelayedError:
        """Whose form is wrong: a body that cannot be read fails the whole request and does not say which it is."""
        for leg, body in zip(legs, bodies, strict=True):
            try:
                await self._search([body])
            except RelayedError as error:
                cause = error.body["error"]
                shown = _of_the_form_of(self.lineage(leg), cause if isinstance(cause, Mapping) else {})
                return RelayedError(error.status, {"error": shown})
        return whole

    def lineage(self, leg: Leg) -> list[Compound]:
        """The compounds above a leg, the nearest first."""
        found: list[Compound] = []
        below: Node = leg.node
        for node in reversed(list(walk(self.tree))):
            if not isinstance(node, Native) and any(child is below for child in _children(node)):
                found.append(node)
                below = node
        return found

    async def ranking(self, node: Node, filters: Filters = ()) -> list[Found]:
        """The ranking of a node, cut to its window."""
        if isinstance(node, Native):
            return self.found[id(node)]
        own = (*filters, *node.filters)
        below = await self._below(node, own)
        if isinstance(node, Fused):
            ranking = self._fuse(node, below)
        elif isinstance(node, Pinned):
            ranking = pinned_before(self._pins(node), below[0], node.window)
        elif isinstance(node, Reranked):
            ranking = await self._rerank(node, below[0][: node.window])
            self.found[id(node)] = ranking
        else:
            ranking = await self._over(node, below[0], own)
        self.compared[id(node)] = list(below)
        return ranking

    async def _below(self, node: Compound, filters: Filters) -> list[list[Found]]:
        """The rankings of a node's children, side by side where more than one has to be waited for."""
        parts = _children(node)
        if sum(not isinstance(child, Native) for child in parts) > 1:
            return await asyncio.gather(*(self.ranking(child, filters) for child in parts))
        return [await self.ranking(child, filters) for child in parts]

    def _fuse(self, node: Fused, rankings: Sequence[Sequence[Found]]) -> list[Found]:
        weights = [child.weight for child in node.children]
        tells = self.requests.explain
        if node.kind == "rrf":
            ranking = reciprocal_ranks(rankings, weights, node.rank_constant, node.window, keeps_terms=tells)
        else:
            normalizers = [child.normalizer for child in node.children]
            ranking = weighted_scores(
                rankings, weights, normalizers, node.window, equal_is_one=self.equal_is_one, keeps_terms=tells
            )
        return ranking if node.min_score is None else [one for one in ranking if one.score >= node.min_score]

    def _pins(self, node: Pinned) -> list[Found]:
        hits = self.found[id(node)]
        by_place: list[Found] = []
        for index, name in node.pins:
            by_place += [hit for hit in hits if hit.key[1] == name and index in (None, hit.key[0])]
        return by_place

    # --- reranking

    async def _rerank(self, node: Reranked, ranking: Sequence[Found]) -> list[Found]:
        placed = [one._replace(before=place) for place, one in enumerate(ranking, 1)]
        try:
            texts = await self._texts(node, placed)
            return self._scored(node, await self._relevant(node, texts), placed)
        except SidecarError as error:
            if isinstance(error, RelayedError):
                raise
            if not (node.allows_failures or node.keeps_order):
                raise rerank_error(node, error) from error
            if node.keeps_order:
                self.warnings.append(f"[{node.label}] kept the order of its child: {error.reason}")
            kept = [
                one._replace(score=float(np.float32(1.0) / np.float32(place)), relevance=None)
                for place, one in enumerate(placed, 1)
            ]
            return [one for one in kept if node.min_score is None or one.score >= node.min_score]

    async def check_endpoint(self, node: Reranked) -> None:
        """Raises what is wrong with the endpoint, whether or not anything is found."""
        task = (await self.embedder.profile(node.inference_id)).task_type
        if task is not TaskType.RERANK:
            raise StatusError(
                f"Requested task type [rerank] does not match the inference endpoint's task type [{task}]"
            )

    async def _texts(self, node: Reranked, ranking: Sequence[Found]) -> list[tuple[Found, str]]:
        """The documents that have a text, with it."""
        await self.check_endpoint(node)
        raws = {one.key: one.raw for one in ranking}
        if not isinstance(node.child, Native) and ranking:
            body = {
                "query": self.requests.these(one.key for one in ranking),
                "size": len(ranking),
                "_source": False,
                "fields": [node.field],
                "track_total_hits": False,
            }
            (answer,) = await self._search([body])
            if "error" in answer:
                raise RelayedError(int(answer.get("status", 500)), answer)
            raws = {key_of(hit): hit for hit in answer.get("hits", {}).get("hits", ())}
        found = []
        for one in ranking:
            values = (raws.get(one.key, {}).get("fields") or {}).get(node.field)
            if values:
                first = values[0]
                found.append((one, first if isinstance(first, str) else java_text(first)))
        return found

    async def _relevant(self, node: Reranked, texts: Sequence[tuple[Found, str]]) -> list[tuple[Found, float | None]]:
        """The reranker's score for every document with a text, ``None`` for those beyond the budget."""
        bare = [text for _, text in texts]
        if node.budget is None:
            scores = await self._scores(node, bare)
        else:
            # What one text takes tells how many more there is time for.
            started = time.monotonic()
            scores = await self._scores(node, bare[:1])
            spent = max(time.monotonic() - started, 1e-4)
            more = max(0, int((node.budget - spent) / spent))
            scores += await self._scores(node, bare[1 : 1 + more])
        missing = [None] * (len(texts) - len(scores))
        return list(zip((one for one, _ in texts), [*scores, *missing], strict=True))

    async def _scores(self, node: Reranked, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        if not node.text:
            wrong = "Field [query] cannot be empty for task type [rerank]"
            # No chunk is the best for a question without words.
            raise ActionRequestValidationError("Field [input] cannot be an empty array" if node.chunks else wrong)
        pieces, owners = _pieces(node, texts)
        ranking = await self.embedder.rerank(node.inference_id, node.text, pieces)
        by_piece = {document.index: float(document.relevance_score) for document in ranking.documents}
        if len(ranking.documents) != len(pieces) or set(by_piece) != set(range(len(pieces))):
            raise StatusError(
                "Reranker input document count and returned score count mismatch: "
                f"[{len(pieces)}] vs [{len(ranking.documents)}]",
                status=500,
            )
        return [max(by_piece[at] for at in own) for own in owners]

    def _scored(
        self, node: Reranked, relevant: Sequence[tuple[Found, float | None]], placed: Sequence[Found]
    ) -> list[Found]:
        ranked = [
            one._replace(
                score=float(np.float32(positive_score(float(np.float32(score))))),
                relevance=score,
                reranked=True,
                terms=(),
            )
            for one, score in relevant
            if score is not None and (node.min_score is None or score >= node.min_score)
        ]
        ranking = sort_found(ranked)
        rest = [one for one, score in relevant if score is None] if node.min_score is None else []
        least = ranking[-1].score if ranking else 1.0
        behind = [
            one._replace(score=float(np.float32(least / (place + 1))), relevance=None, reranked=False, terms=())
            for place, one in enumerate(rest, 1)
        ]
        return [*ranking, *behind]

    # --- over a child of ours

    async def _over(self, node: Over, child: Sequence[Found], filters: Filters) -> list[Found]:
        seen = child if node.kind == "rescorer" else child[: over_window(node)]  # it has a window in every shard
        body = {
            "retriever": self.requests.over(node, seen, (), ()),
            "size": over_window(node),
            "_source": False,
            "track_total_hits": False,
        }
        (answer,) = await self._search([body])
        if "error" in answer:
            raise RelayedError(int(answer.get("status", 500)), answer)
        orders = {one.key: one.order for one in child}
        return [one._replace(order=orders.get(one.key, one.order)) for one in _all_found(answer)]

    # --- asking

    async def _search(self, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers to searches of the point in time."""
        lines = []
        for body in bodies:
            lines += [orjson.dumps(dict(self.header)), write_object({**body, "pit": self.pit})]
        reply = await self.executor.call(
            "POST", _TARGET, b"\n".join([*lines, b""]), content_type="application/x-ndjson"
        )
        value = reply.json()
        if reply.status != 200:
            raise RelayedError(reply.status, value or {"error": None})
        answers = value.get("responses") or [{} for _ in bodies]
        return [with_own_reasons(answer, self.requests.rewriter.planted) for answer in answers]

    async def _learn_order(self, rankings: Sequence[list[Found]]) -> None:
        """Shard and document of hits whose leg could not be asked for them."""
        keys = {one.key for ranking in rankings for one in ranking}
        body = {
            "query": self.requests.these(keys),
            "sort": list(BY_SCORE),
            "size": len(keys),
            "_source": False,
        }
        (answer,) = await self._search([body])
        if "error" in answer:
            raise RelayedError(int(answer.get("status", 500)), answer)
        orders = {one.key: one.order for one in _all_found(answer)}
        for ranking in rankings:
            ranking[:] = [one._replace(order=orders.get(one.key, one.order)) for one in ranking]

    def _leg_error(self, leg: Leg, failed: Sequence[Any], legs: Sequence[Leg], answers: Sequence[Any]) -> RelayedError:
        first = failed[0]
        error = first["error"]
        if isinstance(error, Mapping) and error.get("type") in _OF_THE_FORM:
            return RelayedError(int(first.get("status", 400)), {"error": _of_the_form_of(self.lineage(leg), error)})
        above = leg.above
        siblings = [
            (other.node.label, answer)
            for other, answer in zip(legs, answers, strict=True)
            if other.above is above and "error" in answer
        ]
        return children_error(above, [name for name, _ in siblings], [answer for _, answer in siblings])


def _of_the_form_of(lineage: Sequence[Compound], error: Mapping[str, Any]) -> dict[str, Any]:
    """What is wrong with a child's form, below the parameters that hold it, outermost first."""
    shown = {key: value for key, value in error.items() if key != "root_cause"}
    for node in lineage:
        name = "retrievers" if isinstance(node, Fused) else "retriever"
        reason = f"[{node.kind}] failed to parse field [{name}]"
        shown = {"type": "x_content_parse_exception", "reason": reason, "caused_by": shown}
    return {"root_cause": error.get("root_cause"), **shown}


def children_error(above: Compound, names: Sequence[str], answers: Sequence[Any]) -> RelayedError:
    """What a compound says of its failed children."""
    status = max(int(answer.get("status", 500)) for answer in answers)
    suppressed = [answer["error"] for answer in answers]
    return _search_failed(above.kind, names, suppressed, status)


def rerank_error(node: Reranked, error: SidecarError) -> RelayedError:
    """What a reranker says when its endpoint fails."""
    failure = {
        "type": "search_phase_execution_exception",
        "reason": "Computing updated ranks for results failed",
        "phase": "rank-feature",
        "grouped": True,
        "failed_shards": [],
        "caused_by": described(error),
    }
    # What a compound made of its children is a retriever of its own by then.
    is_leaf = isinstance(node.child, Native) and node.child.kind in LEAVES
    return _search_failed(node.kind, [node.child.label if is_leaf else _RANKED], [failure], error.status)


def _search_failed(kind: str, names: Sequence[str], suppressed: Sequence[Any], status: int) -> RelayedError:
    reason = (
        f"[{kind}] search failed - retrievers '[{', '.join(names)}]' returned errors. "
        "All failures are attached as suppressed exceptions."
    )
    shown = {"type": "status_exception", "reason": reason}
    bare = [_without_causes(one) for one in suppressed]
    whole = [{key: value for key, value in one.items() if key != "root_cause"} for one in suppressed]
    error = {"root_cause": [{**shown, "suppressed": bare}], **shown, "suppressed": whole}
    return RelayedError(status, {"error": error})


def _without_causes(error: Any) -> Any:
    """An error as it is shown as a root cause: nothing at any depth tells what caused it."""
    if isinstance(error, list):
        return [_without_causes(one) for one in error]
    if not isinstance(error, Mapping):
        return error
    return {key: _without_causes(value) for key, value in error.items() if key not in ("caused_by", "root_cause")}


def _pieces(node: Reranked, texts: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """What is sent to the reranker, and which of it belongs to which text."""
    if node.chunks is None:
        return list(texts), [[at] for at in range(len(texts))]
    pieces: list[str] = []
    owners = []
    for text in texts:
        own = best_chunks(text, node.text, node.chunks.size, node.chunks.settings or _DEFAULT_CHUNKS)
        owners.append(list(range(len(pieces), len(pieces) + len(own))))
        pieces += own
    return pieces, owners


def _all_found(answer: Mapping[str, Any]) -> list[Found]:
    """The hits of one search, hundreds for each leg."""
    found = []
    for hit in answer.get("hits", {}).get("hits", ()):
        sort = hit.get("sort")
        order = sort[-1] if sort and type(sort[-1]) is int else LAST
        score = hit.get("_score") or 0.0
        found.append(found_of((key_of(hit), score, order, (), hit, None, False, None)))
    return found


def _numbered(answer: Mapping[str, Any]) -> list[Found] | None:
    """The hits of one search by their sequence numbers; ``None`` where these are not there or name no single hit."""
    hits = answer.get("hits", {}).get("hits", ())
    sorts = [hit["sort"] for hit in hits]
    numbers = {sort[2] for sort in sorts}
    if len(numbers) < len(sorts) or not {type(number) for number in numbers} <= {int}:
        return None
    return [
        found_of(((hit["_index"], sort[2], ""), hit["_score"], sort[1], (), hit, None, False, None))
        for hit, sort in zip(hits, sorts, strict=True)
    ]


def _children(node: Compound) -> tuple[Node, ...]:
    return tuple(child.node for child in node.children) if isinstance(node, Fused) else (node.child,)
