"""Cutting texts into the passages of a plan."""

import pytest

from sidecar.core.chunking import DEFAULT_CHUNKING, chunk
from sidecar.core.errors import IllegalArgumentError
from sidecar.ingest.pieces import splitter

WORDS = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}


def test_a_text_is_cut_into_its_chunks() -> None:
    text = "The tide falls. " * 100
    pieces = splitter(DEFAULT_CHUNKING)(text)
    assert [(piece.start, piece.text) for piece in pieces] == [
        (part.start, part.of(text)) for part in chunk(text, DEFAULT_CHUNKING)
    ]
    assert all(piece.chunks == (piece.text,) for piece in pieces)


def test_a_very_long_text_has_512_passages_made_of_all_its_chunks() -> None:
    text = " ".join(f"word{number}" for number in range(9000))
    parts = chunk(text, WORDS)
    pieces = splitter(WORDS)(text)
    assert (len(parts), len(pieces)) == (1000, 512)
    assert [part for piece in pieces for part in piece.chunks] == [part.of(text) for part in parts]
    for piece in pieces:
        assert text.startswith(piece.text, piece.start)
        assert piece.text.startswith(piece.chunks[0])
        assert piece.text.endswith(piece.chunks[-1])


def test_a_separator_that_is_no_regular_expression_ends_the_planning() -> None:
    with pytest.raises(IllegalArgumentError, match=r"^Invalid separator \[\*\]: "):
        splitter({"strategy": "recursive", "max_chunk_size": 10, "separators": ["*"]})
