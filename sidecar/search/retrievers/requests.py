"""The searches that a tree comes to: one for every leg, and the last one for the page.

The last search scores the fused documents with their fused scores and everything else that a leg matches with 0, so
that order, ties, paging, ``min_score``, ``collapse``, totals and aggregations are the cluster's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.search.retrievers.fusing import Found, Key
from sidecar.search.retrievers.tree import (
    Compound,
    Filters,
    Fused,
    Native,
    Node,
    Over,
    Pinned,
    Reranked,
    children,
)
from sidecar.search.retrievers.windows import inner_window
from sidecar.search.rewriting import Context, Rewriter

BY_SCORE: tuple[Mapping[str, str], ...] = ({"_score": "desc"}, {"_shard_doc": "asc"})
_WITH_NUMBERS = (*BY_SCORE, {"_seq_no": "asc"})
LEAST_SCORE = 1.4e-45
"""The smallest float: a fused document with score 0 still stands before what was not fused."""

_ROUTED = {"exists": {"field": "_routing"}}
_LEAF_QUERIES = frozenset(
    {"term", "terms", "match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "prefix", "wildcard"}
    | {"fuzzy", "range", "regexp", "terms_set", "rank_feature"}
)


@dataclass(frozen=True, slots=True)
class Leg:
    """One search of a tree: what the cluster runs for ``node``, the first ``window`` hits of it.

    ``fields`` are texts to be reranked. ``above`` is the compound whose child it is, for errors.
    """

    node: Native | Pinned
    window: int
    filters: Filters
    above: Compound
    fields: tuple[str, ...] = ()


def legs_of(node: Node, window: int, filters: Filters, above: Compound | None) -> list[Leg]:
    """The legs of a tree, in the order of its leaves; what pins name is a leg as well."""
    if isinstance(node, Native):
        assert above is not None  # noqa: S101
        fields = (above.field,) if isinstance(above, Reranked) else ()
        return [Leg(node, window, filters, above, fields)]
    own = (*filters, *node.filters)
    inner = node.window if isinstance(node, (Fused, Pinned, Reranked)) else over_window(node)
    found: list[Leg] = []
    if isinstance(node, Pinned):
        found.append(Leg(node, len(node.pins) * 8, (), node))
    for child in children(node):
        found += legs_of(child, inner, own, node)
    return found


def over_window(node: Over) -> int:
    """How many of its child's hits a retriever of the cluster's looks at."""
    return inner_window(node.body)


@dataclass(slots=True)
class Requests:
    """Bodies for the legs and the page. ``indices`` are the concrete ones of the search.

    ``is_one_shard``: all is in a single shard, which has an id but once, however its documents are routed.
    """

    rewriter: Rewriter
    indices: Sequence[str]
    explain: bool = False
    is_one_shard: bool = False

    # --- legs

    @staticmethod
    def numbered(body: Mapping[str, Any]) -> dict[str, Any] | None:
        """A leg's body that asks for sequence numbers, kept in columns, where ids are read document by document.

        They name a document within its shard only. ``None`` for a leg that sorts or shows in its own way.
        """
        if body.get("sort") != list(BY_SCORE) or not _SHOWING.isdisjoint(body):
            return None
        return {**body, "sort": list(_WITH_NUMBERS), "stored_fields": "_none_"}

    def leg(self, leg: Leg) -> dict[str, Any]:
        """The body of a leg's search: ids and scores, the place among equals, a text where one is reranked."""
        body = self._leg(leg)
        body |= {"size": leg.window, "_source": False, "track_total_hits": False}
        if leg.fields:
            body["fields"] = list(leg.fields)
        if self.explain:
            body["explain"] = True
        return body

    def _leg(self, leg: Leg) -> dict[str, Any]:
        node = leg.node
        if isinstance(node, Pinned):
            return {"query": self._pins(node), "sort": list(BY_SCORE)}
        context = Context(leg.window)
        if node.kind == "standard" and node.body.keys() <= _STANDARD:
            return self._standard(node, leg, context)
        if node.kind == "knn" and _KNN_REQUIRED <= node.body.keys() <= _KNN:
            section = {key: value for key, value in node.body.items() if key not in ("_name", "min_score")}
            if leg.filters:
                section["filter"] = [*_listed(section.get("filter")), *leg.filters]
            body: dict[str, Any] = {"knn": self.rewriter.knn_section(section, context), "sort": list(BY_SCORE)}
            if node.min_score is not None:
                body["min_score"] = node.min_score
            return body
        own = dict(node.body)
        if leg.filters:
            own["filter"] = [*_listed(own.get("filter")), *leg.filters]
        return {"retriever": self.rewriter.retriever({node.kind: own}, context)}

    def _standard(self, node: Native, leg: Leg, context: Context) -> dict[str, Any]:
        query = _without_inner_hits(self._query(node, leg.filters))
        body = {
            key: node.body[key] for key in ("sort", "search_after", "terminate_after", "min_score") if key in node.body
        }
        body["query"] = self.rewriter.query(query, context)
        if "collapse" in node.body:
            collapse = node.body["collapse"]
            body["collapse"] = {"field": collapse["field"]} if _has_field(collapse) else collapse
        if node.is_sorted:
            body["track_scores"] = True
        else:
            body["sort"] = list(BY_SCORE)
        return body

    def _query(self, node: Native, filters: Filters) -> Any:
        query = node.body.get("query")
        narrowing = [*_listed(node.body.get("filter")), *filters]
        if not narrowing:
            return query if "query" in node.body else {"match_all": {}}
        body: dict[str, Any] = {"filter": narrowing}
        if "query" in node.body:
            body["must"] = [query]
        return {"bool": body}

    def own_part(self, node: Over) -> dict[str, Any]:
        """A retriever of the cluster's without its child, texts replaced by vectors."""
        body = {name: value for name, value in node.body.items() if name != "retriever"}
        rewritten: dict[str, Any] = self.rewriter.retriever({node.kind: body}, Context(over_window(node)))
        return rewritten

    def over(self, node: Over, child: Sequence[Found], tails: Sequence[Any], filters: Filters) -> dict[str, Any]:
        """A retriever of the cluster's over documents that are ranked already."""
        own = dict(node.body)
        if filters:
            own["filter"] = list(filters)
        own["retriever"] = {"standard": {"query": self.ranked(child, tails)}}
        if node.kind == "diversify" and child:  # it would go on with what only counts
            window = min(inner_window(node.body), len(child))
            own["rank_window_size"] = window
            if isinstance(own.get("size"), int):
                own["size"] = min(own["size"], window)
        return {node.kind: own}

    # --- the page

    def ranked(
        self,
        found: Sequence[Found],
        tails: Sequence[Any] | None,
        name: str | None = None,
        scored: Sequence[Found] | None = None,
        *,
        is_matched: bool = False,
        only_scored: bool = False,
    ) -> dict[str, Any]:
        """The documents with their scores; with ``tails`` also what these match, with score 0.

        ``scored`` are the first of them that need their scores, ``None``: all do. ``is_matched``: the tails match every
        one of them. ``only_scored``: what is not scored is left out, so that tails only tell what is shown with hits.
        """
        clauses = self._scored(found if scored is None else scored)
        if not (clauses if tails is None else found or tails):
            return {"match_none": {}}
        body: dict[str, Any] = {"should": clauses}
        if tails is None:
            body["minimum_should_match"] = 1
        else:
            body["filter"] = [self.matched(found, tails, is_matched=is_matched)]
            if only_scored:
                body["filter"].append(self.these(one.key for one in (found if scored is None else scored)))
        if name is not None:
            body["_name"] = name
        return {"bool": body}

    def _scored(self, found: Iterable[Found]) -> list[dict[str, Any]]:
        """A clause for each document; those without a routing below one that leaves out the others of their ids."""
        routed: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for one in found:
            clause = {"constant_score": {"filter": self.one(one.key), "boost": max(one.score, LEAST_SCORE)}}
            (others if self._may_be_another(one.key) else routed).append(clause)
        return [*routed, {"bool": {"should": others, "must_not": [_ROUTED]}}] if others else routed

    def _may_be_another(self, key: Key) -> bool:
        """Whether a document of the same name, but routed, may be in another shard."""
        _, name, routing = key
        return not (self.is_one_shard or routing) and isinstance(name, str)

    def matched(self, found: Sequence[Found], tails: Sequence[Any], *, is_matched: bool = False) -> Any:
        """What the documents and ``tails`` match together; ``is_matched`` as in :meth:`ranked`."""
        behind = [] if is_matched or not found else [self.these([one.key for one in found])]
        return _any_of([*behind, *tails])

    def page(
        self,
        tree: Node,
        found: Sequence[Found],
        scored: Sequence[Found],
        tails: Sequence[Any] | None,
        *,
        is_matched: bool = False,
        only_scored: bool = False,
    ) -> dict[str, Any]:
        """The query of the last search: what is ranked, under the tree's name and that of neighbours below it.

        ``scored``, ``is_matched`` and ``only_scored`` as in :meth:`ranked`.
        """
        query = self.ranked(found, tails, tree.name, scored, is_matched=is_matched, only_scored=only_scored)
        if not isinstance(tree, Reranked) or not isinstance(tree.child, Native) or tree.child.kind != "knn":
            return query
        named: dict[str, Any] = _named(query, tree.child.name)
        return named

    def one(self, key: Key) -> dict[str, Any]:
        index, name, routing = key
        by_name = _routed({"term": {"_id" if isinstance(name, str) else "_seq_no": name}}, routing)
        if len(self.indices) == 1:
            return by_name
        return _inside(index, by_name)

    def these(self, keys: Iterable[Key]) -> dict[str, Any]:
        """These documents, whatever their scores."""
        by_place: dict[tuple[str, str], list[str | int]] = {}
        for index, name, routing in keys:
            by_place.setdefault((index, routing), []).append(name)
        parts = []
        for (index, routing), names in by_place.items():
            part = _routed(_with_names(names), routing)
            if self._may_be_another((index, names[0], routing)):
                part = {"bool": {"filter": [part], "must_not": [_ROUTED]}}
            parts.append(part if len(self.indices) == 1 else _inside(index, part))
        any_of: dict[str, Any] = _any_of(parts)
        return any_of

    def tails(self, node: Node, size: int, filters: Filters, found: Mapping[int, Sequence[Found]]) -> list[Any]:
        """Queries that together match what counts for totals and aggregations; ``found`` are the legs' own hits.

        A ``knn`` child counts with its hits inside the window, a ``standard`` one with everything that it matches.
        """
        if isinstance(node, Native):
            return [self._tail(node, size, filters, found)]
        own = (*filters, *node.filters)
        if isinstance(node, Reranked) and isinstance(node.child, Native) and node.child.kind == "knn":
            return []  # of neighbours only those count that have a text
        is_nine = self.rewriter.scope.version.since(None, (9, 0))  # 8.19.8 looks no further down than one
        if _counts_ranked_alone(node, below_rescorers=is_nine):
            return []
        result = [self._pins(node)] if isinstance(node, Pinned) else []
        for child in children(node):
            if isinstance(child, Reranked) and (
                (child.min_score or 0) > 0 or (is_nine and _counts_ranked_alone(child, below_rescorers=True))
            ):
                inner = found.get(id(child), ())[: inner_window(node.body) if isinstance(node, Over) else node.window]
                result.append(self.these(one.key for one in inner))
            else:
                result += self.tails(child, size, own, found)
        return result

    def _tail(self, node: Native, size: int, filters: Filters, found: Mapping[int, Sequence[Found]]) -> Any:
        inner, narrowing = node, filters
        while inner.kind not in ("standard", "knn"):
            narrowing = (*narrowing, *_listed(inner.body.get("filter")))
            below = inner.body.get("retriever")
            if not isinstance(below, dict) or len(below) != 1:
                break
            ((kind, body),) = below.items()
            name = body.get("_name") if isinstance(body, dict) else None
            inner = Native(kind, body, name if isinstance(name, str) else None)
        if inner.kind != "standard":
            return _named(self.these(one.key for one in found.get(id(node), ())), inner.name)
        query = self.rewriter.query(_unnamed(self._query(inner, narrowing)), Context(size))
        query = _named(query, inner.name)
        least = inner.body.get("min_score")
        if least is not None:
            return {"function_score": {"query": query, "min_score": least}}
        return query

    def _pins(self, node: Pinned) -> Any:
        everywhere = [name for index, name in node.pins if index is None]
        if everywhere:
            return {"ids": {"values": everywhere}}
        return _any_of(
            [
                _inside(index, {"ids": {"values": [name]}}) if index is not None else {"ids": {"values": [name]}}
                for index, name in node.pins
            ]
        )


