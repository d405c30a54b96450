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
    merge_properties,
    nest,
    nested_parent,
    sparse_field,
)
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.document import Plan, Target
from sidecar.ingest.marker import MARKER_FIELD, MARKER_MAPPING
from sidecar.ingest.semantic_field import SEMANTIC_TEXT, SemanticField, read_semantic_field
from sidecar.ingest.stop import WrongFieldError

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
        nested = nested_parent(mapping, target.name)
        if plan.splitter is None and nested is not None:
            raise WrongFieldError(
                f"field [{target.name}] of index [{index}] lies in the nested field [{nested}]: only passages are"
                " written there, ask for them or choose a field outside"
            )
        if plan.splitter is not None and nested is None and field_at(mapping, target.parent) is not None:
            raise WrongFieldError(f"field [{target.parent}] of index [{index}] is not nested and cannot hold passages")
        if existing is not None:
            check_field(index, target.name, existing, target.profile)
            continue
        wanted = nest(target.name, vector_field(target.profile, version))
        if plan.splitter is not None and nested is None:
            wanted = merge_properties(wanted, nest(target.parent, PASSAGE_MAPPING))
        properties = merge_properties(properties, wanted)
        paths.append(target.name)
    if field_at(mapping, f"{MARKER_FIELD}.model") is None:
        marker = field_at(mapping, MARKER_FIELD)
        if marker is not None and marker.get("type", "object") != "object":
            raise WrongFieldError(f"field [{MARKER_FIELD}] of index [{index}] is kept for the marker, but holds values")
        properties = merge_properties(properties, {MARKER_FIELD: MARKER_MAPPING})
        paths.append(MARKER_FIELD)
    return MappingChange(index, properties, tuple(paths))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan that knows what its targets are in the index, and the mapping ``changes``, made or only found."""

    plan: Plan
    changes: tuple[MappingChange, ...]


async def prepare_indices(
    client: AsyncElasticsearch, index: str, plan: Plan, version: ServerVersion, *, dry_run: bool = False
) -> Prepared:
    """Puts the missing fields into every index behind ``index`` (a name, alias, data stream or pattern).

    All indices are checked before the first is changed; with ``dry_run`` none is.
    """
    answer = await client.indices.get_mapping(index=index)
    mappings = {name: value["mappings"] for name, value in answer.items()}
    plan = recognise_semantic_fields(mappings, plan)
    if any(target.semantic for target in plan.targets):
        await _require_inference_fields(client, index, version)
    changes = [missing_fields(name, mapping, plan, version) for name, mapping in mappings.items()]
    needed = tuple(change for change in changes if change.properties)
    if not dry_run:
        for change in needed:
            await client.indices.put_mapping(index=change.index, properties=change.properties)
    return Prepared(plan, needed)


def recognise_semantic_fields(mappings: Mapping[str, Mapping[str, Any]], plan: Plan) -> Plan:
    """The plan with what ``mappings`` (by index) say of targets that are ``semantic_text`` fields.

    Raises :class:`WrongFieldError` for fields that are so in some indices only, or that Elasticsearch fills itself.
    """
    return replace(plan, targets=tuple(_recognised(mappings, plan, target) for target in plan.targets))


def _recognised(mappings: Mapping[str, Mapping[str, Any]], plan: Plan, target: Target) -> Target:
    found: dict[str, SemanticField | None] = {}
    for index, mapping in mappings.items():
        where = f"field [{target.name}] of index [{index}]"
        mapped = field_at(mapping, target.name) or {}
        found[index] = None
        if mapped.get("type") != SEMANTIC_TEXT:
            continue
        if plan.splitter is not None:
            raise WrongFieldError(f"{where} is mapped as [{SEMANTIC_TEXT}], which holds passages by itself")
        if source := copied_from(mapping, target.name):
            raise WrongFieldError(f"{where} gets its text from [{source}] (copy_to): Elasticsearch fills it itself")
        found[index] = read_semantic_field(where, mapped, target.profile)
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
