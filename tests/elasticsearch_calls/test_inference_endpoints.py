"""Elasticsearch's own inference endpoints pointing at the sidecar, on real nodes with a trial licence."""

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from pytest_aiohttp.plugin import AiohttpServer

from sidecar.app import create_app
from sidecar.settings import load_settings

SPARSE, DENSE, RERANK = "splade", "minilm", "late"
DOCUMENTS = {
    "lamp": "The keeper of the lighthouse trims the lamp every evening.",
    "song": "Humpback whales sing for hours in the breeding season.",
    "tide": "The moon pulls the ocean, so the water rises and falls twice a day.",
    "knot": "Sailors once threw a line with knots to measure their speed.",
}
QUESTION = "Which animals make music?"


@dataclass(frozen=True)
class Setting:
    """A cluster, a sidecar it can reach, and a name that nobody else uses."""

    cluster: AsyncElasticsearch
    sidecar: AsyncElasticsearch
    url: str
    name: str

    async def create(self, task_type: str, settings: dict[str, Any], service: str, **more: Any) -> str:
        """Makes an endpoint of the cluster; its own test call must already succeed."""
        inference_id = f"{self.name}-{uuid4().hex[:6]}"
        await self.cluster.inference.put(
            task_type=task_type,
            inference_id=inference_id,
            inference_config={"service": service, "service_settings": settings, **more},
        )
        return inference_id


@pytest.fixture
async def setting(elasticsearch: str, aiohttp_server: AiohttpServer, tmp_path: Path) -> AsyncIterator[Setting]:
    settings = load_settings({"data_dir": tmp_path, "elasticsearch_url": None})
    server = await aiohttp_server(create_app(settings))
    url = f"http://127.0.0.1:{server.port}"
    name = f"calls-{uuid4().hex[:8]}"
    async with (
        AsyncElasticsearch(elasticsearch, request_timeout=60) as cluster,
        AsyncElasticsearch(url, request_timeout=60) as sidecar,
    ):
        for task_type, inference_id, model in (
            ("sparse_embedding", SPARSE, "splade-tiny"),
            ("text_embedding", DENSE, "all-MiniLM-L6-v2"),
            ("rerank", RERANK, "all-MiniLM-L6-v2"),
        ):
            local = {"model_id": model, "num_allocations": 1, "num_threads": 1}
            await sidecar.inference.put(
                task_type=task_type,
                inference_id=inference_id,
                inference_config={"service": "elasticsearch", "service_settings": local},
            )
        yield Setting(cluster, sidecar, url, name)
        await cluster.indices.delete(index=name, ignore_unavailable=True)
        for endpoint in (await cluster.inference.get())["endpoints"]:
            if endpoint["inference_id"].startswith(name):
                await cluster.inference.delete(inference_id=endpoint["inference_id"], force=True)


def hugging_face(setting: Setting, path: str) -> dict[str, Any]:
    return {"api_key": "any", "url": f"{setting.url}/compat/hf/{path}"}


def custom(setting: Setting, path: str, request: str, parser: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "url": f"{setting.url}/{path}",
        "secret_parameters": {"api_key": "any"},
        "headers": {"Authorization": "ApiKey ${api_key}"},
        "request": request,
        "response": {"json_parser": parser},
        **more,
    }


def custom_dense(setting: Setting) -> dict[str, Any]:
    return custom(
        setting,
        f"_inference/text_embedding/{DENSE}",
        '{"input": ${input}}',
        {"text_embeddings": "$.text_embedding[*].embedding[*]"},
        similarity="cosine",
        dimensions=384,
    )


def custom_rerank(setting: Setting) -> dict[str, Any]:
    return custom(
        setting,
        f"_inference/rerank/{RERANK}",
        '{"query": ${query}, "input": ${input}}',
        {"reranked_index": "$.rerank[*].index", "relevance_score": "$.rerank[*].relevance_score"},
    )


def custom_sparse(setting: Setting) -> dict[str, Any]:
    parser = {"token_path": "$.data[*].embedding[*].token", "weight_path": "$.data[*].embedding[*].weight"}
    return custom(setting, f"compat/pairs/sparse_embedding/{SPARSE}", '{"input": ${input}}', parser)


@pytest.mark.parametrize("service", ["hugging_face", "custom"])
async def test_sparse_embeddings_are_the_sidecars(setting: Setting, service: str) -> None:
    chosen = hugging_face(setting, f"{SPARSE}/sparse") if service == "hugging_face" else custom_sparse(setting)
    inference_id = await setting.create("sparse_embedding", chosen, service)
    texts = list(DOCUMENTS.values())
    theirs = await setting.cluster.inference.inference(inference_id=inference_id, input=texts)
    ours = await setting.sidecar.inference.inference(inference_id=SPARSE, input=texts)
    for one, other in zip(theirs["sparse_embedding"], ours["sparse_embedding"], strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], rel=1e-3)


