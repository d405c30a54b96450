"""Fields that were filled without a binding: the markers in the documents say which endpoint made which.

A backfill of an index that nobody has bound leaves its traces there (``sidecar.model``: ``field=endpoint@revision``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from elasticsearch import ApiError, AsyncElasticsearch

from sidecar.elastic.bindings import Binding
from sidecar.elastic.index_catalog import SEARCHED, IndexView
from sidecar.search.preparation import Catalog
from sidecar.search.scope import mapped_field

_MODEL, _SOURCE = "sidecar.model", "sidecar.source"
_MOST_FIELDS = 100


class MarkedCatalog:
    """A catalog whose views also have the bindings that the documents' markers tell of."""

    def __init__(self, catalog: Catalog, client: AsyncElasticsearch) -> None:
        self._catalog = catalog
        self._client = client

    async def resolve(self, expression: str, expand_wildcards: str = SEARCHED) -> tuple[IndexView, ...]:
        """Every concrete index, with what its mapping and its documents say.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        return tuple(
            [await self._completed(view) for view in await self._catalog.resolve(expression, expand_wildcards)]
        )

    async def has_endpoint(self, inference_id: str) -> bool:
        """Whether the cluster itself has an inference endpoint of that id.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        return await self._catalog.has_endpoint(inference_id)

    async def _completed(self, view: IndexView) -> IndexView:
        if mapped_field(view.mapping, _MODEL) is None:
            return view
        models = await self._values(view, _MODEL)
        sources = dict(_assigned(await self._values(view, _SOURCE)))
        known = {binding.target for binding in view.bindings} | {semantic.name for semantic in view.semantic}
        found = {
            target: Binding((sources.get(target, target),), target, model.rpartition("@")[0])
            for target, model in _assigned(models)
            if target not in known and mapped_field(view.mapping, target) is not None
        }
        return replace(view, bindings=(*view.bindings, *found.values()))

    async def _values(self, view: IndexView, field: str) -> list[str]:
        """A keyword field's values, rarest first, so that of two models of a field the commoner counts.

        Where markers were copied into an index without a mapping for them, the keyword lies below a guessed text.
        """
        guessed = f"{field}.keyword"
        field = guessed if mapped_field(view.mapping, guessed) is not None else field
        counted = {"values": {"terms": {"field": field, "size": _MOST_FIELDS}}}
        try:
            answer = await self._client.search(
                index=view.name, size=0, aggs=counted, allow_partial_search_results=False, ignore_unavailable=True
            )
        except ApiError as error:
            if error.status_code == 400:  # a mapping of the user's own under that name
                return []
            raise
        return [bucket["key"] for bucket in reversed(answer["aggregations"]["values"]["buckets"])]


def _assigned(values: Iterable[str]) -> Iterable[tuple[str, str]]:
    for value in values:
        name, equals, rest = str(value).partition("=")
        if equals and name and rest:
            yield name, rest
