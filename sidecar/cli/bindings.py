"""``sidecar bindings``: which fields of an index are filled, from what and by which endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidecar.cli.sentences import tell
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import ElasticsearchUrl, open_client, user_errors
from sidecar.core.chunking import UNIT
from sidecar.elastic.bindings import Binding, OnFailure, UnreadBinding
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.settings import UserError


def bindings(
    index: Annotated[str, typer.Argument(help="Index, alias, data stream or pattern.")] = "*",
    *,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """List the bindings of indices, those of semantic_text fields among them."""
    with user_errors():
        found = asyncio.run(_bindings(index, elasticsearch_url))
        if not found:
            tell(f"Nothing is bound in [{index}].")
            return
        print_whole(bindings_table(found), Console())


async def _bindings(index: str, elasticsearch_url: str | None) -> dict[str, tuple[Binding | UnreadBinding, ...]]:
    async with open_client(elasticsearch_url) as client:
        found: dict[str, tuple[Binding | UnreadBinding, ...]] = {}
        catalog = IndexCatalog(client)
        for name in index.split(","):
            is_name = not ("*" in name or name.startswith(("-", "<")) or name in ("", "_all"))
            if is_name and not await catalog.resolve(name):
                raise UserError(f"There is no such index: [{name}].")
        for view in await catalog.resolve(index):
            semantic = tuple(
                Binding(tuple(dict.fromkeys((field.path, *field.sources))), field.name, field.inference_id)
                for field in view.semantic
            )
            if view.bindings or semantic or view.unread:
                found[view.name] = (*view.bindings, *semantic, *view.unread)
        return found


def _sizes(settings: Mapping[str, Any]) -> str:
    """How a binding cuts texts: ``sentence, 200 tokens``."""
    size = settings.get("max_chunk_size")
    unit = settings.get(UNIT, "words")
    return f"cut by {settings.get('strategy')}" + ("" if size is None else f" to {size} {unit}")


def bindings_table(found: Mapping[str, Sequence[Binding | UnreadBinding]]) -> Table:
    """One line per binding; those that cannot be followed say why."""
    table = Table("index", "sources", "target", "endpoint", "options")
    for index, held in sorted(found.items()):
        for binding in held:
            if isinstance(binding, UnreadBinding):
                cells = (index, ", ".join(binding.sources), binding.target or "", "", f"not followed: {binding.reason}")
                table.add_row(*map(Text, cells))
                continue
            options = [
                *(["passages"] if binding.passages else []),
                *([_sizes(binding.chunking_settings)] if binding.chunking_settings else []),
                *([f"long texts: {binding.long_texts}"] if binding.long_texts != "truncate" else []),
                *(["stored as pending on failure"] if binding.on_failure is OnFailure.INDEX_PENDING else []),
                *(["overwrites"] if binding.overwrite else []),
            ]
            cells = (index, ", ".join(binding.sources), binding.target, binding.inference_id, ", ".join(options))
            table.add_row(*map(Text, cells))
        if not held:
            table.add_row(Text(index), "", "nothing is bound", "", "")
    return table
