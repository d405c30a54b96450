"""A run of ingestion on the terminal: a progress bar while it lasts, a table of what it did at its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from sidecar.ingest.summary import Summary

_TICK = 0.2

EXIT_INCOMPLETE = 1
EXIT_INTERRUPTED = 130


async def watch(run: Coroutine[Any, Any, Summary], summary: Summary, what: str, console: Console) -> int:
    """Runs to the end with a progress bar; the first Ctrl-C or SIGTERM stops the run in good order.

    Returns the exit status: 0 when every document is right, 1 when some are not, 130 when interrupted.
    """
    task = asyncio.ensure_future(run)
    with _stopping_on_signals(task), _progress(console) as progress:
        bar = progress.add_task(what, total=None, rate="")
        while not task.done():
            await asyncio.wait([task], timeout=_TICK)
            _advance(progress, bar, summary)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return 0 if summary.ok else EXIT_INCOMPLETE


def summary_table(summary: Summary, title: str) -> Table:
    """What was written, skipped, failed and why."""
    table = Table(title=title, title_justify="left", show_header=False, min_width=48)
    table.add_column("what")
    table.add_column("documents", justify="right")
    table.add_column("why", overflow="fold")
    table.add_row("read", f"{summary.read:,}", _rate(summary))
    table.add_row("would be written" if summary.dry_run else "written", f"{summary.written:,}", _texts(summary))
    if summary.cleared:
        table.add_row("cleared", f"{summary.cleared:,}", "the text is gone")
    table.add_row("skipped", f"{summary.up_to_date:,}", "up to date")
    table.add_row("skipped", f"{summary.no_text:,}", "no text")
    if summary.gone:
        table.add_row("skipped", f"{summary.gone:,}", "deleted meanwhile")
    unsettled = f"{summary.unsettled:,} still to do" if summary.unsettled else "read again and done"
    table.add_row("conflicts", f"{summary.conflicts:,}", unsettled if summary.conflicts else "")
    table.add_row("failed", f"{summary.failed:,}", "", style="red" if summary.failed else None)
    for reason, group in sorted(summary.failures.items(), key=lambda item: -item[1].count):
        more = ", ..." if group.count > len(group.examples) else ""
        table.add_row(
            "", f"{group.count:,}", f"{escape(reason)}  [dim]({escape(', '.join(group.examples))}{more})[/dim]"
        )
    return table


def verdict(summary: Summary) -> str:
    """The last line: done, stopped (and why), or interrupted."""
    if summary.stopped:
        return f"[red]Stopped:[/red] {escape(summary.stopped)}"
    if summary.interrupted:
        return "[yellow]Interrupted.[/yellow] Run it again to go on: what is written is not done twice."
    if summary.dry_run:
        return "Dry run: nothing was embedded or written."
    if not summary.ok:
        return "[yellow]Done, but not everything.[/yellow] Run it again for what is left."
    return "[green]Done.[/green]"


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _advance(progress: Progress, bar: Any, summary: Summary) -> None:
    task = progress.tasks[0]
    done = summary.settled + summary.cleared
    elapsed = task.elapsed or 0.0
    rate = f"{done / elapsed:.0f}/s" if elapsed > 1 else ""
    progress.update(bar, completed=done, total=summary.total, rate=rate)


def _rate(summary: Summary) -> str:
    if summary.seconds <= 0 or not summary.read:
        return ""
    passes = f", {summary.passes} passes" if summary.passes > 1 else ""
    return f"{summary.read / summary.seconds:,.0f} a second, {summary.seconds:,.1f} s{passes}"


def _texts(summary: Summary) -> str:
    truncated = f", {summary.truncated_texts:,} cut to the model's length" if summary.truncated_texts else ""
    return f"{summary.embedded_texts:,} texts embedded{truncated}" if summary.embedded_texts else ""


@contextlib.contextmanager
def _stopping_on_signals(task: asyncio.Future[Any]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    caught = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)
            caught.append(number)
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)
