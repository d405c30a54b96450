"""Chunking settings: what is accepted, stored and shown, and every error in Elasticsearch's words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.chunking import DEFAULT_CHUNKING, parse_chunking_settings
from sidecar.core.errors import IllegalArgumentError, SidecarError, ValidationError
from sidecar.core.generations import G8_16, G8_19, G9_4, Generation

PLAINTEXT = ["(?<!\\n)\\n\\n(?!\\n)", "(?<!\\n)\\n(?!\\n)"]
MARKDOWN = [
    "\n# ",
    "\n## ",
    "\n### ",
    "\n#### ",
    "\n##### ",
    "\n###### ",
    "\n^(?!\\s*$).*\\n-{1,}\\n",
    "\n^(?!\\s*$).*\\n={1,}\\n",
]


# Answers of Elasticsearch 9.4.3 and 8.19.8 to the creation of an endpoint with these settings.
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, dict(DEFAULT_CHUNKING)),
        ({}, dict(DEFAULT_CHUNKING)),
        (
            {"strategy": "sentence", "max_chunk_size": 20},
            {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1},
        ),
        (
            {"sentence_overlap": 0, "max_chunk_size": 300, "strategy": "sentence"},
            {"strategy": "sentence", "max_chunk_size": 300, "sentence_overlap": 0},
        ),
        (
            {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": None},
            {"strategy": "sentence", "max_chunk_size": 20, "sentence_overlap": 1},
        ),
        (
            {"strategy": "word", "max_chunk_size": 11, "overlap": 5},
            {"strategy": "word", "max_chunk_size": 11, "overlap": 5},
        ),
        ({"strategy": "none"}, {"strategy": "none"}),
        ({"strategy": "none", "max_chunk_size": "x", "foo": 3}, {"strategy": "none"}),
        (
            {"strategy": "recursive", "max_chunk_size": 10},
            {"strategy": "recursive", "max_chunk_size": 10, "separators": PLAINTEXT},
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separator_group": "plaintext"},
            {"strategy": "recursive", "max_chunk_size": 10, "separators": PLAINTEXT},
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separator_group": "MARKDOWN"},
            {"strategy": "recursive", "max_chunk_size": 10, "separators": MARKDOWN},
        ),
        (
            {"strategy": "recursive", "max_chunk_size": 10, "separators": ["x", "["]},
            {"strategy": "recursive", "max_chunk_size": 10, "separators": ["x", "["]},
        ),
    ],
)
@pytest.mark.parametrize("generation", [G8_19, G9_4], ids=lambda g: g.name)
def test_accepted_settings_are_completed_and_put_in_order(
    given: Any, shown: dict[str, Any], generation: Generation
) -> None:
    parsed = parse_chunking_settings(given, generation=generation)
    assert list(parsed.items()) == list(shown.items())


SENTENCE, WORD, RECURSIVE = "sentence", "word", "recursive"


@pytest.mark.parametrize(
    ("strategy", "rest", "messages"),
    [
        (SENTENCE, {}, ["[chunking_settings] does not contain the required setting [max_chunk_size]"]),
        (
            SENTENCE,
            {"max_chunk_size": None},
            ["[chunking_settings] does not contain the required setting [max_chunk_size]"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": 5},
            ["[chunking_settings] Invalid value [5.0]. [max_chunk_size] must be greater than or equal to [20.0]"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": 0},
            ["[chunking_settings] Invalid value [0]. [max_chunk_size] must be a positive integer"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": "100"},
            ["field [max_chunk_size] is not of the expected type. The value [100] cannot be converted to a [Integer]"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": 20.0},
            ["field [max_chunk_size] is not of the expected type. The value [20.0] cannot be converted to a [Integer]"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": True},
            ["field [max_chunk_size] is not of the expected type. The value [true] cannot be converted to a [Integer]"],
        ),
        (
            SENTENCE,
            {"max_chunk_size": 3_000_000_000},
            [
                "field [max_chunk_size] is not of the expected type. "
                "The value [3000000000] cannot be converted to a [Integer]"
            ],
        ),
        (SENTENCE, {"max_chunk_size": 20, "sentence_overlap": 2}, ["sentence_overlap[2] must be either 0 or 1"]),
        (SENTENCE, {"max_chunk_size": 20, "sentence_overlap": -1}, ["sentence_overlap[-1] must be either 0 or 1"]),
        (
            SENTENCE,
            {"max_chunk_size": 5, "sentence_overlap": 2},
            [
                "[chunking_settings] Invalid value [5.0]. [max_chunk_size] must be greater than or equal to [20.0]",
                "sentence_overlap[2] must be either 0 or 1",
            ],
        ),
        (
            SENTENCE,
            {"max_chunk_size": "x", "sentence_overlap": "y"},
            [
                "field [max_chunk_size] is not of the expected type. The value [x] cannot be converted to a [Integer]",
                "field [sentence_overlap] is not of the expected type. The value [y] cannot be converted to a "
                "[Integer]",
            ],
        ),
        (
            SENTENCE,
            {"overlap": 3},
            [
                "Sentence based chunking settings can not have the following settings: [overlap]",
                "[chunking_settings] does not contain the required setting [max_chunk_size]",
            ],
        ),
        (
            WORD,
            {"max_chunk_size": 10},
            ["[chunking_settings] does not contain the required setting [overlap]"],
        ),
        (WORD, {"overlap": 6}, ["[chunking_settings] does not contain the required setting [max_chunk_size]"]),
        (
            WORD,
            {"max_chunk_size": 9, "overlap": 70},
            ["[chunking_settings] Invalid value [9.0]. [max_chunk_size] must be greater than or equal to [10.0]"],
        ),
        (
            WORD,
            {"max_chunk_size": 10, "overlap": 7},
            ["[chunking_settings] Invalid value [7.0]. [overlap] must be less than or equal to [5.0]"],
        ),
        (
            WORD,
            {"max_chunk_size": 100, "overlap": 0},
            ["[chunking_settings] Invalid value [0]. [overlap] must be a positive integer"],
        ),
        (
            WORD,
            {"max_chunk_size": 100, "overlap": 1, "sentence_overlap": 1},
            ["Word based chunking settings can not have the following settings: [sentence_overlap]"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 9},
            ["[chunking_settings] Invalid value [9.0]. [max_chunk_size] must be greater than or equal to [10.0]"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "overlap": 3},
            ["Recursive chunking settings can not have the following settings: [overlap]"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separator_group": "markdown", "separators": ["x"]},
            ["Recursive chunking settings can not have both separators and separator_set"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separator_group": "markdown", "separators": []},
            ["Recursive chunking settings can not have both separators and separator_set"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separators": []},
            ["Recursive chunking settings can not have an empty list of separators"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separators": "x"},
            ["field [separators] is not of the expected type. The value [x] cannot be converted to a [List]"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separators": [1]},
            ["field [separators] is not of the expected type. The value [1] cannot be converted to a [String]"],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separator_group": "html"},
            [
                "[chunking_settings] Invalid value [html] received. "
                "[separator_group] must be one of [markdown, plaintext]"
            ],
        ),
        (
            RECURSIVE,
            {"max_chunk_size": 10, "separator_group": ""},
            ["[chunking_settings] Invalid value empty string. [separator_group] must be a non-empty string"],
        ),
    ],
)
def test_wrong_settings_are_named_in_elasticsearchs_words(
    strategy: str, rest: dict[str, Any], messages: list[str]
) -> None:
    with pytest.raises(ValidationError) as raised:
        parse_chunking_settings({"strategy": strategy, **rest}, generation=G9_4)
    assert list(raised.value.messages) == messages
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"max_chunk_size": 100}, "Can't generate Chunker without ChunkingStrategy provided"),
        ({"strategy": None, "max_chunk_size": 20}, "Can't generate Chunker without ChunkingStrategy provided"),
        ({"strategy": "paragraph"}, "Invalid chunkingStrategy paragraph"),
        ({"strategy": "WORD", "max_chunk_size": 100, "overlap": 50}, "Invalid chunkingStrategy WORD"),
        ({"strategy": 5}, "Invalid chunkingStrategy 5"),
        ({"strategy": ["word"]}, "Invalid chunkingStrategy [word]"),
    ],
)
def test_a_missing_or_unknown_strategy_is_an_illegal_argument(given: Any, reason: str) -> None:
    with pytest.raises(IllegalArgumentError) as raised:
        parse_chunking_settings(given, generation=G9_4)
    assert (raised.value.reason, raised.value.status) == (reason, 400)


@pytest.mark.parametrize(("given", "shown"), [("x", "x"), (5, "5"), ([1], "[1]"), (False, "false")])
def test_settings_that_are_no_object_are_refused_with_400(given: Any, shown: str) -> None:
    # Elasticsearch fails with 500 and a class cast exception here.
    with pytest.raises(ValidationError) as raised:
        parse_chunking_settings(given, generation=G9_4)
    assert raised.value.messages == (
        f"field [chunking_settings] is not of the expected type. The value [{shown}] cannot be converted to a [Map]",
    )


@pytest.mark.parametrize("strategy", [SENTENCE, WORD, RECURSIVE])
def test_elasticsearch_8_takes_chunks_of_300_words_at_most(strategy: str) -> None:
    settings: dict[str, Any] = {"strategy": strategy, "max_chunk_size": 301}
    if strategy == WORD:
        settings["overlap"] = 1
    with pytest.raises(ValidationError) as raised:
        parse_chunking_settings(settings, generation=G8_19)
    assert raised.value.messages == (
        "[chunking_settings] Invalid value [301.0]. [max_chunk_size] must be a less than or equal to [300.0]",
    )
    assert parse_chunking_settings(settings, generation=G9_4)["max_chunk_size"] == 301


@pytest.mark.parametrize("strategy", ["recursive", "none"])
def test_the_later_strategies_are_unknown_to_8_16(strategy: str) -> None:
    with pytest.raises(IllegalArgumentError, match=f"^Invalid chunkingStrategy {strategy}$"):
        parse_chunking_settings({"strategy": strategy, "max_chunk_size": 10}, generation=G8_16)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**33) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["strategy", "max_chunk_size", "overlap", "sentence_overlap", "separators", "separator_group", "x"]
        ),
        json_values
        | st.integers(1, 400)
        | st.sampled_from(["sentence", "word", "recursive", "none", "markdown"])
        | st.lists(st.text(max_size=3), max_size=3),
    )
    | json_values,
    st.sampled_from([G8_16, G8_19, G9_4]),
)
def test_any_json_is_refused_with_400_or_parsed_into_a_form_that_stays(value: Any, generation: Generation) -> None:
    try:
        parsed = parse_chunking_settings(value, generation=generation)
    except SidecarError as error:
        assert error.status == 400
        return
    assert parse_chunking_settings(parsed, generation=generation) == parsed
