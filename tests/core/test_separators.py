"""Separators: Java's regular expressions, and what stops the ones that cannot be used."""

import pytest

from sidecar.core.chunking import chunk
from sidecar.core.chunking.separator import find_separators
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
    assert find_separators(separator, text) == starts


def test_a_separator_that_is_no_regular_expression_is_refused() -> None:
    how = {"strategy": "recursive", "max_chunk_size": 10, "separators": ["["]}
    with pytest.raises(IllegalArgumentError, match=r"^Invalid separator \[\[\]: "):
        chunk("w " * 30, how)


def test_a_separator_that_backtracks_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.core.chunking.separator.MATCH_SECONDS", 0.05)
    with pytest.raises(IllegalArgumentError, match=r"took longer than 0\.05 seconds"):
        find_separators("(a|a)+$", "a" * 60 + "!")
