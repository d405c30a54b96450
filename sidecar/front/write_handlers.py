"""Writes to the cluster whose documents may want vectors."""

from __future__ import annotations

from sidecar.front.bulk_writing import write_bulk
from sidecar.front.document_updating import update_document
from sidecar.front.document_writing import write_document
from sidecar.front.pipeline_handlers import get_pipelines, put_pipeline, simulate_pipeline
from sidecar.front.routes import FrontRoute, route

ROUTES: tuple[FrontRoute, ...] = (
    route("POST PUT", "/_bulk", write_bulk),
    route("POST PUT", "/{index}/_bulk", write_bulk),
    route("POST", "/{index}/_doc", write_document),
    route("PUT POST", "/{index}/_doc/{id}", write_document),
    route("PUT POST", "/{index}/_create/{id}", write_document),
    route("POST", "/{index}/_update/{id}", update_document),
    route("PUT", "/_ingest/pipeline/{id}", put_pipeline),
    route("GET", "/_ingest/pipeline/{id}", get_pipelines),
    route("GET", "/_ingest/pipeline", get_pipelines),
    route("GET POST", "/_ingest/pipeline/_simulate", simulate_pipeline),
    route("GET POST", "/_ingest/pipeline/{id}/_simulate", simulate_pipeline),
)
