"""Mappings on their way to the cluster, and writes inside the cluster that no front can fill."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from elasticsearch import ApiError, TransportError

from sidecar.core.errors import SidecarError
from sidecar.elastic.index_catalog import IndexView
from sidecar.front.document_copying import copy_documents
from sidecar.front.exchange import Exchange
from sidecar.front.mapping_completion import complete
from sidecar.front.routes import FrontRoute, route
from sidecar.front.search_bodies import accepted
from sidecar.front.search_calls import rewritten_inside
from sidecar.inference.embedder import EndpointProfile
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.wire.body_formats import as_json

# Either stands in every mapping that may want completion; a body without them is not parsed.
_WANTED = (b"semantic_text", b"dense_vector")
_MAPPING_OF = {"mappings": ("mappings",), "template": ("template", "mappings"), "itself": ()}


async def put_mapping(exchange: Exchange) -> web.StreamResponse:
    """A new mapping: see ``mapping_completion`` for what is written out in it; all others go on as they came."""
    await exchange.raw_body()
    try:
        data = await exchange.body()
        if not any(word in data for word in _WANTED):
            return await exchange.forward()
        body = json.loads(as_json(data, exchange.types.body_format()))
    except (SidecarError, ValueError):
        return await exchange.forward()  # The cluster says what is wrong with it.
    mapping = _mapping(body, exchange.template)
    if mapping is None or not await complete(mapping, _Profiles(exchange)):
        return await exchange.forward()
    exchange.facts["completed"] = True
    content_type = exchange.request.headers.get("Content-Type", "application/json")
    for form in ("yaml", "cbor"):
        content_type = content_type.replace(form, "json")
    accept = accepted(exchange)
    headers = {"Content-Type": content_type, **({"Accept": accept} if accept else {})}
    return await exchange.forward(json.dumps(body, ensure_ascii=False).encode(), headers=headers)


def _mapping(body: Any, template: str) -> dict[str, Any] | None:
    path = "template" if template.startswith(("/_index_template", "/_component_template")) else "mappings"
    for name in _MAPPING_OF["itself" if "_mapping" in template else path]:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else None


class _Profiles:
    """Profiles of the sidecar's endpoints, ``None`` for ids of which it has none."""

    def __init__(self, exchange: Exchange) -> None:
        self._embedder = EndpointEmbedder(exchange.front.inference)

    async def __call__(self, inference_id: str) -> EndpointProfile | None:
        try:
            return await self._embedder.profile(inference_id)
        except SidecarError:
            return None


async def write_inside(exchange: Exchange) -> web.StreamResponse:
    """``_reindex`` and ``_update_by_query`` write inside the cluster: the answer says so where the target is bound.

    Onto ``semantic_text`` of ours the cluster cannot write; that is done here, as far as it can be.
    """
    done = await copy_documents(exchange)
    if done is not None:
        return done
    target = exchange.values.get("index") or await _destination(exchange)
    bound = await _bound_names(exchange, target) if target else []
    warnings = []
    if bound:
        warnings.append(
            f"documents are written to [{', '.join(bound)}] inside the cluster, where the sidecar makes no vectors:"
            " [sidecar backfill] makes those that are missing"
        )
    body = await rewritten_inside(exchange)
    return await exchange.forward(body, warnings=warnings)


async def _destination(exchange: Exchange) -> str | None:
    try:
        body = json.loads(as_json(await exchange.body(), exchange.types.body_format()))
        name = body["dest"]["index"]
    except (SidecarError, ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


async def _bound_names(exchange: Exchange, expression: str) -> list[str]:
    try:
        views = await exchange.front.catalog.resolve(expression)
    except (ApiError, TransportError, SidecarError):
        return []  # Nothing depends on the warning.
    return [view.name for view in views if await _is_bound(exchange, view)]


async def _is_bound(exchange: Exchange, view: IndexView) -> bool:
    if view.bindings:
        return True
    profiles = _Profiles(exchange)
    ids = {field.inference_id for field in view.semantic}
    return any([await profiles(inference_id) is not None for inference_id in ids])


def _routes(templates: Iterable[tuple[str, str]]) -> tuple[FrontRoute, ...]:
    return tuple(route(methods, template, put_mapping) for methods, template in templates)


ROUTES: tuple[FrontRoute, ...] = (
    *_routes(
        [
            ("PUT", "/{index}"),
            ("PUT POST", "/{index}/_mapping"),
            ("PUT POST", "/{index}/_mappings"),
            ("PUT POST", "/_index_template/{name}"),
            ("PUT POST", "/_component_template/{name}"),
            ("PUT POST", "/_template/{name}"),
        ]
    ),
    route("POST", "/_reindex", write_inside),
    route("POST", "/{index}/_update_by_query", write_inside),
)
