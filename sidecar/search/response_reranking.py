"""Reranks the hits of a search's answer that somebody has already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.errors import IllegalArgumentError, SidecarError
from sidecar.elastic.source import text_at
from sidecar.inference.embedder import QueryEmbedder
from sidecar.search.hits import Hit
from sidecar.search.reranking import Window, reorder

_KNOWN = ("response", "query", "inference_id", "field", "rank_window_size", "min_score", "on_failure")


@dataclass(frozen=True, slots=True)
class ResponseReranking:
    """What is to be reranked and how: the first ``window`` hits of ``response`` by the text of ``field``."""

    response: Mapping[str, Any]
    query: str
    inference_id: str
    field: str
    window: int = 100
    min_score: float | None = None
    keeps_order: bool = False

    @classmethod
    def read(cls, body: Any) -> ResponseReranking:
        """Reads a request's body.

        Raises:
            IllegalArgumentError: a part is missing, of the wrong kind, or unknown.
        """
        if not isinstance(body, Mapping):
            raise IllegalArgumentError("the body must be an object")
        unknown = [name for name in body if name not in _KNOWN]
        if unknown:
            raise IllegalArgumentError(f"unknown field [{unknown[0]}], known are {list(_KNOWN)}")
        for name in ("query", "inference_id", "field"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise IllegalArgumentError(f"Required [{name}], a text")
        response = body.get("response")
        hits = response.get("hits") if isinstance(response, Mapping) else None
        if not isinstance(response, Mapping) or not isinstance(hits, Mapping) or not isinstance(hits.get("hits"), list):
            raise IllegalArgumentError("Required [response], the answer to a search")
        window, least = body.get("rank_window_size", 100), body.get("min_score")
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise IllegalArgumentError(f"[rank_window_size] must be a whole number from 1, found [{window}]")
        if least is not None and (isinstance(least, bool) or not isinstance(least, int | float)):
            raise IllegalArgumentError(f"[min_score] must be a number, found [{least}]")
        on_failure = body.get("on_failure", "fail")
        if on_failure not in ("fail", "keep_order"):
            raise IllegalArgumentError(f"[on_failure] is [fail] or [keep_order], found [{on_failure}]")
        return cls(
            response, body["query"], body["inference_id"], body["field"], window, least, on_failure == "keep_order"
        )


async def rerank_response(request: ResponseReranking, embedder: QueryEmbedder) -> tuple[dict[str, Any], list[str]]:
    """The response in the reranker's order, with Elasticsearch's form of its scores, and warnings.

    Hits without the text follow behind with score 0 where no least score is asked for; those beyond the window are
    dropped, as a reranking search drops them. Totals stay.
    """
    raws = request.response["hits"]["hits"]
    hits = [Hit.read(raw) for raw in raws if isinstance(raw, Mapping) and "_id" in raw and "_index" in raw]
    if len(hits) != len(raws):
        raise IllegalArgumentError("every hit of [response] needs [_index] and [_id]")
    texts: list[str] = []
    with_text: list[Hit] = []
    without: list[Hit] = []
    for hit in hits[: request.window]:
        text = _text(hit, request.field)
        (without if text is None else with_text).append(hit)
        texts += [] if text is None else [text]
    if not texts:
        return dict(request.response), []
    try:
        ranking = await embedder.rerank(request.inference_id, request.query, texts)
        ranked = reorder(Window(tuple(with_text), tuple(texts), tuple(without)), ranking, min_score=request.min_score)
    except SidecarError as error:
        if not request.keeps_order:
            raise
        return dict(request.response), [f"the order was kept: {error.reason}"]
    shown = [{**hit.raw, "_score": hit.score} for hit in ranked]
    inner = {**request.response["hits"], "hits": shown, "max_score": shown[0]["_score"] if shown else None}
    return {**request.response, "hits": inner}, []


def _text(hit: Hit, field: str) -> str | None:
    text = text_at(hit.source, field)
    if text is not None:
        return text
    values = (hit.raw.get("fields") or {}).get(field)
    return str(values[0]) if values else None
