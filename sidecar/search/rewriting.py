"""Clauses that name an endpoint, replaced by clauses with vectors: two runs over a body, the same code.

first run    no vectors known: every text that must be embedded is noted, the body stays as it is
second run   with the vectors: the clauses are replaced

A clause that is not well formed, or names what the sidecar does not have, is left as it came: the cluster answers it.
Source: Elasticsearch's query DSL reference ("Semantic", "Match", "Sparse vector", "Text expansion", "Knn").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sidecar.core.errors import IllegalArgumentError, StatusError
from sidecar.core.javatext import java_text
from sidecar.core.tasks import TaskType
from sidecar.elastic.bindings import SEMANTIC_TEXT
from sidecar.search.clause_forms import EXPANSION_KEYS, MATCH_KEYS, SEMANTIC_KEYS, SPARSE_KEYS, fits
from sidecar.search.prefiltering import narrowing
from sidecar.search.query_places import (
    changed_part,
    each,
    in_aggregations,
    in_highlight,
    in_inner_hits,
    in_rescore,
    in_sort,
    inside,
)
from sidecar.search.query_vector_builders import builder_text, only_one
from sidecar.search.retrievers.windows import inner_window
from sidecar.search.scope import SearchScope
from sidecar.search.semantic_compatibility import why_unsearchable
from sidecar.search.vector_queries import (
    CHUNKS,
    Options,
    QueryVector,
    chunks_clause,
    in_indices,
    labelled,
    one_of,
    semantic_clause,
    sparse_clause,
    takes_terms,
)
from sidecar.search.wrapped_queries import unwrapped

TEXT_EXPANSION_DEPRECATED = "text_expansion is deprecated. Use sparse_vector instead."


@dataclass(frozen=True, slots=True)
class Want:
    """A text that an endpoint is to embed."""

    inference_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Planted:
    """A clause put in that fails in one index, where Elasticsearch's own would fail with ``reason``."""

    index: str
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """Where in a body a query stands.

    ``size`` is what the search that runs it returns, on which ``semantic`` queries depend (``None``: the cluster's
    own way). ``filters`` are the clauses of the enclosing ``bool`` queries that narrow dense semantic queries.
    """

    size: int | None = None
    filters: tuple[Any, ...] = ()


