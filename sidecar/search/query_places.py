"""Where queries stand inside queries, aggregations and the other parts of a search body.

Source: Elasticsearch's query DSL and search API reference. A part that is not of the form that is expected there is
left alone: Elasticsearch says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Visit = Callable[[Any], Any]

# The parts of a compound query that are a query or a list of queries.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "bool": ("must", "should", "filter", "must_not"),
    "nested": ("query",),
    "has_child": ("query",),
    "has_parent": ("query",),
    "function_score": ("query",),
    "script_score": ("query",),
    "dis_max": ("queries",),
    "constant_score": ("filter",),
    "boosting": ("positive", "negative"),
    "pinned": ("organic",),
    "rule": ("organic",),
    "knn": ("filter",),
}
_AGGREGATION_QUERIES = {
    "significant_terms": "background_filter",
    "significant_text": "background_filter",
}


def each(value: Any, visit: Visit) -> Any:
    """``visit`` on a query or on every query of a list; the same object where nothing changed."""
    if isinstance(value, list):
        changed = [visit(item) for item in value]
        return changed if any(new is not old for new, old in zip(changed, value, strict=True)) else value
    return visit(value)


def changed_part(body: dict[str, Any], name: str, visit: Visit) -> dict[str, Any]:
    """``body`` with ``visit`` applied to one of its parts; the same object where nothing changed."""
    if name not in body:
        return body
    new = visit(body[name])
    return body if new is body[name] else {**body, name: new}


def inside(name: str, body: Any, visit: Visit) -> Any:
    """The body of the query ``name`` with every query directly inside it visited."""
    if not isinstance(body, dict):
        return body
    for part in _PARTS.get(name, ()):
        body = changed_part(body, part, lambda value: each(value, visit))
    if name == "function_score":
        body = changed_part(body, "functions", lambda value: _functions(value, visit))
    if name in ("nested", "has_child", "has_parent"):
        body = changed_part(body, "inner_hits", lambda value: in_inner_hits(value, visit))
    return body


def in_aggregations(aggregations: Any, visit: Visit) -> Any:
    """Aggregations by name, with every query in them visited."""
    if not isinstance(aggregations, dict):
        return aggregations
    result = aggregations
    for name in aggregations:
        result = changed_part(result, name, lambda value: _aggregation(value, visit))
    return result


def in_highlight(highlight: Any, visit: Visit) -> Any:
    """A highlight section with its ``highlight_query`` parts visited."""
    if not isinstance(highlight, dict):
        return highlight
    highlight = changed_part(highlight, "highlight_query", visit)
    return changed_part(highlight, "fields", lambda fields: _highlighted_fields(fields, visit))


def in_inner_hits(value: Any, visit: Visit) -> Any:
    """Inner hits, one or several, with the queries of their highlighting and sorting visited."""
    if isinstance(value, list):
        return each(value, lambda item: in_inner_hits(item, visit))
    if not isinstance(value, dict):
        return value
    value = changed_part(value, "highlight", lambda part: in_highlight(part, visit))
    return changed_part(value, "sort", lambda part: in_sort(part, visit))


def in_sort(sort: Any, visit: Visit) -> Any:
    """A sort, one or a list, with the filters of nested sorting visited."""
    return each(sort, lambda item: _sort_item(item, visit))


def in_rescore(rescore: Any, visit: Visit) -> Any:
    """Rescorers, one or a list, with their queries visited."""

    def one(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        return changed_part(
            item,
            "query",
            lambda part: changed_part(part, "rescore_query", visit) if isinstance(part, dict) else part,
        )

    return each(rescore, one)


def _functions(functions: Any, visit: Visit) -> Any:
    def one(item: Any) -> Any:
        return changed_part(item, "filter", visit) if isinstance(item, dict) else item

    return each(functions, one) if isinstance(functions, list) else functions


def _aggregation(body: Any, visit: Visit) -> Any:
    if not isinstance(body, dict):
        return body
    body = changed_part(body, "filter", visit)
    for name in ("filters", "adjacency_matrix"):
        body = changed_part(body, name, lambda value: _filters(value, visit))
    for name, part in _AGGREGATION_QUERIES.items():
        body = changed_part(body, name, partial(_part_of, part, visit))
    body = changed_part(body, "top_hits", lambda value: in_inner_hits(value, visit))
    for name in ("aggs", "aggregations"):
        body = changed_part(body, name, lambda value: in_aggregations(value, visit))
    return body


def _part_of(name: str, visit: Visit, value: Any) -> Any:
    return changed_part(value, name, visit) if isinstance(value, dict) else value


def _filters(value: Any, visit: Visit) -> Any:
    def named(filters: Any) -> Any:
        if isinstance(filters, list):
            return each(filters, visit)
        if not isinstance(filters, dict):
            return filters
        result = filters
        for name in filters:
            result = changed_part(result, name, visit)
        return result

    return changed_part(value, "filters", named) if isinstance(value, dict) else value


def _highlighted_fields(fields: Any, visit: Visit) -> Any:
    def of(options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        result = options
        for name, option in options.items():
            if isinstance(option, dict):
                result = changed_part(result, name, lambda value: changed_part(value, "highlight_query", visit))
        return result

    return each(fields, of)


def _sort_item(item: Any, visit: Visit) -> Any:
    if not isinstance(item, dict):
        return item
    result = item
    for name, how in item.items():
        if isinstance(how, dict) and isinstance(how.get("nested"), dict):
            result = changed_part(result, name, lambda value: changed_part(value, "nested", _nested_filter(visit)))
    return result


def _nested_filter(visit: Visit) -> Visit:
    def nested(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        value = changed_part(value, "filter", visit)
        return changed_part(value, "nested", nested)

    return nested
