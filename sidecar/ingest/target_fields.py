"""The index's side of a run: are the target fields there, can they hold the vectors, and if not there, put them there.

A field that is not mapped before the first write would be guessed: one field per token for a sparse vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.core.tasks import ElementType, Similarity
from sidecar.elastic.fields import (
    copied_from,
    dense_field,
    field_at,
    field_below,
    keeps_dotted_names,
    merge_properties,
    nest_into,
    nested_parent,
    parent_in_the_way,
    runtime_field_over,
    sparse_field,
)
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.document import Plan, Target
from sidecar.ingest.marker import MARKER_FIELD, MARKER_MAPPING, marker_lacks
from sidecar.ingest.semantic_field import SEMANTIC_TEXT, SemanticField, read_semantic_field
from sidecar.ingest.source_rules import check_sources, check_whole_source
from sidecar.ingest.stop import WrongFieldError
from sidecar.ingest.unmapped_values import require_free, unknown_to

_SOURCE_MODE = "index.mapping.source.mode"
_LEGACY = "index.mapping.semantic_text.use_legacy_format"


def vector_field(profile: EndpointProfile, version: ServerVersion) -> dict[str, Any]:
    """The field that holds what the endpoint makes."""
    if profile.is_sparse:
        return sparse_field(version)
    if profile.dimensions is None:
        raise WrongFieldError(f"endpoint [{profile.inference_id}] does not say how many dimensions its vectors have")
    return dense_field(
        version,
        profile.dimensions,
        similarity=profile.similarity or Similarity.COSINE,
        element_type=profile.element_type,
    )


def check_field(index: str, path: str, field: Mapping[str, Any], profile: EndpointProfile) -> None:
    """Raises :class:`WrongFieldError` unless the existing ``field`` can hold the endpoint's embeddings."""
    check_shape(index, path, field, profile)
    similarity = field.get("similarity", Similarity.COSINE)
    if (
        not profile.is_sparse
        and similarity == Similarity.DOT_PRODUCT
        and profile.similarity not in (None, Similarity.DOT_PRODUCT)
    ):
        raise WrongFieldError(
            f"field [{path}] of index [{index}] has similarity [{similarity}], which takes vectors of length 1, but"
            f" endpoint [{profile.inference_id}] makes vectors for [{profile.similarity}]; map it to another target"
            f" field, or create the endpoint with similarity [{similarity}] if its vectors have that length"
        )


def check_shape(index: str, path: str, field: Mapping[str, Any], profile: EndpointProfile) -> None:
    """Raises :class:`WrongFieldError` where no embedding of the endpoint is one for ``field``, whatever is in it."""
    wanted = "sparse_vector" if profile.is_sparse else "dense_vector"
    kind = field.get("type", "object")
    where = f"field [{path}] of index [{index}]"
    if kind != wanted:
        raise WrongFieldError(
            f"{where} is mapped as [{kind}], but endpoint [{profile.inference_id}] makes a [{wanted}];"
            " map it to another target field"
        )
    if profile.is_sparse:
        return
    dims = field.get("dims")
    if dims is not None and profile.dimensions is not None and dims != profile.dimensions:
        raise WrongFieldError(
            f"{where} has [{dims}] dims, but endpoint [{profile.inference_id}] makes vectors of"
            f" [{profile.dimensions}]; dims cannot be changed, map it to another target field"
        )
    element_type = field.get("element_type", "float")
    if (element_type in ("float", "bfloat16")) != (profile.element_type is ElementType.FLOAT) or (
        profile.element_type is not ElementType.FLOAT and element_type != profile.element_type
    ):
        raise WrongFieldError(
            f"{where} has element_type [{element_type}], but endpoint [{profile.inference_id}] makes"
            f" [{profile.element_type}]; map it to another target field"
        )


@dataclass(frozen=True, slots=True)
class MappingChange:
    """What one index lacks: ``properties`` to put, ``fields`` their paths."""

    index: str
    properties: dict[str, Any] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


