"""``sidecar unbind``: takes bindings out of an index's mapping; fields and vectors stay."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli.bindings import bindings_table
from sidecar.cli.workbench import ElasticsearchUrl, index_name, open_client, user_errors
from sidecar.elastic.bindings import Binding, UnreadBinding, read_bindings, unbound


def unbind(
    index: Annotated[str, typer.Argument(callback=index_name, help="Index, alias, data stream or pattern.")],
    *,
    targets: Annotated[
        list[str] | None, typer.Option("--target", "-t", metavar="TARGET", help="Of this field alone; default: all.")
    ] = None,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Take bindings out of an index's mapping.

    Its fields and their vectors stay.
    """
    with user_errors():
        Console().print(bindings_table(asyncio.run(_unbind(index, targets, elasticsearch_url))))


async def _unbind(
    index: str, targets: list[str] | None, elasticsearch_url: str | None
) -> dict[str, tuple[Binding | UnreadBinding, ...]]:
    async with open_client(elasticsearch_url) as client:
        answer = await client.indices.get_mapping(index=index)
        found: dict[str, tuple[Binding | UnreadBinding, ...]] = {}
        for name, about in answer.body.items():
            before = about["mappings"].get("_meta")
            meta = unbound(before, targets)
            if meta != before and before is not None:
                await client.indices.put_mapping(index=name, meta=meta)
            bindings, unread = read_bindings({"_meta": meta})
            found[name] = (*bindings, *unread)
        return found
