"""Chunks: worked examples, what always holds, and the chunks real Elasticsearch nodes made of the same texts."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.chunking import Chunk, Utf16Offsets, chunk, parse_chunking_settings
from sidecar.core.chunking.boundaries import WordBoundaries, count_words, sentence_ends
from sidecar.core.generations import G9_4

RECORDED = [json.loads(line) for line in (Path(__file__).parents[1] / "recorded" / "chunks.jsonl").open()]

HARBOUR = (
    "The quick brown fox jumps over the lazy dog. It then runs across the wide green field. Nobody sees it go. "
    "The farmer wakes up late and looks outside at the empty yard."
)
LETTERS = " ".join("abcdefghijklmnopqrstuvwxyz")
GREEK = "Alpha, beta; gamma: delta-epsilon (zeta) eta's 3.14 theta. Iota kappa! Lambda?"
TITLES = (
    "# Title\nintro words here one two three\n## First\nalpha beta gamma delta epsilon zeta eta theta iota kappa "
    "lambda\n## Second\nshort text"
)
PARAGRAPHS = (
    "para one has five words\n\npara two has also a few more words than ten in it total\nsecond line of "
    "two\n\npara three"
)


def numbered(letter: str, count: int) -> str:
    return " ".join(f"{letter}{n}" for n in range(1, count + 1))


def settings(strategy: str, size: int, overlap: int | None = None, **rest: Any) -> dict[str, Any]:
    names = {"word": "overlap", "sentence": "sentence_overlap"}
    extra = {} if overlap is None else {names[strategy]: overlap}
    return parse_chunking_settings(
        {"strategy": strategy, "max_chunk_size": size, **extra, **rest},
        generation=G9_4,
    )


# Worked by hand from the published rules; the boundaries are those of ICU.
@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        (numbered("w", 22), settings("word", 10, 4), [(0, 30), (17, 54), (38, 78)]),
        (LETTERS, settings("word", 10, 3), [(0, 19), (13, 33), (27, 47), (41, 51)]),
        (GREEK, settings("word", 10, 4), [(0, 63), (39, 78)]),
        (HARBOUR, settings("sentence", 20, 0), [(0, 87), (87, 167)]),
        (HARBOUR, settings("sentence", 20, 1), [(0, 87), (45, 106), (87, 167)]),
        (f"{numbered('P', 15)}. {numbered('Q', 12)}.", settings("sentence", 20, 0), [(0, 52), (52, 91)]),
        (f"{numbered('P', 15)}. {numbered('Q', 12)}.", settings("sentence", 20, 1), [(0, 52), (15, 82), (54, 91)]),
        (
            TITLES,
            settings("recursive", 10, separator_group="markdown"),
            [(0, 38), (38, 48), (48, 104), (83, 111), (111, 132)],
        ),
        (
            PARAGRAPHS,
            settings("recursive", 10, separator_group="plaintext"),
            [(0, 23), (23, 68), (48, 80), (80, 99), (99, 111)],
        ),
    ],
)
def test_worked_examples(text: str, how: dict[str, Any], expected: list[tuple[int, int]]) -> None:
    assert [(piece.start, piece.end) for piece in chunk(text, how)] == expected


def test_a_sentence_too_long_is_cut_by_words_and_the_rest_goes_on() -> None:
    text = f"Start here now. {numbered('X', 45)}. End of it."
    pieces = [piece.of(text) for piece in chunk(text, settings("sentence", 20, 0))]
    words = numbered("X", 45).split()
    assert pieces == [
        "Start here now. ",
        " ".join(words[:20]),
        " " + " ".join(words[11:31]),
        " " + " ".join(words[22:42]),
        " " + " ".join(words[33:]) + ". End of it.",
    ]


def test_punctuation_after_an_exact_fit_is_dropped() -> None:
    text = f"{numbered('w', 10)}."
    assert [piece.of(text) for piece in chunk(text, settings("word", 10, 2))] == [numbered("w", 10)]


@pytest.mark.parametrize("strategy", ["word", "sentence", "recursive", "none"])
@pytest.mark.parametrize("text", ["", "  \n ", "?!"])
def test_a_text_without_words_is_one_chunk(strategy: str, text: str) -> None:
    how = {"strategy": "none"} if strategy == "none" else settings(strategy, 20, 5 if strategy == "word" else None)
    assert chunk(text, how) == [Chunk(0, len(text))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't", 1),
        ("3.14", 1),
        ("1,234.5", 1),
        ("a_b", 1),
        ("bar.com", 1),
        ("x-ray", 2),
        ("foo@bar.com", 2),
        ("😀 … !", 0),
        ("你好世界", 2),
    ],
)
def test_what_counts_as_a_word(text: str, words: int) -> None:
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("See you at 3 p.m. sharp. Bye.", ["See you at 3 p.m. sharp. ", "Bye."]),
        ("e.g. this one", ["e.g. this one"]),
        ("Mr. Smith", ["Mr. ", "Smith"]),
        ("one\ntwo", ["one\n", "two"]),
        ("Hi 😀! Next 😀.", ["Hi 😀! ", "Next 😀."]),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    ends = sentence_ends(text)
    assert [text[start:end] for start, end in pairwise([0, *ends])] == sentences


def test_a_word_before_a_lone_separator_counts_twice_as_in_elasticsearch() -> None:
    text = "One two three\nFour five six\nSeven eight nine"
    words = WordBoundaries.of(text)
    assert [words.count(start, end) for start, end in pairwise([0, *sentence_ends(text)])] == [3, 4, 4]


def is_exception(text: str, version: str) -> bool:
    """Recorded answers that differ: nothing is embedded for blank texts; ICU 68 of 8.19 knew fewer Lao words."""
    is_lao = any("\u0e80" <= character <= "\u0eff" for character in text)
    return not text.strip() or (is_lao and version == "8.19.8")


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: ascii(record["text"][:24]))
def test_chunks_are_those_of_real_elasticsearch(record: dict[str, Any]) -> None:
    text, compared = record["text"], 0
    offsets = Utf16Offsets(text)
    for cut in record["cuts"]:
        if all(is_exception(text, version) for version in cut["versions"]):
            continue
        ours = chunk(text, parse_chunking_settings(cut["settings"], generation=G9_4))
        assert [list(offsets.chunk(piece)) for piece in ours] == cut["chunks"], cut["settings"]
        compared += 1
    assert compared >= 9 or not text.strip()


PIECES = [
    *["word", "Two words", "e.g.", "don't", "3.14", "x-ray", "long " * 30, "é", "e\u0301", "---", "_", "\ud800"],
    *[".", "! ", "? ", ", ", " ", "  ", "\n", "\n\n", "\r\n", "\u2029", "\n# "],
    *["😀", "𝒜", "你好世界", "ภาษาไทย"],
]
texts = st.lists(
    st.sampled_from(PIECES),
    max_size=60,
).map("".join) | st.text(max_size=80)
hows = st.one_of(
    st.builds(settings, st.just("sentence"), st.integers(20, 50), st.integers(0, 1)),
    st.integers(10, 40).flatmap(
        lambda size: st.builds(settings, st.just("word"), st.just(size), st.integers(1, size // 2))
    ),
    st.builds(
        settings,
        st.just("recursive"),
        st.integers(10, 40),
        separator_group=st.sampled_from(["plaintext", "markdown"]),
    ),
    st.just({"strategy": "none"}),
)


@given(texts, hows)
def test_chunks_are_in_order_and_cover_all_words(text: str, how: dict[str, Any]) -> None:
    pieces = chunk(text, how)
    assert pieces[0].start == 0
    assert all(0 <= piece.start <= piece.end <= len(text) for piece in pieces)
    for before, after in pairwise(pieces):
        assert before.start <= after.start <= before.end < after.end
    # Only what follows the last word may be missing.
    assert count_words(text[pieces[-1].end :]) == 0


@given(texts, hows)
def test_chunks_hold_no_more_words_than_asked_for(text: str, how: dict[str, Any]) -> None:
    if how["strategy"] == "none":
        return
    words = WordBoundaries.of(text)
    for piece in chunk(text, how):
        inside = [end for end in words.word_ends if piece.start < end <= piece.end]
        assert len(inside) <= how["max_chunk_size"]


@given(texts, st.integers(10, 40).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size // 2))))
def test_neighbours_by_words_share_exactly_the_overlap(text: str, bounds: tuple[int, int]) -> None:
    size, overlap = bounds
    ends = WordBoundaries.of(text).word_ends
    pieces = chunk(text, settings("word", size, overlap))
    for before, after in pairwise(pieces):
        assert sum(after.start < end <= before.end for end in ends) == overlap
    for piece in pieces[:-1]:
        assert sum(piece.start < end <= piece.end for end in ends) == size


@given(texts, st.integers(20, 40))
def test_sentences_without_overlap_leave_nothing_out(text: str, size: int) -> None:
    pieces = chunk(text, settings("sentence", size, 0))
    assert pieces[-1].end == len(text)
    for before, after in pairwise(pieces):
        # They touch, unless one sentence was too long and was cut by words with an overlap.
        assert after.start == before.end or count_words(text[after.start : before.end]) == min((size - 1) // 2, 20)


@given(texts)
def test_utf16_offsets_are_those_of_the_encoded_text(text: str) -> None:
    offsets = Utf16Offsets(text)
    units = [len(text[:at].encode("utf-16-le", "surrogatepass")) // 2 for at in range(len(text) + 1)]
    assert [offsets.of(at) for at in range(len(text) + 1)] == units
    assert offsets.characters(units) == list(range(len(text) + 1))
