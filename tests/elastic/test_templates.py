"""The index templates and `sidecar mappings apply`, on both lines of Elasticsearch."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch
from typer.testing import CliRunner

from sidecar.cli import build
from sidecar.elastic.fields import dense_field, field_at, merge_properties, nest, nested_parent, sparse_field
from sidecar.elastic.mappings import load_mapping
from sidecar.elastic.templates import Change, adapt, apply_index, apply_templates, decide, template_names
from sidecar.elastic.version import ServerVersion, server_version


@pytest.fixture
async def client(elasticsearch: str) -> AsyncIterator[AsyncElasticsearch]:
    """A cluster without our templates, before and after."""
    async with AsyncElasticsearch(elasticsearch, request_timeout=60) as client:
        await remove(client)
        yield client
        await remove(client)


async def remove(client: AsyncElasticsearch) -> None:
    quiet = client.options(ignore_status=404)
    for name in template_names("templates"):
        await quiet.indices.delete_index_template(name=name)
    for name in template_names("components"):
        await quiet.cluster.delete_component_template(name=name)


async def test_templates_are_put_once_and_shape_new_indices(client: AsyncElasticsearch) -> None:
    version = await server_version(client)
    first = await apply_templates(client, version)
    assert {line.change for line in first} == {Change.CREATED}
    again = await apply_templates(client, version)
    assert {line.change for line in again} == {Change.UNCHANGED}
    assert [line.name for line in again] == [line.name for line in first]
    for name, fields in {
        "sidecar-sparse": {"text_sparse": "sparse_vector"},
        "sidecar-dense": {"text_dense": "int8_hnsw"},
        "sidecar-dense-float": {"text_dense": "hnsw"},
        "sidecar-hybrid": {"text_sparse": "sparse_vector", "text_dense": "int8_hnsw"},
        "sidecar-passages": {"passages.sparse": "sparse_vector", "passages.dense": "int8_hnsw"},
    }.items():
        index = f"{name}-{uuid4().hex[:8]}"
        await client.indices.create(index=index)
        mapping = (await client.indices.get_mapping(index=index))[index]["mappings"]
        await client.indices.delete(index=index)
        for path, kind in {**fields, "sidecar.model": "keyword"}.items():
            field: Any = field_at(mapping, path)
            assert kind in (field["type"], field.get("index_options", {}).get("type"))


async def test_a_template_edited_under_a_higher_version_stays(client: AsyncElasticsearch) -> None:
    version = await server_version(client)
    await client.cluster.put_component_template(name="sidecar-text", template={"mappings": {}}, version=99)
    report = {line.name: line.change for line in await apply_templates(client, version)}
    assert report["sidecar-text"] is Change.NEWER
    answer = await client.cluster.get_component_template(name="sidecar-text")
    assert answer["component_templates"][0]["component_template"]["version"] == 99


async def test_an_index_is_created_then_extended(client: AsyncElasticsearch) -> None:
    version = await server_version(client)
    index = f"mappings-{uuid4().hex[:8]}"
    fields = {"v.sparse": sparse_field(version)}
    assert {line.change for line in await apply_index(client, index, fields)} == {Change.CREATED}
    assert {line.change for line in await apply_index(client, index, fields)} == {Change.UNCHANGED}
    more = await apply_index(client, index, fields | {"v.dense": dense_field(version, 8)})
    assert [line.change for line in more] == [Change.UPDATED, Change.UNCHANGED, Change.CREATED]
    mapping = (await client.indices.get_mapping(index=index))[index]["mappings"]
    await client.indices.delete(index=index)
    assert field_at(mapping, "v.sparse") == sparse_field(version)
    assert (field_at(mapping, "v.dense") or {})["dims"] == 8


def test_the_command_says_what_it_did(elasticsearch_9: str) -> None:
    index = f"mappings-{uuid4().hex[:8]}"
    arguments = ["mappings", "apply", "--index", index, "--sparse", "s", "--dense", "d:4"]
    for change in ("created", "unchanged"):
        ended = CliRunner().invoke(build(), [*arguments, "--elasticsearch-url", elasticsearch_9])
        assert ended.exit_code == 0, ended.output
        assert ended.output.count(change) == 3
    with Elasticsearch(elasticsearch_9) as client:
        client.indices.delete(index=index)


@pytest.mark.parametrize(
    "arguments",
    [["--sparse", "s"], ["--index", "i"], ["--index", "i", "--dense", "d"], ["--index", "i", "--dense", "d:0"]],
)
def test_the_command_refuses_what_it_cannot_do(arguments: list[str]) -> None:
    ended = CliRunner().invoke(build(), ["mappings", "apply", *arguments])
    assert ended.exit_code == 2


@pytest.mark.parametrize(
    ("version", "prune", "index_type"),
    [
        ((8, 11), False, "hnsw"),
        ((8, 14), False, "int8_hnsw"),
        ((8, 19), True, "int8_hnsw"),
        ((9, 0), False, "int8_hnsw"),
    ],
)
def test_older_servers_get_what_they_understand(version: tuple[int, int], prune: bool, index_type: str) -> None:
    passages = adapt(load_mapping("components/sidecar-passages"), ServerVersion(*version))
    fields = passages["template"]["mappings"]["properties"]["passages"]["properties"]
    assert ("index_options" in fields["sparse"]) is prune
    assert fields["dense"]["index_options"] == {"type": index_type}
    assert ("index_options" in sparse_field(ServerVersion(*version))) is prune
    assert dense_field(ServerVersion(*version), 4)["index_options"] == {"type": index_type}


@pytest.mark.parametrize(
    ("theirs", "change"),
    [(None, Change.CREATED), ({"version": 1}, Change.UNCHANGED), ({}, Change.UPDATED), ({"version": 2}, Change.NEWER)],
)
def test_decide(theirs: dict[str, Any] | None, change: Change) -> None:
    assert decide({"version": 1}, theirs) is change


def test_every_template_is_made_of_components_that_are_there() -> None:
    components = set(template_names("components"))
    for name in template_names("templates"):
        assert set(load_mapping(f"templates/{name}")["composed_of"]) <= components


@pytest.mark.parametrize(
    ("text", "version"), [("9.4.3", (9, 4, 3)), ("8.19.8-SNAPSHOT", (8, 19, 8)), ("8.11", (8, 11, 0))]
)
def test_versions_are_read(text: str, version: tuple[int, int, int]) -> None:
    assert ServerVersion.parse(text) == ServerVersion(*version)


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(ValueError, match="not a version"):
        ServerVersion.parse("serverless")


def test_fields_are_found_under_dotted_names_and_nested_parents_named() -> None:
    mapping = {
        "properties": {
            "a.b": {"type": "keyword"},
            "p": {"type": "nested", "properties": {"v": {"type": "sparse_vector"}}},
        }
    }
    assert field_at(mapping, "a.b") == {"type": "keyword"}
    assert field_at(mapping, "p.v") == {"type": "sparse_vector"}
    assert field_at(mapping, "a.c") is None
    assert nested_parent(mapping, "p.v") == "p"
    assert nested_parent(mapping, "a.b") is None


def test_properties_are_merged_deeply() -> None:
    merged = merge_properties(nest("a.b", {"type": "keyword"}), nest("a.c", {"type": "date"}))
    assert json.dumps(merged) == json.dumps({"a": {"properties": {"b": {"type": "keyword"}, "c": {"type": "date"}}}})
