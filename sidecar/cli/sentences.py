"""Sentences for people: folded between words to the width of a terminal, whole in a pipe or a file.

What is piped is searched line by line and copied, so a line break within a sentence would hide what it says.
"""

from __future__ import annotations

from rich.console import Console


def print_sentence(text: str, console: Console, *, style: str | None = None, markup: bool = False) -> None:
    """Prints a sentence; brackets are themselves unless it is ``markup``."""
    console.print(text, style=style, markup=markup, highlight=False, soft_wrap=not console.is_terminal)


def tell(text: str, *, style: str | None = "yellow") -> None:
    """A sentence beside the results: on standard error, in yellow where there are colours."""
    print_sentence(text, Console(stderr=True), style=style)
