"""``sidecar backfill``: vectors for the documents of an index."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli.query_option import read_query
from sidecar.cli.run_report import listing, summary_table, verdict, watch
from sidecar.cli.workbench import ElasticsearchUrl, open_workbench, user_errors
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.ingest.source_rules import ACCEPT_SOURCE_LOSS

Maps = Annotated[
    list[str],
    typer.Option(
        "--map",
        "-m",
        metavar="SOURCE:TARGET=ENDPOINT",
        help="Embed SOURCE with ENDPOINT into TARGET; may be given several times.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, max=10_000, help="Most texts per call of an endpoint; default: what suits the endpoint."),
]
Passages = Annotated[
    bool, typer.Option("--passages", help="Cut long texts; TARGET is a field of a nested one, as passages.sparse.")
]

Failures = Annotated[
    Path | None, typer.Option("--failures", metavar="FILE", help="List every document that failed, as JSON lines.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again what failed for good, though its text is the same.")
]


def backfill(
    index: Annotated[str, typer.Argument(help="Index, alias, data stream or pattern.")],
    *,
    maps: Maps,
    query: Annotated[str | None, typer.Option(help="Only documents that match this query (JSON, or @FILE).")] = None,
    batch_size: BatchSize = None,
    slices: Annotated[int, typer.Option(min=1, max=1024, help="Parts of the index that are read side by side.")] = 2,
    passages: Passages = False,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Trust the markers: do not look for texts that changed.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace vectors that no marker claims; clear those of an unknown source."),
    ] = False,
    retry_failed: RetryFailed = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Clear the vectors of lost texts, however many they are.")
    ] = False,
    accept_source_loss: Annotated[
        bool,
        typer.Option(ACCEPT_SOURCE_LOSS, help="Write although _source leaves fields out, which documents then lose."),
    ] = False,
    failures: Failures = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be done, change nothing.")] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Give the documents of an index the vectors they lack.

    Only what is missing or changed is embedded, so it may be run again at any time, after any interruption.
    """
    console = Console()
    with user_errors():
        fields = parse_field_maps(maps)
        wanted = read_query(query)

        async def run() -> int:
            async with open_workbench(elasticsearch_url) as bench:
                plan = await make_plan(bench.embedder, fields, passages=passages)
                plan = replace(plan, overwrite=overwrite, retry_failed=retry_failed)
                job = BackfillJob(
                    index,
                    plan,
                    query=wanted,
                    slices=slices,
                    only_missing=only_missing,
                    dry_run=dry_run,
                    may_clear=yes,
                    accept_source_loss=accept_source_loss,
                    pace=Pace(batch_size=batch_size),
                )
                with listing(failures) as listed:
                    work = Backfill(bench.client, bench.embedder, job)
                    work.summary.listed = listed
                    status = await watch(work.run(), work.summary, index, Console(stderr=True))
                    _show(work, index, console)
                    if work.summary.withheld and not dry_run and sys.stdin.isatty():
                        if not typer.confirm("Clear the vectors of these documents?"):
                            return status
                        work = Backfill(bench.client, bench.embedder, replace(job, may_clear=True))
                        work.summary.listed = listed
                        status = await watch(work.run(), work.summary, index, Console(stderr=True))
                        _show(work, index, console)
                return status

        raise typer.Exit(asyncio.run(run()))


def _show(work: Backfill, index: str, console: Console) -> None:
    summary = work.summary
    for change in work.changes:
        said = "Lacks" if summary.dry_run else "Added to"
        console.print(f"{said} [{change.index}]: {', '.join(change.fields)}", markup=False)
    console.print(summary_table(summary, f"Backfill of {index}"))
    console.print(verdict(summary))
