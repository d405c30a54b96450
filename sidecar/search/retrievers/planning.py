"""What a search with a tree comes to, before anything is asked: a value that can be shown (``?sidecar.plan=true``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.search.own_parameters import EXPLAIN, is_asked_for
from sidecar.search.retrievers.fusing import Found, key_of
from sidecar.search.retrievers.hit_details import Run, add_details, add_explanations
from sidecar.search.retrievers.requests import Leg, Requests, legs_of, over_window
from sidecar.search.retrievers.tree import Fused, Native, Node, Over, Pinned, Reranked, children, walk, window_of

_LEAST_FLOAT = 1.4e-45
_COUNTED = 10_000
# Parts of a body that show hits, or count them whatever their scores. Beside anything else (aggregations, collapse,
# post_filter, min_score, ...) the score of a document behind the page may decide what is on it.
_OF_SHOWN_HITS = frozenset(
    {"_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "runtime_mappings", "highlight"}
    | {"track_total_hits", "version", "seq_no_primary_term", "timeout", "suggest", "stats", "ext"}
)
# Those of them that are of every hit by itself, and need nothing of the query that found it.
_OF_EACH_HIT = _OF_SHOWN_HITS - {"highlight", "timeout", "suggest", "stats", "ext"}


@dataclass(frozen=True, slots=True)
class Plan:
    """``rest`` is the body without what the tree decides; ``start`` and ``size`` the page; ``paging`` as it came.

    ``counts_to`` is how many matches are to be counted, ``matches_all`` whether anything else needs them all.
    """

    tree: Node
    legs: tuple[Leg, ...]
    rest: Mapping[str, Any]
    start: int
    size: int
    paging: Mapping[str, Any]
    counts_to: float
    matches_all: bool
    explain: bool = False
    details: bool = False

    def needs_tails(self, ranked: int) -> bool:
        """Whether the last search also has to match what is behind so many ranked documents."""
        return self.matches_all or self.counts_to > ranked

    @property
    def has_budget(self) -> bool:
        return any(isinstance(node, Reranked) and node.budget is not None for node in walk(self.tree))

    @property
    def adds_to_hits(self) -> bool:
        return self.explain or self.details or self.has_budget

    def scored(self, found: Sequence[Found]) -> Sequence[Found]:
        """The ranked documents that the last search must score for its page to be right."""
        if self.explain or not self.rest.keys() <= _OF_SHOWN_HITS or self.min_score(self.tree) is not None:
            return found
        counted = 0 if self.needs_tails(len(found)) else int(self.counts_to) + 1  # nothing else is matched then
        return found[: max(self.start + self.size, counted)]

    def counts_apart(self) -> bool:
        """Whether what matches beside the ranked documents is only to be counted."""
        is_plain = not (self.matches_all or self.adds_to_hits) and self.min_score(self.tree) is None
        return is_plain and self.rest.keys() <= _OF_EACH_HIT

    def min_score(self, tree: Node) -> float | None:
        """The least score of a hit of the last search; a compound's own wins over the one beside the retriever."""
        own: float | None = None if isinstance(tree, Over) else tree.min_score  # the cluster has heeded it there
        if own is not None and not isinstance(tree, Reranked):
            return max(own, _LEAST_FLOAT)
        beside = self.rest.get("min_score")
        least = [value for value in (own, beside) if value is not None]
        return max(least) if least else None

    def add_to_hits(self, answer: Any, found: Sequence[Found], evaluation: Run) -> None:
        """What was asked for beside the cluster's own answer: explanations, what reranking and fusion did."""
        by_key = {one.key: one for one in found}
        hits = answer.get("hits", {}).get("hits", ()) if isinstance(answer, dict) else ()
        for hit in hits:
            one = by_key.get(key_of(hit))
            if one is None:
                continue
            if self.explain and not isinstance(self.tree, Over):
                add_explanations(hit, one, self.tree, evaluation.compared)
            if self.has_budget:
                hit.setdefault("fields", {})["_sidecar.reranked"] = [one.reranked]
            if self.details:
                add_details(hit, one, self.tree, evaluation)


