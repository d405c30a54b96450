"""Chunks of whole sentences up to a number of words (chunking strategy ``sentence``).

    sentences ──> fill a chunk while it holds at most `size` words
                  full: close it at the last sentence end; the next one opens with the sentence before (overlap 1)
                  opened chunk too long already: cut it by words, go on from the last cut

Source: Elasticsearch's reference, "Configuring chunking", strategy ``sentence``.
"""

from __future__ import annotations

from sidecar.core.chunking.boundaries import WordBoundaries, sentence_ends
from sidecar.core.chunking.chunk import Chunk
from sidecar.core.chunking.word import counted_word_chunks

_MOST_OVERLAP_WORDS = 20


def sentence_chunks(text: str, size: int, overlap: int) -> list[Chunk]:
    """Chunks of at most ``size`` words made of whole sentences, each repeating ``overlap`` (0 or 1) sentences.

    A sentence too long to share a chunk with its predecessor takes only the predecessor's last words along
    (``min(size / 2, 20)``); one too long for a chunk is cut by words with an overlap of ``min((size - 1) / 2, 20)``.
    The last chunk ends with the text; a text without words is one chunk.
    """
    words = WordBoundaries.of(text)
    chunks: list[Chunk] = []
    chunk_start = chunk_words = 0
    previous_start = previous_words = 0
    start = 0
    for end in sentence_ends(text):
        count = words.count(start, end)
        opened = count
        if chunk_words + count <= size:
            chunk_words += count
        else:
            if chunk_words > 0:
                chunks.append(Chunk(chunk_start, start))
                chunk_start, chunk_words = start, count
                if overlap:
                    chunk_start, shared = _overlap(words, previous_start, previous_words, room=size - count, size=size)
                    chunk_words = shared + count
                opened = chunk_words
            if opened > size:
                *full, (last, chunk_words) = counted_word_chunks(
                    text[chunk_start:end], size, min((size - 1) // 2, _MOST_OVERLAP_WORDS)
                )
                chunks += [Chunk(chunk_start + piece.start, chunk_start + piece.end) for piece, _ in full]
                chunk_start += last.start
            else:
                chunk_words = opened
        previous_start, previous_words = start, count
        start = end
    if chunk_words > 0 or not chunks:
        chunks.append(Chunk(chunk_start, len(text)))
    return chunks


def _overlap(words: WordBoundaries, start: int, count: int, *, room: int, size: int) -> tuple[int, int]:
    """Where the overlap with the sentence at ``start`` (of ``count`` words) begins, and the words it holds."""
    if count <= room:
        return start, count
    kept = min(count, size // 2, _MOST_OVERLAP_WORDS)
    return words.after_words(start, count - kept), kept
