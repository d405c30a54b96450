"""Tables of the command line: what comes from a cluster or a user is shown as it is, brackets too."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from sidecar.cli.bindings import bindings_table
from sidecar.cli.connect import roads_table
from sidecar.cli.run_report import summary_table
from sidecar.cli.search import hits_table
from sidecar.cli.whole_table import print_whole
from sidecar.elastic.bindings import Binding
from sidecar.elastic.roads import Road
from sidecar.ingest.summary import Summary

BRACKETS = "[red]what[/red] [monitor] stands[/]"


@pytest.mark.parametrize(
    "table",
    [
        roads_table((Road(BRACKETS, False, "x"), Road("y", True, BRACKETS)), "z"),
        roads_table((Road("a road that is as wide as its title", True, "open"),), BRACKETS),
        bindings_table({"docs": [Binding((BRACKETS,), "target", "endpoint")]}),
        bindings_table({BRACKETS: []}),
        summary_table(Summary(), BRACKETS),
        hits_table([{"_id": "1", "_score": 1.0, "_source": {BRACKETS: "x"}}], BRACKETS, "title"),
        hits_table([{"_id": BRACKETS, "_score": 1.0, "_source": {}}], "text", "title"),
    ],
)
def test_brackets_are_no_markup(table: Table) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    assert BRACKETS in console.file.getvalue()


def test_an_explained_hit_can_be_read_at_80_columns() -> None:
    legs = [
        {
            "retriever": "sparse:text_sparse",
            "rank": 1,
            "score": 12.345,
            "adds": 0.2,
            "tokens": [{"token": f"token{n}", "product": 1.25} for n in range(5)],
        },
        {"retriever": "dense:passages.vector", "rank": 2, "score": 0.9, "adds": 0.4567},
    ]
    hit = {"_id": "x" * 60, "_score": 0.66, "_source": {"text": "The ferry leaves the harbour at noon."}}
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    console.print(hits_table([hit | {"_sidecar": {"legs": legs}}], "text", "title", explain=True, width=80))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    said = " ".join(line.split("\u2502")[4].strip() for line in lines if line.count("\u2502") > 3)
    for part in (hit["_source"]["text"], "sparse:text_sparse #1 12.345 adds 0.2000", "token4 1.25", "adds 0.4567"):  # type: ignore[index]
        assert part in said
    assert len(lines) < 16


@pytest.mark.parametrize(("is_terminal", "lines"), [(False, 1), (True, 3)])
def test_a_name_is_whole_in_a_pipe_and_folded_on_a_terminal(is_terminal: bool, lines: int) -> None:
    name = "z" * 100
    console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal, color_system=None)
    print_whole(bindings_table({"docs": [Binding(("text",), "target", name)]}), console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\u2026" not in shown
    assert shown.count("z") == len(name)
    assert sum("zz" in line for line in shown.splitlines()) == lines


@pytest.mark.parametrize(("count", "words"), [(1, "1 text embedded"), (2, "2 texts embedded")])
def test_one_text_is_no_plural(count: int, words: str) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(summary_table(Summary(read=count, written=count, embedded_texts=count), "title"))
    assert isinstance(console.file, io.StringIO)
    assert words in console.file.getvalue()
