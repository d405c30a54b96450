"""``sidecar index``: documents of a file, indexed with their vectors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli.backfill import BatchSize, ChunkTokens, Failures, Maps, Passages, RetryFailed, read_chunk_tokens
from sidecar.cli.run_report import listing, summary_table, tell_cache, verdict, watch
from sidecar.cli.sentences import print_sentence, tell
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import (
    GIVING_WAY,
    ElasticsearchUrl,
    Niceness,
    give_way,
    index_name,
    open_workbench,
    user_errors,
)
from sidecar.ingest.bound import bound_plan_for_writing, left_empty
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Existing, Indexing, IndexJob
from sidecar.ingest.json_lines import other_kind
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.settings import UserError

_LEFT_EMPTY = "[{0}] is also bound to fill {1}, which these documents will lack. Without --map all of it is filled."


def index(
    index: Annotated[str, typer.Argument(callback=index_name, help="Index or alias; created when it is not there.")],
    file: Annotated[str, typer.Argument(help="File of JSON lines, - for standard input.")],
    *,
    maps: Maps = None,
    id_field: Annotated[
        str | None, typer.Option(help="Field that holds the document's id; without it the id is made of the content.")
    ] = None,
    routing_field: Annotated[
        str | None, typer.Option(help="Field that holds the value by which the document is routed.")
    ] = None,
    op_type: Annotated[
        Existing, typer.Option(help="What to do with documents that are there: index replaces, create keeps them.")
    ] = Existing.REPLACE,
    batch_size: BatchSize = None,
    passages: Passages = False,
    chunk_tokens: ChunkTokens = None,
    retry_failed: RetryFailed = False,
    failures: Failures = None,
    niceness: Niceness = GIVING_WAY,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Index a file of JSON lines together with the vectors of its texts.

    Plain documents are read, the lines of a bulk request, and hits of a search with their _source. Lines that are in
    the index already are left alone, so an interrupted run is simply started again.
    """
    console = Console()
    with user_errors():
        fields = parse_field_maps(maps) if maps else ()
        chunking = read_chunk_tokens(chunk_tokens, cuts=bool(fields) and passages)
        give_way(niceness)

        async def run() -> int:
            with _opened(file) as (lines, count), listing(failures) as listed:
                async with open_workbench(elasticsearch_url) as bench:
                    if fields:
                        plan = await make_plan(bench.embedder, fields, passages=passages, chunking=chunking)
                        if left := await left_empty(bench.client, index, plan):
                            tell(_LEFT_EMPTY.format(index, ", ".join(left)))
                    else:
                        plan = await bound_plan_for_writing(bench.client, bench.embedder, index)
                    job = IndexJob(
                        index,
                        replace(plan, retry_failed=retry_failed),
                        id_field=id_field,
                        routing_field=routing_field,
                        existing=op_type,
                        pace=Pace(batch_size=batch_size),
                    )
                    work = Indexing(bench.client, bench.embedder, job)
                    work.summary.total = count
                    work.summary.listed = listed
                    status = await watch(work.run(lines), work.summary, index, Console(stderr=True))
                    tell_cache(work.summary, bench.inference.cache_count)
                    for change in work.changes:
                        print_sentence(f"Added to [{change.index}]: {', '.join(change.fields)}", console)
                    if work.summary.has_begun:
                        print_whole(summary_table(work.summary, f"Indexing into {index}"), console)
                    if work.summary.ok and not work.summary.read:
                        source = "Standard input" if file == "-" else f"The file {file}"
                        print_sentence(f"{source} holds no documents.", console, style="yellow")
                    else:
                        print_sentence(verdict(work.summary), console, markup=True)
                    return status

        raise typer.Exit(asyncio.run(run()))


_HEAD = 8


class _Lines:
    """The lines of a file, to be read as often as needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as lines:
            yield from lines


@contextmanager
def _opened(file: str) -> Iterator[tuple[Iterable[bytes], int | None]]:
    """The lines and, of a file, their number."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    path = Path(file)
    if path.exists() and not path.is_file():
        # A pipe cannot be read twice.
        raise UserError(f"{file} is no file; what comes through a pipe is read from standard input (-).")
    try:
        with path.open("rb") as counted:
            if kind := other_kind(counted.read(_HEAD)):
                raise UserError(f"The file {file} is {kind}.")
            counted.seek(0)
            count = sum(1 for line in counted if line.strip())
    except OSError as error:
        raise UserError(f"The file {file} cannot be read: {error.strerror}.") from None
    yield _Lines(path), count
