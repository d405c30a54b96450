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
