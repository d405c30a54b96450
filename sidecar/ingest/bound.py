"""Plans of indices that are bound: what to fill stands in their mappings, as ``sidecar bind`` wrote it there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from elasticsearch import AsyncElasticsearch

from sidecar.core.chunking import DEFAULT_CHUNKING
from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.bindings import Binding, LongTexts, UnreadBinding, read_bindings
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.inference.embedder import Embedder
from sidecar.ingest.document import Cutting, Plan, Target
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.pieces import into_one, splitter
from sidecar.ingest.planning import make_target, passages_plan


async def bound_plans(client: AsyncElasticsearch, embedder: Embedder, index: str) -> list[tuple[str, Plan]]:
    """What a backfill of ``index`` (a name, alias, data stream or pattern) does, in order: which indices, which plan.

    Indices that are bound alike are filled together; passages are a plan of their own. Raises
    ``IllegalArgumentError`` when none is bound, the client's errors, and what the embedder raises.
    """
    answer = await client.indices.get_mapping(index=index)
    groups: list[tuple[tuple[Binding, ...], list[str]]] = []
    for name, value in answer.items():
        bindings = _readable(name, *read_bindings(value["mappings"]))
        if bindings:
            alike = next((names for held, names in groups if held == bindings), None)
            if alike is None:
                groups.append((bindings, [name]))
            else:
                alike.append(name)
    if not groups:
        raise _unbound(index)
    everything = len(groups) == 1 and len(groups[0][1]) == len(answer.body)
    return [
        (index if everything else ",".join(names), plan)
        for bindings, names in groups
        for plan in await plans_of(embedder, bindings)
    ]


async def bound_plan_for_writing(client: AsyncElasticsearch, embedder: Embedder, index: str) -> Plan:
    """What documents that are indexed into ``index`` get; its template counts where it does not exist yet."""
    view = await IndexCatalog(client).written(index)
    bindings = _readable(view.name, view.bindings, view.unread)
    if not bindings:
        raise _unbound(index)
    plans = await plans_of(embedder, bindings)
    if len(plans) > 1:
        raise IllegalArgumentError(
            f"index [{index}] is bound to passages and to other fields: one run indexes either; say which with --map"
        )
    return plans[0]


async def plans_of(embedder: Embedder, bindings: Sequence[Binding]) -> list[Plan]:
    """The plans of one index's bindings: of plain fields, of passages."""
    maps = parse_field_maps([f"{','.join(one.sources)}:{one.target}={one.inference_id}" for one in bindings])
    plain: list[Target] = []
    cut: list[Target] = []
    for binding, field_map in zip(bindings, maps, strict=True):
        target = replace(await make_target(embedder, field_map), overwrite=binding.overwrite)
        if binding.chunking_settings is not None:
            target = replace(target, profile=replace(target.profile, chunking_settings=binding.chunking_settings))
        target = replace(target, fails_when_cut=binding.long_texts is LongTexts.FAIL)
        (cut if binding.passages else plain).append(target if binding.passages else _cut_if_asked(target, binding))
    return [*([Plan(tuple(plain))] if plain else []), *([passages_plan(cut)] if cut else [])]


def _cut_if_asked(target: Target, binding: Binding) -> Target:
    """A target whose long texts are cut and their vectors merged, where the binding says so."""
    if binding.long_texts is not LongTexts.CHUNK:
        return target
    settings: Mapping[str, Any] = target.profile.chunking_settings or DEFAULT_CHUNKING
    circumstances = orjson.dumps(dict(settings), option=orjson.OPT_SORT_KEYS).decode()
    return replace(target, cutting=Cutting(into_one(splitter(settings)), (circumstances,)))


def _readable(index: str, bindings: tuple[Binding, ...], unread: tuple[UnreadBinding, ...]) -> tuple[Binding, ...]:
    if unread:
        raise IllegalArgumentError(f"index [{index}]: {unread[0].reason}; mend it, or take it out with sidecar unbind")
    return bindings


def _unbound(index: str) -> IllegalArgumentError:
    return IllegalArgumentError(
        f"index [{index}] is not bound: say what to fill with --map SOURCE:TARGET=ENDPOINT, or bind it (sidecar bind)"
    )
