"""What clauses that name an endpoint may hold: one with anything else is left for the cluster to complain of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SEMANTIC_KEYS = {"field", "query", "boost", "_name"}
MATCH_KEYS = {"query", "boost", "_name", "analyzer", "operator", "minimum_should_match", "lenient"} | {
    *("fuzziness", "prefix_length", "max_expansions", "fuzzy_rewrite", "fuzzy_transpositions", "zero_terms_query"),
    "auto_generate_synonyms_phrase_query",
}
SPARSE_KEYS = {"field", "query", "inference_id", "query_vector", "prune", "pruning_config", "boost", "_name"}
EXPANSION_KEYS = {"model_id", "model_text", "pruning_config", "boost", "_name"}


def fits(body: Mapping[str, Any]) -> bool:
    """Whether boost and name are such that the cluster will not complain of them."""
    return ("_name" not in body or isinstance(body["_name"], str)) and ("boost" not in body or _is_boost(body["boost"]))


def _is_boost(value: Any) -> bool:
    """A number from 0, also as text, as the cluster reads it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return 0 <= float(value) < math.inf
    except ValueError:
        return False
