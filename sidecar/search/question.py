"""A question with the ways in which it is to be answered, as the retriever that Elasticsearch's search API takes.

Source: Elasticsearch's retriever reference; the defaults are those of ``sidecar.search.defaults``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.fields import nested_parent
from sidecar.elastic.index_catalog import IndexView
from sidecar.search.defaults import NORMALIZER, NUM_CANDIDATES_PER_HIT, RERANK_WINDOW, WEIGHTS, WINDOW, LegKind
from sidecar.search.fusion import Normalizer
from sidecar.search.scope import mapped_field


class Fuse(StrEnum):
    """How several legs' hits become one list."""

    LINEAR = "linear"
    RRF = "rrf"


@dataclass(frozen=True, slots=True)
class Leg:
    """One way to find documents: by the words of ``field``, its token weights, its vectors.

    ``inference_id`` may be left out where the index says which endpoint filled the field.
    """

    kind: LegKind
    field: str
    inference_id: str | None = None

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.field}"


@dataclass(frozen=True, slots=True)
class Question:
    """``text`` and how it is answered; without ``legs`` by what the index has. Weights are by a leg's name."""

    text: str
    legs: tuple[Leg, ...] = ()
    fuse: Fuse = Fuse.LINEAR
    normalizer: Normalizer = NORMALIZER
    rank_constant: int = 60
    weights: Mapping[str, float] = field(default_factory=dict)
    rerank: str | None = None
    rerank_field: str | None = None
    window: int | None = None
    min_score: float | None = None
    filter: Mapping[str, Any] | None = None

    def retriever(self, views: Sequence[IndexView]) -> dict[str, Any]:
        """The retriever, for indices of those ``views``.

        Raises:
            IllegalArgumentError: a field is in none of the indices, or nobody says which endpoint filled it.
        """
        for leg in self.legs:
            _check_field(leg.field, views)
        if not self.legs:
            found = self._auto()
        elif len(self.legs) == 1:
            found = self._leg(self.legs[0], views)
            if self.rerank is None:
                # There are no others to tell it from, and 8.14 runs retrievers that cannot have a name.
                found = {
                    kind: {key: part for key, part in body.items() if key != "_name"} for kind, body in found.items()
                }
        else:
            found = self._fused(views)
        return found if self.rerank is None or not self.legs else self._reranked(found, views)

    def _auto(self) -> dict[str, Any]:
        given = {
            "query": self.text,
            "rank_window_size": self.window,
            "filter": self.filter,
            "inference_id": self.rerank,
            "field": self.rerank_field if self.rerank else None,
            "min_score": None if self.rerank else self.min_score,
        }
        return {"auto": {name: value for name, value in given.items() if value is not None}}

    def _fused(self, views: Sequence[IndexView]) -> dict[str, Any]:
        window = self.window or WINDOW
        children = []
        for leg in self.legs:
            child: dict[str, Any] = {"retriever": self._leg(leg, views), "weight": self._weight(leg)}
            if self.fuse is Fuse.LINEAR:
                child["normalizer"] = self.normalizer.value
            children.append(child)
        body: dict[str, Any] = {"retrievers": children, "rank_window_size": window}
        if self.fuse is Fuse.RRF:
            body["rank_constant"] = self.rank_constant
        elif self.min_score is not None and self.rerank is None:
            body["min_score"] = self.min_score
        return {self.fuse.value: body}

    def _weight(self, leg: Leg) -> float:
        default = WEIGHTS[leg.kind] if self.fuse is Fuse.LINEAR else 1.0
        return self.weights.get(leg.name, default)

    def _reranked(self, retriever: Mapping[str, Any], views: Sequence[IndexView]) -> dict[str, Any]:
        if self.rerank_field is None:
            raise IllegalArgumentError("a reranker needs the field whose text it reads")
        body: dict[str, Any] = {
            "retriever": dict(retriever),
            "inference_id": self.rerank,
            "inference_text": self.text,
            "field": self.rerank_field,
            "rank_window_size": self.window or RERANK_WINDOW,
        }
        if self.min_score is not None:
            body["min_score"] = self.min_score
        if any(nested_parent(view.mapping, leg.field) for leg in self.legs for view in views):
            # found by a passage, judged by the best ones of the text
            body["chunk_rescorer"] = {"size": 1}
        return {"text_similarity_reranker": body}

    def _leg(self, leg: Leg, views: Sequence[IndexView]) -> dict[str, Any]:
        if leg.kind is LegKind.WORDS:
            return {"standard": self._filtered({"query": _words(leg.field, self.text), "_name": leg.name})}
        inference_id = leg.inference_id or _endpoint(leg.field, views)
        path = _nested_path(leg.field, views)
        if leg.kind is LegKind.DENSE and path is None:
            return {"knn": self._filtered({**self._nearest(leg, inference_id), "_name": leg.name})}
        query: dict[str, Any]
        if leg.kind is LegKind.DENSE:
            nearest = self._nearest(leg, inference_id)
            # several passages of one document may be among the nearest
            query = {"knn": {**nearest, "k": nearest["num_candidates"]}}
        else:
            sparse = {"field": leg.field, "inference_id": inference_id, "query": self.text, "prune": False}
            query = {"sparse_vector": sparse}
        if path is not None:
            nested = {"path": path, "query": query, "score_mode": "max", "inner_hits": _best_passage(leg, path)}
            query = {"nested": nested}
        return {"standard": self._filtered({"query": query, "_name": leg.name})}

    def _nearest(self, leg: Leg, inference_id: str) -> dict[str, Any]:
        window = self.window or WINDOW
        return {
            "field": leg.field,
            "query_vector_builder": {"text_embedding": {"model_id": inference_id, "model_text": self.text}},
            "k": window,
            "num_candidates": min(10_000, max(100, NUM_CANDIDATES_PER_HIT * window)),
        }

    def _filtered(self, body: dict[str, Any]) -> dict[str, Any]:
        return body if self.filter is None else {**body, "filter": dict(self.filter)}


