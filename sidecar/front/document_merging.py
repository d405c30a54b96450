"""What a partial document makes of a stored one, as Elasticsearch's update does it.

Objects are merged, everything else is replaced. Numbers of different kinds are different values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.elastic.bindings import SemanticText
from sidecar.ingest.semantic_field import INFERENCE_FIELDS
from sidecar.ingest.semantic_values import value_at


def merge(stored: Mapping[str, Any], partial: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The merged document, and whether anything in it is other than before."""
    result = dict(stored)
    is_changed = False
    for name, value in partial.items():
        if name not in result:
            result[name] = value
            is_changed = True
            continue
        held = result[name]
        if isinstance(held, dict) and isinstance(value, dict):
            result[name], inner = merge(held, value)
            is_changed |= inner
        else:
            result[name] = value
            is_changed |= not is_same(held, value)
    return result, is_changed


def is_same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal to Elasticsearch: ``1`` and ``1.0`` and ``true`` are three."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def drop_outdated_results(before: Mapping[str, Any], after: dict[str, Any], foreign: Iterable[SemanticText]) -> None:
    """Takes away what the cluster made of texts that an update changes, for the cluster to make it anew.

    Results that the update itself brings stay.
    """
    held, results = before.get(INFERENCE_FIELDS), after.get(INFERENCE_FIELDS)
    if not (isinstance(held, dict) and isinstance(results, dict)):
        return
    outdated = {
        mapped.name
        for mapped in foreign
        if mapped.name in held
        and is_same(held[mapped.name], results.get(mapped.name))
        and not all(is_same(value_at(before, path), value_at(after, path)) for path in (mapped.path, *mapped.sources))
    }
    if outdated:
        kept = {name: value for name, value in results.items() if name not in outdated}
        del after[INFERENCE_FIELDS]
        after |= {INFERENCE_FIELDS: kept} if kept else {}
