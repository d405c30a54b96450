"""Chunks along the structure of a text: headings, paragraphs, lines (chunking strategy ``recursive``).

Separators are regular expressions in Java's dialect, which Elasticsearch compiles in multiline mode. They are run here
by ``regex`` with the options nearest to Java's (ASCII classes, set operations, line anchors at every line); Java's
``\\Q..\\E`` and ``\\k<name>`` are not understood. Source: Elasticsearch's reference, "Configuring chunking", strategy
``recursive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import regex

from sidecar.core.chunking.boundaries import WordBoundaries
from sidecar.core.chunking.chunk import Chunk
from sidecar.core.chunking.sentence import sentence_chunks
from sidecar.core.errors import IllegalArgumentError

SEPARATOR_GROUPS: dict[str, tuple[str, ...]] = {
    "plaintext": (r"(?<!\n)\n\n(?!\n)", r"(?<!\n)\n(?!\n)"),
    "markdown": (
        "\n# ",
        "\n## ",
        "\n### ",
        "\n#### ",
        "\n##### ",
        "\n###### ",
        "\n^(?!\\s*$).*\n-{1,}\n",
        "\n^(?!\\s*$).*\n={1,}\n",
    ),
}

# A separator is a user's pattern on a user's text: one that backtracks without end must not hold the process.
_MATCH_SECONDS = 2.0


def recursive_chunks(text: str, size: int, separators: Sequence[str]) -> list[Chunk]:
    """Chunks of at most ``size`` words, cut before the matches of the first separator that makes pieces small enough.

    Neighbouring pieces are joined again while they fit. A piece that no separator makes small enough is cut by
    sentences without overlap. Raises ``IllegalArgumentError`` for a separator that is no regular expression or that
    takes longer than two seconds.
    """
    words = WordBoundaries.of(text)
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
            pieces = _joined(_split(text, piece, separators[depth]), words, size)
            pending += [(smaller, depth + 1) for smaller in reversed(pieces)]
    return chunks


def _split(text: str, piece: Chunk, separator: str) -> list[Chunk]:
    try:
        pattern = regex.compile(separator, regex.VERSION1 | regex.MULTILINE | regex.ASCII)
        # The piece is cut out so that anchors and look-behind end at its borders, as in a region of Java's matcher.
        starts = [piece.start + match.start() for match in pattern.finditer(piece.of(text), timeout=_MATCH_SECONDS)]
    except regex.error as error:
        raise IllegalArgumentError(f"Invalid separator [{separator}]: {error}") from error
    except TimeoutError as error:
        raise IllegalArgumentError(
            f"Separator [{separator}] took longer than {_MATCH_SECONDS:g} seconds on one text"
        ) from error
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
