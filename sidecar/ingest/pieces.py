"""Texts in pieces: whole, or cut into passages as Elasticsearch does for ``semantic_text``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.core.chunking import check_separators, chunk, merge_chunks, slots


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; ``start`` is its offset in characters.

    ``chunks`` are the texts that are embedded for it: several where a very long text has more of them than passages.
    """

    text: str
    start: int
    chunks: tuple[str, ...]


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


def splitter(settings: Mapping[str, Any]) -> Splitter:
    """Cuts a text into at most 512 pieces with an endpoint's chunking settings; blank chunks are left out.

    Raises ``IllegalArgumentError`` for a separator that is no regular expression; so does the splitter for one that
    takes too long.
    """
    check_separators(settings)

    def split(text: str) -> list[Piece]:
        chunks = [part for part in chunk(text, settings) if part.of(text).strip()]
        pieces = []
        for slot in slots(len(chunks)):
            held = [chunks[position] for position in slot]
            stretch = merge_chunks(held)
            pieces.append(Piece(stretch.of(text), stretch.start, tuple(part.of(text) for part in held)))
        return pieces

    return split
