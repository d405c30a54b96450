"""A bound on the chunks of one text: with more than 512, neighbours share a slot and the embeddings made of
each chunk are merged.

Source: behaviour of Elasticsearch 8.19 and 9.4 for ``semantic_text`` fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sidecar.core.chunking.chunk import Chunk

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
