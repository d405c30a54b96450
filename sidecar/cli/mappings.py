"""``sidecar mappings``: index templates and vector fields."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import ElasticsearchUrl, index_name, open_client, user_errors
from sidecar.elastic.fields import MOST_DIMENSIONS, dense_field, sparse_field
from sidecar.elastic.templates import Applied, apply_index, apply_templates
from sidecar.elastic.version import server_version
from sidecar.ingest.unmapped_values import require_room
from sidecar.settings import UserError

mappings = typer.Typer(help="Index templates and vector fields.", no_args_is_help=True)


@mappings.command()
def apply(
    index: Annotated[
        str | None, typer.Option(callback=index_name, help="Create or extend this index, in place of the templates.")
    ] = None,
    sparse: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="A sparse_vector field.")] = None,
    dense: Annotated[list[str] | None, typer.Option(metavar="FIELD:DIMS", help="A dense_vector field.")] = None,
    index_type: Annotated[
        str | None, typer.Option(help="index_options.type of dense fields; int8_hnsw where the server has it.")
    ] = None,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Put the index templates into the cluster, or vector fields into an index. Doing it again changes nothing."""
    with user_errors():
        if index is None and (sparse or dense):
            raise UserError("--sparse and --dense need --index NAME.")
        if index is not None and not (sparse or dense):
            raise UserError("--index needs at least one --sparse FIELD or --dense FIELD:DIMS.")
        sizes = [_field_and_dims(text) for text in dense or []]

        async def run() -> list[Applied]:
            async with open_client(elasticsearch_url) as client:
                version = await server_version(client)
                if index is None:
                    return await apply_templates(client, version)
                fields = {name: sparse_field(version) for name in sparse or []}
                fields |= {name: dense_field(version, dims, index_type=index_type) for name, dims in sizes}
                await require_room(client, index, list(fields))
                return await apply_index(client, index, fields)

        report = asyncio.run(run())
    table = Table(show_header=False)
    for line in report:
        table.add_row(line.kind, Text(line.name), Text(str(line.change)))
    print_whole(table, Console())


def _field_and_dims(text: str) -> tuple[str, int]:
    name, colon, dims = text.rpartition(":")
    if not colon or not name or not dims.isdecimal() or not 1 <= int(dims) <= MOST_DIMENSIONS:
        raise UserError(f"--dense {text}: write FIELD:DIMS, with 1 to {MOST_DIMENSIONS} dims.")
    return name, int(dims)
