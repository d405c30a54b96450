"""Cohere's form: ``rerank`` and ``embed``, v1 and v2; ``model`` is the inference id, unless the path names it.

Source: Cohere API reference, "Rerank" and "Embed", v1 and v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.compat_bodies import (
    base64_floats,
    best_first,
    dense_vectors,
    estimated_tokens,
    read_fields,
    read_texts,
    refuse_cut,
    scores,
    shortened,
)
from sidecar.api.compat_forms import (
    DENSE,
    below_lanes,
    inference_id_of,
    lane_of,
    status_by_lane,
    text_field,
    top_n_of,
)
from sidecar.api.lanes import Lane, LaneCall
from sidecar.core.errors import SidecarError, StatusError
from sidecar.core.tasks import TaskType
from sidecar.wire.envelopes import localize


def read_documents(fields: Mapping[str, Any]) -> list[str]:
    """Documents as texts: strings, or objects with ``text``. Raises ``StatusError`` 422."""
    documents = fields.get("documents")
    if isinstance(documents, list):
        if fields.get("rank_fields") not in (None, ["text"]) and any(isinstance(item, dict) for item in documents):
            raise StatusError("[rank_fields] other than [text] are not read; send the texts", status=422)
        documents = [item.get("text") if isinstance(item, dict) else item for item in documents]
    return read_texts({"documents": documents}, "documents")


async def ranked(call: Call, values: Mapping[str, str], *, with_text: bool) -> tuple[str, list[dict[str, Any]]]:
    """Model and rows of a ranking, best first, ``top_n`` of them where the request says so."""
    fields = await read_fields(call)
    texts, top_n = read_documents(fields), top_n_of(fields)
    model = values.get("inference_id") or text_field(fields, "model")
    lane_call = await LaneCall.begin(call, inference_id_of(call, model), Lane.SEARCH, TaskType.RERANK)
    found = await scores(lane_call, text_field(fields, "query"), texts, raw=False)
    wanted = fields.get("return_documents")
    with_text = wanted if isinstance(wanted, bool) else with_text
    rows: list[dict[str, Any]] = [
        {"index": n, "relevance_score": found[n]} | ({"document": {"text": texts[n]}} if with_text else {})
        for n in best_first(found)[:top_n]
    ]
    return model, rows


async def cohere_rerank(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"query", "documents", "top_n"}`` to ``{"results": [{"index", "relevance_score"}]}``, best first."""
    _, rows = await ranked(call, values, with_text=False)
    return call.unfiltered({"id": str(uuid4()), "results": rows})


async def cohere_embed_v1(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"texts"}`` to ``{"embeddings": [[...]]}``, or by type where the request names ``embedding_types``."""
    fields, texts, embeddings = await _embedded(call, values)
    shown = {"id": str(uuid4()), "texts": texts, "meta": _meta("1", texts)}
    if fields.get("embedding_types"):
        by_type = shown | {"embeddings": embeddings, "response_type": "embeddings_by_type"}
        return await call.unfiltered_of(_size(embeddings), by_type)
    floats = shown | {"embeddings": embeddings["float"], "response_type": "embeddings_floats"}
    return await call.unfiltered_of(_size(embeddings), floats)


async def cohere_embed_v2(call: Call, values: Mapping[str, str]) -> web.StreamResponse:
    """``{"texts"}`` to ``{"embeddings": {"float": [[...]]}}``."""
    _, texts, embeddings = await _embedded(call, values)
    body = {"id": str(uuid4()), "texts": texts, "embeddings": embeddings, "meta": _meta("2", texts)}
    return await call.unfiltered_of(_size(embeddings), body)


def _size(embeddings: Mapping[str, list[Any]]) -> int:
    return sum(len(vector) for vectors in embeddings.values() for vector in vectors)


def _meta(api_version: str, texts: Sequence[str]) -> dict[str, Any]:
    """With what was billed, which Cohere's SDK adds up without looking whether it is there."""
    return {"api_version": {"version": api_version}, "billed_units": {"input_tokens": estimated_tokens(texts)}}


async def _embedded(call: Call, values: Mapping[str, str]) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    fields = await read_fields(call)
    if fields.get("images"):
        raise StatusError("images are not embedded here; send [texts]", status=422)
    texts = read_texts(fields, "texts")
    types = _types(fields)
    model = values.get("inference_id") or text_field(fields, "model")
    lane = lane_of(values, fields, "input_type")
    lane_call = await LaneCall.begin(call, inference_id_of(call, model), lane, *DENSE)
    cutting = str(fields.get("truncate") or "END").upper()
    if cutting not in ("NONE", "START", "END"):
        raise StatusError("[truncate] must be one of [NONE, START, END]", status=422)
    vectors = shortened(lane_call, await dense_vectors(lane_call, texts), fields.get("output_dimension"))
    never, left = ("[truncate] is [NONE]" if cutting == "NONE" else ""), ("[truncate]" if cutting == "START" else "")
    refuse_cut(lane_call, never=never, left=left, status=400)
    written = {name: [base64_floats(v) for v in vectors] if name == "base64" else list(vectors) for name in types}
    return fields, texts, written


def _types(fields: Mapping[str, Any]) -> Sequence[str]:
    types = fields.get("embedding_types") or ["float"]
    if not isinstance(types, list) or not set(types) <= {"float", "base64"}:
        raise StatusError(f"embedding_types {types} cannot be had, only float and base64", status=422)
    return types


def cohere_error(call: Call, error: SidecarError) -> web.Response:
    """Cohere's ``{"message"}``."""
    error = localize(error, call.generation)
    status = status_by_lane(call, error, search_timeout=400)
    return call.unfiltered({"message": error.sentence}, status=status, headers=error.headers)


ROUTES = tuple(
    route
    for base in ("", "/compat/cohere/{inference_id}")
    for path, handler in (
        ("/v2/rerank", cohere_rerank),
        ("/v1/embed", cohere_embed_v1),
        ("/v2/embed", cohere_embed_v2),
        # without a name in the path this one is OpenAI's and Jina's as well
        *((("/rerank", cohere_rerank), ("/v1/rerank", cohere_rerank)) if base else ()),
    )
    for route in below_lanes(base + path, handler, cohere_error)[: None if not base else 1]
)
