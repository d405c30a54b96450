"""``{"auto": {"query": "..."}}``: the default retriever of an index, out of its bindings and ``semantic_text`` fields.

It becomes a ``linear`` retriever of a leg for words, one for token weights and one for vectors, as far as the index has
them; several fields of one kind are fused first, each counting the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.index_catalog import IndexView
from sidecar.search.defaults import NORMALIZER, NUM_CANDIDATES_PER_HIT, RERANK_WINDOW, WEIGHTS, WINDOW, LegKind
from sidecar.search.scope import SearchScope, mapped_field

_WORDS = frozenset({"text", "match_only_text", "search_as_you_type"})
_NOTHING: dict[str, Any] = {"linear": {"retrievers": [{"retriever": {"standard": {"query": {"match_none": {}}}}}]}}
PARAMETERS = frozenset({"query", "filter", "rank_window_size", "inference_id", "field", "_name", "min_score"})


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that a leg searches; ``inference_id`` ``None`` for words and ``semantic_text``."""

    name: str
    inference_id: str | None = None
    is_semantic: bool = False
    path: str | None = None


def auto_retriever(scope: SearchScope, body: Mapping[str, Any]) -> dict[str, Any]:
    """The retriever that ``auto`` stands for. ``inference_id`` (of a rerank endpoint) adds a reranker on ``field``.

    Raises:
        IllegalArgumentError: the indices have no field with vectors, or the body is not right.
    """
    text = body.get("query")
    if not isinstance(text, str) or not text:
        raise IllegalArgumentError("[auto] requires [query], a text")
    if not scope.views:
        return _NOTHING  # the cluster says that there is no such index, or finds nothing for a pattern
    found = _searched(scope)
    if not (found[LegKind.SPARSE] or found[LegKind.DENSE]):
        names = ", ".join(view.name for view in scope.views)
        raise IllegalArgumentError(
            f"[auto] finds no field with vectors of an endpoint of the sidecar in [{names}]: bind one (sidecar bind),"
            " or search for words alone, as [match] and [sidecar search --bm25] do"
        )
    window = body.get("rank_window_size", WINDOW)
    legs = [
        {"retriever": leg, "weight": WEIGHTS[kind], "normalizer": NORMALIZER.value}
        for kind, leg in auto_legs(scope, text, window).items()
    ]
    own = {name: body[name] for name in ("filter", "_name", "min_score") if name in body}
    linear: dict[str, Any] = {"linear": {"retrievers": legs, "rank_window_size": window, **own}}
    if "inference_id" not in body:
        return linear
    words = found[LegKind.WORDS]
    name = body.get("field") or (words[0].name if words else None)
    if name is None:
        raise IllegalArgumentError("[auto] needs a [field] to rerank: the indices have no field of words")
    reranker = {
        "retriever": linear,
        "field": name,
        "inference_id": body["inference_id"],
        "inference_text": text,
        "rank_window_size": min(RERANK_WINDOW, window),
    }
    return {"text_similarity_reranker": reranker}


def auto_legs(scope: SearchScope, text: str, window: int) -> dict[LegKind, dict[str, Any]]:
    """The retriever of every kind for which the indices have a field."""
    return {kind: _leg(kind, fields, text, window) for kind, fields in _searched(scope).items() if fields}


def _searched(scope: SearchScope) -> dict[LegKind, list[_Field]]:
    return {kind: list(dict.fromkeys(_fields(scope, kind))) for kind in LegKind}


def _fields(scope: SearchScope, kind: LegKind) -> Iterator[_Field]:
    for view in scope.views:
        if kind is LegKind.WORDS:
            yield from _word_fields(view)
            continue
        for binding in view.bindings:
            endpoint = scope.endpoints.get(binding.inference_id)
            if endpoint is not None and endpoint.is_sparse == (kind is LegKind.SPARSE) and not endpoint.is_other:
                nested = _nested_path(view.mapping, binding.target)
                yield _Field(binding.target, binding.inference_id, path=nested)
        for semantic in view.semantic:
            endpoint = scope.endpoints.get(semantic.search_inference_id)
            if endpoint is not None and endpoint.is_sparse == (kind is LegKind.SPARSE) and not endpoint.is_other:
                yield _Field(semantic.name, is_semantic=True)


def _word_fields(view: IndexView) -> Iterator[_Field]:
    """The texts that vectors are made of, else every field of words at the top."""
    sources = [source for binding in view.bindings for source in binding.sources]
    sources += [source for semantic in view.semantic for source in semantic.sources]
    names = [name for name in dict.fromkeys(sources) if _is_words(view.mapping, name)]
    if not names:
        names = [name for name in view.mapping.get("properties") or {} if _is_words(view.mapping, name)]
    for name in names:
        yield _Field(name)


def _is_words(mapping: Mapping[str, Any], name: str) -> bool:
    found = mapped_field(mapping, name)
    return found is not None and found.get("type") in _WORDS


def _nested_path(mapping: Mapping[str, Any], name: str) -> str | None:
    parts = name.split(".")
    for length in range(1, len(parts)):
        above = ".".join(parts[:length])
        found = mapped_field(mapping, above)
        if found is not None and found.get("type") == "nested":
            return above
    return None


def _leg(kind: LegKind, fields: Sequence[_Field], text: str, window: int) -> dict[str, Any]:
    if kind is LegKind.WORDS:
        return {"standard": {"query": _words([found.name for found in fields], text), "_name": kind.value}}
    retrievers = [_one(kind, found, text, window) for found in fields]
    if len(retrievers) == 1:
        return retrievers[0]
    inner = [{"retriever": retriever, "weight": 1.0, "normalizer": NORMALIZER.value} for retriever in retrievers]
    return {"linear": {"retrievers": inner, "rank_window_size": window}}


def _words(names: Sequence[str], text: str) -> dict[str, Any]:
    if len(names) == 1:
        return {"match": {names[0]: {"query": text}}}
    return {"multi_match": {"query": text, "fields": list(names)}}


def _one(kind: LegKind, found: _Field, text: str, window: int) -> dict[str, Any]:
    if found.is_semantic:
        semantic = {"semantic": {"field": found.name, "query": text}}
        return {"standard": {"query": semantic, "_name": f"{kind}:{found.name}"}}
    if kind is LegKind.SPARSE:
        query: dict[str, Any] = {
            "sparse_vector": {"field": found.name, "inference_id": found.inference_id, "query": text, "prune": False}
        }
        if found.path is not None:
            query = {"nested": {"path": found.path, "query": query, "score_mode": "max"}}
        return {"standard": {"query": query, "_name": f"{kind}:{found.name}"}}
    builder = {"text_embedding": {"model_id": found.inference_id, "model_text": text}}
    return {
        "knn": {
            "field": found.name,
            "query_vector_builder": builder,
            "_name": f"{kind}:{found.name}",
            "k": window,
            "num_candidates": min(10_000, max(100, NUM_CANDIDATES_PER_HIT * window)),
        }
    }
