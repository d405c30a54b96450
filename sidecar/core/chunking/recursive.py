"""Chunks along the structure of a text: headings, paragraphs, lines (chunking strategy ``recursive``).

Source: Elasticsearch's reference, "Configuring chunking", strategy ``recursive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sidecar.core.chunking.boundaries import WordBoundaries
from sidecar.core.chunking.chunk import Chunk
from sidecar.core.chunking.sentence import sentence_chunks
from sidecar.core.chunking.separator import SeparatorFinder

SEPARATOR_GROUPS: dict[str, tuple[str, ...]] = {
    "plaintext": (r"(?<!\n)\n\n(?!\n)", r"(?<!\n)\n(?!\n)"),
    "markdown": (
        "\n# ",
        "\n## ",
        "\n### ",
        "\n#### ",
        "\n##### ",
        "\n###### ",
        "\n^(?!\\s*$).*\\n-{1,}\\n",
        "\n^(?!\\s*$).*\\n={1,}\\n",
    ),
}


def recursive_chunks(text: str, size: int, separators: Sequence[str]) -> list[Chunk]:
    """Chunks of at most ``size`` words, cut before the matches of the first separator that makes pieces small enough.

    Neighbouring pieces are joined again while they fit. A piece that no separator makes small enough is cut by
    sentences without overlap. Raises ``IllegalArgumentError`` for a separator that is no regular expression or when
    all of them together take longer than two seconds.
    """
    words = WordBoundaries.of(text)
    finder = SeparatorFinder()
    chunks: list[Chunk] = []
    pending = [(Chunk(0, len(text)), 0)]
    while pending:
        piece, depth = pending.pop()
        if piece.start == piece.end or words.count(piece.start, piece.end) <= size:
            chunks.append(piece)
        elif depth == len(separators):
            inner = sentence_chunks(piece.of(text), size, 0)
            chunks += [Chunk(piece.start + chunk.start, piece.start + chunk.end) for chunk in inner]
        else:
            pieces = _joined(_split(text, piece, separators[depth], finder), words, size)
            pending += [(smaller, depth + 1) for smaller in reversed(pieces)]
    return chunks


def _split(text: str, piece: Chunk, separator: str, finder: SeparatorFinder) -> list[Chunk]:
    # The piece is cut out so that anchors and look-behind end at its borders, as in a region of Java's matcher.
    starts = [piece.start + start for start in finder.starts(separator, piece.of(text))]
    cuts = sorted({piece.start, *starts, piece.end})
    return [Chunk(start, end) for start, end in pairwise(cuts)]


def _joined(pieces: list[Chunk], words: WordBoundaries, size: int) -> list[Chunk]:
    joined: list[Chunk] = []
    total = 0
    for piece in pieces:
        count = words.count(piece.start, piece.end)
        if joined and total + count <= size:
            joined[-1] = Chunk(joined[-1].start, piece.end)
            total += count
        else:
            joined.append(piece)
            total = count
    return joined