def plan_of(tree: Node, body: Mapping[str, Any], parameters: Mapping[str, str]) -> Plan:
    """The plan of a checked search."""
    window = over_window(tree) if tree.kind == "rescorer" and isinstance(tree, Over) else window_of(tree) or 10
    start = _number(parameters.get("from", body.get("from")), 0)
    asked = _number(parameters.get("size", body.get("size")), None)
    size = window if asked is None else asked
    paging = {name: _number(parameters.get(name, body.get(name)), 0) for name in ("from", "size")}
    given = {name: value for name, value in paging.items() if name in parameters or name in body}
    rest = {name: value for name, value in body.items() if name not in ("retriever", "from", "size", "pit")}
    legs = tuple(legs_of(tree, window, (), None))
    explain = bool(rest.get("explain")) or parameters.get("explain") in ("", "true")
    return Plan(
        tree,
        legs,
        rest,
        start or 0,
        max(size or 0, 0),
        given,
        _counts_to(parameters.get("track_total_hits", rest.get("track_total_hits"))),
        explain or bool(rest.get("profile")) or "aggs" in rest or "aggregations" in rest,
        explain,
        is_asked_for(EXPLAIN, parameters),
    )


def shown_plan(plan: Plan, requests: Requests) -> dict[str, Any]:
    """The plan as JSON: the legs with their bodies, the fusion, the page; enough to do it by hand."""
    return {
        "point_in_time": True,
        "legs": [
            {"retriever": leg.node.label, "window": leg.window, "of": leg.above.label, "body": requests.leg(leg)}
            for leg in plan.legs
        ],
        "fusion": _shown(plan.tree, requests),
        "page": {"from": plan.start, "size": plan.size, "counts_everything": plan.needs_tails(0), **dict(plan.rest)},
    }


def _shown(node: Node, requests: Requests) -> dict[str, Any]:
    shown: dict[str, Any] = {"retriever": node.kind}
    if node.name is not None:
        shown["_name"] = node.name
    if isinstance(node, Native):
        return {**shown, "runs_in": "cluster"}
    shown["rank_window_size"] = over_window(node) if isinstance(node, Over) else node.window
    if node.min_score is not None:
        shown["min_score"] = node.min_score
    if isinstance(node, Fused):
        shown["children"] = [
            {**_shown(child.node, requests), "weight": child.weight}
            | ({"normalizer": child.normalizer.value} if node.kind == "linear" else {})
            for child in node.children
        ]
        if node.kind == "rrf":
            shown["rank_constant"] = node.rank_constant
        return shown
    if isinstance(node, Reranked):
        shown |= _shown_reranking(node)
    if isinstance(node, Pinned):
        shown["pins"] = [name if index is None else {"_index": index, "_id": name} for index, name in node.pins]
    if isinstance(node, Over):
        shown |= {"runs_in": "cluster", "over_what_its_child_ranked": requests.own_part(node)}
    return {**shown, "children": [_shown(child, requests) for child in children(node)]}


def _shown_reranking(node: Reranked) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "inference_id": node.inference_id,
        "inference_text": node.text,
        "field": node.field,
        "allow_rerank_failures": node.allows_failures or node.keeps_order,
    }
    if node.chunks is not None:
        shown["chunk_rescorer"] = {"size": node.chunks.size, "chunking_settings": node.chunks.settings}
    if node.budget is not None:
        shown["budget_in_seconds"] = node.budget
    return shown


def _counts_to(tracked: Any) -> float:
    """How many matches a ``track_total_hits`` has counted; what is none is for the cluster to refuse."""
    if tracked is None:
        return _COUNTED
    if tracked is False or tracked == "false":
        return -1
    try:
        return math.inf if tracked is True else int(tracked)
    except (TypeError, ValueError):
        return math.inf  # "true", and what the cluster refuses


def _number(value: Any, default: int | None) -> int | None:
    if value is None:
        return default
    return int(value)
