"""``POST /_sidecar/rerank``: hits that one has already, reranked."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from aiohttp import web

from sidecar.api.call import Call
from sidecar.api.keys import INFERENCE
from sidecar.core.errors import ParseError
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.search.response_reranking import ResponseReranking, rerank_response


async def rerank_hits(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    """Gives a search's answer back in a reranker's order."""
    call.require_body()
    call.refuse_unknown()
    try:
        body = orjson.loads(await call.body())
    except ValueError as error:
        raise ParseError(f"Failed to parse the body: {error}") from None
    request = ResponseReranking.read(body)
    answer, warnings = await rerank_response(request, EndpointEmbedder(call.request.app[INFERENCE]))
    headers = {"Warning": f'299 sidecar "{warnings[0]}"'.replace("\n", " ")} if warnings else None
    return call.answer(answer, headers=headers)
