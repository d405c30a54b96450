"""Reranking documents that are longer than a model reads: in passages, the best of which counts.

Source: Elasticsearch API reference, ``long_document_strategy`` of the elasticsearch service.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sidecar.core.chunking import chunk

# what a cross-encoder of 512 word pieces has left beside three separators; a word is taken as 4/3 pieces
WINDOW_TOKENS = 512
SEPARATORS = 3
LEAST_TOKENS = 256
WORDS_PER_TOKEN = 0.75


def passage_words(query: str) -> int:
    """How many words of a document fit beside the query: 371 for a query of ten words."""
    query_tokens = math.ceil(len(query.split()) / WORDS_PER_TOKEN)
    return math.floor(max(LEAST_TOKENS, WINDOW_TOKENS - SEPARATORS - query_tokens) * WORDS_PER_TOKEN)


def passages_of(query: str, documents: Sequence[str], most: int | None = None) -> tuple[list[str], list[int]]:
    """Passages of all documents, at most ``most`` of each, and the index of the document each belongs to."""
    settings = {"strategy": "sentence", "max_chunk_size": passage_words(query), "sentence_overlap": 1}
    passages: list[str] = []
    owners: list[int] = []
    for index, document in enumerate(documents):
        for piece in chunk(document, settings)[:most]:
            passages.append(document[piece.start : piece.end])
            owners.append(index)
    return passages, owners


def whole_documents(scores: Sequence[float], owners: Sequence[int], count: int) -> list[float]:
    """The best passage's score of each of ``count`` documents."""
    best = [-math.inf] * count
    for score, owner in zip(scores, owners, strict=True):
        best[owner] = max(best[owner], score)
    return best
