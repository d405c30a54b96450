"""Writes to the cluster whose documents may want vectors."""

from __future__ import annotations

from sidecar.front.bulk_writing import write_bulk
from sidecar.front.document_writing import write_document
from sidecar.front.routes import FrontRoute, route

ROUTES: tuple[FrontRoute, ...] = (
    route("POST PUT", "/_bulk", write_bulk),
    route("POST PUT", "/{index}/_bulk", write_bulk),
    route("POST", "/{index}/_doc", write_document),
    route("PUT POST", "/{index}/_doc/{id}", write_document),
    route("PUT POST", "/{index}/_create/{id}", write_document),
)
