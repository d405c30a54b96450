"""The index templates of ``mappings/``, put into a cluster in the form its version understands.

Source: Elasticsearch API reference, "Create or update a component template" and "Create or update an index template".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from sidecar.elastic.fields import field_at, merge_properties, nest, nest_into
from sidecar.elastic.mappings import load_mapping, mappings_directory
from sidecar.elastic.version import ServerVersion


class Change(StrEnum):
    """What an ``apply`` did to one thing."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    NEWER = "left alone, a newer version is there"


@dataclass(frozen=True, slots=True)
class Applied:
    """One line of the report: ``kind`` is ``component template``, ``index template``, ``index`` or ``field``."""

    kind: str
    name: str
    change: Change


def adapt(body: Mapping[str, Any], version: ServerVersion) -> dict[str, Any]:
    """A mapping or template without what the server does not know: ``prune`` before 8.19, ``int8_hnsw`` before 8.12."""
    adapted: dict[str, Any] = {}
    for key, value in body.items():
        if not isinstance(value, Mapping):
            adapted[key] = value
        elif key == "index_options" and body.get("type") == "sparse_vector" and not version.has_sparse_index_options:
            continue
        elif key == "index_options" and value.get("type") == "int8_hnsw" and not version.has_int8_hnsw:
            adapted[key] = {"type": "hnsw"}
        else:
            adapted[key] = adapt(value, version)
    return adapted


def decide(mine: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> Change:
    """Whether a template is to be written: by its ``version``, so that one edited by hand under a higher one stays."""
    if theirs is None:
        return Change.CREATED
    there, here = int(theirs.get("version") or 0), int(mine.get("version") or 0)
    if there == here:
        return Change.UNCHANGED
    return Change.UPDATED if there < here else Change.NEWER


def template_names(folder: str) -> list[str]:
    """Names of the files in ``components`` or ``templates``, sorted."""
    files = (entry.name for entry in (mappings_directory() / folder).iterdir())
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


async def apply_templates(client: AsyncElasticsearch, version: ServerVersion) -> list[Applied]:
    """Puts all component templates, then all index templates; applying them again changes nothing."""
    report = []
    for name in template_names("components"):
        body = adapt(load_mapping(f"components/{name}"), version)
        change = decide(body, await _component(client, name))
        if change in (Change.CREATED, Change.UPDATED):
            await client.cluster.put_component_template(
                name=name, template=body["template"], version=body["version"], meta=body["_meta"]
            )
        report.append(Applied("component template", name, change))
    for name in template_names("templates"):
        body = adapt(load_mapping(f"templates/{name}"), version)
        change = decide(body, await _index_template(client, name))
        if change in (Change.CREATED, Change.UPDATED):
            await client.indices.put_index_template(
                name=name,
                index_patterns=body["index_patterns"],
                composed_of=body["composed_of"],
                priority=body["priority"],
                version=body["version"],
                meta=body["_meta"],
            )
        report.append(Applied("index template", name, change))
    return report


async def apply_index(client: AsyncElasticsearch, index: str, fields: Mapping[str, Mapping[str, Any]]) -> list[Applied]:
    """Creates the index with the marker and ``fields`` (dotted path to mapping), or adds what an existing one lacks.

    A field that is there in another form is refused by Elasticsearch (400), as the client's ``BadRequestError``.
    """
    marker = load_mapping("components/sidecar-marker")["template"]["mappings"]["properties"]
    if not await client.indices.exists(index=index):
        properties: dict[str, Any] = dict(marker)
        for path, field in fields.items():
            properties = merge_properties(properties, nest(path, field))
        await client.indices.create(index=index, mappings={"properties": properties})
        return [
            Applied("index", index, Change.CREATED),
            *(Applied("field", path, Change.CREATED) for path in fields),
        ]
    mappings = {name: value["mappings"] for name, value in (await client.indices.get_mapping(index=index)).items()}
    for name, mapping in mappings.items():
        properties = dict(marker)
        for path, field in fields.items():
            properties = merge_properties(properties, nest_into(mapping, path, field))
        await client.indices.put_mapping(index=name, properties=properties)
    report = []
    for path in fields:
        is_there = all(field_at(mapping, path) is not None for mapping in mappings.values())
        report.append(Applied("field", path, Change.UNCHANGED if is_there else Change.CREATED))
    changed = any(line.change is Change.CREATED for line in report)
    return [Applied("index", index, Change.UPDATED if changed else Change.UNCHANGED), *report]


async def _component(client: AsyncElasticsearch, name: str) -> Mapping[str, Any] | None:
    try:
        answer = await client.cluster.get_component_template(name=name)
    except NotFoundError:
        return None
    found: Mapping[str, Any] = answer["component_templates"][0]["component_template"]
    return found


async def _index_template(client: AsyncElasticsearch, name: str) -> Mapping[str, Any] | None:
    try:
        answer = await client.indices.get_index_template(name=name)
    except NotFoundError:
        return None
    found: Mapping[str, Any] = answer["index_templates"][0]["index_template"]
    return found
