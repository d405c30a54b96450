"""Searches of one kind each, as request bodies.

Source: Elasticsearch's query DSL reference, "Sparse vector query", "Match query", and search API reference, "kNN".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sidecar.core.results import Vector
from sidecar.elastic.version import ServerVersion

MOST_QUERY_TOKENS = 500
"""Queries of local models have 10 to 60 tokens; Lucene's limit of clauses is 4096 on small heaps."""


def text_query(field: str, text: str) -> dict[str, Any]:
    """BM25 on one field, or with ``*`` and commas on several."""
    fields = [name.strip() for name in field.split(",")]
    if len(fields) == 1 and "*" not in field and "^" not in field:
        return {"match": {field: {"query": text}}}
    return {"multi_match": {"query": text, "fields": fields}}


def sparse_query(
    field: str, tokens: Mapping[str, float], version: ServerVersion, *, boost: float = 1.0
) -> dict[str, Any]:
    """A ``sparse_vector`` query that keeps every token, or, for servers without it, boosted terms of equal score."""
    weights = query_weights(tokens, version)
    if not weights:
        return {"match_none": {}}
    if not version.has_sparse_vector_query:
        return sparse_terms_query(field, weights, boost=boost)
    query: dict[str, Any] = {"field": field, "query_vector": weights, "prune": False}
    if boost != 1.0:
        query["boost"] = boost
    return {"sparse_vector": query}


def sparse_terms_query(field: str, weights: Mapping[str, float], *, boost: float = 1.0) -> dict[str, Any]:
    """The dot product as boosted ``term`` clauses: a term on a ``sparse_vector`` field scores its stored weight."""
    clauses = [{"term": {field: {"value": token, "boost": weight}}} for token, weight in weights.items()]
    query: dict[str, Any] = {"minimum_should_match": 1, "should": clauses}
    if boost != 1.0:
        query["boost"] = boost
    return {"bool": query}


def query_weights(tokens: Mapping[str, float], version: ServerVersion) -> dict[str, float]:
    """The heaviest tokens, positive and finite, in the form in which the server's documents hold them."""
    kept = sorted(((t, float(w)) for t, w in tokens.items() if np.isfinite(w) and w > 0), key=lambda item: -item[1])
    weights: dict[str, float] = {}
    for token, weight in kept[:MOST_QUERY_TOKENS]:
        name = token if version.allows_dots_in_tokens else token.replace(".", "__")
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def knn_search(
    field: str, vector: Vector, k: int, *, num_candidates: int | None = None, filter: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The ``knn`` section of a search: the ``k`` nearest of the whole index.

    ``num_candidates`` are looked at per shard: by default five times ``k``, at least 100, at most 10,000.
    """
    candidates = num_candidates if num_candidates is not None else min(10_000, max(100, 5 * k))
    section: dict[str, Any] = {
        "field": field,
        "query_vector": [round(float(value), 7) for value in vector],
        "k": k,
        "num_candidates": max(k, candidates),
    }
    if filter:
        section["filter"] = dict(filter)
    return section


def filtered(query: Mapping[str, Any], filter: Mapping[str, Any] | None) -> dict[str, Any]:
    """The query, narrowed by a filter that does not score."""
    return {"bool": {"must": [dict(query)], "filter": [dict(filter)]}} if filter else dict(query)


def passage_query(path: str, query: Mapping[str, Any], *, name: str = "passages") -> dict[str, Any]:
    """Documents by their best passage, with that passage as an inner hit."""
    return {
        "nested": {
            "path": path,
            "query": dict(query),
            "score_mode": "max",
            "inner_hits": {"name": name, "size": 1, "_source": [f"{path}.text", f"{path}.start"]},
        }
    }


def heaviest(tokens: Mapping[str, float], most: int) -> Sequence[tuple[str, float]]:
    """The ``most`` heaviest tokens, heaviest first, equal weights by token."""
    return sorted(tokens.items(), key=lambda item: (-item[1], item[0]))[:most]
