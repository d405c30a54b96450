"""Chunks of a fixed number of words with an overlap (chunking strategy ``word``).

Source: Elasticsearch's reference, "Configuring chunking", strategy ``word``.
"""

from __future__ import annotations

from sidecar.core.chunking.boundaries import WordBoundaries
from sidecar.core.chunking.chunk import Chunk


def word_chunks(text: str, size: int, overlap: int) -> list[Chunk]:
    """Chunks of ``size`` words that share ``overlap`` words with their predecessor (``0 <= overlap <= size / 2``)."""
    return [chunk for chunk, _ in counted_word_chunks(text, size, overlap)]


def counted_word_chunks(text: str, size: int, overlap: int) -> list[tuple[Chunk, int]]:
    """The chunks of :func:`word_chunks`, each with its number of words.

    A chunk ends right after its last word, so the punctuation behind it opens the next one. What remains at the end
    becomes a chunk only when it holds more than the overlap: punctuation after an exact fit is dropped.
    """
    ends = WordBoundaries.of(text).word_ends
    step = size - overlap
    chunks: list[tuple[Chunk, int]] = []
    start, first = 0, 0
    while first + size <= len(ends):
        chunks.append((Chunk(start, ends[first + size - 1]), size))
        first += step
        start = ends[first - 1]
    remaining = len(ends) - first
    if not chunks or remaining > overlap:
        chunks.append((Chunk(start, len(text)), remaining))
    return chunks