def best_passage(hit: Mapping[str, Any]) -> str | None:
    """The text of the passage by which a hit was found, of the first leg that tells."""
    for found in (hit.get("inner_hits") or {}).values():
        for passage in found["hits"]["hits"]:
            text = (passage.get("_source") or {}).get("text")
            if isinstance(text, str):
                return text
    return None


def _nested_path(field: str, views: Sequence[IndexView]) -> str | None:
    return next((path for view in views if (path := nested_parent(view.mapping, field)) is not None), None)


def _best_passage(leg: Leg, path: str) -> dict[str, Any]:
    return {"name": leg.name, "size": 1, "_source": [f"{path}.text", f"{path}.start"]}


def _words(field: str, text: str) -> dict[str, Any]:
    """BM25 on one field, or with ``*``, ``^`` and commas on several."""
    names = [name.strip() for name in field.split(",")]
    if len(names) == 1 and not {"*", "^"} & set(field):
        return {"match": {field: {"query": text}}}
    return {"multi_match": {"query": text, "fields": names}}


def _check_field(field: str, views: Sequence[IndexView]) -> None:
    for name in (part.strip().partition("^")[0] for part in field.split(",")):
        if "*" not in name and views and all(mapped_field(view.mapping, name) is None for view in views):
            raise IllegalArgumentError(f"no index of [{', '.join(view.name for view in views)}] has a field [{name}]")


def _endpoint(field: str, views: Sequence[IndexView]) -> str:
    for view in views:
        for binding in view.bindings:
            if binding.target == field:
                return binding.inference_id
        for semantic in view.semantic:
            if semantic.name == field:
                return semantic.search_inference_id
    raise IllegalArgumentError(f"nothing says which endpoint filled [{field}]: write {field}=ENDPOINT")