@dataclass(slots=True)
class Rewriter:
    """One run over a body. ``wants`` are the texts without a vector, ``planted`` and ``warnings`` what came of it.

    ``unknown`` are endpoints of asked ``semantic_text`` fields that the sidecar does not have; looked for on 8.x, which
    tells of its licence before it looks for them.
    """

    scope: SearchScope
    vectors: Mapping[Want, QueryVector] = field(default_factory=dict)
    wants: dict[Want, None] = field(default_factory=dict)
    planted: list[Planted] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)

    # --- whole bodies

    def body(self, body: dict[str, Any], size: int | None) -> dict[str, Any]:
        """A search body, its retriever included; ``size`` is how many hits it returns.

        Raises:
            IllegalArgumentError, StatusError: with Elasticsearch's words, where it refuses a clause at once.
        """
        context = Context(size)
        visit = self._visit(context)
        for name in ("query", "post_filter"):
            body = changed_part(body, name, visit)
        body = changed_part(body, "knn", lambda value: each(value, lambda item: self.knn_section(item, context)))
        body = changed_part(body, "rescore", lambda value: in_rescore(value, visit))
        for name in ("aggs", "aggregations"):
            body = changed_part(body, name, lambda value: in_aggregations(value, visit))
        body = changed_part(body, "highlight", lambda value: in_highlight(value, visit))
        body = changed_part(body, "sort", lambda value: in_sort(value, visit))
        body = changed_part(body, "collapse", lambda value: self._collapse(value, visit))
        body = changed_part(body, "sub_searches", lambda value: each(value, lambda item: self._sub(item, visit)))
        return changed_part(body, "retriever", lambda value: self.retriever(value, context))

    def retriever(self, tree: Any, context: Context, *, is_ranked: bool = False) -> Any:
        """A retriever of any kind, with every query in it rewritten where it stands.

        ``is_ranked``: another one ranks its hits anew, by searches of its own.
        """
        if not isinstance(tree, dict) or len(tree) != 1:
            return tree
        ((kind, body),) = tree.items()
        if not isinstance(body, dict):
            return tree
        visit = self._visit(context)
        below = (
            replace(context, size=inner_window(body)) if kind in _RERANKING and context.size is not None else context
        )
        new = self._knn_fields(body, context, is_section=True) if kind == "knn" else body
        if kind == "diversify":
            new = self._diversity(new)
        if isinstance(new.get("query"), dict):
            new = changed_part(new, "query", self._visit(self._narrowed(new.get("filter"), context)))
        new = changed_part(new, "filter", lambda value: each(value, visit))
        new = changed_part(new, "rescore", lambda value: in_rescore(value, visit))
        new = changed_part(new, "collapse", lambda value: self._collapse(value, visit))
        new = changed_part(new, "sort", lambda value: in_sort(value, visit))
        ranks = kind in ("rescorer", "diversify")
        new = changed_part(new, "retriever", lambda value: self.retriever(value, below, is_ranked=ranks))
        new = changed_part(new, "retrievers", lambda value: each(value, lambda item: self._child(item, context)))
        if kind == "standard" and _is_semantic(body.get("query")) and new is not body and "filter" not in body:
            name = _under_the_retrievers_name if is_ranked else _under_its_own_name
            new = name(new, body["query"]["semantic"])
        return tree if new is body else {kind: new}

    def query(self, query: Any, context: Context) -> Any:
        """A query of the query DSL, rewritten at every depth."""
        if not isinstance(query, dict) or len(query) != 1:
            return query
        ((kind, body),) = query.items()
        if kind == "bool":
            return self._bool(query, body, context)
        if kind == "wrapper" and (held := unwrapped(body)) is not None:
            changed = self.query(held, context)
            return query if changed is held else changed
        clause = _CLAUSES.get(kind)
        if clause is not None and isinstance(body, dict):
            replaced = clause(self, body, context)
            if replaced is not None:
                return replaced
            if kind == "knn":
                body = self._knn_fields(body, context, is_section=False)
        new = inside(kind, body, self._visit(context))
        return query if new is query[kind] else {kind: new}

    def knn_section(self, section: Any, context: Context) -> Any:
        """The ``knn`` section of a search, or one of its list."""
        if not isinstance(section, dict):
            return section
        visit = self._visit(Context(context.size))
        section = self._knn_fields(section, context, is_section=True)
        section = changed_part(section, "inner_hits", lambda value: in_inner_hits(value, visit))
        return changed_part(section, "filter", lambda value: each(value, visit))

    # --- the clauses

    def _semantic(self, body: dict[str, Any], context: Context) -> dict[str, Any] | None:
        name, text = body.get("field"), body.get("query")
        if not isinstance(name, str) or not isinstance(text, str) or not body.keys() <= SEMANTIC_KEYS:
            return None
        if not fits(body):
            return None
        options = Options(body.get("boost"), body.get("_name"))
        return self._on_semantic_text(name, text, options, context, self._semantic_elsewhere)

    def _match(self, body: dict[str, Any], context: Context) -> dict[str, Any] | None:
        if len(body) != 1 or not self.scope.has_semantic_fields:
            return None
        ((name, what),) = body.items()
        options = Options()
        rest: dict[str, Any] = {}
        text = what
        if isinstance(what, dict):
            text = what.get("query")
            if not fits(what) or not what.keys() <= MATCH_KEYS:
                return None
            options = Options(what.get("boost"), what.get("_name"))
            rest = {key: value for key, value in what.items() if key not in ("query", "boost", "_name")}
        if not isinstance(text, str | int | float):
            return None
        shown = text if isinstance(text, str) else java_text(text)

        def by_words(indices: Mapping[str, str]) -> list[dict[str, Any]]:
            words = {"multi_match": {"query": text, "fields": [name], **rest}}
            return [in_indices(words, list(indices))] if indices else []

        return self._on_semantic_text(name, shown, options, context, lambda _, indices: by_words(indices))

    def _sparse_vector(self, body: dict[str, Any], context: Context) -> dict[str, Any] | None:
        name, text, inference_id = body.get("field"), body.get("query"), body.get("inference_id")
        if not isinstance(name, str):
            return None
        extra: dict[str, Any] = {key: body[key] for key in ("prune", "pruning_config") if key in body}
        options = Options(body.get("boost"), body.get("_name"), extra)
        given = body.get("query_vector")
        if isinstance(given, dict) and text is None and takes_terms(options, self.scope.version):
            return sparse_clause(name, given, options, self.scope.version)
        if not isinstance(text, str) or given is not None or not body.keys() <= SPARSE_KEYS or not fits(body):
            return None
        return self._sparse(name, text, inference_id, options, context)

    def _text_expansion(self, body: dict[str, Any], context: Context) -> dict[str, Any] | None:
        if len(body) != 1:
            return None
        ((name, what),) = body.items()
        if not isinstance(what, dict) or not what.keys() <= EXPANSION_KEYS or not fits(what):
            return None
        text, model_id = what.get("model_text"), what.get("model_id")
        if not isinstance(text, str):
            return None
        extra: dict[str, Any] = {}
        if isinstance(what.get("pruning_config"), dict):
            extra = {"prune": True, "pruning_config": what["pruning_config"]}
        options = Options(what.get("boost"), what.get("_name"), extra)
        replaced = self._sparse(name, text, model_id, options, context)
        if replaced is not None:
            self.warnings.append(TEXT_EXPANSION_DEPRECATED)
        return replaced

    def _knn(self, body: dict[str, Any], context: Context) -> dict[str, Any] | None:
        """A ``knn`` query whose builder names no model, over indices that name several; else nothing."""
        name, builder = body.get("field"), body.get("query_vector_builder")
        if not isinstance(name, str) or not isinstance(builder, dict) or body.get("query_vector") is not None:
            return None
        text, model_id = builder_text(builder)
        if text is None or model_id is not None:
            return None
        found = self.scope.semantic(name)
        ids = {semantic.search_inference_id for _, semantic in found}
        if len(ids) < 2 or not ids <= self.scope.endpoints.keys():
            return None
        self._need_model_id(name)
        rest = {key: value for key, value in body.items() if key not in ("query_vector_builder", "boost", "_name")}
        rest = changed_part(rest, "filter", lambda value: each(value, self._visit(Context(context.size))))
        parts = []
        for inference_id in sorted(ids):
            vector = self._vector(inference_id, text)
            indices = [view.name for view, semantic in found if semantic.search_inference_id == inference_id]
            if vector is not None:
                parts.append(in_indices({"knn": {**rest, "query_vector": vector}}, indices))
        if len(parts) < len(ids):
            return None
        return one_of(parts, Options(body.get("boost"), body.get("_name")))

    # --- what they share

    def _on_semantic_text(
        self,
        name: str,
        text: str,
        options: Options,
        context: Context,
        elsewhere: Callable[[str, Mapping[str, str]], list[dict[str, Any]]],
    ) -> dict[str, Any] | None:
        found = self.scope.semantic(name)
        ids = dict.fromkeys(semantic.search_inference_id for _, semantic in found)
        if not self.scope.version.since(None, (9, 0)):
            self.unknown.update(dict.fromkeys(ids.keys() - self.scope.endpoints.keys()))
        if not ids.keys() <= self.scope.endpoints.keys() or not ids:
            return None
        groups: dict[tuple[str, str | None], list[str]] = {}
        for view, semantic in found:
            refusal = why_unsearchable(self.scope, name, semantic)
            groups.setdefault((semantic.search_inference_id, refusal), []).append(view.name)
        vectors = {inference_id: self._vector(inference_id, text) for inference_id, _ in groups}
        if any(vector is None for vector in vectors.values()):
            return None
        types = self.scope.types(name)
        others = {index: kind for index, kind in types.items() if kind not in (SEMANTIC_TEXT, "alias")}
        if len(groups) == 1 and not others:
            ((inference_id, refusal),) = groups
            if refusal is None:
                return self._semantic_part(name, vectors[inference_id], options, context)
        is_mixed = len({isinstance(vector, Mapping) for vector in vectors.values()}) > 1
        parts = []
        for (inference_id, refusal), indices in groups.items():
            if refusal is None:
                part = self._semantic_part(name, vectors[inference_id], Options(), context, is_mixed=is_mixed)
                parts.append(in_indices(part, indices))
            else:
                parts += [self._failing(name, index, refusal, SEMANTIC_TEXT) for index in indices]
        return one_of([*parts, *elsewhere(name, others)], options)

    def _semantic_part(
        self, name: str, vector: QueryVector | None, options: Options, context: Context, *, is_mixed: bool = False
    ) -> dict[str, Any]:
        """``is_mixed``: the field is sparse in one index and dense in another, which a query on it does not allow."""
        assert vector is not None  # noqa: S101
        if is_mixed:
            return chunks_clause(name, vector, context.size, options, self.scope.version, context.filters)
        return semantic_clause(name, vector, context.size, options, self.scope.version, context.filters)

    def _semantic_elsewhere(self, name: str, indices: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            self._failing(name, index, f"Field [{name}] of type [{kind}] does not support semantic queries", kind)
            for index, kind in indices.items()
        ]

    def _failing(self, name: str, index: str, reason: str, kind: str) -> dict[str, Any]:
        """A clause that the index's shards refuse, as they would refuse the one in whose place it stands."""
        self.planted.append(Planted(index, reason))
        if kind == SEMANTIC_TEXT:
            return in_indices({"match_phrase": {name: "-"}}, [index])
        return in_indices({"sparse_vector": {"field": name, "query_vector": {"-": 1.0}}}, [index])

    def _sparse(
        self, name: str, text: str, inference_id: Any, options: Options, context: Context
    ) -> dict[str, Any] | None:
        found, views = self.scope.semantic(name), len(self.scope.views)
        if inference_id is None:
            if not views:
                return None
            if len(found) == views:
                return self._sparse_on_semantic_text(name, text, options, context)
            bound = self.scope.binding(name)
            ids = {binding.inference_id for _, binding in bound}
            if len(ids) != 1 or len(bound) != views:
                raise IllegalArgumentError("inference_id required to perform vector search on query string")
            (inference_id,) = ids
        if not isinstance(inference_id, str) or inference_id not in self.scope.endpoints:
            return None
        vector = self._vector(inference_id, text)
        if vector is None:
            return None
        if not isinstance(vector, Mapping):
            raise self._wrong_task(inference_id, TaskType.SPARSE_EMBEDDING)
        if found and not self.scope.version.has_inference_fields:
            return semantic_clause(name, vector, context.size, options, self.scope.version)
        if "rank_features" in self.scope.types(name).values():
            weights = {token: float(weight) for token, weight in vector.items()}
            return labelled({"weighted_tokens": {name: {"tokens": weights}}}, Options())
        return sparse_clause(name, vector, options, self.scope.version)

    def _sparse_on_semantic_text(
        self, name: str, text: str, options: Options, context: Context
    ) -> dict[str, Any] | None:
        found = self.scope.semantic(name)
        ids = {semantic.search_inference_id for _, semantic in found}
        if not ids <= self.scope.endpoints.keys():
            return None
        dense = {view.name for view, s in found if not self.scope.endpoints[s.search_inference_id].is_sparse}
        vectors = {
            inference_id: self._vector(inference_id, text)
            for inference_id in sorted(ids)
            if self.scope.endpoints[inference_id].is_sparse
        }
        if any(vector is None for vector in vectors.values()):
            return None
        inner = Options(extra=options.extra)
        parts = []
        for inference_id, vector in vectors.items():
            indices = [view.name for view, s in found if s.search_inference_id == inference_id]
            if len(ids) == 1:
                return self._semantic_part(name, vector, options, context)
            parts.append(in_indices(self._semantic_part(name, vector, inner, context), indices))
        # a field of dense vectors is refused by its own shards, in the cluster's words
        refused = {"sparse_vector": {"field": name, "query_vector": {"-": 1.0}}}
        parts += [in_indices(refused, [index]) for index in sorted(dense)]
        return one_of(parts, Options(options.boost, options.name))

    def _knn_fields(self, body: dict[str, Any], context: Context, *, is_section: bool) -> dict[str, Any]:
        """A ``knn`` section or query with its builder replaced by a vector; itself where nothing is to be done."""
        name, builder = body.get("field"), body.get("query_vector_builder")
        if not isinstance(name, str) or not isinstance(builder, dict):
            return body
        vector = self._built(builder, name)
        if vector is None:
            return body
        if body.get("query_vector") is not None:
            raise only_one()
        new = {key: value for key, value in body.items() if key != "query_vector_builder"}
        new["query_vector"] = vector
        if is_section and self.scope.semantic(name):
            new["field"] = f"{name}.{CHUNKS}.embeddings"
        return new

    def _diversity(self, body: dict[str, Any]) -> dict[str, Any]:
        name, builder = body.get("field"), body.get("query_vector_builder")
        if not isinstance(builder, dict) or body.get("query_vector") is not None:
            return body
        vector = self._built(builder, name if isinstance(name, str) else "")
        if vector is None:
            return body
        return {**{k: v for k, v in body.items() if k != "query_vector_builder"}, "query_vector": vector}

    def _built(self, builder: dict[str, Any], name: str) -> QueryVector | None:
        """The vector that a ``query_vector_builder`` stands for; ``None`` where it is not ours or not yet known."""
        text, inference_id = builder_text(builder)
        if text is None:
            return None
        if inference_id is None:
            inference_id = self._only_id(name)
        endpoint = self.scope.endpoints.get(inference_id or "")
        if endpoint is None or inference_id is None:
            return None
        if "embedding" in builder and endpoint.task_type is not TaskType.EMBEDDING:
            raise StatusError(
                "Incompatible task_type for embedding API, the inference endpoint "
                f"[{inference_id}] has task type [{endpoint.task_type}], expected [embedding]"
            )
        if not endpoint.is_dense:
            raise self._wrong_task(inference_id, TaskType.TEXT_EMBEDDING)
        return self._vector(inference_id, text)

    def _only_id(self, name: str) -> str | None:
        """The one endpoint by which the indices' own mappings fill a field of dense vectors."""
        found = self.scope.semantic(name)
        if found:
            self._need_model_id(name)
            ids = {semantic.search_inference_id for _, semantic in found}
        else:
            ids = {binding.inference_id for _, binding in self.scope.binding(name)}
            if not ids:
                return None
        return next(iter(ids)) if len(ids) == 1 else None

    def _need_model_id(self, name: str) -> None:
        if len(self.scope.semantic(name)) != len(self.scope.views):
            raise IllegalArgumentError("[model_id] must not be null.")

    def _wrong_task(self, inference_id: str, expected: TaskType) -> StatusError:
        got = self.scope.endpoints[inference_id].task_type
        return StatusError(
            f"Requested task type [{expected}] does not match the inference endpoint's task type [{got}]"
        )

    def _vector(self, inference_id: str, text: str) -> QueryVector | None:
        want = Want(inference_id, text)
        vector = self.vectors.get(want)
        if vector is None:
            self.wants.setdefault(want)
        return vector

    # --- places

    def _visit(self, context: Context) -> Callable[[Any], Any]:
        return lambda query: self.query(query, context)

    def _bool(self, query: dict[str, Any], body: Any, context: Context) -> Any:
        """A ``bool``: what it requires narrows every dense semantic query below it, as in Elasticsearch."""
        if not isinstance(body, dict):
            return query
        narrows = self.scope.version.narrows_dense_semantic_queries and self.vectors
        required = self._required(body) if narrows else []
        plain = Context(context.size)
        new = body
        for part in ("must", "should", "filter", "must_not"):
            if part not in body:
                continue

            def visit(clause: Any) -> Any:
                others = tuple(self.query(other, plain) for own, other in required if own is not clause)
                return self.query(clause, replace(context, filters=(*context.filters, *others)))

            new = changed_part(new, part, partial(_each_with, visit))
        return query if new is body else {"bool": new}

    def _narrowed(self, filters: Any, context: Context) -> Context:
        """The context of a query beside the filters of its retriever."""
        if not self.vectors or not self.scope.version.narrows_dense_semantic_queries:
            return context
        given = filters if isinstance(filters, list) else [filters]
        own = (narrowing(clause, self._is_semantic) for clause in given if isinstance(clause, dict))
        plain = Context(context.size)
        kept = tuple(self.query(clause, plain) for clause in own if clause is not None)
        return replace(context, filters=(*context.filters, *kept))

    def _required(self, body: Mapping[str, Any]) -> list[tuple[Any, Any]]:
        """What narrows the clauses of a ``bool``: what every hit satisfies, each beside the clause that it is of."""
        required = []
        for part in ("must", "filter", "must_not"):
            value = body.get(part)
            for clause in value if isinstance(value, list) else [value]:
                own = narrowing(clause, self._is_semantic) if isinstance(clause, dict) else None
                if own is not None:
                    required.append((clause, {"bool": {"must_not": [own]}} if part == "must_not" else own))
        return required

    def _is_semantic(self, name: str) -> bool:
        return bool(self.scope.semantic(name))

    def _child(self, item: Any, context: Context) -> Any:
        if isinstance(item, dict) and "retriever" in item:
            return changed_part(item, "retriever", lambda value: self.retriever(value, context))
        return self.retriever(item, context)

    def _collapse(self, collapse: Any, visit: Callable[[Any], Any]) -> Any:
        if not isinstance(collapse, dict):
            return collapse
        return changed_part(collapse, "inner_hits", lambda value: in_inner_hits(value, visit))

    def _sub(self, item: Any, visit: Callable[[Any], Any]) -> Any:
        return changed_part(item, "query", visit) if isinstance(item, dict) else item


