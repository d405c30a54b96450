"""Which vectors are really there: asked of the index, because a marker travels with reads and vectors do not.

Source: Elasticsearch's query reference, "Exists query", "Nested query"; from 9.2 on a document that is read has no
vectors, so one that is read, changed and written keeps its marker and loses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.ingest.document import Plan, Target

_PREFIX = "sidecar:"
"""Before the names of clauses, so that those of a user's query are told apart."""


def has_vector(target: Target, *, name: str | None = None) -> dict[str, Any]:
    """The clause that finds the documents that hold a vector in ``target``; ``name`` marks them in the answer."""
    return _exists(target.name, target.each or (target.parent if target.passages else None), name)


def lacks_vector(target: Target) -> dict[str, Any]:
    """The clause that finds the documents without a vector in ``target``, or in one of the objects that need one."""
    lacking: list[dict[str, Any]] = [{"bool": {"must_not": [has_vector(target)]}}]
    if target.each is not None:
        source, vector = _exists(target.map.source, None, None), _exists(target.name, None, None)
        query = {"bool": {"filter": [source], "must_not": [vector]}}
        lacking.append({"nested": {"path": target.each, "query": query, "ignore_unmapped": True}})
    return {"bool": {"should": lacking, "minimum_should_match": 1}}


def _exists(field: str, nested: str | None, name: str | None) -> dict[str, Any]:
    named = {} if name is None else {"_name": name}
    if nested is None:
        return {"exists": {"field": field, **named}}
    query = {"exists": {"field": field}}
    return {"nested": {"path": nested, "query": query, "ignore_unmapped": True, **named}}


def telling_presence(query: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """``query`` with a named clause for every vector, so that each hit tells which of them it has."""
    named = [has_vector(target, name=_PREFIX + target.name) for target in plan.targets]
    named += [_exists(field, field.rpartition(".")[0], _PREFIX + field) for field in plan.others]
    return {"bool": {"filter": [dict(query)], "should": named, "minimum_should_match": 0}}


def present_in(hit: Mapping[str, Any]) -> frozenset[str]:
    """The fields of which a hit holds a vector; an answer may hold the clauses as a list or by name with scores."""
    matched: Sequence[str] | Mapping[str, float] = hit.get("matched_queries") or ()
    return frozenset(name.removeprefix(_PREFIX) for name in matched if name.startswith(_PREFIX))
