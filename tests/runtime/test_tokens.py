"""Texts to word pieces: a text alone goes another way through the library than several do."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.token_limits import TokenLimits
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


def byte_level(folder: Path) -> Path:
    """A tokenizer that keeps blanks, as those of RoBERTa and ModernBERT do: ``Ġ`` is a space, ``Ċ`` a line's end."""
    merges: list[tuple[str, str]] = []
    for word in ("whales", "sing", "query", "Ġwhales", "Ġsing", "Ġ:"):
        rest = word.removeprefix("Ġ")
        if word != rest:
            merges.append(("Ġ", rest))
        else:
            merges += [(word[:at], word[at]) for at in range(1, len(word)) if (word[:at], word[at]) not in merges]
    characters = sorted({*"whalesingquery:ĠĊ"})
    vocabulary = ["<s>", "<pad>", "</s>", *characters, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("prompt", "text", "tokens"),
    [
        ("", "  whales sing", "whales Ġsing"),
        ("", "\nwhales sing \n", "whales Ġsing"),
        ("query : ", "whales sing", "query Ġ: Ġwhales Ġsing"),
        ("query : ", "  whales sing", "query Ġ: Ġ Ġ Ġwhales Ġsing"),
        ("query : ", "\nwhales sing \n", "query Ġ: Ġ Ċ whales Ġsing"),
        ("query :", "whales sing", "query Ġ: whales Ġsing"),
        ("query :", "  whales sing", "query Ġ: Ġ Ġwhales Ġsing"),
        ("query :", "\nwhales sing \n", "query Ġ: Ċ whales Ġsing"),
    ],
)
def test_blanks_count_between_prompt_and_text_alone(tmp_path: Path, prompt: str, text: str, tokens: str) -> None:
    """The tokens that sentence-transformers 3.4.1 and 5.1.2 make of the two with such a tokenizer."""
    pieces = WordPieces(byte_level(tmp_path), TokenLimits())
    names = pieces.vocabulary(100)
    for texts in ([text], [text, "sing"]):
        first = pieces.encode(texts, prompt)[0]
        assert " ".join(names[number] for number in first.ids[1:-1]) == tokens


def test_a_text_behind_a_great_many_blanks_is_read(tmp_path: Path) -> None:
    pieces = WordPieces(byte_level(tmp_path), TokenLimits())
    (read,) = pieces.encode(["\n" * 1_000_000 + "whales"], "query :")
    assert pieces.vocabulary(100)[read.ids[-2]] == "whales"
    assert not read.is_truncated
