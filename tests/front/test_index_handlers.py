"""Mappings that name the sidecar's endpoints, and writes inside the cluster, through the front of a Basic cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from elastic_transport import HeadApiResponse, ObjectApiResponse
from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from tests.front.conftest import StartFront

SPARSE = ".elser-2-elasticsearch"


@dataclass
class Place:
    """The front, the node behind it, and a name that nobody else uses."""

    front: AsyncElasticsearch
    node: AsyncElasticsearch
    name: str
    dense: str
    dimensions: int = 384

    async def field(self, name: str) -> dict[str, Any]:
        mapping = await self.node.indices.get_mapping(index=self.name)
        found: dict[str, Any] = mapping[self.name]["mappings"]["properties"][name]
        return found


@pytest.fixture
async def place(start_front: StartFront, elasticsearch_basic: str) -> AsyncIterator[Place]:
    url = await start_front(elasticsearch_basic)
    name = f"front-mapping-{uuid4().hex[:8]}"
    async with AsyncElasticsearch(url) as front, AsyncElasticsearch(elasticsearch_basic) as node:
        # an id that the cluster has not: of those that are always there it knows what they make
        dense = f"{name}-minilm"
        settings = {"model_id": "all-MiniLM-L6-v2", "num_threads": 1, "num_allocations": 1}
        config = {"service": "elasticsearch", "service_settings": settings}
        await front.inference.put(task_type="text_embedding", inference_id=dense, inference_config=config)
        yield Place(front, node, name, dense)
        await front.inference.delete(inference_id=dense, force=True)
        names = [name, *(f"{name}-{end}" for end in ("t1", "bound", "free", "other"))]
        await node.indices.delete(index=names, ignore_unavailable=True)


def semantic(inference_id: str, **more: Any) -> dict[str, Any]:
    return {"properties": {"meaning": {"type": "semantic_text", "inference_id": inference_id, **more}}}


OPTIONS = {"index_options": {"dense_vector": {"type": "int8_hnsw", "m": 15}}}


async def test_index_options_of_a_dense_semantic_field_work_without_a_licence(place: Place) -> None:
    with pytest.raises(BadRequestError, match="Model settings must be set"):
        await place.node.indices.create(index=place.name, mappings=semantic(place.dense, **OPTIONS))
    await place.front.indices.create(index=place.name, mappings=semantic(place.dense, **OPTIONS))
    field = await place.field("meaning")
    assert field["model_settings"]["dimensions"] == place.dimensions
    assert field["model_settings"]["task_type"] == "text_embedding"
    assert field["index_options"]["dense_vector"]["m"] == 15


async def test_the_same_in_a_later_mapping_and_in_a_template(place: Place) -> None:
    await place.front.indices.create(index=place.name)
    await place.front.indices.put_mapping(index=place.name, **semantic(place.dense, **OPTIONS))
    assert (await place.field("meaning"))["model_settings"]["dimensions"] == place.dimensions
    await place.front.indices.put_index_template(
        name=place.name, index_patterns=[f"{place.name}-t*"], template={"mappings": semantic(place.dense, **OPTIONS)}
    )
    await place.node.indices.create(index=f"{place.name}-t1")
    await place.node.indices.delete_index_template(name=place.name)


async def test_other_mappings_are_as_they_came(place: Place) -> None:
    mapping = semantic(SPARSE) | {"_meta": {"a": 1}}
    mapping["properties"]["v"] = {"type": "dense_vector", "dims": 3}
    mapping["properties"]["theirs"] = {"type": "semantic_text", "inference_id": "theirs"}
    await place.front.indices.create(index=place.name, mappings=mapping)
    assert "model_settings" not in await place.field("meaning")
    assert "model_settings" not in await place.field("theirs")
    assert (await place.field("v"))["dims"] == 3


async def test_dims_of_null_are_the_endpoints_or_those_of_the_first_vector(place: Place) -> None:
    vectors = {name: {"type": "dense_vector", "dims": None} for name in ("bound", "free")}
    mapping = {"_meta": {"sidecar": {"maps": [f"text:bound={place.dense}"]}}, "properties": vectors}
    with pytest.raises(BadRequestError):
        await place.node.indices.create(index=place.name, mappings=mapping)
    await place.front.indices.create(index=place.name, mappings=mapping)
    assert (await place.field("bound"))["dims"] == place.dimensions
    assert "dims" not in await place.field("free")


async def test_what_is_wrong_with_a_mapping_is_said_by_the_cluster(place: Place) -> None:
    for mapping in ({"properties": {"a": {"type": "dense_vector", "dims": -1}}}, {"properties": ["dense_vector"]}):
        with pytest.raises(BadRequestError) as direct:
            await place.node.indices.create(index=place.name, mappings=mapping)
        with pytest.raises(BadRequestError) as through:
            await place.front.indices.create(index=place.name, mappings=mapping)
        assert through.value.body == direct.value.body


def warning(answer: ObjectApiResponse[Any] | HeadApiResponse) -> str:
    return str(answer.meta.headers.get("warning", ""))


async def test_writes_inside_the_cluster_say_that_they_make_no_vectors(place: Place) -> None:
    bound, free = f"{place.name}-bound", f"{place.name}-free"
    maps = {"_meta": {"sidecar": {"maps": [f"text:tokens={SPARSE}"]}}}
    await place.front.indices.create(index=bound, mappings=maps)
    await place.front.indices.create(index=free)
    await place.node.index(index=free, document={"text": "a"}, refresh=True)
    with pytest.warns(Warning, match="makes no vectors"):
        into_bound = await place.front.reindex(source={"index": free}, dest={"index": bound})
    assert into_bound["created"] == 1
    with pytest.warns(Warning, match="makes no vectors"):
        await place.front.update_by_query(index=bound, conflicts="proceed")
    assert f"[{bound}]" in warning(into_bound)
    assert "makes no vectors" not in warning(await place.front.update_by_query(index=free, conflicts="proceed"))
    into_other = await place.front.reindex(source={"index": bound}, dest={"index": f"{place.name}-other"})
    assert "makes no vectors" not in warning(into_other)


async def test_a_change_of_mappings_is_seen_at_once(place: Place) -> None:
    await place.front.indices.create(index=place.name)
    assert "makes no vectors" not in warning(await place.front.update_by_query(index=place.name))
    meta = {"sidecar": {"maps": [f"text:tokens={SPARSE}"]}}
    await place.front.indices.put_mapping(index=place.name, meta=meta)
    with pytest.warns(Warning, match="makes no vectors"):
        await place.front.update_by_query(index=place.name)


async def test_client_libraries_find_the_sidecars_models_where_they_look_for_trained_ones(place: Place) -> None:
    docs = [{"text_field": "a text"}, {"text_field": "another"}]
    dense = await place.front.ml.infer_trained_model(model_id=place.dense, docs=docs)
    vectors = [result["predicted_value"] for result in dense["inference_results"]]
    assert [len(vector) for vector in vectors] == [place.dimensions] * 2
    sparse = await place.front.ml.infer_trained_model(model_id=SPARSE, docs=docs[:1])
    assert all(weight > 0 for weight in sparse["inference_results"][0]["predicted_value"].values())
    (shown,) = (await place.front.ml.get_trained_models(model_id=place.dense))["trained_model_configs"]
    assert (shown["model_id"], shown["inference_config"]) == (place.dense, {"text_embedding": {}})
    by_model = await place.front.ml.infer_trained_model(model_id=".elser_model_2", docs=docs[:1])
    assert by_model["inference_results"] == sparse["inference_results"]
    with pytest.raises((NotFoundError, BadRequestError)) as unknown:
        await place.front.ml.infer_trained_model(model_id="nobody", docs=docs)
    assert "sidecar" not in str(unknown.value.body)
    with pytest.raises(BadRequestError, match="one field with a text"):
        await place.front.ml.infer_trained_model(model_id=place.dense, docs=[{"a": "x", "b": "y"}])
