"""The form of text-embeddings-inference, which Elasticsearch's ``hugging_face`` and TEI's clients speak.

    /compat/hf/{inference_id}/{sparse|embed|rerank}[/{ingest|search}], /compat/hf/{inference_id}, .../info, .../health

Source: text-embeddings-inference's API (``/embed``, ``/embed_sparse``, ``/rerank``, ``/info``).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import best_first, dense_vectors, read_fields, read_texts, scores, token_weights
from sidecar.api.compat_forms import DENSE, lane_of, status_by_lane, text_field, with_lanes
from sidecar.api.keys import INFERENCE
from sidecar.api.lanes import Lane, LaneCall
from sidecar.api.router import Route
from sidecar.core.errors import SidecarError, StatusError
from sidecar.core.tasks import TaskType
from sidecar.wire.envelopes import localize

DEFAULT_RERANKER = ".rerank-v1-elasticsearch"


async def hf_sparse(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to one object of token weights per input."""
    fields = await read_fields(call)
    lane = lane_of(values, fields, "prompt_name")
    lane_call = await LaneCall.begin(call, values["inference_id"], lane, TaskType.SPARSE_EMBEDDING)
    weights = await token_weights(lane_call, read_texts(fields, "inputs"))
    return await call.unfiltered_of(sum(map(len, weights)), weights)


async def hf_embed(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to one vector per input; what a caller asks for and cannot be had is refused."""
    fields = await read_fields(call)
    lane = lane_of(values, fields, "prompt_name")
    lane_call = await LaneCall.begin(call, values["inference_id"], lane, *DENSE)
    _refuse_unheeded(fields)
    vectors = await dense_vectors(lane_call, read_texts(fields, "inputs"))
    wanted = fields.get("dimensions")
    if wanted is not None and any(len(vector) != wanted for vector in vectors):
        raise StatusError(f"the model has {len(vectors[0])} dimensions and cannot give {wanted}", status=422)
    return await call.unfiltered_of(sum(map(len, vectors)), vectors)


def _refuse_unheeded(fields: Mapping[str, Any]) -> None:
    if fields.get("normalize") is False:
        raise StatusError("[normalize] false cannot be had: the model's vectors are as it was trained", status=422)
    if str(fields.get("truncation_direction", "right")).lower() != "right":
        raise StatusError("[truncation_direction] must be [right]", status=422)


async def hf_rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"texts": [...], "query": "...", "return_text": false}`` to all scores, best first."""
    fields = await read_fields(call)
    texts = read_texts(fields, "texts")
    inference_id = values.get("inference_id", DEFAULT_RERANKER)
    lane = lane_of(values, fields, default=Lane.SEARCH)
    lane_call = await LaneCall.begin(call, inference_id, lane, TaskType.RERANK)
    found = await scores(lane_call, text_field(fields, "query"), texts, raw=fields.get("raw_scores") is True)
    with_text = fields.get("return_text") is True
    rows = [{"index": n, "score": found[n]} | ({"text": texts[n]} if with_text else {}) for n in best_first(found)]
    return call.unfiltered(rows)


async def hf_root(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """What the endpoint's model does, as TEI's root does: vectors, or scores for ``texts``."""
    endpoint = await call.request.app[INFERENCE].find(values["inference_id"])
    handlers = {TaskType.RERANK: hf_rerank, TaskType.SPARSE_EMBEDDING: hf_sparse}
    return await handlers.get(endpoint.task_type, hf_embed)(call, values)


async def hf_info(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Which model answers, as far as the sidecar knows."""
    call.refuse_unknown()
    inference = call.request.app[INFERENCE]
    endpoint = await inference.find(values["inference_id"])
    model = inference.local_model(endpoint)
    return call.unfiltered(
        {
            "model_id": model.name if model else endpoint.service_settings.get("model_id", endpoint.inference_id),
            "model_sha": model.revision if model else None,
            "model_type": {"reranker": {}} if endpoint.task_type is TaskType.RERANK else {"embedding": {}},
            "max_input_length": model.max_length if model else endpoint.service_settings.get("max_input_tokens"),
            "version": version("elasticsearch-inference-sidecar"),
        }
    )


async def hf_health(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """200 where there is such an endpoint."""
    call.refuse_unknown()
    await call.request.app[INFERENCE].find(values["inference_id"])
    return web.Response()


async def pairs_sparse(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"input": [...]}`` to tokens and weights as two parallel paths, which is what ``custom`` can read."""
    fields = await read_fields(call)
    lane = lane_of(values, fields)
    lane_call = await LaneCall.begin(call, values["inference_id"], lane, TaskType.SPARSE_EMBEDDING)
    found = await token_weights(lane_call, read_texts(fields, "input"))
    data = [
        {"embedding": [{"token": token, "weight": weight} for token, weight in weights.items()]} for weights in found
    ]
    return await call.unfiltered_of(sum(map(len, found)) * 3, {"data": data})


def hf_error(call: Call, error: SidecarError) -> web.Response:
    """``{"error", "error_type"}``; a search out of time is final (500), an ingest may be repeated (429)."""
    error = localize(error, call.generation)
    status = status_by_lane(call, error, search_timeout=500)
    kind = "overloaded" if status == 429 else "validation" if status < 500 else "backend"
    return call.unfiltered({"error": error.reason, "error_type": kind}, status=status, headers=error.headers)


_BASE = "/compat/hf/{inference_id}"

ROUTES: tuple[Route, ...] = (
    *with_lanes(f"{_BASE}/sparse", hf_sparse, hf_error),
    *with_lanes(f"{_BASE}/embed", hf_embed, hf_error),
    *with_lanes(f"{_BASE}/rerank", hf_rerank, hf_error),
    Route(_BASE, {"POST": hf_root}, on_error=hf_error),
    Route(f"{_BASE}/info", {"GET": hf_info}, on_error=hf_error),
    Route(f"{_BASE}/health", {"GET": hf_health}, on_error=hf_error),
    # clients that keep only the host of their address
    Route("/rerank", {"POST": hf_rerank}, on_error=hf_error),
    *with_lanes("/compat/pairs/sparse_embedding/{inference_id}", pairs_sparse, hf_error),
)