def _counts_ranked_alone(node: Node, *, below_rescorers: bool) -> bool:
    """Whether what is ranked is all that counts: of a child with a least score nothing behind it does.

    ``below_rescorers``: a rescorer of the cluster's own has that of what it rescores.
    """
    if not isinstance(node, Reranked | Over):
        return False
    child = node.child
    return child.min_score is not None or (
        below_rescorers and isinstance(child, Native) and _rescores_a_least_score(child)
    )


def _rescores_a_least_score(node: Native) -> bool:
    kind, body = node.kind, node.body
    while kind == "rescorer" and body.get("min_score") is None:
        below = body.get("retriever")
        if not isinstance(below, dict) or len(below) != 1:
            return False
        ((kind, body),) = below.items()
    return isinstance(body, Mapping) and body.get("min_score") is not None


def _inside(index: str, query: Any) -> dict[str, Any]:
    """What ``query`` matches in one index.

    Asked for outright, the index would become a ``match_all`` within its shards, and being in no other one, by itself,
    within all others, for which the ``semantic`` highlighter shows chunks of every field.
    """
    elsewhere = {"bool": {"filter": [query], "must_not": [{"term": {"_index": index}}]}}
    return {"bool": {"filter": [query], "must_not": [elsewhere]}}


def _routed(query: Any, routing: str) -> dict[str, Any]:
    """What ``query`` matches of the documents that were routed by a value, or of all."""
    found: dict[str, Any] = {"bool": {"filter": [query, {"term": {"_routing": routing}}]}} if routing else query
    return found