@pytest.mark.parametrize("service", ["hugging_face", "custom", "openai"])
async def test_dense_embeddings_are_the_sidecars(setting: Setting, service: str) -> None:
    chosen = {
        "hugging_face": hugging_face(setting, f"{DENSE}/embed"),
        "custom": custom_dense(setting),
        "openai": {"api_key": "any", "model_id": DENSE, "url": f"{setting.url}/v1/embeddings", "similarity": "cosine"},
    }[service]
    inference_id = await setting.create("text_embedding", chosen, service)
    text = DOCUMENTS["song"]
    theirs = await setting.cluster.inference.inference(inference_id=inference_id, input=text)
    ours = await setting.sidecar.inference.inference(inference_id=DENSE, input=text)
    # A search and an ingest call of a model without prompts are the same; int8 models differ a little by batch.
    assert theirs["text_embedding"][0]["embedding"] == pytest.approx(ours["text_embedding"][0]["embedding"], abs=0.02)


async def test_semantic_text_is_filled_and_searched_through_the_sidecar(setting: Setting) -> None:
    sparse = await setting.create("sparse_embedding", hugging_face(setting, f"{SPARSE}/sparse/ingest"), "hugging_face")
    search = await setting.create("sparse_embedding", hugging_face(setting, f"{SPARSE}/sparse/search"), "hugging_face")
    dense = await setting.create("text_embedding", custom_dense(setting), "custom")
    properties = {
        "sparse": {"type": "semantic_text", "inference_id": sparse, "search_inference_id": search},
        "dense": {"type": "semantic_text", "inference_id": dense},
    }
    await setting.cluster.indices.create(index=setting.name, mappings={"properties": properties})
    actions: list[dict[str, Any]] = [
        {"_index": setting.name, "_id": name, "_source": {"sparse": text, "dense": text}}
        for name, text in DOCUMENTS.items()
    ]
    written, errors = await async_bulk(setting.cluster, actions, refresh=True)
    assert (written, errors) == (len(DOCUMENTS), [])
    for field in ("sparse", "dense"):
        query = {"semantic": {"field": field, "query": "whale song"}}
        hits = (await setting.cluster.search(index=setting.name, query=query))["hits"]["hits"]
        assert hits[0]["_id"] == "song"


@pytest.mark.parametrize("service", ["hugging_face", "custom"])
async def test_the_reranking_retriever_takes_the_sidecars_order(setting: Setting, service: str) -> None:
    chosen = hugging_face(setting, f"{RERANK}/rerank") if service == "hugging_face" else custom_rerank(setting)
    inference_id = await setting.create("rerank", chosen, service)
    await setting.cluster.indices.create(index=setting.name, mappings={"properties": {"text": {"type": "text"}}})
    actions: list[dict[str, Any]] = [
        {"_index": setting.name, "_id": name, "_source": {"text": text}} for name, text in DOCUMENTS.items()
    ]
    await async_bulk(setting.cluster, actions, refresh=True)
    retriever = {
        "text_similarity_reranker": {
            "retriever": {"standard": {"query": {"match_all": {}}}},
            "field": "text",
            "inference_id": inference_id,
            "inference_text": QUESTION,
            "rank_window_size": 10,
        }
    }
    hits = (await setting.cluster.search(index=setting.name, retriever=retriever))["hits"]["hits"]
    names = list(DOCUMENTS)
    ours = await setting.sidecar.inference.rerank(
        inference_id=RERANK, query=QUESTION, input=[DOCUMENTS[name] for name in names]
    )
    expected = {names[item["index"]]: item["relevance_score"] for item in ours["rerank"]}
    if service == "hugging_face":  # text-embeddings-inference answers the sigmoid unless raw scores are asked for
        expected = {name: 1 / (1 + math.exp(-score)) for name, score in expected.items()}
    assert [hit["_id"] for hit in hits] == sorted(expected, key=lambda name: -expected[name])
    assert hits[0]["_id"] == "song"
    for hit in hits:
        # Elasticsearch's own form of a score that is not negative
        assert hit["_score"] == pytest.approx(1 + expected[hit["_id"]], abs=0.02)


async def test_an_unknown_endpoint_is_named_when_elasticsearch_makes_its_own(setting: Setting) -> None:
    with pytest.raises(Exception, match="nobody") as caught:
        await setting.create("sparse_embedding", hugging_face(setting, "nobody/sparse"), "hugging_face")
    assert caught.value.__class__.__name__ in ("BadRequestError", "NotFoundError")
