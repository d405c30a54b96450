"""Who uses an inference endpoint: pipelines and mappings, as dictionaries and in real clusters."""

import uuid
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, TransportError
from pytest_aiohttp.plugin import AiohttpServer

from sidecar.core.errors import StatusError
from sidecar.core.generations import G8_16, G8_19, G9_4, Generation
from sidecar.elastic.references import (
    References,
    find_model_settings,
    find_references,
    mapping_endpoints,
    pipeline_endpoints,
    reference_message,
)
from sidecar.resources import model_settings_of, references_of
from tests.impostor import impostor

PIPELINES = (
    "Inference endpoint my-elser is referenced by pipelines: [p1, p2]. Ensure that no pipelines are using this "
    "inference endpoint, or use force to ignore this warning and delete the inference endpoint."
)
INDEXES = (
    "Inference endpoint my-elser is being used in the mapping for indexes: [idx-1]. Ensure that no index mappings are "
    "using this inference endpoint, or use force to ignore this warning and delete the inference endpoint."
)


@pytest.mark.parametrize(
    ("pipelines", "indexes", "generation", "message"),
    [
        ((), (), G9_4, ""),
        (("p1", "p2"), (), G9_4, PIPELINES),
        ((), ("idx-1",), G9_4, INDEXES),
        ((), ("idx-1",), G8_19, INDEXES),
        ((), ("idx-1",), G8_16, f" {INDEXES}"),
        (("p1", "p2"), ("idx-1",), G9_4, f"{PIPELINES} {INDEXES}"),
        (("p1", "p2"), ("idx-1",), G8_16, f"{PIPELINES} {INDEXES}"),
    ],
)
def test_message(pipelines: tuple[str, ...], indexes: tuple[str, ...], generation: Generation, message: str) -> None:
    assert reference_message("my-elser", pipelines, indexes, generation) == message
    assert References(pipelines, indexes).message("my-elser", generation) == message


@pytest.mark.parametrize(
    ("pipeline", "endpoints"),
    [
        ({"processors": [{"set": {"field": "model_id", "value": "no"}}]}, set()),
        ({"processors": [{"inference": {"model_id": "a", "input_output": []}}]}, {"a"}),
        (
            {"processors": [{"foreach": {"field": "x", "processor": {"inference": {"model_id": "b"}}}}]},
            {"b"},
        ),
        (
            {
                "processors": [{"set": {"field": "x", "value": 1, "on_failure": [{"inference": {"model_id": "c"}}]}}],
                "on_failure": [
                    {"foreach": {"processor": {"foreach": {"processor": {"inference": {"model_id": "d"}}}}}}
                ],
            },
            {"c", "d"},
        ),
        ({"processors": [{"inference": {"field_map": {}}}], "description": "inference model_id"}, set()),
        ({}, set()),
    ],
)
def test_endpoints_of_a_pipeline(pipeline: dict[str, Any], endpoints: set[str]) -> None:
    assert pipeline_endpoints(pipeline) == endpoints


@pytest.mark.parametrize(
    ("mapping", "endpoints"),
    [
        ({}, set()),
        ({"properties": {"inference_id": {"type": "keyword"}}}, set()),
        ({"properties": {"body": {"type": "semantic_text", "inference_id": "a"}}}, {"a"}),
        (
            {"properties": {"body": {"type": "semantic_text", "inference_id": "a", "search_inference_id": "b"}}},
            {"a", "b"},
        ),
        (
            {"properties": {"deep": {"properties": {"er": {"properties": {"t": {"type": "semantic_text"}}}}}}},
            set(),
        ),
        (
            {
                "properties": {
                    "deep": {"properties": {"t": {"type": "semantic_text", "inference_id": "c"}}},
                    "multi": {"type": "text", "fields": {"s": {"type": "semantic_text", "inference_id": "d"}}},
                }
            },
            {"c", "d"},
        ),
    ],
)
def test_endpoints_of_a_mapping(mapping: dict[str, Any], endpoints: set[str]) -> None:
    assert mapping_endpoints(mapping) == endpoints


async def test_fields_of_a_cluster_are_found(elasticsearch: str) -> None:
    name = f"references-{uuid.uuid4().hex[:12]}"
    used, asked, unused = f"{name}-used", f"{name}-asked", f"{name}-unused"
    plain = {"properties": {"body": {"type": "semantic_text", "inference_id": used}}}
    deep = {
        "properties": {
            "page": {
                "properties": {
                    "text": {"type": "semantic_text", "inference_id": used, "search_inference_id": asked},
                    "note": {"type": "text"},
                }
            }
        }
    }
    async with AsyncElasticsearch(elasticsearch) as client:
        try:
            await client.indices.create(index=f"{name}-2", mappings=plain)
            await client.indices.create(index=f"{name}-1", mappings=deep, settings={"index.hidden": True})
            await client.indices.create(index=f"{name}-3", mappings={"properties": {"body": {"type": "text"}}})
            await client.ingest.put_pipeline(
                id=f"{name}-p", processors=[{"set": {"field": "x", "value": used}}], description=used
            )
            assert await find_references(client, used) == References((), (f"{name}-1", f"{name}-2"))
            assert await find_references(client, asked) == References((), (f"{name}-1",))
            assert await find_references(client, unused) == References()
            await client.indices.close(index=f"{name}-2")
            assert (await find_references(client, used)).indexes == (f"{name}-1", f"{name}-2")
        finally:
            await client.indices.delete(index=[f"{name}-1", f"{name}-2", f"{name}-3"], ignore_unavailable=True)
            await client.options(ignore_status=404).ingest.delete_pipeline(id=f"{name}-p")


@pytest.mark.parametrize("body", [b"[]", b"null", b"<html>", b'{"i": 7}', b'{"i": {"mappings": {"properties": [1]}}}'])
async def test_what_is_no_elasticsearch_is_a_failure_of_the_cluster(aiohttp_server: AiohttpServer, body: bytes) -> None:
    async with impostor(aiohttp_server, body) as client:
        for asked in (find_references, find_model_settings):
            with pytest.raises(TransportError):
                await asked(client, "e")
        with pytest.raises(StatusError, match=r"^Cannot find out what uses") as raised:
            await references_of(client, "e")
        assert raised.value.status == 503
        assert await model_settings_of(client, "e") == {}
