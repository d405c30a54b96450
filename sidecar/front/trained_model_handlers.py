"""``_ml/trained_models/{id}/_infer``, by which client libraries ask for vectors, over endpoints of the sidecar.

An id of which the sidecar has no endpoint is the cluster's.
Source: Elasticsearch reference, "Infer trained model API"; what langchain, llama-index and haystack send.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import (
    ActionRequestValidationError,
    IllegalArgumentError,
    ParseError,
    ResourceNotFoundError,
    StatusError,
)
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import DenseEmbeddings, SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.core.time_values import parse_time_value
from sidecar.front.exchange import Exchange
from sidecar.front.routes import FrontRoute, route
from sidecar.wire.body_formats import as_json

# Elasticsearch's own default for this call.
_DEFAULT_TIMEOUT = "10s"


async def infer(exchange: Exchange) -> web.StreamResponse:
    """``{"docs": [{"text_field": "..."}]}`` to ``{"inference_results": [{"predicted_value": ...}]}``, in order.

    A vector for a dense endpoint, an object of token weights for a sparse one. Nothing in the request tells a question
    from a document: endpoints that tell them apart are asked as for a document.
    """
    try:
        endpoint = await exchange.front.inference.find(exchange.values["model_id"])
    except ResourceNotFoundError:
        return await exchange.forward()
    exchange.facts |= {"endpoint": endpoint.inference_id, "task_type": endpoint.task_type.value}
    texts = _texts(await _fields(exchange))
    timeout = parse_time_value(exchange.parameters.get("timeout", _DEFAULT_TIMEOUT), "timeout")
    request = InferenceRequest(
        input=tuple(texts),
        input_type=InputType.INTERNAL_INGEST,
        timeout=timeout.seconds,
        timeout_text=str(timeout),
    )
    result = (await exchange.front.inference.perform(endpoint, request)).result
    return exchange.respond(
        200, {"inference_results": [{"predicted_value": value} for value in _values(result, endpoint)]}
    )


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


def _texts(fields: dict[str, Any]) -> list[str]:
    docs = fields.get("docs")
    if not isinstance(docs, list) or not docs:
        raise ActionRequestValidationError("at least one document is required ")
    texts = []
    for doc in docs:
        values = [value for value in doc.values() if isinstance(value, str)] if isinstance(doc, dict) else []
        if len(values) != 1:
            raise IllegalArgumentError("each document of [docs] must hold one field with a text")
        texts.append(values[0])
    return texts


def _values(result: object, endpoint: Endpoint) -> list[Any]:
    if isinstance(result, SparseEmbeddings):
        return [item.tokens for item in result.items]
    if isinstance(result, DenseEmbeddings):
        return list(result.vectors)
    raise StatusError(f"[{endpoint.inference_id}] is a {endpoint.task_type} endpoint; it makes no embeddings")


ROUTES: tuple[FrontRoute, ...] = (
    route("POST", "/_ml/trained_models/{model_id}/_infer", infer),
    route("POST", "/_ml/trained_models/{model_id}/deployment/_infer", infer),
)