def shows_with_hits(queries: Sequence[Any]) -> bool:
    """Whether anything in queries is shown with the hits that it matches: a name, hits inside them."""
    return any(map(_is_shown_with_hits, queries))


def _is_shown_with_hits(query: Any) -> bool:
    if isinstance(query, dict):
        return not {"_name", "inner_hits"}.isdisjoint(query) or shows_with_hits(list(query.values()))
    return isinstance(query, list) and shows_with_hits(query)


def _without_inner_hits(query: Any) -> Any:
    if isinstance(query, list):
        return [_without_inner_hits(item) for item in query]
    if not isinstance(query, dict):
        return query
    return {name: _without_inner_hits(value) for name, value in query.items() if name != "inner_hits"}


def _unnamed(query: Any) -> Any:
    """A child's query, whose name its retriever's takes the place of; the names of clauses within it stay."""
    if not isinstance(query, dict) or len(query) != 1:
        return query
    ((kind, body),) = query.items()
    if not isinstance(body, dict):
        return query
    if kind in _LEAF_QUERIES:
        body = {name: _nameless(value) for name, value in body.items()}
    return {kind: _nameless(body)}


def _nameless(value: Any) -> Any:
    return {key: item for key, item in value.items() if key != "_name"} if isinstance(value, dict) else value


