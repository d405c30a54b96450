"""Texts cut to sizes in a model's own tokens, with real local models."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.chunking import TokenCounter, parse_chunking_settings, parse_counted_settings, token_chunks
from sidecar.core.errors import IllegalArgumentError, ValidationError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.tasks import TaskType
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.cutting import cutting_of
from sidecar.runtime.config import Lane, RuntimeConfig
from sidecar.runtime.models import LocalModels

MODELS = ("splade-tiny", "all-MiniLM-L6-v2")
TASKS = {"splade-tiny": TaskType.SPARSE_EMBEDDING, "all-MiniLM-L6-v2": TaskType.TEXT_EMBEDDING}
_COUNTERS: dict[str, TokenCounter] = {name: LocalModels(RuntimeConfig()).token_counter(name) for name in MODELS}
_PARTS = st.sampled_from(
    [
        "The tide falls. ",
        "Antidisestablishmentarianism",
        "\n\n",
        "\n# Head\n",
        "潮の満ち引き。",
        "🐳🛶",
        " ",
        "e\u0301",
        "x" * 90,
    ]
) | st.text(max_size=20)
TEXTS = st.lists(_PARTS, max_size=60).map("".join)
SETTINGS: st.SearchStrategy[Mapping[str, Any]] = st.one_of(
    st.builds(
        lambda size, overlap: {"strategy": "sentence", "max_chunk_size": size, "sentence_overlap": overlap},
        st.integers(20, 60),
        st.integers(0, 1),
    ),
    st.builds(
        lambda size, part: {"strategy": "word", "max_chunk_size": size, "overlap": max(1, size // part)},
        st.integers(10, 60),
        st.integers(2, 10),
    ),
    st.builds(
        lambda size, group: {"strategy": "recursive", "max_chunk_size": size, "separator_group": group},
        st.integers(10, 60),
        st.sampled_from(["plaintext", "markdown"]),
    ),
)


@settings(max_examples=60)
@given(text=TEXTS, given_settings=SETTINGS, model=st.sampled_from(MODELS))
def test_no_chunk_has_more_tokens_and_nothing_is_lost(text: str, given_settings: Mapping[str, Any], model: str) -> None:
    counter = _COUNTERS[model]
    parsed = parse_counted_settings({**given_settings, "unit": "tokens"})
    chunks = token_chunks(text, parsed, counter)
    counts = counter.count([chunk.of(text) for chunk in chunks])
    wide = [(chunk, count) for chunk, count in zip(chunks, counts, strict=True) if count > parsed["max_chunk_size"]]
    assert all(chunk.end - chunk.start == 1 for chunk, _ in wide)
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    for before, after in pairwise(chunks):
        assert before.start < after.start <= before.end < after.end  # no gap, and always something new


async def test_counts_are_those_of_the_model() -> None:
    models = LocalModels(RuntimeConfig())
    try:
        counter = models.token_counter("all-MiniLM-L6-v2")
        vocabulary = await models.vocabulary("all-MiniLM-L6-v2")
        assert models.token_counter("all-MiniLM-L6-v2") == counter
        assert counter.vocabulary is vocabulary
        whole = "tide " * (counter.limit - counter.frame)
        assert counter.count(["", "tide", whole]) == [2, 3, counter.limit]
        assert counter.count([whole + "tide"])[0] > counter.limit
        answer = await models.embed("all-MiniLM-L6-v2", [whole, whole + "tide"], lane=Lane.INGEST)
        assert answer.is_truncated == (False, True)
    finally:
        await models.close()


def profile(name: str, *, known: bool = True) -> EndpointProfile:
    counter = _COUNTERS[name] if known else None
    return EndpointProfile(name, TASKS[name], "1", service="here" if known else "openai", token_counter=counter)


def test_pieces_suit_every_model_that_gets_them() -> None:
    asked = {"strategy": "sentence", "max_chunk_size": 40, "unit": "tokens"}
    text = "The harbour lies behind the reef, where gulls are. " * 20
    pieces = cutting_of([profile(name) for name in MODELS], asked).splitter(text)
    assert len(pieces) > 5
    for name in MODELS:
        assert max(_COUNTERS[name].count([piece.text for piece in pieces])) <= 40
    assert all(text.startswith(piece.text, piece.start) for piece in pieces)
    in_words = cutting_of([profile(MODELS[0])], {"strategy": "sentence", "max_chunk_size": 40})
    assert in_words.circumstances != cutting_of([profile(MODELS[0])], asked).circumstances


@pytest.mark.parametrize(
    ("asked", "known", "sentence"),
    [
        (
            {"max_chunk_size": 40},
            False,
            r"the tokenizer of the model, which is not known for endpoint \[.*\] of service",
        ),
        ({"max_chunk_size": 257}, True, r"\[257\] is more than the \[256\] tokens that the model of endpoint"),
        ({"max_chunk_size": 40, "unit": "bytes"}, True, r"\[unit\] must be one of \[words, tokens\], not \[bytes\]"),
        ({"strategy": "none"}, True, r"strategy \[none\] has no size"),
    ],
)
def test_what_cannot_be_counted_is_refused(asked: dict[str, Any], known: bool, sentence: str) -> None:
    with pytest.raises(IllegalArgumentError, match=sentence):
        cutting_of([profile(MODELS[1], known=known)], {"strategy": "sentence", "unit": "tokens", **asked})


def test_elasticsearchs_own_settings_have_no_unit() -> None:
    asked = {"strategy": "sentence", "max_chunk_size": 40, "unit": "tokens"}
    with pytest.raises(ValidationError, match=r"can not have the following settings: \[unit\]"):
        parse_chunking_settings(asked, generation=DEFAULT_GENERATION)
