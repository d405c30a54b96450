"""The index's side of a run: are the target fields there, can they hold the vectors, and if not there, put them there.

A field that is not mapped before the first write would be guessed: one field per token for a sparse vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import AsyncElasticsearch

from sidecar.core.tasks import ElementType, Similarity
from sidecar.elastic.fields import dense_field, field_at, merge_properties, nest, nested_parent, sparse_field
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.document import Plan
from sidecar.ingest.marker import MARKER_FIELD, MARKER_MAPPING


class WrongFieldError(ValueError):
    """An index's field cannot hold what is to be written; the text says what is there and what is needed."""


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


async def prepare_indices(
    client: AsyncElasticsearch, index: str, plan: Plan, version: ServerVersion, *, dry_run: bool = False
) -> tuple[MappingChange, ...]:
    """Puts the missing fields into every index behind ``index`` (a name, alias, data stream or pattern).

    All indices are checked before the first is changed. Returns the changes, made or, with ``dry_run``, only found.
    """
    answer = await client.indices.get_mapping(index=index)
    changes = [missing_fields(name, value["mappings"], plan, version) for name, value in answer.items()]
    needed = tuple(change for change in changes if change.properties)
    if not dry_run:
        for change in needed:
            await client.indices.put_mapping(index=change.index, properties=change.properties)
    return needed


PASSAGE_MAPPING: dict[str, Any] = {
    "type": "nested",
    "properties": {"text": {"type": "text", "index": False}, "start": {"type": "integer"}},
}
