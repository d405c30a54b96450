"""Hits of a search as they pass through fusion and reranking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Hit:
    """A hit of Elasticsearch with the scores it got on the way.

    ``raw`` is the hit as it came (``_source``, ``sort``, ``highlight`` and all); ``score`` orders the present list;
    ``ranks`` and ``scores`` keep what each retriever said; ``rerank_score`` is the reranker's own.
    """

    index: str
    id: str
    score: float
    raw: Mapping[str, Any] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    rerank_score: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.index, self.id

    @property
    def source(self) -> Mapping[str, Any]:
        source: Mapping[str, Any] = self.raw.get("_source") or {}
        return source

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Hit:
        """A hit from a search's answer; one sorted by fields has no score and counts as 0."""
        return cls(raw["_index"], raw["_id"], float(raw.get("_score") or 0.0), raw)

    def with_score(self, score: float) -> Hit:
        return replace(self, score=score)

    def as_json(self) -> dict[str, Any]:
        """The hit as Elasticsearch gave it, with ``_score`` set to the final score and ours beside it."""
        body = {**self.raw, "_score": self.score}
        if self.ranks:
            body["_ranks"] = dict(self.ranks)
        if self.scores:
            body["_scores"] = dict(self.scores)
        if self.rerank_score is not None:
            body["_rerank_score"] = self.rerank_score
        return body
