"""``sidecar bind``: says in an index's mapping which of its fields are filled from which text by which endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any

import typer
from rich.console import Console

from sidecar.cli.backfill import ChunkTokens, read_chunk_tokens
from sidecar.cli.bindings import bindings_table
from sidecar.cli.sentences import tell
from sidecar.cli.whole_table import print_whole
from sidecar.cli.workbench import ElasticsearchUrl, index_name, open_workbench, user_errors
from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.bindings import Binding, LongTexts, OnFailure, bindings_of, bound
from sidecar.elastic.version import server_version
from sidecar.ingest.fieldmap import FieldMap, parse_field_maps
from sidecar.ingest.planning import make_plan
from sidecar.ingest.source_rules import is_known
from sidecar.ingest.target_fields import prepare_indices

Maps = Annotated[
    list[str],
    typer.Option(
        "--map",
        "-m",
        metavar="SOURCE[,SOURCE]:TARGET=ENDPOINT",
        help="Fill TARGET from SOURCE by ENDPOINT; may be given several times.",
    ),
]


def bind(
    index: Annotated[str, typer.Argument(callback=index_name, help="Index, alias, data stream or pattern.")],
    *,
    maps: Maps,
    passages: Annotated[
        bool, typer.Option("--passages", help="Cut long texts; TARGET is a field of a nested one, as passages.sparse.")
    ] = False,
    chunk_tokens: ChunkTokens = None,
    long_texts: Annotated[LongTexts, typer.Option(help="What becomes of texts beyond the model.")] = LongTexts.TRUNCATE,
    on_failure: Annotated[OnFailure, typer.Option(help="What becomes of documents not embedded.")] = OnFailure.FAIL,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make vectors anew that documents bring themselves.")
    ] = False,
    elasticsearch_url: ElasticsearchUrl = None,
) -> None:
    """Bind fields of an index to endpoints that fill them.

    The mapping keeps it, so that front, backfill, index and search all know. Fields that it lacks are added.
    Doing it again replaces the bindings of the same targets.
    """
    with user_errors():
        chunking = read_chunk_tokens(chunk_tokens, cuts=passages or long_texts is LongTexts.CHUNK)
        wanted = [Binding.parse(text) for text in maps]
        wanted = [
            replace(
                one,
                passages=passages,
                chunking_settings=chunking,
                long_texts=long_texts,
                on_failure=on_failure,
                overwrite=overwrite,
            )
            for one in wanted
        ]
        fields = parse_field_maps([f"{','.join(one.sources)}:{one.target}={one.inference_id}" for one in wanted])
        targets = ", ".join(one.target for one in wanted)
        with Console(stderr=True).status(f"Looking whether documents of {index} hold something in {targets} already"):
            found, unknown = asyncio.run(_bind(index, wanted, fields, passages, elasticsearch_url))
        print_whole(bindings_table(found), Console())
        for path in unknown:
            tell(f"[{path}] is in no mapping of [{index}] yet: is that its name?")


async def _bind(
    index: str, wanted: list[Binding], fields: tuple[FieldMap, ...], passages: bool, elasticsearch_url: str | None
) -> tuple[dict[str, tuple[Binding, ...]], list[str]]:
    async with open_workbench(elasticsearch_url) as bench:
        plan = await make_plan(bench.embedder, fields, passages=passages, chunking=wanted[0].chunking_settings)
        answer = await bench.client.indices.get_mapping(index=index)
        mappings = [about["mappings"] for about in answer.body.values()]
        sources = dict.fromkeys(chain.from_iterable(one.sources for one in wanted))
        unknown = [path for path in sources if not any(is_known(mapping, path) for mapping in mappings)]
        metas = {name: _bound(name, about["mappings"].get("_meta"), wanted) for name, about in answer.body.items()}
        await prepare_indices(bench.client, index, plan, await server_version(bench.client), updates=False)
        for name, meta in metas.items():
            await bench.client.indices.put_mapping(index=name, meta=meta)
        return {name: bindings_of({"_meta": meta}) for name, meta in metas.items()}, unknown


def _bound(index: str, meta: Mapping[str, Any] | None, wanted: list[Binding]) -> dict[str, Any]:
    try:
        return bound(meta, wanted)
    except IllegalArgumentError as error:
        raise IllegalArgumentError(f"index [{index}]: {error.reason}; see [sidecar unbind]") from error
