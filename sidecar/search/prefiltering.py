"""What of a required clause narrows a dense semantic query beside it, as Elasticsearch does it since 9.3.

A clause that looks into nested objects, as those on ``semantic_text`` fields do, narrows nothing; one that holds such
clauses narrows by what else it holds. Found by asking a node; Elasticsearch's reference only says that filters apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sidecar.search.bodies import whole_number
from sidecar.search.wrapped_queries import unwrapped

_PARTS_OF_BOOL = ("must", "should", "filter", "must_not")
# The one query that a compound query matches by; of others nothing is taken out.
_HELD_IN: Mapping[str, str] = {"constant_score": "filter", "boosting": "positive", "function_score": "query"}
_BY_NAME = frozenset({"match", "text_expansion"})
_BY_FIELD = frozenset({"knn", "sparse_vector"})


def narrowing(clause: Any, is_semantic: Callable[[str], bool]) -> Any | None:
    """``clause`` without what narrows nothing; ``None`` where nothing is left. The same object where all of it stays.

    ``is_semantic`` tells whether a field is a ``semantic_text``.
    """
    if not isinstance(clause, dict) or len(clause) != 1:
        return clause
    ((kind, body),) = clause.items()
    if kind in ("nested", "semantic"):
        return None
    if not isinstance(body, dict):
        return clause
    if kind == "bool":
        return _of_bool(clause, body, is_semantic)
    if kind == "wrapper":
        return _of_holder(clause, unwrapped(body), is_semantic)
    if kind == "dis_max":
        queries = _kept(body.get("queries"), is_semantic)
        return {kind: {**body, "queries": queries}} if queries else None
    if kind in _HELD_IN:
        return _of_holder(clause, body.get(_HELD_IN[kind]), is_semantic)
    name = next(iter(body), "") if kind in _BY_NAME else body.get("field") if kind in _BY_FIELD else None
    return None if isinstance(name, str) and is_semantic(name) else clause


def _of_holder(clause: dict[str, Any], held: Any, is_semantic: Callable[[str], bool]) -> Any | None:
    left = narrowing(held, is_semantic)
    if left is held:
        return clause
    # What is matched is the held query; scores and factors narrow nothing.
    return left


def _of_bool(clause: dict[str, Any], body: dict[str, Any], is_semantic: Callable[[str], bool]) -> Any | None:
    parts = {name: _kept(body[name], is_semantic) for name in _PARTS_OF_BOOL if name in body}
    given = {name: _listed(body[name]) for name in parts}
    if all(len(kept) == len(given[name]) and all(map(_is, kept, given[name])) for name, kept in parts.items()):
        return clause
    if not any(parts.values()):
        return None
    rest = {name: value for name, value in body.items() if name not in parts}
    lost = len(given.get("should", ())) - len(parts.get("should", ()))
    least = whole_number(rest.get("minimum_should_match"))
    if lost and least is not None and least > 0:  # a part of them, or all but some, is one of those that are left
        rest["minimum_should_match"] = max(least - lost, 0)
    return {"bool": {**rest, **{name: kept for name, kept in parts.items() if kept}}}


def _kept(clauses: Any, is_semantic: Callable[[str], bool]) -> list[Any]:
    left = (narrowing(clause, is_semantic) for clause in _listed(clauses))
    return [clause for clause in left if clause is not None]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is(one: Any, other: Any) -> bool:
    return one is other
