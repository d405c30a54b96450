"""What a hit tells of how it came to its place: Elasticsearch's explanation of a fusion, and the sidecar's own details.

Source: Elasticsearch's own explanations of ``rrf``, ``linear`` and ``text_similarity_reranker``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sidecar.search.matching_tokens import matching_tokens
from sidecar.search.retrievers.fusing import Found
from sidecar.search.retrievers.tree import Fused, Native, Node, Pinned, Reranked, children


class Run(Protocol):
    """What an evaluation keeps of its run."""

    @property
    def compared(self) -> Mapping[int, Sequence[Sequence[Found]]]: ...


def add_explanations(
    hit: dict[str, Any], one: Found, tree: Node, compared: Mapping[int, Sequence[Sequence[Found]]]
) -> None:
    """Puts the fusion's explanation in the place of that of the last search's query."""
    hit["_explanation"] = _explained(one, tree, compared)


def _explained(one: Found, node: Node, compared: Mapping[int, Sequence[Sequence[Found]]]) -> dict[str, Any]:
    if isinstance(node, Native):
        raw = one.raw.get("_explanation")
        return dict(raw) if isinstance(raw, Mapping) else _line(one.score, "score of the retriever")
    below = compared.get(id(node), ())
    if isinstance(node, Fused):
        explain = _reciprocal if node.kind == "rrf" else _weighted
        return explain(one, node, below, compared)
    inner = next((other for ranking in below for other in ranking if other.key == one.key), None)
    child = children(node)[0]
    own = [] if inner is None else [_explained(inner, child, compared)]
    if isinstance(node, Reranked):
        text = (
            f"text_similarity_reranker match using inference endpoint: [{node.inference_id}] "
            f"on document field: [{node.field}] matching on source query {node.child.name or ''}"
        )
        if node.chunks is not None:
            text += f" and rescoring considering only top [{node.chunks.size}] best chunks"
        top = _line(one.score, text, own)
        clause = _line(0.0, "match on required clause, product of:", [_line(0.0, "# clause"), *own])
        return _line(one.score, "sum of:", [top, clause])
    assert isinstance(node, Pinned)  # noqa: S101
    if inner is None or inner.score != one.score:
        text = (
            f"doc [0] with an original score of [{_single(one.score)}] is at rank [1] "
            "from the following source queries."
        )
        return _line(one.score, "Pinned document, original explanation:", [_line(one.score, text, own)])
    return own[0]


def _reciprocal(
    one: Found, node: Fused, below: Sequence[Sequence[Found]], compared: Mapping[int, Sequence[Sequence[Found]]]
) -> dict[str, Any]:
    terms = {term.place: term for term in one.terms}
    ranks = [terms[place].rank if place in terms else 0 for place in range(len(node.children))]
    details = []
    for place, child in enumerate(node.children):
        label = f"[{child.node.name}]" if child.node.name else f"at index [{place}]"
        term = terms.get(place)
        if term is None:
            text = f"rrf score: [0], result not found in query {label}"
            details.append(_line(0, text))
            continue
        inner = _same(one, below, place)
        text = (
            f"rrf score: [{_single(term.part)}], for rank [{term.rank}] in query {label} computed as "
            f"[{child.weight} / ({term.rank} + {node.rank_constant}]), for matching query with score"
        )
        details.append(_line(term.rank, text, [] if inner is None else [_explained(inner, child.node, compared)]))
    text = (
        f"rrf score: [{_single(one.score)}] computed for initial ranks {ranks} with rankConstant: "
        f"[{node.rank_constant}] as sum of [1 / (rank + rankConstant)] for each query"
    )
    return _line(one.score, text, details)


def _weighted(
    one: Found, node: Fused, below: Sequence[Sequence[Found]], compared: Mapping[int, Sequence[Sequence[Found]]]
) -> dict[str, Any]:
    terms = {term.place: term for term in one.terms}
    details = []
    scores = []
    for place, child in enumerate(node.children):
        label = f"at index [{place}]" + (f" [{child.node.name}]" if child.node.name else "")
        term = terms.get(place)
        normal = 0.0 if term is None or not child.weight else term.part / child.weight
        scores.append(_single(normal))
        if term is None or normal == 0.0:
            details.append(_line(0.0, f"weighted score: [0.0], result not found in query {label}"))
            continue
        inner = _same(one, below, place)
        text = (
            f"weighted score: [{_single(term.part)}] in query {label} computed as "
            f"[{_single(child.weight)} * {_single(normal)}] using score normalizer [{child.normalizer.value}] "
            f"for original matching query with score:"
        )
        details.append(_line(term.part, text, [] if inner is None else [_explained(inner, child.node, compared)]))
    weights = ", ".join(_single(child.weight) for child in node.children)
    text = (
        f"weighted linear combination score: [{_single(one.score)}] computed for normalized scores "
        f"[{', '.join(scores)}] and weights [{weights}] as sum of (weight[i] * score[i]) for each query."
    )
    return _line(one.score, text, details)


def add_details(hit: dict[str, Any], one: Found, tree: Node, run: Run) -> None:
    """``_sidecar``: rank, score and share of every leg, the reranker's score and the place before it."""
    hit["_sidecar"] = _details(one, tree, run.compared)


def _details(one: Found, node: Node, compared: Mapping[int, Sequence[Sequence[Found]]]) -> dict[str, Any]:
    shown: dict[str, Any] = {"retriever": node.label, "score": one.score}
    if isinstance(node, Native):
        tokens = matching_tokens(one.raw.get("_explanation"))
        return {**shown, "tokens": tokens} if tokens else shown
    below = compared.get(id(node), ())
    if isinstance(node, Fused):
        terms = {term.place: term for term in one.terms}
        shown["legs"] = []
        for place, child in enumerate(node.children):
            term = terms.get(place)
            leg: dict[str, Any] = {"retriever": child.node.label, "weight": child.weight, "rank": None}
            if term is not None:
                inner = _same(one, below, place)
                leg |= {"rank": term.rank, "score": term.score, "adds": term.part}
                below_it = {} if inner is None else _details(inner, child.node, compared)
                if isinstance(child.node, Native):
                    leg |= {name: below_it[name] for name in ("tokens",) if name in below_it}
                else:
                    leg["of"] = below_it
            shown["legs"].append(leg)
        return shown
    if isinstance(node, Reranked):
        shown |= {"reranked": one.reranked, "relevance": one.relevance, "place_before": one.before}
    inner = next((other for ranking in below for other in ranking if other.key == one.key), None)
    if inner is not None:
        shown["of"] = _details(inner, children(node)[0], compared)
    return shown


def _same(one: Found, below: Sequence[Sequence[Found]], place: int) -> Found | None:
    return next((other for other in below[place] if other.key == one.key), None) if place < len(below) else None


def _line(value: float, description: str, details: Sequence[Any] = ()) -> dict[str, Any]:
    return {"value": float(_single(value)), "description": description, "details": list(details)}


def _single(value: float) -> str:
    """A number with the digits of single precision."""
    return str(np.float32(value))
