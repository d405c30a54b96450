"""Queries of given vectors, as a cluster's version takes them: what the clauses that name an endpoint become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sidecar.elastic.version import ServerVersion
from sidecar.search.queries import query_weights, sparse_terms_query

QueryVector: TypeAlias = Mapping[str, float] | Sequence[float]
"""Token weights of a sparse endpoint, or the numbers of a dense one."""

LEAST_SEMANTIC_K = 10
"""A ``semantic`` query on dense vectors finds this many documents of a shard, or as many as the search's ``size``."""

CHUNKS = "inference.chunks"


@dataclass(frozen=True, slots=True)
class Options:
    """What a clause says beside field and text; ``extra`` goes into the new clause as it is."""

    boost: Any = None
    name: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def sparse_clause(path: str, tokens: Mapping[str, float], options: Options, version: ServerVersion) -> dict[str, Any]:
    """``sparse_vector`` with the tokens, or boosted terms of equal score where the cluster lacks that query."""
    weights = query_weights(tokens, version)
    if takes_terms(options, version):
        query = sparse_terms_query(path, weights) if weights else {"match_none": {}}
        return labelled(query, Options(options.boost, options.name))
    body: dict[str, Any] = {"field": path, "query_vector": weights, **options.extra}
    return labelled({"sparse_vector": body}, options)


def takes_terms(options: Options, version: ServerVersion) -> bool:
    """Whether boosted terms stand for the query; where it may be there, not for one that prunes, as terms do not."""
    if not version.has_sparse_vector_query:
        return True
    return not version.has_sparse_vector_query_always and not options.extra.get("prune")


def semantic_clause(
    path: str,
    vector: QueryVector,
    size: int | None,
    options: Options,
    version: ServerVersion,
    filters: Sequence[Any] = (),
) -> dict[str, Any]:
    """A ``semantic_text`` field by its best chunk; ``filters`` narrow what a dense search looks at.

    Indices made before 8.18 keep the chunks in an object, where only nested queries find them.
    """
    if not version.has_inference_fields:
        return chunks_clause(path, vector, size, options, version, filters)
    if isinstance(vector, Mapping):
        return sparse_clause(path, vector, options, version)
    return labelled({"knn": dense_body(path, vector, size, filters)}, options)


def chunks_clause(
    path: str,
    vector: QueryVector,
    size: int | None,
    options: Options,
    version: ServerVersion,
    filters: Sequence[Any] = (),
) -> dict[str, Any]:
    """The same by a nested query over the field's chunks, without the field itself being asked."""
    chunks = f"{path}.{CHUNKS}"
    labels = Options(options.boost, options.name)
    if isinstance(vector, Mapping):
        inner = sparse_clause(f"{chunks}.embeddings", vector, Options(extra=options.extra), version)
    else:
        inner = {"knn": dense_body(f"{chunks}.embeddings", vector, size, filters)}
    return labelled({"nested": {"path": chunks, "query": inner, "score_mode": "max"}}, labels)


def dense_body(path: str, vector: QueryVector, size: int | None, filters: Sequence[Any] = ()) -> dict[str, Any]:
    """The body of a ``knn`` query in the place of a ``semantic`` one; ``size`` ``None``: as the cluster decides."""
    body: dict[str, Any] = {"field": path, "query_vector": vector}
    if size is not None:
        body["k"] = max(size, LEAST_SEMANTIC_K)
    if filters:
        body["filter"] = list(filters)
    return body


def labelled(query: dict[str, Any], options: Options) -> dict[str, Any]:
    """The query with the clause's boost and name."""
    (kind, body), *_ = query.items()
    body = dict(body)
    if options.boost is not None:
        body["boost"] = options.boost
    if options.name is not None:
        body["_name"] = options.name
    return {kind: body}


def in_indices(query: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The query, in these indices only; in others it is dropped before anything of it is looked at."""
    return {"bool": {"must": [dict(query)], "filter": [{"terms": {"_index": list(names)}}]}}


def one_of(parts: Sequence[dict[str, Any]], options: Options) -> dict[str, Any]:
    """A document by the part that its index belongs to, boosted and named as one clause."""
    return labelled({"bool": {"should": list(parts), "minimum_should_match": 1}}, options)
