"""``sidecar backfill``: vectors for the documents of an index."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sidecar.cli.query_option import read_query
from sidecar.cli.run_report import listing, summary_table, tell_cache, verdict, watch
from sidecar.cli.sentences import print_sentence
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import (
    GIVING_WAY,
    ElasticsearchUrl,
    Niceness,
    Workbench,
    give_way,
    index_name,
    open_workbench,
    user_errors,
)
from sidecar.ingest.backfill import Backfill, BackfillJob
from sidecar.ingest.bound import bound_plans
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.line import Pace
from sidecar.ingest.planning import make_plan
from sidecar.ingest.source_rules import ACCEPT_SOURCE_LOSS
from sidecar.ingest.summary import FailedDocument
from sidecar.settings import UserError

Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        "-m",
        metavar="SOURCE[,SOURCE]:TARGET=ENDPOINT",
        help="Embed SOURCE with ENDPOINT into TARGET; may be given several times. Default: what the index is bound to.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, max=10_000, help="Most texts per call of an endpoint; default: what suits the endpoint."),
]
Passages = Annotated[
    bool, typer.Option("--passages", help="Cut long texts; TARGET is a field of a nested one, as passages.sparse.")
]

ChunkTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=20, help="Cut passages to N tokens of the local model, in place of the endpoint's words."
    ),
]
Failures = Annotated[
    Path | None, typer.Option("--failures", metavar="FILE", help="List every document that failed, as JSON lines.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again what failed for good, though its text is the same.")
]


def backfill(
    index: Annotated[str, typer.Argument(callback=index_name, help="Index, alias, data stream or pattern.")],
    *,
    maps: Maps = None,
    query: Annotated[str | None, typer.Option(help="Only documents that match this query (JSON, or @FILE).")] = None,
    batch_size: BatchSize = None,
    slices: Annotated[int, typer.Option(min=1, max=1024, help="Parts of the index that are read side by side.")] = 2,
    passages: Passages = False,
    chunk_tokens: ChunkTokens = None,
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
    niceness: Niceness = GIVING_WAY,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Give the documents of an index the vectors they lack.

    Only what is missing or changed is embedded, so it may be run again at any time, after any interruption.
    """
    console = Console()
    with user_errors():
        fields = parse_field_maps(maps) if maps else ()
        wanted = read_query(query)
        chunking = read_chunk_tokens(chunk_tokens, cuts=bool(fields) and passages)
        give_way(niceness)

        async def run() -> int:
            async with open_workbench(elasticsearch_url) as bench:
                if fields:
                    plans = [(index, await make_plan(bench.embedder, fields, passages=passages, chunking=chunking))]
                else:
                    plans = await bound_plans(bench.client, bench.embedder, index)
                status = 0
                with listing(failures) as listed:
                    for name, plan in plans:
                        job = BackfillJob(
                            name,
                            replace(plan, overwrite=overwrite, retry_failed=retry_failed),
                            query=wanted,
                            slices=slices,
                            only_missing=only_missing,
                            dry_run=dry_run,
                            may_clear=yes,
                            accept_source_loss=accept_source_loss,
                            pace=Pace(batch_size=batch_size),
                        )
                        status = max(status, await _run(bench, job, listed, console))
                return status

        raise typer.Exit(asyncio.run(run()))


def read_chunk_tokens(size: int | None, *, cuts: bool) -> dict[str, Any] | None:
    """The chunking settings of ``--chunk-tokens``; whole sentences, each chunk with the last one of that before.

    Raises:
        UserError: no text would be cut.
    """
    if size is None:
        return None
    if not cuts:
        raise UserError("--chunk-tokens says how texts are cut, which --map with --passages asks for.")
    return {"strategy": "sentence", "max_chunk_size": size, "sentence_overlap": 1, "unit": "tokens"}


async def _run(
    bench: Workbench, job: BackfillJob, listed: Callable[[FailedDocument], None] | None, console: Console
) -> int:
    """One run; a person who sits there is asked whether to clear, and then it runs again."""
    work = Backfill(bench.client, bench.embedder, job)
    work.summary.listed = listed
    before = bench.inference.cache_count
    status = await watch(work.run(), work.summary, job.index, Console(stderr=True))
    tell_cache(work.summary, bench.inference.cache_count.since(before))
    _show(work, job.index, console)
    ask = work.summary.withheld and not job.may_clear and not job.dry_run and sys.stdin.isatty()
    if ask and typer.confirm("Clear the vectors of these documents?"):
        return await _run(bench, replace(job, may_clear=True), listed, console)
    return status


def _show(work: Backfill, index: str, console: Console) -> None:
    summary = work.summary
    for change in work.changes:
        said = "Lacks" if summary.dry_run else "Added to"
        print_sentence(f"{said} [{change.index}]: {', '.join(change.fields)}", console)
    if summary.has_begun:
        print_whole(summary_table(summary, f"Backfill of {index}"), console)
    print_sentence(verdict(summary), console, markup=True)
