"""Token weights as queries: which tokens are kept, and the form for servers without the ``sparse_vector`` query.

Source: Elasticsearch's query DSL reference, "Sparse vector query".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sidecar.elastic.version import ServerVersion

MOST_QUERY_TOKENS = 500
"""Queries of local models have 10 to 60 tokens; Lucene's limit of clauses is 4096 on small heaps."""


def sparse_terms_query(field: str, weights: Mapping[str, float], *, boost: float = 1.0) -> dict[str, Any]:
    """The dot product as boosted ``term`` clauses: a term on a ``sparse_vector`` field scores its stored weight."""
    clauses = [{"term": {field: {"value": token, "boost": weight}}} for token, weight in weights.items()]
    query: dict[str, Any] = {"minimum_should_match": 1, "should": clauses}
    if boost != 1.0:
        query["boost"] = boost
    return {"bool": query}


def query_weights(tokens: Mapping[str, float], version: ServerVersion) -> dict[str, float]:
    """The heaviest tokens, positive and finite, in the form in which the server's documents hold them."""
    kept = sorted(((t, float(w)) for t, w in tokens.items() if math.isfinite(w) and w > 0), key=lambda item: -item[1])
    weights: dict[str, float] = {}
    keeps_dots = version.allows_dots_in_tokens
    for token, weight in kept[:MOST_QUERY_TOKENS]:
        name = token if keeps_dots else token.replace(".", "__")
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights
