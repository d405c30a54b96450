"""Routes in the forms of Hugging Face, OpenAI, Cohere and token pairs, over endpoints of the sidecar."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from tests.api.conftest import Client

SPARSE = ".elser-2-elasticsearch"
DENSE = ".multilingual-e5-small-elasticsearch"
RERANK = ".rerank-v1-elasticsearch"
ODD_TEXTS = ["lovely weather", "", "  ", None, "lovely weather"]


async def post(api: Client, path: str, body: Any) -> tuple[int, Any]:
    async with api.post(path, json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("lane", ["", "/ingest", "/search"])
async def test_hf_sparse(api: Client, lane: str) -> None:
    status, rows = await post(api, f"/compat/hf/{SPARSE}/sparse{lane}", {"inputs": ODD_TEXTS})
    assert (status, len(rows)) == (200, 5)
    assert rows[1] == rows[2] == rows[3] == {}
    assert rows[0] == rows[4]
    assert {"lovely", "weather"} <= set(rows[0])
    assert all(math.isfinite(weight) and weight > 0 for weight in rows[0].values())


@pytest.mark.parametrize("lane", ["", "/ingest", "/search"])
async def test_hf_embed(api: Client, lane: str) -> None:
    status, rows = await post(api, f"/compat/hf/{DENSE}/embed{lane}", {"inputs": ODD_TEXTS})
    assert (status, len(rows)) == (200, 5)
    assert all(len(row) == 384 and any(row) for row in rows)
    assert rows[0] == pytest.approx(rows[4], abs=1e-4)
    assert (await post(api, f"/compat/hf/{DENSE}/embed", {"inputs": "one text"}))[0] == 200
    assert await post(api, f"/compat/hf/{DENSE}/embed", {"inputs": []}) == (200, [])


async def test_hf_rerank_scores_every_text(api: Client) -> None:
    texts = ["stocks fell sharply", "", "cats chase mice", None]
    body = {"texts": texts, "query": "which animal hunts mice?", "return_text": True, "top_n": 1}
    status, rows = await post(api, f"/compat/hf/{RERANK}/rerank", body)
    assert status == 200
    assert rows[0]["index"] == 2
    assert sorted(row["index"] for row in rows) == [0, 1, 2, 3]
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert {row["index"] for row in rows[2:]} == {1, 3}
    assert rows[0]["text"] == "cats chase mice"
    del body["return_text"]
    _, bare = await post(api, f"/compat/hf/{RERANK}/rerank", body)
    assert set(bare[0]) == {"index", "score"}


async def test_raw_scores_are_the_models_own(api: Client) -> None:
    body = {"texts": ["cats chase mice"], "query": "which animal hunts mice?"}
    _, (shaped,) = await post(api, f"/compat/hf/{RERANK}/rerank", body)
    _, (raw,) = await post(api, f"/compat/hf/{RERANK}/rerank", {**body, "raw_scores": True})
    _, native = await post(api, f"/_inference/{RERANK}", {"input": body["texts"], "query": body["query"]})
    assert raw["score"] == pytest.approx(native["rerank"][0]["relevance_score"])
    assert shaped["score"] == pytest.approx(1 / (1 + math.exp(-raw["score"])), rel=1e-5)


async def test_pairs(api: Client) -> None:
    status, answer = await post(api, f"/compat/pairs/sparse_embedding/{SPARSE}", {"input": ["weather", ""]})
    first, second = answer["data"]
    assert status == 200
    assert second == {"embedding": []}
    assert first["embedding"][0]["token"] == "weather"
    assert set(first["embedding"][0]) == {"token", "weight"}


async def test_openai_embeddings(api: Client) -> None:
    status, answer = await post(api, "/v1/embeddings", {"input": ["a", "b"], "model": DENSE})
    assert status == 200
    assert [row["index"] for row in answer["data"]] == [0, 1]
    packed_body = {"input": ["a", "b"], "model": DENSE, "encoding_format": "base64"}
    _, packed = await post(api, "/v1/embeddings/search", packed_body)
    vector = np.frombuffer(base64.b64decode(packed["data"][1]["embedding"]), dtype="<f4")
    assert vector.shape == (384,)
    status, answer = await post(api, "/v1/embeddings", {"input": "a", "model": DENSE, "dimensions": 5})
    assert status == 400
    assert "384 dimensions" in answer["error"]["message"]


@pytest.mark.parametrize("path", [f"/compat/cohere/{RERANK}/rerank", "/v2/rerank"])
async def test_cohere_rerank(api: Client, path: str) -> None:
    documents = ["stocks fell sharply", {"text": "cats chase mice"}]
    body = {"model": RERANK, "query": "which animal hunts mice?", "documents": documents, "return_documents": True}
    status, answer = await post(api, path, body)
    assert status == 200
    assert [row["index"] for row in answer["results"]] == [1, 0]
    assert answer["results"][0]["document"] == {"text": "cats chase mice"}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/compat/hf/none/sparse", {"inputs": "x"}, 404, ("Inference endpoint not found [none]", "Validation")),
        (f"/compat/hf/{DENSE}/sparse", {"inputs": "x"}, 400, ("Endpoint [", "Validation")),
        (f"/compat/hf/{SPARSE}/sparse", {"inputs": [1]}, 422, ("[inputs] must be", "Validation")),
        (f"/compat/hf/{SPARSE}/sparse", {}, 422, ("[inputs] must be", "Validation")),
        (f"/compat/hf/{SPARSE}/sparse", [], 400, ("the body must be a JSON object", "Validation")),
        (f"/compat/hf/{SPARSE}/sparse/nope", {"inputs": "x"}, 404, ("no lane [nope]", "Validation")),
        (f"/compat/hf/{RERANK}/rerank", {"texts": ["x"]}, 422, ("[query] must be a string", "Validation")),
    ],
)
async def test_hf_errors(api: Client, path: str, body: Any, status: int, error: tuple[str, str]) -> None:
    found, answer = await post(api, path, body)
    assert (found, set(answer), answer["error_type"]) == (status, {"error", "error_type"}, error[1])
    assert answer["error"].startswith(error[0])


class OddProvider:
    """An embeddings provider that answers badly or late, as its texts say."""

    def __init__(self) -> None:
        self.calls = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        texts = (await request.json())["input"]
        self.calls += 1
        if "refuse" in texts:
            return web.json_response({"error": {"message": "slow down"}}, status=429)
        vectors = [[0.0, 0.0] if text == "zeros" else [1.0, 0.0] for text in texts]
        if "short" in texts:
            vectors = vectors[:-1]
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        return web.json_response({"object": "list", "data": data, "model": "m"})


@pytest.fixture
async def odd(api: Client, aiohttp_server: AiohttpServer) -> OddProvider:
    provider = OddProvider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.answer)
    server = await aiohttp_server(app)
    settings = {"api_key": "k", "model_id": "m", "url": str(server.make_url("/v1/embeddings"))}
    body = {"service": "openai", "service_settings": settings}
    async with api.put("/_inference/text_embedding/odd", json=body) as response:
        assert response.status == 200, await response.text()
    return provider


@pytest.mark.parametrize(
    ("text", "reason"), [("zeros", "input 1 is not usable"), ("short", "one result for each input")]
)
async def test_what_elasticsearch_could_not_index_is_an_error(
    api: Client, odd: OddProvider, text: str, reason: str
) -> None:
    status, answer = await post(api, "/compat/hf/odd/embed", {"inputs": ["a", text]})
    assert (status, answer["error_type"]) == (500, "Backend")
    assert reason in answer["error"]
    assert odd.calls >= 2


@pytest.mark.parametrize(("lane", "status"), [("ingest", 429), ("search", 500)])
async def test_a_search_is_not_to_be_repeated(api: Client, odd: OddProvider, lane: str, status: int) -> None:
    found, answer = await post(api, f"/compat/hf/odd/embed/{lane}", {"inputs": "refuse"})
    assert found == status
    assert "slow down" in answer["error"]


async def test_openai_searches_end_with_400(api: Client, odd: OddProvider) -> None:
    status, answer = await post(api, "/v1/embeddings/search", {"input": "refuse", "model": "odd"})
    assert status == 400
    assert "slow down" in answer["error"]["message"]
