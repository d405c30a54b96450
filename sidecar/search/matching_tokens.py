"""Which tokens of a sparse query a hit matched, read out of the cluster's explanation of its score.

Source: Lucene's explanations of ``FeatureQuery`` and of a term on a feature field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FEATURE = re.compile(r"Linear function on the (?P<field>.+) field for the (?P<token>.+) feature", re.DOTALL)


def matching_tokens(explanation: Any) -> list[dict[str, Any]]:
    """``field``, ``token``, ``query_weight``, ``stored_weight`` and their ``product``, the weightiest first."""
    found = [_token(line, match) for line, match in _features(explanation)]
    return sorted(found, key=lambda one: (-one["product"], one["token"]))


def add_matching_tokens(answer: Any, *, keeps_explanation: bool) -> None:
    """Gives every hit of an explained answer its tokens, under ``_sidecar``."""
    hits = answer.get("hits", {}).get("hits", ()) if isinstance(answer, dict) else ()
    for hit in hits:
        hit["_sidecar"] = {"score": hit.get("_score"), "tokens": matching_tokens(hit.get("_explanation"))}
        if not keeps_explanation:
            for name in ("_explanation", "_shard", "_node"):
                hit.pop(name, None)


def _features(explanation: Any) -> Iterator[tuple[Mapping[str, Any], re.Match[str]]]:
    waiting = [explanation]
    while waiting:
        line = waiting.pop()
        if not isinstance(line, Mapping):
            continue
        match = _FEATURE.match(str(line.get("description", "")))
        if match is not None:
            yield line, match
        else:
            waiting.extend(line.get("details") or ())


def _token(line: Mapping[str, Any], match: re.Match[str]) -> dict[str, Any]:
    factors = {str(detail.get("description", ""))[:1]: detail.get("value") for detail in line.get("details") or ()}
    return {
        "field": match["field"],
        "token": match["token"],
        "query_weight": factors.get("w", 1.0),
        "stored_weight": factors.get("S", line.get("value")),
        "product": line.get("value"),
    }
