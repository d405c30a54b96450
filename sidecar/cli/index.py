"""``sidecar index``: documents of a file, indexed with their vectors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console

from sidecar.cli.backfill import BatchSize, Maps, Passages
from sidecar.cli.run_report import summary_table, verdict, watch
from sidecar.cli.workbench import ElasticsearchUrl, open_workbench, user_errors
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Existing, Indexing, IndexJob
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.settings import UserError


def index(
    index: Annotated[str, typer.Argument(help="Index or alias; created when it is not there.")],
    file: Annotated[str, typer.Argument(help="File of JSON lines, - for standard input.")],
    *,
    maps: Maps,
    id_field: Annotated[
        str | None, typer.Option(help="Field that holds the document's id; without it the id is made of the content.")
    ] = None,
    op_type: Annotated[
        Existing, typer.Option(help="What to do with documents that are there: index replaces, create keeps them.")
    ] = Existing.REPLACE,
    batch_size: BatchSize = None,
    passages: Passages = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Index a file of JSON lines together with the vectors of its texts.

    Lines that are in the index already are left alone, so an interrupted run is simply started again.
    """
    console = Console()
    with user_errors():
        fields = parse_field_maps(maps)

        async def run() -> int:
            with _opened(file) as (lines, count):
                async with open_workbench(elasticsearch_url) as bench:
                    plan = await make_plan(bench.embedder, fields, passages=passages)
                    job = IndexJob(index, plan, id_field=id_field, existing=op_type, pace=Pace(batch_size=batch_size))
                    work = Indexing(bench.client, bench.embedder, job)
                    work.summary.total = count
                    status = await watch(work.run(lines), work.summary, index, Console(stderr=True))
                    for change in work.changes:
                        console.print(f"Added to [{change.index}]: {', '.join(change.fields)}", markup=False)
                    console.print(summary_table(work.summary, f"Indexing into {index}"))
                    console.print(verdict(work.summary))
                    return status

        raise typer.Exit(asyncio.run(run()))


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The lines and, of a file, their number."""
    if file == "-":
        yield sys.stdin.buffer, None
        return
    try:
        with Path(file).open("rb") as counted:
            count = sum(1 for line in counted if line.strip())
        with Path(file).open("rb") as lines:
            yield lines, count
    except OSError as error:
        raise UserError(f"The file {file} cannot be read: {error.strerror}.") from None
