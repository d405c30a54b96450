"""Hits in a reranker's order, on the client's side, in the manner of Elasticsearch's ``text_similarity_reranker``.

Source: Elasticsearch's retriever reference, "Text similarity re-ranker retriever".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sidecar.core.results import Ranking
from sidecar.search.hits import Hit


@dataclass(frozen=True, slots=True)
class Window:
    """The first hits of a list split for reranking: those with a text, their texts, those without one."""

    hits: tuple[Hit, ...]
    texts: tuple[str, ...]
    without_text: tuple[Hit, ...]


def reorder(window: Window, ranking: Ranking, *, min_score: float | None = None) -> list[Hit]:
    """The window in the ranking's order; every hit keeps its source, sort values, highlights and first score.

    ``score`` becomes Elasticsearch's positive form of the reranker's score, which stands in ``rerank_score``.
    ``min_score`` (inclusive) is compared with the reranker's own. Hits without text follow at the end with score 0
    in their old order, unless a minimum is asked for; Elasticsearch drops them, and with them what might have been
    the right answer. Raises ``ValueError`` unless the ranking has one finite score for each text.
    """
    scores = {document.index: float(document.relevance_score) for document in ranking.documents}
    if set(scores) != set(range(len(window.texts))) or len(ranking.documents) != len(scores):
        raise ValueError(f"the reranker scored [{len(ranking.documents)}] documents of [{len(window.texts)}]")
    if not all(math.isfinite(score) for score in scores.values()):
        raise ValueError("the reranker gave a score that is not a finite number")
    ranked = [
        replace(hit, score=positive_score(scores[position]), rerank_score=scores[position])
        for position, hit in enumerate(window.hits)
        if min_score is None or scores[position] >= min_score
    ]
    ranked.sort(key=lambda hit: -(hit.rerank_score or 0.0))  # stable: ties keep the first stage's order
    if min_score is None:
        ranked.extend(hit.with_score(0.0) for hit in window.without_text)
    return ranked


def positive_score(score: float) -> float:
    """Elasticsearch's mapping of any score onto positive ones: ``max(s, 0) + min(exp(s), 1)``, order kept."""
    return max(score, 0.0) + min(math.exp(min(score, 0.0)), 1.0)
