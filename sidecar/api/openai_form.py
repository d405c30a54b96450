"""OpenAI's form: embeddings, models, and the reranking of servers like it; ``model`` is the inference id.

The lane stands at the end of the path (``/v1/embeddings/search``), before it (``/search/v1``, as a client's base URL)
or in the body (``input_type``, ``prompt_name``). Azure's clients have paths of their own, and name the model in the
body all the same. ``SIDECAR_MODEL_NAMES`` maps names of models to inference ids.
Source: OpenAI API reference, "Create embeddings", "Models"; Jina's and vLLM's "Rerank".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.cohere_form import ranked
from sidecar.api.compat_bodies import (
    base64_floats,
    dense_vectors,
    estimated_tokens,
    read_fields,
    read_texts,
    shortened,
)
from sidecar.api.compat_forms import (
    DENSE,
    below_lanes,
    inference_id_of,
    lane_of,
    status_by_lane,
    text_field,
    with_lanes,
)
from sidecar.api.keys import API_OPTIONS, INFERENCE
from sidecar.api.lanes import LaneCall
from sidecar.api.router import Route
from sidecar.core.errors import SidecarError, StatusError
from sidecar.wire.envelopes import localize

# Azure's clients send it.
_VERSION_PARAMETER = "api-version"
_FORMATS = ("float", "base64")


async def openai_embeddings(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """OpenAI's embeddings; ``encoding_format`` ``float`` or ``base64`` (little-endian 32-bit floats)."""
    call.know(_VERSION_PARAMETER)
    fields = await read_fields(call)
    encoding = fields.get("encoding_format") or "float"
    if encoding not in _FORMATS:
        raise StatusError(f"[encoding_format] must be one of [{', '.join(_FORMATS)}], not [{encoding}]")
    texts, model = _texts(fields), values.get("inference_id") or text_field(fields, "model")
    lane = lane_of(values, fields, "input_type", "prompt_name")
    lane_call = await LaneCall.begin(call, inference_id_of(call, model), lane, *DENSE)
    vectors = await dense_vectors(lane_call, texts)
    vectors = shortened(lane_call, vectors, fields.get("dimensions"), status=400)
    data = [
        {"object": "embedding", "index": n, "embedding": base64_floats(vector) if encoding == "base64" else vector}
        for n, vector in enumerate(vectors)
    ]
    tokens = estimated_tokens(texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": model, "usage": usage}
    return await call.unfiltered_of(sum(map(len, vectors)), body)


def _texts(fields: dict[str, Any]) -> list[str]:
    value = fields.get("input")
    if isinstance(value, list) and any(isinstance(item, (int, list)) for item in value):
        raise StatusError(
            "[input] holds token ids, which only the model's own tokenizer understands; send texts"
            " (in LangChain: check_embedding_ctx_length=False)",
            status=422,
        )
    return read_texts(fields, "input")


async def rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Jina's, vLLM's and Cohere's v1 rerank; texts come back unless ``return_documents`` is false."""
    call.know(_VERSION_PARAMETER)
    model, rows = await ranked(call, values, with_text=True)
    return call.unfiltered({"id": str(uuid4()), "object": "list", "model": model, "results": rows})


async def list_models(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    """Every endpoint and every mapped name as a model."""
    call.know(_VERSION_PARAMETER)
    call.refuse_unknown()
    endpoints = await call.request.app[INFERENCE].endpoints()
    names = [*(e.inference_id for e in endpoints), *call.request.app[API_OPTIONS].model_names]
    return call.unfiltered({"object": "list", "data": [_model(name) for name in dict.fromkeys(names)]})


async def get_model(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """One model; 404 where no endpoint answers for it."""
    call.know(_VERSION_PARAMETER)
    call.refuse_unknown()
    name = values["model"]
    await call.request.app[INFERENCE].find(inference_id_of(call, name))
    return call.unfiltered(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sidecar"}


def openai_error(call: Call, error: SidecarError) -> web.Response:
    """OpenAI's error object; a search out of time is 400, because Elasticsearch repeats every 5xx of this service."""
    error = localize(error, call.generation)
    status = status_by_lane(call, error, search_timeout=400)
    body = {"error": {"message": error.sentence, "type": error.type, "param": None, "code": None}}
    return call.unfiltered(body, status=status, headers=error.headers)


def rerank_error(call: Call, error: SidecarError) -> web.Response:
    """OpenAI's error object with Cohere's ``message`` beside it: clients of both call this route."""
    error = localize(error, call.generation)
    described = {"message": error.sentence, "type": error.type, "param": None, "code": None}
    status = status_by_lane(call, error, search_timeout=400)
    return call.unfiltered({"message": error.sentence, "error": described}, status=status, headers=error.headers)


ROUTES: tuple[Route, ...] = (
    *with_lanes("/v1/embeddings", openai_embeddings, openai_error),
    *below_lanes("/v1/embeddings", openai_embeddings, openai_error)[1:],
    *below_lanes("/openai/deployments/{deployment}/embeddings", openai_embeddings, openai_error),
    *below_lanes("/v1/rerank", rerank, rerank_error),
    *below_lanes("/v1/models", list_models, openai_error, "GET"),
    *below_lanes("/v1/models/{model}", get_model, openai_error, "GET"),
)
