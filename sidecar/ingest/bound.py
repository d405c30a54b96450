"""Plans of indices that are bound: what to fill stands in their mappings, in ``_meta`` (as ``sidecar bind`` writes it)
and in ``semantic_text`` fields of the sidecar's endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.core.errors import IllegalArgumentError, ResourceNotFoundError
from sidecar.elastic.bindings import Binding, LongTexts, SemanticText, UnreadBinding, read_bindings, semantic_fields
from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import Embedder
from sidecar.ingest.cutting import cutting_of
from sidecar.ingest.document import Plan, Target
from sidecar.ingest.fieldmap import FieldMap, parse_field_maps
from sidecar.ingest.planning import EMBEDS_TEXT, in_passages, make_target
from sidecar.ingest.semantic_field import read_semantic_field, sources_of

Bound = tuple[tuple[Binding, ...], tuple[SemanticText, ...]]


async def bound_plans(client: AsyncElasticsearch, embedder: Embedder, index: str) -> list[tuple[str, Plan]]:
    """What a backfill of ``index`` (a name, alias, data stream or pattern) does, in order: which indices, which plan.

    Indices that are bound alike are filled together. Raises ``IllegalArgumentError`` when none is bound, the client's
    errors, and what the embedder raises.
    """
    answer = await client.indices.get_mapping(index=index)
    groups: list[tuple[Bound, list[str]]] = []
    for name, value in answer.items():
        bindings = _readable(name, *read_bindings(value["mappings"]))
        bound = await _bound(embedder, bindings, semantic_fields(value["mappings"]))
        if any(bound):
            alike = next((names for held, names in groups if held == bound), None)
            if alike is None:
                groups.append((bound, [name]))
            else:
                alike.append(name)
    if not groups:
        raise _unbound(index)
    everything = len(groups) == 1 and len(groups[0][1]) == len(answer.body)
    version = await IndexCatalog(client).version()
    return [
        (index if everything else ",".join(names), await plan_of(embedder, names[0], bound, version))
        for bound, names in groups
    ]


async def bound_plan_for_writing(client: AsyncElasticsearch, embedder: Embedder, index: str) -> Plan:
    """What documents that are indexed into ``index`` get; its template counts where it does not exist yet."""
    catalog = IndexCatalog(client)
    view = await catalog.written(index)
    bindings = _readable(view.name, view.bindings, view.unread)
    bound = await _bound(embedder, bindings, view.semantic)
    if not any(bound):
        raise _unbound(index)
    return await plan_of(embedder, view.name, bound, await catalog.version())


async def left_empty(client: AsyncElasticsearch, index: str, plan: Plan) -> tuple[str, ...]:
    """The fields that ``index`` is bound to, and that documents written by ``plan`` come without."""
    view = await IndexCatalog(client).written(index)
    written = {target.name for target in plan.targets}
    return tuple(dict.fromkeys(binding.target for binding in view.bindings if binding.target not in written))


async def plan_of(embedder: Embedder, index: str, bound: Bound, version: ServerVersion) -> Plan:
    """The plan of one index's bindings: of plain fields, of passages, of ``semantic_text``."""
    bindings, semantic = bound
    texts = [f"{','.join(one.sources)}:{one.target}={one.inference_id}" for one in bindings]
    maps = parse_field_maps(texts) if texts else ()
    targets: list[Target] = []
    cut: list[Target] = []
    for binding, field_map in zip(bindings, maps, strict=True):
        target = replace(
            await make_target(embedder, field_map),
            overwrite=binding.overwrite,
            long_texts=binding.long_texts,
        )
        if binding.passages:
            cut.append(target)
        elif binding.long_texts is LongTexts.CHUNK:
            cutting = cutting_of([target.profile], binding.chunking_settings)
            targets.append(replace(target, cutting=cutting.in_one_piece()))
        else:
            targets.append(target)
    given: dict[str, Mapping[str, Any]] = {
        one.target: one.chunking_settings for one in bindings if one.chunking_settings
    }
    filled = [await _semantic_target(embedder, index, field, version) for field in semantic]
    return Plan((*targets, *in_passages(cut, given), *filled))


async def _bound(embedder: Embedder, bindings: Sequence[Binding], semantic: Sequence[SemanticText]) -> Bound:
    """The bindings, and those ``semantic_text`` fields whose endpoint is the sidecar's, and that no binding fills."""
    written = {binding.target for binding in bindings}
    ours = [field for field in semantic if field.name not in written and await _is_ours(embedder, field.inference_id)]
    return tuple(bindings), tuple(ours)


async def _is_ours(embedder: Embedder, inference_id: str) -> bool:
    try:
        profile = await embedder.profile(inference_id)
    except ResourceNotFoundError:
        return False
    return profile.task_type in EMBEDS_TEXT


async def _semantic_target(embedder: Embedder, index: str, field: SemanticText, version: ServerVersion) -> Target:
    sources = sources_of(field)
    target = await make_target(embedder, FieldMap(",".join(sources), field.name, field.inference_id))
    mapped = {
        "inference_id": field.inference_id,
        "model_settings": field.model_settings,
        "chunking_settings": field.chunking_settings,
    }
    read = read_semantic_field(f"field [{field.name}] of index [{index}]", mapped, target.profile, version)
    return replace(target, semantic=replace(read, sources=sources, fills_blanks=version.major < 9))


def _readable(index: str, bindings: tuple[Binding, ...], unread: tuple[UnreadBinding, ...]) -> tuple[Binding, ...]:
    if unread:
        raise IllegalArgumentError(f"index [{index}]: {unread[0].reason}; mend it, or take it out with sidecar unbind")
    return bindings


def _unbound(index: str) -> IllegalArgumentError:
    return IllegalArgumentError(
        f"index [{index}] is not bound: say what to fill with --map SOURCE:TARGET=ENDPOINT, or bind it (sidecar bind)"
    )
