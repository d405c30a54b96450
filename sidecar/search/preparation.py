"""What a search needs before its body can be rewritten: what its indices say, which endpoints are ours, the vectors."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np
import structlog
from elasticsearch import ApiError

from sidecar.core.errors import ResourceNotFoundError, SidecarError, StatusError
from sidecar.core.results import SparseEmbeddings
from sidecar.core.tasks import ElementType, InputType
from sidecar.elastic.index_catalog import SEARCHED, IndexView
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.search.endpoint_words import named_endpoints
from sidecar.search.rewriting import Rewriter, Want
from sidecar.search.scope import EndpointKind, SearchScope
from sidecar.search.vector_queries import QueryVector

_log = structlog.stdlib.get_logger(__name__)
_UUID = re.compile(rb"(?=\x16[A-Za-z0-9_-]{22})")
_NOT_IN_NAMES = re.compile(r'[\x00-\x20\\/*?"<>|,#:\x7f\ufffd]')
_LONGEST_NAME = 255
_MOST_OF_A_LIST = 1000


class Catalog(Protocol):
    """The concrete indices behind an expression, and whether the cluster itself has an endpoint."""

    async def resolve(self, expression: str, expand_wildcards: str = SEARCHED) -> tuple[IndexView, ...]: ...

    async def has_endpoint(self, inference_id: str) -> bool: ...


async def known_views(catalog: Catalog, expression: str, expand_wildcards: str = SEARCHED) -> tuple[IndexView, ...]:
    """The indices of an expression; none where the cluster refuses to say: it refuses the search in its own words.

    Raises:
        ApiError, TransportError: the cluster fails or does not answer.
    """
    try:
        return await catalog.resolve(expression, expand_wildcards)
    except ApiError as error:
        if error.meta.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        _log.warning("mappings_unreadable", index=expression, status=error.meta.status, cause=str(error))
        return ()


class Preparation:
    """Looks up what searches need; asks for nothing twice within one search."""

    def __init__(self, catalog: Catalog, embedder: Embedder) -> None:
        self._catalog = catalog
        self._embedder = embedder

    async def views(
        self, expression: str, body: Mapping[str, Any], expand_wildcards: str = SEARCHED
    ) -> tuple[IndexView, ...]:
        """The indices of a search: those of its expression, or those of its point in time."""
        pit = body.get("pit")
        if not isinstance(pit, Mapping) or not isinstance(pit.get("id"), str):
            return await known_views(self._catalog, expression, expand_wildcards)
        found: list[IndexView] = []
        for some in _joined(names_in_point_in_time(pit["id"])):
            found += await known_views(self._catalog, some)
        return tuple(found)

    async def scope(
        self,
        expression: str,
        body: Mapping[str, Any],
        version: ServerVersion = NEWEST,
        expand_wildcards: str = SEARCHED,
    ) -> SearchScope:
        """What rewriting ``body`` over ``expression`` must know."""
        views = await self.views(expression, body, expand_wildcards)
        bare = SearchScope(views, {}, version)
        named = tuple(dict.fromkeys(named_endpoints(body)))
        ids = dict.fromkeys((*bare.inference_ids(), *named))
        found = await asyncio.gather(*(self._kind(inference_id) for inference_id in ids))
        endpoints = {kind.inference_id: kind for kind in found if kind is not None}
        return SearchScope(views, endpoints, version, tuple(name for name in named if name not in endpoints))

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
        await self.refuse_unknown(collecting)
        return Rewriter(scope, known_vectors(await self.vectors(collecting.wants), collecting.wants))

    async def refuse_unknown(self, collecting: Rewriter) -> None:
        """Tells of endpoints that nobody has.

        Raises:
            ResourceNotFoundError: neither the sidecar nor the cluster has one of them.
        """
        for inference_id in collecting.unknown:
            try:
                is_there = await self._catalog.has_endpoint(inference_id)
            except ApiError as error:
                _log.warning("endpoint_lookup_failed", inference_id=inference_id, cause=str(error))
                return
            if not is_there:
                raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")

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
        made = len(answer.items if isinstance(answer, SparseEmbeddings) else answer.vectors)
        if made != 1:  # whose vector any of them is cannot be known
            many = f"[{made}] query inference results" if made else "No query inference results"
            status = HTTPStatus.INTERNAL_SERVER_ERROR if made else HTTPStatus.BAD_REQUEST
            return StatusError(f"{many} retrieved for inference ID [{want.inference_id}]", status=status)
        if isinstance(answer, SparseEmbeddings):
            return answer.items[0].tokens
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


def names_in_point_in_time(pit_id: str) -> list[str]:
    """The indices of a point in time, whose id is opaque but holds, for each shard, an index's name and its uuid.

    What only looks like one does no harm: no index has such a name.
    """
    try:
        data = base64.urlsafe_b64decode(pit_id + "=" * (-len(pit_id) % 4))
    except (binascii.Error, ValueError):
        return []
    found: dict[str, None] = {}
    for uuid in _UUID.finditer(data):
        for length in range(1, min(uuid.start(), _LONGEST_NAME) + 1):
            name = data[uuid.start() - length : uuid.start()]
            text = name.decode("utf-8", "replace")
            if data[: uuid.start() - length].endswith(_size(len(text))) and _is_name(text):
                found[text] = None
    return list(found)


def _size(length: int) -> bytes:
    """A text's length as Elasticsearch writes it before the text, seven bits to a byte."""
    return bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])


def _is_name(text: str) -> bool:
    return text == text.lower() and text[0] not in "-_+" and not _NOT_IN_NAMES.search(text)


def _joined(names: Iterable[str]) -> Iterator[str]:
    """Names as comma lists that fit into the first line of a request."""
    waiting: list[str] = []
    for name in names:
        if sum(map(len, waiting)) + len(name) > _MOST_OF_A_LIST:
            yield ",".join(waiting)
            waiting = []
        waiting.append(name)
    if waiting:
        yield ",".join(waiting)
