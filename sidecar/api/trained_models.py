"""The trained models API as far as client libraries ask it for vectors, over endpoints of the sidecar.

Source: Elasticsearch reference, "Infer trained model API" and "Get trained models API".
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import read_fields
from sidecar.api.keys import INFERENCE
from sidecar.api.result_bodies import truncated_inputs
from sidecar.api.router import Route
from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import ResourceNotFoundError
from sidecar.wire.trained_models import infer_body, read_infer_body, trained_model_body


async def infer(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"docs": [{"text_field": "..."}]}`` to ``{"inference_results": [{"predicted_value": ...}]}``, in order."""
    call.know("timeout")
    fields = await read_fields(call)
    endpoint = await _endpoint(call, values["model_id"])
    call.facts |= {"endpoint": endpoint.inference_id, "task_type": endpoint.task_type.value}
    request = read_infer_body(fields, call.parameters.get("timeout"))
    answer = await call.request.app[INFERENCE].perform(endpoint, request, generation=call.generation)
    call.truncated = truncated_inputs(answer.result)
    return call.answer(infer_body(answer.result, endpoint))


async def get_trained_model(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """The endpoint, or the model by its own name, as a trained model."""
    call.know("allow_no_match", "include", "size", "from", "tags", "decompress_definition", "exclude_generated")
    call.refuse_unknown()
    name = values["model_id"]
    endpoint = await _endpoint(call, name)
    return call.answer(trained_model_body(name, endpoint))


async def _endpoint(call: Call, name: str) -> Endpoint:
    try:
        return await call.request.app[INFERENCE].find_by_model(name)
    except ResourceNotFoundError:
        raise ResourceNotFoundError(f"No known trained model with model_id [{name}]") from None


ROUTES: tuple[Route, ...] = (
    Route("/_ml/trained_models/{model_id}", {"GET": get_trained_model}),
    Route("/_ml/trained_models/{model_id}/_infer", {"POST": infer}),
    Route("/_ml/trained_models/{model_id}/deployment/_infer", {"POST": infer}),
)
