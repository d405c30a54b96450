"""Retrievers with a place for the question, and those that an index can have without anybody writing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.search.auto import auto_legs
from sidecar.search.defaults import WINDOW, LegKind
from sidecar.search.fusion import Normalizer
from sidecar.search.scope import SearchScope

PLACE = "{{query}}"
"""Where the question goes, in any text of a retriever."""
DEFAULT = "default"
RANK_FUSION = "rrf"

Template = Mapping[str, Any]
"""A retriever, as Elasticsearch's search API takes it, with :data:`PLACE` in it."""


def filled(template: Template, text: str) -> dict[str, Any]:
    """The retriever for one question."""
    result = _filled(template, text)
    assert isinstance(result, dict)  # noqa: S101
    return result


def read_template(value: Any) -> Template:
    """A template out of a search body with a retriever or a query, or the retriever alone.

    Raises:
        ValueError: it is none of them, or has no place for the question.
    """
    if isinstance(value, dict) and isinstance(value.get("retriever"), dict):
        value = value["retriever"]
    elif isinstance(value, dict) and isinstance(value.get("query"), dict):
        value = {"standard": {"query": value["query"]}}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError('write a retriever, such as {"standard": {"query": {"match": {"text": "{{query}}"}}}}')
    if _filled(value, "") == value:
        raise ValueError("there is no {{query}} in it, where each question goes")
    return value


def default_templates(scope: SearchScope) -> dict[str, Template]:
    """What the indices of ``scope`` can have: each kind of leg alone, fused by ranks, and the default.

    Raises:
        IllegalArgumentError: they have no field of words and none with vectors.
    """
    legs = leg_templates(scope, WINDOW)
    found: dict[str, Template] = {kind.value: leg for kind, leg in legs.items()}
    if len(legs) > 1:
        fused = {"retrievers": list(legs.values()), "rank_window_size": WINDOW}
        found |= {RANK_FUSION: {"rrf": fused}, DEFAULT: {"auto": {"query": PLACE}}}
    return found


def leg_templates(scope: SearchScope, window: int) -> dict[LegKind, Template]:
    """The legs of the default retriever, each of which finds ``window`` documents.

    Raises:
        IllegalArgumentError: there is none.
    """
    legs = auto_legs(scope, PLACE, window)
    if not legs:
        names = ", ".join(view.name for view in scope.views)
        raise IllegalArgumentError(f"there is no field of words in [{names}], and none with vectors of an endpoint")
    return dict(legs)


def linear_template(
    legs: Mapping[LegKind, Template], weights: Mapping[LegKind, float], normalizer: Normalizer, window: int
) -> Template:
    """A ``linear`` retriever of the legs whose weight is above 0."""
    children = [
        {"retriever": leg, "weight": weights[kind], "normalizer": normalizer.value}
        for kind, leg in legs.items()
        if weights[kind] > 0
    ]
    return {"linear": {"retrievers": children, "rank_window_size": window}}


def window_of(template: Template, depth: int) -> int:
    """How many hits can be asked for: ``depth``, or the retriever's own window where it is smaller."""
    (body,) = template.values()
    window = body.get("rank_window_size") if isinstance(body, Mapping) else None
    return min(depth, window) if isinstance(window, int) and window > 0 else depth


def _filled(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace(PLACE, text)
    if isinstance(value, Mapping):
        return {name: _filled(inner, text) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, text) for inner in value]
    return value