_CLAUSES: Mapping[str, Callable[[Rewriter, dict[str, Any], Context], dict[str, Any] | None]] = {
    "semantic": Rewriter._semantic,
    "match": Rewriter._match,
    "sparse_vector": Rewriter._sparse_vector,
    "text_expansion": Rewriter._text_expansion,
    "knn": Rewriter._knn,
}
_RERANKING = frozenset({"rescorer", "diversify", "random_reranker"})


def _under_its_own_name(retriever: dict[str, Any], clause: Any) -> dict[str, Any]:
    """A ``standard`` whose name does not take the place of that of a ``semantic`` query, as in Elasticsearch."""
    if isinstance(retriever.get("_name"), str):
        retriever = {name: value for name, value in retriever.items() if name != "_name"}
    if isinstance(clause, dict) and clause.get("_name") is not None:
        retriever = {**retriever, "query": {"bool": {"must": [retriever["query"]]}}}
    return retriever


def _under_the_retrievers_name(retriever: dict[str, Any], clause: Any) -> dict[str, Any]:
    """A ``standard`` whose name, or none, takes the place of that of its ``semantic`` query."""
    if not isinstance(clause, dict) or clause.get("_name") is None:
        return retriever
    ((kind, body),) = retriever["query"].items()
    return {**retriever, "query": {kind: {name: value for name, value in body.items() if name != "_name"}}}


def _is_semantic(query: Any) -> bool:
    return isinstance(query, dict) and "semantic" in query


def _each_with(visit: Callable[[Any], Any], value: Any) -> Any:
    return each(value, visit)
