"""A run of ingestion on the terminal: a progress bar while it lasts, a table of what it did at its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sidecar.elastic.source import well_formed
from sidecar.inference.cache.cache import CacheCount
from sidecar.ingest.summary import FailedDocument, Summary
from sidecar.settings import UserError

_TICK = 0.2
_ALWAYS_SHOWN = ("up to date", "no text")
_KINDS_SHOWN = 10
_NAME_LENGTH = 60

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
    table = Table(title=Text(title), title_justify="left", show_header=False, min_width=48)
    table.add_column("what")
    table.add_column("documents", justify="right")
    table.add_column("why", overflow="fold")
    table.add_row("read", f"{summary.read:,}", _rate(summary))
    table.add_row("would be written" if summary.dry_run else "written", f"{summary.written:,}", _texts(summary))
    for count, what, why in _others(summary):
        if count or why in _ALWAYS_SHOWN:
            table.add_row(what, f"{count:,}", why)
    for note, count in summary.notes.most_common():
        table.add_row("note", f"{count:,}", escape(note))
    unsettled = f"{summary.unsettled:,} still to do" if summary.unsettled else "read again and done"
    table.add_row("conflicts", f"{summary.conflicts:,}", unsettled if summary.conflicts else "")
    table.add_row("failed", f"{summary.failed:,}", "", style="red" if summary.failed else None)
    for reason, group in sorted(summary.failures.items(), key=lambda item: -item[1].count)[:_KINDS_SHOWN]:
        more = ", ..." if group.count > len(group.examples) else ""
        named = ", ".join(name[:_NAME_LENGTH] for name in group.examples)
        table.add_row("", f"{group.count:,}", f"{escape(reason)}  [dim]({escape(named)}{more})[/dim]")
    if (left_out := len(summary.failures) - _KINDS_SHOWN) > 0:
        table.add_row("", "", f"and {left_out} more kinds (--failures FILE lists every document)")
    return table


def _others(summary: Summary) -> Iterator[tuple[int, str, str]]:
    """Rows of what was neither written nor failed: how many, what became of them, why."""
    yield summary.cleared, "cleared", "the text is gone"
    yield summary.withheld, "would be cleared", "the text is gone (--yes clears)"
    yield summary.up_to_date, "skipped", "up to date"
    yield summary.no_text, "skipped", "no text"
    yield summary.repeated, "skipped", "another line with the same id counts"
    yield summary.gone, "skipped", "deleted meanwhile"
    yield summary.own, "left", "there is a vector that no marker claims (--overwrite replaces it)"
    yield summary.kept, "left", "no text, and no marker says that the vector came from this field"
    yield summary.failed_before, "left", "failed before, the text is the same (--retry-failed tries again)"


def verdict(summary: Summary) -> str:
    """The last line: done, stopped (and why), or interrupted."""
    if summary.stopped:
        return f"[red]Stopped:[/red] {escape(well_formed(summary.stopped))}"
    if summary.interrupted:
        return "[yellow]Interrupted.[/yellow] Run it again to go on: what is written is not done twice."
    if summary.dry_run:
        return "Dry run: nothing was embedded or written."
    if summary.ok:
        return "[green]Done.[/green]"
    if summary.unsettled or summary.failed > sum(group.for_good for group in summary.failures.values()):
        return "[yellow]Done, but not everything.[/yellow] Run it again for what is left."
    if summary.failed == summary.read:
        return "[red]None of the documents could be written:[/red] the table says why."
    return "[yellow]Some documents were left out,[/yellow] and would be again: the table says why."


@contextlib.contextmanager
def listing(path: Path | None) -> Iterator[Callable[[FailedDocument], None] | None]:
    """Writes every failure into a file as it happens, one JSON object a line; ``None`` without a file."""
    if path is None:
        yield None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise UserError(f"--failures: the file {path} cannot be written: {error.strerror}.") from None
    with file:
        yield lambda failed: _write(file, failed)


def _write(file: BinaryIO, failed: FailedDocument) -> None:
    file.write(orjson.dumps(failed) + b"\n")


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # in a pipe it would leave an empty line
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
    cut = f", {summary.truncated_texts:,} cut to the model's length (--passages embeds all of a text)"
    truncated = cut if summary.truncated_texts else ""
    known = f", {summary.known_texts:,} of them known from before ({summary.saved_tokens:,} tokens saved)"
    again = known if summary.known_texts else ""
    noun = "text" if summary.embedded_texts == 1 else "texts"
    return f"{summary.embedded_texts:,} {noun} embedded{again}{truncated}" if summary.embedded_texts else ""


def tell_cache(summary: Summary, count: CacheCount) -> None:
    """Puts into the summary what the cache of embeddings did during the run."""
    summary.known_texts, summary.saved_tokens = count.hits, count.saved_tokens


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
