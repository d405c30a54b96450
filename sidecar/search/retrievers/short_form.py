"""The short form of ``rrf`` and ``linear``, ``query`` with ``fields``, written out as the retrievers it stands for.

It has two groups, each counting once: one ``multi_match`` over all fields of words, and a fusion of the same kind over
one ``match`` for every ``semantic_text`` field. Boosts act inside a group.
Source: Elasticsearch's retriever reference, "Multi-field query format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.elastic.index_catalog import IndexView
from sidecar.search.fusion import Normalizer
from sidecar.search.scope import SearchScope, matchable_fields

_Weighted = dict[str, float]
_Pairs = tuple[tuple[str, float], ...]


def refusals(kind: str, values: Mapping[str, Any]) -> list[str]:
    """What Elasticsearch says against the combination of parameters; nothing where it is right."""
    query, fields, retrievers = (values.get(name) for name in ("query", "fields", "retrievers"))
    found = []
    if query is None and fields is not None:
        found.append(f"[{kind}] [query] must be provided when [fields] is specified")
    elif query is not None and retrievers:
        found.append(f"[{kind}] cannot combine [retrievers] and [query]")
    elif query is None and not retrievers:
        found.append(f"[{kind}] must provide [retrievers] or [query]")
    elif query is not None:
        if query == "":
            found.append(f"[{kind}] [query] cannot be empty")
        if fields is not None and not fields:
            found.append(f"[{kind}] [fields] cannot be empty")
        if kind == "linear" and "normalizer" not in values:
            found.append("[linear] [normalizer] must be provided when [query] is specified")
        if any(weight < 0 for _, weight in _weighted(fields or ())):
            found.append(f"[{kind}] per-field weights must be non-negative")
    elif "normalizer" in values:
        found.append(f"[{kind}] [normalizer] cannot be provided when [retrievers] is specified")
    return found


def expanded(
    scope: SearchScope, kind: str, values: Mapping[str, Any], window: int, constant: int
) -> list[dict[str, Any]]:
    """The children, in the long form; none where no index has one of the fields."""
    fields = values.get("fields") or ("*",)
    by_words: dict[tuple[_Pairs, bool], list[str]] = {}
    by_meaning: dict[_Pairs, list[str]] = {}
    for view in scope.views:
        words, meanings, is_lenient = _resolved(view, fields)
        if words:
            by_words.setdefault((tuple(words.items()), is_lenient), []).append(view.name)
        if meanings:
            by_meaning.setdefault(tuple(meanings.items()), []).append(view.name)
    normalizer = values.get("normalizer")
    everywhere = len(scope.views)
    children = []
    for (weighted, is_lenient), names in by_words.items():
        match: dict[str, Any] = {"query": values["query"], "type": "most_fields", "fields": _boosted(weighted)}
        if is_lenient:
            match["lenient"] = True
        children.append(_standard({"multi_match": match}, names, everywhere))
    for weighted, names in by_meaning.items():
        inner = [
            (_standard({"match": {name: {"query": values["query"]}}}, names, everywhere), weight)
            for name, weight in weighted
        ]
        children.append(_fusion(kind, inner, window, constant, normalizer))
    return [_entry(kind, child, 1.0, normalizer) for child in children]


def _resolved(view: IndexView, fields: Sequence[str]) -> tuple[_Weighted, _Weighted, bool]:
    """The fields of words and of meaning of an index, with their weights, and whether a pattern named them."""
    semantic = {found.name for found in view.semantic}
    words: _Weighted = {}
    meanings: _Weighted = {}
    is_lenient = False
    for name, weight in _weighted(fields):
        is_pattern = "*" in name
        is_lenient = is_lenient or is_pattern
        names = matchable_fields(view.mapping, name) if is_pattern else [name]
        for one in names:
            target = meanings if one in semantic else words
            target[one] = target.get(one, 1.0) * weight
    return words, meanings, is_lenient


def _weighted(fields: Sequence[str]) -> list[tuple[str, float]]:
    result = []
    for text in fields:
        name, mark, weight = text.rpartition("^")
        try:
            result.append((name, float(weight)) if mark else (text, 1.0))
        except ValueError:
            result.append((text, 1.0))
    return result


def _boosted(words: Sequence[tuple[str, float]]) -> list[str]:
    return [name if weight == 1.0 else f"{name}^{weight:g}" for name, weight in words]


def _standard(query: dict[str, Any], names: Sequence[str], everywhere: int) -> dict[str, Any]:
    body: dict[str, Any] = {"query": query}
    if len(names) < everywhere:
        body["filter"] = [{"terms": {"_index": list(names)}}]
    return {"standard": body}


def _fusion(
    kind: str,
    inner: Sequence[tuple[dict[str, Any], float]],
    window: int,
    constant: int,
    normalizer: Normalizer | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "retrievers": [_entry(kind, child, weight, normalizer) for child, weight in inner],
        "rank_window_size": window,
    }
    if kind == "rrf":
        body["rank_constant"] = constant
    return {kind: body}


def _entry(kind: str, retriever: dict[str, Any], weight: float, normalizer: Normalizer | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"retriever": retriever, "weight": weight}
    if kind == "linear" and normalizer is not None:
        entry["normalizer"] = normalizer.value
    return entry
