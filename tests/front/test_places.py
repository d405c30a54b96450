"""Places in messages are those that Elasticsearch names for the same text."""

from __future__ import annotations

import pytest

from sidecar.front.places import place_in
from sidecar.search.retrievers.reading import Name

TEXT = b'{"retriever": {"rrf": {"retrievers": [{"a": 1},\n {"b": {"c": [true]}}], "x": 5}}}'


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("retriever",), "1:15"),
        (("retriever", "rrf", "retrievers", 1), "2:2"),
        (("retriever", "rrf", "retrievers", 1, "b", "c", 0), "2:15"),
        (("retriever", "rrf", "x"), "2:30"),
        (("retriever", "rrf", Name("x")), "2:25"),
        (("retriever", "rrf", "nowhere"), "1:1"),
        (("retriever", "rrf", "retrievers", 7), "1:1"),
    ],
)
def test_a_path_has_a_place(path: tuple[str | int, ...], place: str) -> None:
    assert place_in(TEXT)(path) == place


def test_a_text_that_is_none_has_no_places() -> None:
    assert place_in(b"")(("retriever",)) == "1:1"
    assert place_in(b"{")(("retriever",)) == "1:1"
