"""The form of text-embeddings-inference, which Elasticsearch's ``hugging_face`` and TEI's clients speak.

    /compat/hf/{inference_id}/{sparse|embed|embed_sparse|rerank}[/{ingest|search}]
    /compat/hf/{inference_id}[/{similarity|predict|tokenize|decode|info|health|v1/embeddings}]

``sparse`` is the form of Elasticsearch's own model behind such a server, tokens by name; TEI's has their ids.
Source: text-embeddings-inference's API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import (
    Floats,
    best_first,
    dense_vectors,
    of_length_1,
    read_fields,
    read_texts,
    refuse_cut,
    scores,
    shortened,
    token_weights,
)
from sidecar.api.compat_forms import DENSE, below_lanes, lane_of, status_by_lane, text_field, with_lanes
from sidecar.api.keys import INFERENCE
from sidecar.api.lanes import Lane, LaneCall
from sidecar.api.openai_form import openai_embeddings, openai_error
from sidecar.api.result_bodies import short_floats
from sidecar.api.router import Route
from sidecar.api.tei_predict import hf_predict
from sidecar.api.tei_tokens import hf_decode, hf_tokenize
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
    _refuse_cut(lane_call, fields)
    return await call.unfiltered_of(sum(map(len, weights)), weights)


async def hf_embed_sparse(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to a list of ``{"index", "value"}`` per input, ids of tokens with their weights."""
    fields = await read_fields(call)
    lane = lane_of(values, fields, "prompt_name")
    lane_call = await LaneCall.begin(call, values["inference_id"], lane, TaskType.SPARSE_EMBEDDING)
    vocabulary = await call.request.app[INFERENCE].vocabulary(lane_call.endpoint)
    weights = await token_weights(lane_call, read_texts(fields, "inputs"))
    _refuse_cut(lane_call, fields)
    rows = [[{"index": n, "value": weight} for n, weight in vocabulary.by_id(found).items()] for found in weights]
    return await call.unfiltered_of(3 * sum(map(len, rows)), rows)


async def hf_embed(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to one vector per input; what a caller asks for and cannot be had is refused."""
    fields = await read_fields(call)
    lane = lane_of(values, fields, "prompt_name")
    lane_call = await LaneCall.begin(call, values["inference_id"], lane, *DENSE)
    vectors = await _vectors(lane_call, read_texts(fields, "inputs"), fields)
    return await call.unfiltered_of(sum(map(len, vectors)), vectors)


async def hf_similarity(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": {"source_sentence", "sentences"}}`` to the cosine of each sentence with the first."""
    fields = await read_fields(call)
    inputs, more = fields.get("inputs"), fields.get("parameters") or {}
    if not isinstance(inputs, dict) or not isinstance(more, dict):
        raise StatusError("[inputs] must be an object with [source_sentence] and [sentences]", status=422)
    lane_call = await LaneCall.begin(call, values["inference_id"], lane_of(values, more, "prompt_name"), *DENSE)
    texts = [text_field(inputs, "source_sentence"), *read_texts(inputs, "sentences")]
    source, *others = map(of_length_1, await _vectors(lane_call, texts, more))
    call.truncated = [position - 1 for position in call.truncated if position]
    return call.unfiltered(short_floats(float(source @ other) for other in others))


async def _vectors(lane_call: LaneCall, texts: Sequence[str], fields: Mapping[str, Any]) -> list[Floats]:
    """Vectors as the options ask for them; what cannot be had is refused."""
    model = lane_call.local_model
    if fields.get("normalize") is False and (model is None or model.normalizes):
        raise StatusError("[normalize] false cannot be had: the model's vectors are as it was trained", status=422)
    vectors = shortened(lane_call, await dense_vectors(lane_call, texts), fields.get("dimensions"))
    _refuse_cut(lane_call, fields)
    return [of_length_1(vector) for vector in vectors] if fields.get("normalize") is True else vectors


def _refuse_cut(lane_call: LaneCall, fields: Mapping[str, Any]) -> None:
    """Texts are cut at their right unless ``truncate`` is false, as where TEI was started with ``--auto-truncate``."""
    side = str(fields.get("truncation_direction") or "right").lower()
    if side not in ("left", "right"):
        raise StatusError("[truncation_direction] must be one of [left, right]", status=422)
    never = "[truncate] is false" if fields.get("truncate") is False else ""
    refuse_cut(lane_call, never=never, left="[truncation_direction]" if side == "left" else "", status=413)


async def hf_rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"texts": [...], "query": "...", "return_text": false}`` to all scores, best first."""
    fields = await read_fields(call)
    texts = read_texts(fields, "texts")
    inference_id = values.get("inference_id", DEFAULT_RERANKER)
    lane = lane_of(values, fields, default=Lane.SEARCH)
    lane_call = await LaneCall.begin(call, inference_id, lane, TaskType.RERANK)
    found = await scores(lane_call, text_field(fields, "query"), texts, raw=fields.get("raw_scores") is True)
    _refuse_cut(lane_call, fields)
    with_text = fields.get("return_text") is True
    rows = [{"index": n, "score": found[n]} | ({"text": texts[n]} if with_text else {}) for n in best_first(found)]
    return call.unfiltered(rows)


async def hf_root(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """What the endpoint's model does, as TEI's root does: vectors, token weights, scores, similarities."""
    endpoint = await call.request.app[INFERENCE].find(values["inference_id"])
    fields = await read_fields(call)
    if endpoint.task_type is TaskType.RERANK:
        return await (hf_rerank if "texts" in fields else hf_predict)(call, values)
    if endpoint.task_type is TaskType.SPARSE_EMBEDDING:
        return await hf_sparse(call, values)
    return await (hf_similarity if isinstance(fields.get("inputs"), dict) else hf_embed)(call, values)


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
            "auto_truncate": True,
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
    kind = "Overloaded" if status == 429 else "Validation" if status < 500 else "Backend"
    return call.unfiltered({"error": error.sentence, "error_type": kind}, status=status, headers=error.headers)


_BASE = "/compat/hf/{inference_id}"

ROUTES: tuple[Route, ...] = (
    *with_lanes(f"{_BASE}/sparse", hf_sparse, hf_error),
    *with_lanes(f"{_BASE}/embed", hf_embed, hf_error),
    *with_lanes(f"{_BASE}/rerank", hf_rerank, hf_error),
    *with_lanes(f"{_BASE}/embed_sparse", hf_embed_sparse, hf_error),
    *with_lanes(f"{_BASE}/similarity", hf_similarity, hf_error),
    Route(f"{_BASE}/predict", {"POST": hf_predict}, on_error=hf_error),
    Route(f"{_BASE}/tokenize", {"POST": hf_tokenize}, on_error=hf_error),
    Route(f"{_BASE}/decode", {"POST": hf_decode}, on_error=hf_error),
    Route(_BASE, {"POST": hf_root, "GET": hf_health}, on_error=hf_error),
    Route(f"{_BASE}/info", {"GET": hf_info}, on_error=hf_error),
    Route(f"{_BASE}/health", {"GET": hf_health}, on_error=hf_error),
    *below_lanes(f"{_BASE}/v1/embeddings", openai_embeddings, openai_error)[:1],
    # clients that keep only the host of their address
    Route("/rerank", {"POST": hf_rerank}, on_error=hf_error),
    *with_lanes("/compat/pairs/sparse_embedding/{inference_id}", pairs_sparse, hf_error),
)
