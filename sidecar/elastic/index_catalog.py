"""What the cluster says of its indices, as far as the sidecar needs it, remembered for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.elastic.bindings import Binding, SemanticText, bindings_of, semantic_fields

_FRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class IndexView:
    """One concrete index: its mapping, its bindings, its ``semantic_text`` fields, its pipelines.

    ``bindings`` and ``semantic`` name any endpoint; whether it is one of the sidecar's is for the reader to ask.
    """

    name: str
    mapping: Mapping[str, Any]
    bindings: tuple[Binding, ...] = ()
    semantic: tuple[SemanticText, ...] = ()
    default_pipeline: str | None = None
    final_pipeline: str | None = None


class IndexCatalog:
    """The indices behind names, aliases, data streams and patterns; asked with the sidecar's own credentials."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client
        self._known: dict[str, tuple[float, tuple[IndexView, ...]]] = {}

    async def resolve(self, expression: str) -> tuple[IndexView, ...]:
        """Every concrete index that a search over ``expression`` touches; none where nothing is there.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        known = self._known.get(expression)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        answer = await self._client.indices.get(
            index=expression or "*", ignore_unavailable=True, allow_no_indices=True, expand_wildcards="open,hidden"
        )
        views = tuple(_view(name, about) for name, about in answer.body.items())
        self._known[expression] = (time.monotonic(), views)
        return views

    def drop(self) -> None:
        """Forget everything: a change of mappings, aliases, templates or pipelines passed through."""
        self._known.clear()


def _view(name: str, about: Mapping[str, Any]) -> IndexView:
    mapping = about.get("mappings") or {}
    index = (about.get("settings") or {}).get("index") or {}
    return IndexView(
        name=name,
        mapping=mapping,
        bindings=bindings_of(mapping),
        semantic=semantic_fields(mapping),
        default_pipeline=_pipeline(index.get("default_pipeline")),
        final_pipeline=_pipeline(index.get("final_pipeline")),
    )


def _pipeline(name: str | None) -> str | None:
    return None if name in (None, "_none") else name
