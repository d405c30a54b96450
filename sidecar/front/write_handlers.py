"""Writes to the cluster whose documents may want vectors."""

from __future__ import annotations

from aiohttp import web

from sidecar.front.bulk_writing import write_bulk
from sidecar.front.document_writing import write_document
from sidecar.front.exchange import Exchange
from sidecar.front.routes import FrontRoute, route


async def change_indices(exchange: Exchange) -> web.StreamResponse:
    """Forwards what may change mappings, aliases, templates or pipelines; what is known of them is forgotten."""
    exchange.front.catalog.drop()
    try:
        return await exchange.forward()
    finally:
        exchange.front.catalog.drop()


_CHANGES = (
    ("PUT DELETE", "/{index}"),
    ("PUT POST", "/{index}/_mapping"),
    ("PUT POST", "/{index}/_mappings"),
    ("PUT", "/{index}/_settings"),
    ("PUT", "/_settings"),
    ("POST", "/_aliases"),
    ("PUT POST DELETE", "/{index}/_alias/{name}"),
    ("PUT POST DELETE", "/{index}/_aliases/{name}"),
    ("PUT POST", "/{index}/_rollover"),
    ("PUT POST", "/{index}/_rollover/{name}"),
    ("POST PUT", "/{index}/_close"),
    ("POST PUT", "/{index}/_open"),
    ("POST PUT", "/{index}/_clone/{name}"),
    ("POST PUT", "/{index}/_shrink/{name}"),
    ("POST PUT", "/{index}/_split/{name}"),
    ("PUT POST DELETE", "/_index_template/{name}"),
    ("PUT POST DELETE", "/_component_template/{name}"),
    ("PUT POST DELETE", "/_template/{name}"),
    ("PUT DELETE", "/_data_stream/{name}"),
    ("POST", "/_data_stream/_modify"),
    ("POST", "/_snapshot/{repository}/{name}/_restore"),
)

ROUTES: tuple[FrontRoute, ...] = (
    route("POST PUT", "/_bulk", write_bulk),
    route("POST PUT", "/{index}/_bulk", write_bulk),
    route("POST", "/{index}/_doc", write_document),
    route("PUT POST", "/{index}/_doc/{id}", write_document),
    route("PUT POST", "/{index}/_create/{id}", write_document),
    *(route(methods, template, change_indices) for methods, template in _CHANGES),
)
