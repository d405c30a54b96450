"""Routes that Elasticsearch's own inference endpoints and the SDKs of providers call, over any endpoint of the sidecar.

    hugging_face, TEI   tei_form       /compat/hf/{inference_id}/...
    custom              tei_form       /compat/pairs/sparse_embedding/{inference_id}
    openai              openai_form    /v1/embeddings, /v1/models, /v1/rerank, /openai/deployments/{model}/embeddings
                        openai_chat    /v1/chat/completions, /openai/deployments/{model}/chat/completions
    cohere              cohere_form    /v1/embed, /v2/embed, /v2/rerank, and below /compat/cohere/{inference_id}

What is not there below these paths is told in the form that the callers of these routes read.
"""

from __future__ import annotations

from sidecar.api import cohere_form, openai_chat, openai_form, tei_form
from sidecar.api.lanes import Lane
from sidecar.api.router import ErrorHandler, Route

COMPAT_ROUTES: tuple[Route, ...] = (
    *tei_form.ROUTES,
    *openai_form.ROUTES,
    *openai_chat.ROUTES,
    *cohere_form.ROUTES,
)


def own_form(segments: tuple[str, ...]) -> ErrorHandler | None:
    """How an unknown path below ``/v1``, ``/v2``, ``/openai`` or ``/compat`` is told; ``None`` for all others."""
    if segments[:1] == ("compat",):
        return {"hf": tei_form.hf_error, "cohere": cohere_form.cohere_error}.get("".join(segments[1:2]))
    if segments and segments[0] in (Lane.SEARCH, Lane.INGEST):
        segments = segments[1:]
    forms: dict[str, ErrorHandler] = {
        "openai": openai_form.openai_error,
        "v1": openai_form.openai_error,
        "v2": cohere_form.cohere_error,
    }
    return forms.get(segments[0]) if segments else None
