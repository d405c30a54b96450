"""Tables from which names are copied: no cell and no heading is cut."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_WIDEST = 100_000


def print_whole(table: Table, console: Console) -> None:
    """Prints a table whole: folded to the width of a terminal, and as wide as it is in a pipe or a file."""
    for column in table.columns:
        column.overflow = "fold"
    if not console.is_terminal:
        natural = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
        console.width = max(console.width, natural)
    console.print(table)
