"""Vectors as Hugging Face's servers answer them: dense and sparse routes of Text Embeddings Inference.

Source: Text Embeddings Inference API, routes ``/embed`` and ``/embed_sparse``.
"""

from __future__ import annotations

from typing import Any

from sidecar.core.results import DenseEmbeddings, SparseEmbedding, SparseEmbeddings
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    ProviderRequest,
    field_missing,
    is_number,
    plain_bearer,
    unexpected_token,
)
from sidecar.services.declaration import RemoteTask
from sidecar.services.failures import RATE_LIMIT, TOO_LARGE, Failures, words_of_error_text
from sidecar.services.openai_shapes import dense_vectors
from sidecar.services.setting_kinds import FixedMaxInputTokens, RateLimit, Url
from sidecar.services.settings import Listed

URL = Url(name="url", required=True, listed=Listed("URL", "The URL endpoint to use for the requests."))
REQUEST_LIMIT = RateLimit(requests_per_minute=3000, owner="hugging_face")

FAILURES = Failures(
    words=words_of_error_text,
    retried=frozenset({429, 502, 503}),
    shortened=frozenset({413}),
    prefixes={502: RATE_LIMIT, 503: RATE_LIMIT, 413: TOO_LARGE},
)


def request_inputs(call: Call) -> ProviderRequest:
    return ProviderRequest.json(call.settings["url"], {"inputs": call.texts}, plain_bearer(call))


def parse_dense(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``[[...]]`` or ``{"embeddings": [[...]]}``."""
    body = answer.json()
    vectors = body.get("embeddings") if isinstance(body, dict) else body
    if not isinstance(vectors, list):
        raise field_missing("embeddings", "Hugging Face embeddings")
    return DenseEmbeddings(dense_vectors(vectors))


def parse_sparse(answer: ProviderAnswer, call: Call) -> SparseEmbeddings:
    """``[{"token": weight}]``, or Text Embeddings Inference's ``[[{"index", "value"}]]`` with the index as token."""
    body = answer.json()
    if not isinstance(body, list):
        raise unexpected_token("START_ARRAY", body)
    return SparseEmbeddings(tuple(SparseEmbedding(_token_weights(item)) for item in body))


def _token_weights(item: Any) -> dict[str, float]:
    if isinstance(item, list):
        item = dict(_token_weight(entry) for entry in item)
    if not isinstance(item, dict):
        raise unexpected_token("START_OBJECT", item)
    for weight in item.values():
        if not is_number(weight):
            raise unexpected_token("VALUE_NUMBER", weight)
    return item


def _token_weight(entry: Any) -> tuple[str, Any]:
    if not isinstance(entry, dict):
        raise unexpected_token("START_OBJECT", entry)
    for name in ("index", "value"):
        if name not in entry:
            raise field_missing(name, "Hugging Face sparse embedding")
    return str(entry["index"]), entry["value"]


def sparse_task(service_title: str, since: str) -> RemoteTask:
    """The sparse route under either of its services."""
    return RemoteTask(
        sending=f"Failed to send {service_title} request from inference entity id [{{id}}]",
        # no setting of the route: Elasticsearch fixes and shows this limit
        settings=(URL, REQUEST_LIMIT, FixedMaxInputTokens(tokens=512, characters_per_token=3)),
        request=request_inputs,
        parse=parse_sparse,
        failures=FAILURES,
        has_chunking=False,
        since=since,
    )
