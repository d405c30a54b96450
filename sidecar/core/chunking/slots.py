"""A bound on the chunks of one text: with more than 512, neighbours share a slot and their embeddings are merged.

Source: behaviour of Elasticsearch 8.19 and 9.4 for ``semantic_text`` fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sidecar.core.chunking.chunk import Chunk
from sidecar.core.results import SparseEmbedding, Vector

MOST_CHUNKS = 512


def slots(count: int, most: int = MOST_CHUNKS) -> list[range]:
    """For each slot the positions of the chunks it holds: chunk ``i`` of ``count`` lies in slot ``i * most // count``.

    At most ``most`` slots, none of them empty, in order and without gaps; one chunk each while there are no more.
    """
    kept = min(count, most)
    starts = [-(-slot * count // kept) for slot in range(kept)]
    return [range(start, end) for start, end in pairwise([*starts, count])]


def merge_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """The stretch of text from the beginning of the first to the end of the last; needs one chunk at least."""
    return Chunk(chunks[0].start, max(chunk.end for chunk in chunks))


def merge_dense(vectors: Sequence[Vector]) -> list[float]:
    """Mean of float vectors of equal dimensions; needs one vector at least."""
    mean: list[float] = np.mean(np.asarray(vectors, dtype=np.float64), axis=0).tolist()
    return mean


def merge_sparse(embeddings: Sequence[SparseEmbedding]) -> SparseEmbedding:
    """All tokens with the largest weight each has, heaviest first; truncated when one of them is."""
    heaviest: dict[str, float] = {}
    for embedding in embeddings:
        for token, weight in embedding.tokens.items():
            heaviest[token] = max(weight, heaviest.get(token, weight))
    ordered = dict(sorted(heaviest.items(), key=lambda item: -item[1]))
    return SparseEmbedding(ordered, any(embedding.is_truncated for embedding in embeddings))
