"""``sidecar unbind``: takes bindings out of an index's mapping; fields and vectors stay."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli.bindings import bindings_table
from sidecar.cli.sentences import tell
from sidecar.cli.whole_table import print_whole
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
        found, absent = asyncio.run(_unbind(index, targets, elasticsearch_url))
    print_whole(bindings_table(found), Console())
    for what in absent:
        tell(f"Nothing was bound to {what} in [{index}].")


async def _unbind(
    index: str, targets: list[str] | None, elasticsearch_url: str | None
) -> tuple[dict[str, tuple[Binding | UnreadBinding, ...]], list[str]]:
    """What is still bound by index, and the targets to which nothing was bound."""
    async with open_client(elasticsearch_url) as client:
        answer = await client.indices.get_mapping(index=index)
        bound: set[str | None] = set()
        found: dict[str, tuple[Binding | UnreadBinding, ...]] = {}
        for name, about in answer.body.items():
            before = about["mappings"].get("_meta")
            readable, others = read_bindings({"_meta": before})
            bound.update([*(each.target for each in readable), *(each.target for each in others)])
            meta = unbound(before, targets)
            if meta != before and before is not None:
                await client.indices.put_mapping(index=name, meta=meta)
            bindings, unread = read_bindings({"_meta": meta})
            found[name] = (*bindings, *unread)
        if targets is None:
            return found, [] if bound else ["any field"]
        return found, [f"[{target}]" for target in dict.fromkeys(targets) if target not in bound]
