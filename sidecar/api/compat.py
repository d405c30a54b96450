"""Routes that Elasticsearch's own inference endpoints call, over any endpoint of the sidecar.

    hugging_face   /compat/hf/{inference_id}/{sparse|embed|rerank}[/{ingest|search}]
    custom         /compat/pairs/sparse_embedding/{inference_id}[/{ingest|search}]   (dense, rerank: the native routes)
    openai         /v1/embeddings[/{ingest|search}]                                   (model: the inference id)
    cohere         /compat/cohere/{inference_id}/rerank, /v2/rerank                   (model: the inference id)

Sources: text-embeddings-inference's API (``/embed``, ``/embed_sparse``, ``/rerank``); OpenAI API reference,
"Create embeddings"; Cohere API reference, "Rerank" v1 and v2.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import best_first, dense_vectors, read_fields, read_texts, scores, token_weights
from sidecar.api.lanes import Lane, LaneCall
from sidecar.api.router import Route
from sidecar.core.errors import ResourceNotFoundError, SidecarError, StatusError
from sidecar.core.tasks import TaskType
from sidecar.wire.envelopes import localize

_DENSE = (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)


# --- hugging_face -------------------------------------------------------------------------------------------------


async def hf_sparse(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to one object of token weights per input."""
    fields = await read_fields(call)
    lane_call = await LaneCall.begin(call, values["inference_id"], _lane(values), TaskType.SPARSE_EMBEDDING)
    return call.unfiltered(await token_weights(lane_call, read_texts(fields, "inputs")))


async def hf_embed(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"inputs": [...]}`` to one vector per input."""
    fields = await read_fields(call)
    lane_call = await LaneCall.begin(call, values["inference_id"], _lane(values), *_DENSE)
    return call.unfiltered(await dense_vectors(lane_call, read_texts(fields, "inputs")))


async def hf_rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"texts": [...], "query": "...", "return_text": false}`` to all scores, best first."""
    fields = await read_fields(call)
    texts = read_texts(fields, "texts")
    lane_call = await LaneCall.begin(call, values["inference_id"], _lane(values, Lane.SEARCH), TaskType.RERANK)
    found = await scores(lane_call, _query(fields), texts, raw=fields.get("raw_scores") is True)
    with_text = fields.get("return_text") is True
    rows = [{"index": n, "score": found[n]} | ({"text": texts[n]} if with_text else {}) for n in best_first(found)]
    return call.unfiltered(rows)


def hf_error(call: Call, error: SidecarError) -> web.Response:
    """``{"error", "error_type"}``; a search out of time is final (500), an ingest may be repeated (429)."""
    error = localize(error, call.generation)
    status = _status(call, error, search_timeout=500)
    kind = "overloaded" if status == 429 else "validation" if status < 500 else "backend"
    return call.unfiltered({"error": error.reason, "error_type": kind}, status=status, headers=error.headers)


# --- custom -------------------------------------------------------------------------------------------------------


