"""The chunks of a text that say most about a question, by words: BM25 over the chunks of that text alone.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with Lucene's constants
and its form of the inverse document frequency; Elasticsearch's retriever reference, "chunk_rescorer".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.core.chunking import chunk

_K1, _B = 1.2, 0.75
_WORD = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*", re.UNICODE)


def best_chunks(text: str, question: str, size: int, settings: Mapping[str, Any]) -> list[str]:
    """The ``size`` best chunks of ``text``, best first; the first ones where no word of the question is in any."""
    pieces = [piece.of(text) for piece in chunk(text, settings)]
    if len(pieces) <= 1:
        return pieces
    scores = bm25(pieces, question)
    ranked = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])
    return [pieces[place] for place in ranked[:size]] or pieces[:size]


def bm25(texts: Sequence[str], question: str) -> list[float]:
    """A score for each text; 0 where it has no word of the question."""
    bags = [Counter(_words(text)) for text in texts]
    lengths = [sum(bag.values()) for bag in bags]
    average = sum(lengths) / len(lengths) if lengths else 0.0
    scores = [0.0] * len(texts)
    for word, weight in Counter(_words(question)).items():
        holders = sum(1 for bag in bags if word in bag)
        if not holders:
            continue
        rarity = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        for place, bag in enumerate(bags):
            count = bag.get(word, 0)
            if count:
                share = count / (count + _K1 * (1 - _B + _B * lengths[place] / average))
                scores[place] += weight * rarity * share
    return scores


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
