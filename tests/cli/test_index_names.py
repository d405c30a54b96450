"""An empty name, which a script with an unset variable gives, is no index; to Elasticsearch it would be all of them."""

from pathlib import Path

import pytest

from tests.ingest.command import run_command

MAP = ("--map", "text:d=.multilingual-e5-small-elasticsearch")


@pytest.mark.parametrize("name", ["", " ", ","])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("backfill",), MAP),
        (("index",), ("-", *MAP)),
        (("bind",), MAP),
        (("unbind",), ()),
        (("search",), ("question",)),
        (("mappings", "apply", "--index"), ("--dense", "d:4")),
    ],
)
def test_an_empty_name_is_refused(tmp_path: Path, before: tuple[str, ...], name: str, after: tuple[str, ...]) -> None:
    result = run_command(tmp_path, *before, name, *after, "--elasticsearch-url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "the name is empty" in result.output