def _named(query: Any, name: str | None) -> Any:
    return query if name is None else {"bool": {"must": [query], "_name": name}}


def without_name(query: Any) -> Any:
    """A tail without the name of its retriever."""
    match query:
        case {"bool": {"must": [inner], "_name": str(), **rest}} if len(query) == 1 and not rest:
            return inner
    return query


def _with_names(names: Sequence[str | int]) -> dict[str, Any]:
    """Documents of one index by their ids, or all of them by their sequence numbers."""
    return {"ids": {"values": names}} if isinstance(names[0], str) else {"terms": {"_seq_no": names}}


_SHOWING = frozenset({"fields", "explain", "collapse"})
_STANDARD = frozenset({"query", "filter", "sort", "search_after", "terminate_after", "min_score", "collapse", "_name"})
_KNN_REQUIRED = frozenset({"field", "k", "num_candidates"})
_KNN = frozenset(
    {"field", "query_vector", "query_vector_builder", "k", "num_candidates", "filter", "similarity", "rescore_vector"}
    | {"visit_percentage", "_name", "min_score"}
)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _any_of(queries: Sequence[Any]) -> Any:
    if len(queries) == 1:
        return queries[0]
    return {"bool": {"should": list(queries), "minimum_should_match": 1}} if queries else {"match_none": {}}


def _has_field(collapse: Any) -> bool:
    return isinstance(collapse, dict) and isinstance(collapse.get("field"), str)
