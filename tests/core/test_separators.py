"""Separators: Java's regular expressions, and what stops the ones that cannot be used."""

import time

import pytest

from sidecar.core.chunking import check_separators, chunk
from sidecar.core.chunking.separator import SeparatorFinder
from sidecar.core.errors import IllegalArgumentError


@pytest.mark.parametrize(
    ("separator", "text", "starts"),
    [
        (r"\s", "a\u00a0b c", [3]),  # Java's classes hold ASCII only
        (r"\w+", "é a_1 é", [2]),
        (r"\d", "٣3", [1]),
        (r"[^\s]+", "ab cd", [0, 3]),
        (r"\p{Lu}", "aÉЖ", [1, 2]),
        (r"\Qa.b\E+", "axb a.bb", [4]),
        (r"(?<q>['`]).\k<q>", "'a` 'b'", [4]),
        (r"\x{1F600}", "a😀", [1]),
        (r"[a-z&&[^b]]", "abc", [0, 2]),
        (r"\\s", r"a\s", [1]),
        (r"\R", "a\r\nb", [1]),
        (r"\h+", "a \u2003b", [1]),
        (r"\bcat\b", "concat cat", [7]),
        ("^-", "-a\n-b\r-c\r\n-d\u2029-e", [0, 3, 6, 10, 13]),
        (r"a$", "a\na\ra\r\na\u2028ba", [0, 2, 4, 7, 10]),
        (r"$", "a\r\nb", [1, 4]),
        (r"^", "a\n", [0]),
        (r"a.", "a\rab", [2]),
        (r"(?s)a.", "a\rab", [0, 2]),
        (r"[.^$]", "a.^$", [1, 2, 3]),
    ],
)
def test_separators_are_read_as_java_reads_them(separator: str, text: str, starts: list[int]) -> None:
    assert SeparatorFinder().starts(separator, text) == starts


def test_a_separator_that_is_no_regular_expression_is_refused() -> None:
    how = {"strategy": "recursive", "max_chunk_size": 10, "separators": ["["]}
    with pytest.raises(IllegalArgumentError, match=r"^Invalid separator \[\[\]: "):
        chunk("w " * 30, how)


def test_it_is_also_told_before_a_text_is_there() -> None:
    check_separators({"strategy": "sentence"})
    check_separators({"strategy": "recursive", "separators": [r"\n\n", "a+"]})
    with pytest.raises(IllegalArgumentError, match=r"^Invalid separator \[\(\]: "):
        check_separators({"strategy": "recursive", "separators": ["a", "("]})


def test_a_separator_that_backtracks_without_end_is_given_up() -> None:
    with pytest.raises(IllegalArgumentError, match=r"took longer than 0\.05 seconds"):
        SeparatorFinder(0.05).starts("(a|a)+$", "a" * 60 + "!")


def test_all_pieces_of_a_text_share_one_time() -> None:
    finder = SeparatorFinder(0.2)
    with pytest.raises(IllegalArgumentError):
        finder.starts("(a|a)+$", "a" * 60 + "!")
    began = time.monotonic()
    with pytest.raises(IllegalArgumentError):
        finder.starts("(a|a)+$", "a" * 60 + "!")
    assert time.monotonic() - began < 0.1
