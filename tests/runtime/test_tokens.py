"""Texts to word pieces: a text alone goes another way through the library than several do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.tokens import WordPieces

_, DIRECTORY = Catalog(RuntimeConfig()).resolve("all-MiniLM-L6-v2")
PIECES = WordPieces(DIRECTORY.tokenizer_file, DIRECTORY.tokens)
LIBRARY = Tokenizer.from_file(str(DIRECTORY.tokenizer_file))
LIBRARY.no_padding()
LIBRARY.enable_truncation(DIRECTORY.tokens.max_length)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["", "query: "]))
@settings(max_examples=200)
def test_a_text_alone_has_the_pieces_that_it_has_beside_others(text: str, prompt: str) -> None:
    (alone,) = PIECES.encode([text], prompt)
    beside, _ = PIECES.encode([text, "spring tides"], prompt)
    assert alone.ids.tolist() == beside.ids.tolist() == LIBRARY.encode(prompt + text.strip()).ids
    assert (alone.is_truncated, alone.is_empty, alone.prompt_tokens) == (
        beside.is_truncated,
        beside.is_empty,
        beside.prompt_tokens,
    )


@pytest.mark.parametrize("words", [1, 254, 255, 1000])
def test_a_text_alone_is_cut_where_others_are(words: int) -> None:
    text = "tide " * words
    (alone,) = PIECES.encode([text])
    beside, _ = PIECES.encode([text, "spring tides"])
    assert len(alone) == len(beside) == min(words, 254) + 2
    assert alone.is_truncated == beside.is_truncated == (words > 254)
