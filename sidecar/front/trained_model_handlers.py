"""``_ml/trained_models``, where client libraries look for models and ask for vectors, over endpoints of the sidecar.

An id of which the sidecar has no endpoint is the cluster's.
Source: Elasticsearch reference, "Infer trained model API"; what langchain, llama-index and haystack send.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from sidecar.core.errors import ParseError, ResourceNotFoundError
from sidecar.front.exchange import Exchange
from sidecar.front.routes import FrontRoute, route
from sidecar.wire.body_formats import as_json
from sidecar.wire.trained_models import infer_body, read_infer_body, trained_model_body


async def infer(exchange: Exchange) -> web.StreamResponse:
    """``{"docs": [{"text_field": "..."}]}`` to ``{"inference_results": [{"predicted_value": ...}]}``, in order."""
    try:
        endpoint = await exchange.front.inference.find_by_model(exchange.values["model_id"])
    except ResourceNotFoundError:
        return await exchange.forward()
    exchange.facts |= {"endpoint": endpoint.inference_id, "task_type": endpoint.task_type.value}
    request = read_infer_body(await _fields(exchange), exchange.parameters.get("timeout"))
    answer = await exchange.front.inference.perform(endpoint, request)
    return exchange.respond(200, infer_body(answer.result, endpoint))


async def get_trained_model(exchange: Exchange) -> web.StreamResponse:
    """The endpoint, or the model by its own name, as a trained model."""
    name = exchange.values["model_id"]
    try:
        endpoint = await exchange.front.inference.find_by_model(name)
    except ResourceNotFoundError:
        return await exchange.forward()
    return exchange.respond(200, trained_model_body(name, endpoint))


async def _fields(exchange: Exchange) -> dict[str, Any]:
    data = await exchange.body()
    if not data:
        raise ParseError("request body is required")
    try:
        fields = json.loads(as_json(data, exchange.types.body_format()))
    except ValueError as error:
        raise ParseError(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ParseError("the body must be an object with [docs]")
    return fields


ROUTES: tuple[FrontRoute, ...] = (
    route("GET", "/_ml/trained_models/{model_id}", get_trained_model),
    route("POST", "/_ml/trained_models/{model_id}/_infer", infer),
    route("POST", "/_ml/trained_models/{model_id}/deployment/_infer", infer),
)