def missing_fields(index: str, mapping: Mapping[str, Any], plan: Plan, version: ServerVersion) -> MappingChange:
    """What must be put into ``mapping`` before the first write; raises :class:`WrongFieldError` for what is in the way.

    ``mapping`` is the value of ``mappings`` in the get mapping API's answer.
    """
    properties: dict[str, Any] = {}
    paths: list[str] = []
    for target in plan.targets:
        if target.semantic is not None:
            continue
        existing = field_at(mapping, target.name)
        _check_place(index, mapping, plan, target)
        if existing is not None:
            check_field(index, target.name, existing, target.profile)
            continue
        wanted = nest_into(mapping, target.name, vector_field(target.profile, version))
        if target.passages and nested_parent(mapping, target.name) is None:
            wanted = merge_properties(wanted, nest_into(mapping, target.parent, PASSAGE_MAPPING))
        properties = merge_properties(properties, wanted)
        paths.append(target.name)
    if lacking := _lacking_marker(index, mapping):
        properties = merge_properties(properties, {MARKER_FIELD: {"properties": lacking}})
        paths.append(MARKER_FIELD)
    return MappingChange(index, properties, tuple(paths))


def _lacking_marker(index: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    there = field_at(mapping, MARKER_FIELD)
    if there is None:  # also where objects are dissolved into dotted names
        found = {name: field_at(mapping, f"{MARKER_FIELD}.{name}") for name in MARKER_MAPPING["properties"]}
        there = {"properties": {name: at for name, at in found.items() if at is not None}}
    try:
        return marker_lacks(there)
    except ValueError as error:
        raise WrongFieldError(f"field [{MARKER_FIELD}] of index [{index}] is kept for the marker, {error}") from None


def _check_place(index: str, mapping: Mapping[str, Any], plan: Plan, target: Target) -> None:
    """Raises :class:`WrongFieldError` where the target's parents hold what is not the sidecar's, or cannot hold it."""
    where = f"field [{target.name}] of index [{index}]"
    if blocked := parent_in_the_way(mapping, target.name):
        raise WrongFieldError(f"{where} lies in [{blocked[0]}], which is mapped as [{blocked[1]}] and has no fields")
    if runtime := runtime_field_over(mapping, target.name):
        raise WrongFieldError(
            f"{where} would lie behind the runtime field [{runtime}], which searches see in its place"
        )
    if below := field_below(mapping, target.name):
        raise WrongFieldError(f"{where} has the field [{below}] below it, which a vector would remove from documents")
    nested = nested_parent(mapping, target.name)
    if not target.profile.is_sparse and (repeated := _repeated(mapping, nested)):
        raise WrongFieldError(
            f"{where} lies in [{nested}], whose fields are also kept in the document above ({repeated}): that can hold"
            " one vector, and there is one for each object"
        )
    if not target.passages:
        if nested is not None and nested != target.each:
            raise WrongFieldError(
                f"{where} lies in the nested field [{nested}]: a vector is written there for each of its objects, from"
                " a text in the same object, or for each passage of a text, into a field of the sidecar's own"
                " (--passages)"
            )
        return
    passages = field_at(mapping, target.parent)
    if passages is not None and passages.get("type") != "nested":
        raise WrongFieldError(f"field [{target.parent}] of index [{index}] is not nested and cannot hold passages")
    if nested not in (None, target.parent):
        raise WrongFieldError(f"{where} lies in the nested field [{nested}], whose objects are not the sidecar's")
    if keeps_dotted_names(mapping, target.name):
        raise WrongFieldError(f"index [{index}] has no objects on the way to [{target.name}] (subobjects: false)")
    if any(path == target.parent or path.startswith(f"{target.parent}.") for path in target.map.sources):
        raise WrongFieldError(
            f"source [{target.map.source}] and target [{target.name}] lie in the same nested field, which passages"
            " would replace; without --passages each of its objects gets a vector of its own"
        )
    foreign = sorted(_not_of_passages(passages or {}, {name.rpartition(".")[2] for name in plan.fellows(target)}))
    if foreign:
        raise WrongFieldError(
            f"field [{target.parent}] of index [{index}] holds [{foreign[0]}], which is not the sidecar's: passages"
            " are written whole and would remove it; choose a field of their own, such as"
            f" [{target.parent}_passages.{target.name.rpartition('.')[2]}]"
        )


def _repeated(mapping: Mapping[str, Any], nested: str | None) -> str | None:
    """The parameter by which a nested field is kept in a document above it too, if any."""
    field = field_at(mapping, nested) if nested is not None else None
    said = ("include_in_parent", "include_in_root")
    return next((name for name in said if field and str(field.get(name, False)).lower() == "true"), None)


def _not_of_passages(passages: Mapping[str, Any], targets: set[str]) -> set[str]:
    """Fields of a nested one that no passage of the sidecar's has; vectors of other runs may be there."""
    allowed = {"text", "start"} | targets
    fields: Mapping[str, Any] = passages.get("properties", {})
    return {name for name, field in fields.items() if name not in allowed and field.get("type") not in _VECTORS}


_VECTORS = ("sparse_vector", "dense_vector")


def vectors_beside(mappings: Mapping[str, Mapping[str, Any]], plan: Plan) -> tuple[str, ...]:
    """The vector fields that lie in the targets' passages and are no targets."""
    names = {target.name for target in plan.targets}
    beside = {
        f"{parent}.{name}"
        for parent in {target.parent for target in plan.targets if target.passages}
        for mapping in mappings.values()
        for name, field in ((field_at(mapping, parent) or {}).get("properties") or {}).items()
        if field.get("type") in _VECTORS
    }
    return tuple(sorted(beside - names))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that knows what its targets are in the index, and the mapping ``changes``, made or only found."""

    plan: Plan
    changes: tuple[MappingChange, ...]


async def prepare_indices(
    client: AsyncElasticsearch,
    index: str,
    plan: Plan,
    version: ServerVersion,
    *,
    dry_run: bool = False,
    updates: bool = True,
    accept_source_loss: bool = False,
) -> Prepared:
    """Puts the missing fields into every index behind ``index`` (a name, alias, data stream or pattern).

    All indices are checked before the first is changed; with ``dry_run`` none is. With ``updates`` documents are read
    and written in part: then ``_source`` must hold them whole, unless ``accept_source_loss``, and the texts.
    """
    answer = await client.indices.get_mapping(index=index)
    mappings = {name: value["mappings"] for name, value in answer.items()}
    if not mappings:
        raise WrongFieldError(f"no index matches [{index}]")
    plan = recognise_fields(mappings, plan, version)
    if updates:
        await _check_texts(client, index, mappings, plan, accept_source_loss=accept_source_loss)
    if any(target.semantic for target in plan.targets):
        await _require_inference_fields(client, index, version)
    changes = [missing_fields(name, mapping, plan, version) for name, mapping in mappings.items()]
    needed = tuple(change for change in changes if change.properties)
    for change in needed:
        written = [target.name for target in plan.targets if not target.is_bound_by_mapping]
        if unknown := unknown_to(mappings[change.index], written):
            await require_free(client, change.index, unknown)
    if not dry_run:
        for change in needed:
            await client.indices.put_mapping(index=change.index, properties=change.properties)
    return Prepared(plan, needed)


async def _check_texts(
    client: AsyncElasticsearch,
    index: str,
    mappings: Mapping[str, Mapping[str, Any]],
    plan: Plan,
    *,
    accept_source_loss: bool,
) -> None:
    settings = await client.indices.get_settings(index=index, name=_SOURCE_MODE, flat_settings=True)
    whole_objects = any(target.each for target in plan.targets)
    for name, mapping in mappings.items():
        mode = (settings.get(name) or {}).get("settings", {}).get(_SOURCE_MODE)
        if not accept_source_loss or mode == "disabled" or whole_objects:
            check_whole_source(name, mapping, mode)
    # semantic_text takes booleans as texts, and copies from other fields.
    checked = [path for target in plan.targets if not target.is_bound_by_mapping for path in target.map.sources]
    check_sources(mappings, list(dict.fromkeys(checked)))


def recognise_fields(mappings: Mapping[str, Mapping[str, Any]], plan: Plan, version: ServerVersion) -> Plan:
    """The plan with what ``mappings`` (by index) say of its targets: which are ``semantic_text``, which lie in nested
    objects of the user's beside their source, which vectors lie beside them in passages.

    Raises :class:`WrongFieldError` for fields that differ between indices.
    """
    plan = recognise_semantic_fields(mappings, plan, version)
    targets = tuple(replace(target, each=_shared_nested(mappings, target)) for target in plan.targets)
    return replace(plan, targets=targets, others=vectors_beside(mappings, plan))


def _shared_nested(mappings: Mapping[str, Mapping[str, Any]], target: Target) -> str | None:
    """The nested field whose objects hold both source and target, ``None`` where there is none."""
    if target.passages or target.is_bound_by_mapping:
        return None
    found: dict[str | None, str] = {}
    for index, mapping in mappings.items():
        nested = nested_parent(mapping, target.name)
        shared = nested is not None and {nested} == {nested_parent(mapping, path) for path in target.map.sources}
        if shared and len(target.map.sources) > 1:
            raise WrongFieldError(f"field [{target.name}] of index [{index}] takes one source within [{nested}]")
        if shared and nested is not None and nested_parent(mapping, nested) is not None:
            raise WrongFieldError(f"field [{nested}] of index [{index}] lies in another nested field; not supported")
        found.setdefault(nested if shared else None, index)
    if len(found) > 1:
        one, other = list(found.values())[:2]
        raise WrongFieldError(
            f"field [{target.name}] lies in nested objects with its source in one of [{one}], [{other}], but not in the"
            " other; fill them one by one"
        )
    return next(iter(found), None)


def recognise_semantic_fields(mappings: Mapping[str, Mapping[str, Any]], plan: Plan, version: ServerVersion) -> Plan:
    """The plan with what ``mappings`` (by index) say of targets that are ``semantic_text`` fields.

    Raises :class:`WrongFieldError` for fields that are so in some indices only, or that Elasticsearch fills itself.
    """
    return replace(plan, targets=tuple(_recognised(mappings, target, version) for target in plan.targets))


def _recognised(mappings: Mapping[str, Mapping[str, Any]], target: Target, version: ServerVersion) -> Target:
    if target.is_bound_by_mapping:
        return target
    found: dict[str, SemanticField | None] = {}
    for index, mapping in mappings.items():
        where = f"field [{target.name}] of index [{index}]"
        mapped = field_at(mapping, target.name) or {}
        found[index] = None
        if mapped.get("type") != SEMANTIC_TEXT:
            continue
        if target.passages:
            raise WrongFieldError(f"{where} is mapped as [{SEMANTIC_TEXT}], which holds passages by itself")
        if source := copied_from(mapping, target.name):
            raise WrongFieldError(f"{where} gets its text from [{source}] (copy_to): Elasticsearch fills it itself")
        found[index] = read_semantic_field(where, mapped, target.profile, version)
    for (one, first), (other, second) in pairwise(found.items()):
        if first != second:
            raise WrongFieldError(
                f"field [{target.name}] is another one in index [{other}] than in [{one}]; fill them one by one"
            )
    return replace(target, semantic=next(iter(found.values()), None))


async def _require_inference_fields(client: AsyncElasticsearch, index: str, version: ServerVersion) -> None:
    if not version.has_inference_fields:
        raise WrongFieldError(f"fields of type [{SEMANTIC_TEXT}] can be filled from 8.18 on, this is {version}")
    answer = await client.indices.get_settings(index=index, name=_LEGACY, include_defaults=True, flat_settings=True)
    for name, value in answer.items():
        if "true" in (value["settings"].get(_LEGACY), value.get("defaults", {}).get(_LEGACY)):
            raise WrongFieldError(
                f"index [{name}] keeps its [{SEMANTIC_TEXT}] fields in the form of older versions ({_LEGACY});"
                " reindex it into a new one"
            )


PASSAGE_MAPPING: dict[str, Any] = {
    "type": "nested",
    "properties": {"text": {"type": "text", "index": False}, "start": {"type": "integer"}},
}
