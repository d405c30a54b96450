"""``sidecar backfill``: vectors for the documents of an index."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli.query_option import read_query
from sidecar.cli.run_report import summary_table, verdict, watch
from sidecar.cli.workbench import ElasticsearchUrl, open_workbench, user_errors
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan

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
                job = BackfillJob(
                    index,
                    plan,
                    query=wanted,
                    slices=slices,
                    only_missing=only_missing,
                    dry_run=dry_run,
                    pace=Pace(batch_size=batch_size),
                )
                work = Backfill(bench.client, bench.embedder, job)
                status = await watch(work.run(), work.summary, index, Console(stderr=True))
                for change in work.changes:
                    console.print(
                        f"{'Lacks' if dry_run else 'Added to'} [{change.index}]: {', '.join(change.fields)}",
                        markup=False,
                    )
                console.print(summary_table(work.summary, f"Backfill of {index}"))
                console.print(verdict(work.summary))
                return status

        raise typer.Exit(asyncio.run(run()))