async def pairs_sparse(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"input": [...]}`` to tokens and weights as two parallel paths, which is what ``custom`` can read."""
    fields = await read_fields(call)
    lane_call = await LaneCall.begin(call, values["inference_id"], _lane(values), TaskType.SPARSE_EMBEDDING)
    found = await token_weights(lane_call, read_texts(fields, "input"))
    data = [
        {"embedding": [{"token": token, "weight": weight} for token, weight in weights.items()]} for weights in found
    ]
    return call.unfiltered({"data": data})


# --- openai -------------------------------------------------------------------------------------------------------


async def openai_embeddings(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """OpenAI's embeddings; ``encoding_format`` ``float`` or ``base64`` (little-endian 32-bit floats)."""
    fields = await read_fields(call)
    texts, model = read_texts(fields, "input"), _text(fields, "model")
    lane_call = await LaneCall.begin(call, model, _lane(values), *_DENSE)
    vectors = await dense_vectors(lane_call, texts)
    wanted = fields.get("dimensions")
    if wanted is not None and any(len(vector) != wanted for vector in vectors):
        raise StatusError(f"endpoint [{model}] has {len(vectors[0])} dimensions and cannot give {wanted}")
    as_base64 = fields.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": _base64(vector) if as_base64 else vector}
        for n, vector in enumerate(vectors)
    ]
    # Nobody counts tokens on this way; four letters a token is the usual estimate.
    tokens = sum(1 + len(text) // 4 for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return call.unfiltered({"object": "list", "data": data, "model": model, "usage": usage})


def openai_error(call: Call, error: SidecarError) -> web.Response:
    """OpenAI's error object; a search out of time is 400, because Elasticsearch repeats every 5xx of this service."""
    error = localize(error, call.generation)
    status = _status(call, error, search_timeout=400)
    body = {"error": {"message": error.reason, "type": error.type, "param": None, "code": None}}
    return call.unfiltered(body, status=status, headers=error.headers)


# --- cohere -------------------------------------------------------------------------------------------------------


async def cohere_rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """Cohere's rerank, v1 and v2; documents are strings or objects with ``text``."""
    fields = await read_fields(call)
    documents = fields.get("documents")
    if isinstance(documents, list):
        documents = [item.get("text") if isinstance(item, dict) else item for item in documents]
    texts = read_texts({"documents": documents}, "documents")
    model = values.get("inference_id") or _text(fields, "model")
    lane_call = await LaneCall.begin(call, model, Lane.SEARCH, TaskType.RERANK)
    found = await scores(lane_call, _query(fields), texts, raw=False)
    with_text = fields.get("return_documents") is True
    rows: list[dict[str, Any]] = [
        {"index": n, "relevance_score": found[n]} | ({"document": {"text": texts[n]}} if with_text else {})
        for n in best_first(found)
    ]
    return call.unfiltered({"results": rows})


def cohere_error(call: Call, error: SidecarError) -> web.Response:
    """Cohere's ``{"message"}``."""
    error = localize(error, call.generation)
    status = _status(call, error, search_timeout=400)
    return call.unfiltered({"message": error.reason}, status=status, headers=error.headers)


# --- shared -------------------------------------------------------------------------------------------------------


def _lane(values: Mapping[str, str], default: Lane = Lane.INGEST) -> Lane:
    text = values.get("lane", default)
    try:
        return Lane(text)
    except ValueError:
        raise ResourceNotFoundError(f"no lane [{text}], must be one of [ingest, search]") from None


def _query(fields: dict[str, Any]) -> str:
    return _text(fields, "query")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise StatusError(f"[{name}] must be a string", status=422)
    return value


def _status(call: Call, error: SidecarError, *, search_timeout: int) -> int:
    is_search = call.facts.get("lane") == Lane.SEARCH
    if error.status in (408, 429) or error.type == "timeout_exception":
        return search_timeout if is_search else 429
    return error.status


def _base64(vector: Any) -> str:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def _with_lanes(template: str, handler: Any, on_error: Any) -> tuple[Route, Route]:
    methods = {"POST": handler}
    return Route(template, methods, on_error=on_error), Route(f"{template}/{{lane}}", methods, on_error=on_error)


COMPAT_ROUTES = (
    *_with_lanes("/compat/hf/{inference_id}/sparse", hf_sparse, hf_error),
    *_with_lanes("/compat/hf/{inference_id}/embed", hf_embed, hf_error),
    *_with_lanes("/compat/hf/{inference_id}/rerank", hf_rerank, hf_error),
    *_with_lanes("/compat/pairs/sparse_embedding/{inference_id}", pairs_sparse, hf_error),
    *_with_lanes("/v1/embeddings", openai_embeddings, openai_error),
    Route("/compat/cohere/{inference_id}/rerank", {"POST": cohere_rerank}, on_error=cohere_error),
    Route("/v2/rerank", {"POST": cohere_rerank}, on_error=cohere_error),
)
