"""What a search needs before its body can be rewritten: what its indices say, which endpoints are ours, the vectors."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np
import structlog
from elasticsearch import ApiError

from sidecar.core.errors import ResourceNotFoundError, SidecarError, StatusError
from sidecar.core.results import SparseEmbeddings
from sidecar.core.tasks import ElementType, InputType
from sidecar.elastic.index_catalog import IndexView
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.search.rewriting import Rewriter, Want, named_endpoints
from sidecar.search.scope import EndpointKind, SearchScope
from sidecar.search.vector_queries import QueryVector

_log = structlog.stdlib.get_logger(__name__)


class Catalog(Protocol):
    """The concrete indices behind an expression."""

    async def resolve(self, expression: str) -> tuple[IndexView, ...]: ...


async def known_views(catalog: Catalog, expression: str) -> tuple[IndexView, ...]:
    """The indices of an expression; none where the cluster refuses to say: it refuses the search in its own words.

    Raises:
        ApiError, TransportError: the cluster fails or does not answer.
    """
    try:
        return await catalog.resolve(expression)
    except ApiError as error:
        if error.meta.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        _log.warning("mappings cannot be read", index=expression, status=error.meta.status, cause=str(error))
        return ()


class Preparation:
    """Looks up what searches need; asks for nothing twice within one search."""

    def __init__(self, catalog: Catalog, embedder: Embedder) -> None:
        self._catalog = catalog
        self._embedder = embedder

    async def views(self, expression: str, body: Mapping[str, Any]) -> tuple[IndexView, ...]:
        """The indices of a search: those of its expression, or those of its point in time."""
        pit = body.get("pit")
        if not isinstance(pit, Mapping) or not isinstance(pit.get("id"), str):
            return await known_views(self._catalog, expression)
        return in_point_in_time(await known_views(self._catalog, "*"), pit["id"])

    async def scope(self, expression: str, body: Mapping[str, Any], version: ServerVersion = NEWEST) -> SearchScope:
        """What rewriting ``body`` over ``expression`` must know."""
        views = await self.views(expression, body)
        bare = SearchScope(views, {}, version)
        ids = list(dict.fromkeys((*bare.inference_ids(), *named_endpoints(body))))
        found = await asyncio.gather(*(self._kind(inference_id) for inference_id in ids))
        return SearchScope(views, {kind.inference_id: kind for kind in found if kind is not None}, version)

    async def _kind(self, inference_id: str) -> EndpointKind | None:
        try:
            profile = await self._embedder.profile(inference_id)
        except ResourceNotFoundError:
            return None
        return EndpointKind(inference_id, profile.task_type, profile.dimensions)

    async def rewriter(self, scope: SearchScope, body: dict[str, Any], size: int) -> Rewriter:
        """A rewriter with every vector that ``body`` asks for; ``size`` is the number of hits that are shown.

        Raises:
            SidecarError: an endpoint failed, or a clause is refused.
        """
        collecting = Rewriter(scope)
        collecting.body(body, size)
        return Rewriter(scope, known_vectors(await self.vectors(collecting.wants), collecting.wants))

    async def vectors(self, wants: Iterable[Want]) -> dict[Want, QueryVector | SidecarError]:
        """A vector for every text, or why there is none; all are asked for at once, each once."""
        distinct: Sequence[Want] = list(dict.fromkeys(wants))
        found = await asyncio.gather(*(self._vector(want) for want in distinct))
        return dict(zip(distinct, found, strict=True))

    async def _vector(self, want: Want) -> QueryVector | SidecarError:
        try:
            answer = await self._embedder.embed(want.inference_id, [want.text], InputType.SEARCH)
        except SidecarError as error:
            return error
        if isinstance(answer, SparseEmbeddings):
            return answer.items[0].tokens
        if not answer.vectors:
            return StatusError(f"[{want.inference_id}] made no vector", status=500)
        is_float = answer.element_type is ElementType.FLOAT
        numbers = np.asarray(answer.vectors[0], dtype=np.float32 if is_float else np.int8)
        return numbers  # type: ignore[return-value]


def known_vectors(found: Mapping[Want, QueryVector | SidecarError], wants: Iterable[Want]) -> dict[Want, QueryVector]:
    """The vectors of ``wants``; raises the first failure among them."""
    result = {}
    for want in wants:
        vector = found[want]
        if isinstance(vector, SidecarError):
            raise vector
        result[want] = vector
    return result


def in_point_in_time(views: Iterable[IndexView], pit_id: str) -> tuple[IndexView, ...]:
    """The indices whose names stand in a point in time's id, which is opaque but holds them as they are."""
    try:
        data = base64.urlsafe_b64decode(pit_id + "=" * (-len(pit_id) % 4))
    except (binascii.Error, ValueError):
        return ()
    return tuple(
        view for view in views if len(view.name) < 128 and bytes([len(view.name)]) + view.name.encode() in data
    )
