"""Texts in pieces: whole, or cut into passages as Elasticsearch does for ``semantic_text``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.core.chunking import TokenCounter, check_separators, chunk, merge_chunks, slots, token_chunks


class Piece(NamedTuple):
    """A part of a text; ``start`` is its offset in characters.

    ``chunks`` are the texts that are embedded for it: several where a very long text has more of them than passages.
    """

    text: str
    start: int
    chunks: tuple[str, ...]


MOST_HALVINGS = 9
"""A text is halved until the model reads all of it; so often is enough for 100,000 tokens and a model of 512."""

Splitter = Callable[[str], Sequence[Piece]]


def whole(text: str) -> Sequence[Piece]:
    """The text as one piece."""
    return (Piece(text, 0, (text,)),)


def into_one(cut: Splitter) -> Splitter:
    """As ``cut``, with all chunks in one piece, whose vectors are merged."""

    def split(text: str) -> Sequence[Piece]:
        chunks = tuple(chunk for piece in cut(text) for chunk in piece.chunks)
        return (Piece(text, 0, chunks or (text,)),)

    return split


def halved(piece: Piece, is_cut: Callable[[str], bool]) -> Piece:
    """The piece with both halves in place of each chunk that the model did not read to its end."""
    chunks = [part for text in piece.chunks for part in (_halves(text) if is_cut(text) else (text,))]
    return Piece(piece.text, piece.start, tuple(chunks))


def _halves(text: str) -> tuple[str, ...]:
    """Both halves of a text, parted at a blank where there is one."""
    middle = len(text) // 2
    at = text.find(" ", middle)
    at = at if at >= 0 else text.rfind(" ", 0, middle)
    at = at if at >= 0 else middle
    return tuple(half for half in (text[:at], text[at:]) if half.strip())


def splitter(settings: Mapping[str, Any], counter: TokenCounter | None = None) -> Splitter:
    """Cuts a text into at most 512 pieces with chunking settings; blank chunks are left out.

    With a ``counter`` sizes are tokens, else words.

    Raises ``IllegalArgumentError`` for a separator that is no regular expression; so does the splitter for one that
    takes too long.
    """
    check_separators(settings)

    def split(text: str) -> list[Piece]:
        cut = chunk(text, settings) if counter is None else token_chunks(text, settings, counter)
        chunks = [part for part in cut if part.of(text).strip()]
        pieces = []
        for slot in slots(len(chunks)):
            held = [chunks[position] for position in slot]
            stretch = merge_chunks(held)
            pieces.append(Piece(stretch.of(text), stretch.start, tuple(part.of(text) for part in held)))
        return pieces

    return split
