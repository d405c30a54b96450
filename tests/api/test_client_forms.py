"""What the SDKs of OpenAI and Cohere, TEI's clients and typed Elasticsearch clients need beside the plain routes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from sidecar.core.generations import generation_of
from tests.api.conftest import Client

SPARSE = ".elser-2-elasticsearch"
DENSE = ".multilingual-e5-small-elasticsearch"
RERANK = ".rerank-v1-elasticsearch"
TEXTS = ["ships sail", "whales sing in the sea", "stocks fell"]


async def ask(api: Client, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with api.request(method, path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def native(api: Client, text: str, input_type: str) -> np.ndarray[Any, Any]:
    _, body = await ask(api, "POST", f"/_inference/text_embedding/{DENSE}", {"input": text, "input_type": input_type})
    return np.array(body["text_embedding"][0]["embedding"])


@pytest.mark.parametrize(
    "path", ["/v2/rerank", f"/compat/cohere/{RERANK}/rerank", f"/compat/cohere/{RERANK}/v2/rerank"]
)
async def test_cohere_gives_as_many_as_are_asked_for(api: Client, path: str) -> None:
    body = {"model": RERANK, "query": "animals of the sea", "documents": [TEXTS[0], {"text": TEXTS[1]}, TEXTS[2]]}
    _, whole = await ask(api, "POST", path, body)
    status, best = await ask(api, "POST", path, body | {"top_n": 1})
    assert status == 200
    assert [row["index"] for row in best["results"]] == [1]
    assert best["results"] == whole["results"][:1]
    assert len(whole["results"]) == 3
    status, refused = await ask(api, "POST", path, body | {"top_n": 0})
    assert (status, refused) == (422, {"message": "[top_n] must be a whole number above 0"})


async def test_rerank_of_servers_like_openai_brings_texts_along(api: Client) -> None:
    body = {"model": RERANK, "query": "animals of the sea", "documents": TEXTS, "top_n": 2}
    status, answer = await ask(api, "POST", "/v1/rerank", body)
    assert status == 200
    assert answer["model"] == RERANK
    assert answer["results"][0]["document"] == {"text": TEXTS[1]}
    assert len(answer["results"]) == 2
    _, bare = await ask(api, "POST", "/v1/rerank", body | {"return_documents": False})
    assert all("document" not in row for row in bare["results"])


@pytest.mark.parametrize(
    ("path", "more", "input_type"),
    [
        ("/v1/embeddings", {}, "ingest"),
        ("/v1/embeddings/search", {}, "search"),
        ("/search/v1/embeddings", {}, "search"),
        ("/ingest/v1/embeddings", {"input_type": "query"}, "ingest"),
        ("/v1/embeddings", {"input_type": "query"}, "search"),
        (f"/openai/deployments/{DENSE}/embeddings?api-version=2024-10-21", {}, "ingest"),
        (f"/search/openai/deployments/{DENSE}/embeddings?api-version=2024-10-21", {}, "search"),
        ("/v1/embeddings", {"input_type": "passage"}, "ingest"),
        ("/v1/embeddings", {"prompt_name": "query"}, "search"),
    ],
)
async def test_openai_clients_reach_both_lanes(api: Client, path: str, more: dict[str, str], input_type: str) -> None:
    status, answer = await ask(api, "POST", path, {"model": DENSE, "input": "how do whales sing", **more})
    assert status == 200
    np.testing.assert_allclose(
        answer["data"][0]["embedding"], await native(api, "how do whales sing", input_type), atol=1e-6
    )


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/embeddings", {"input_type": "retrieval.query"}),
        ("/v1/embeddings", {"prompt_name": "Retrieval-query"}),
        ("/v1/embeddings", {"input_type": 3}),
        (f"/compat/hf/{DENSE}/embed", {"prompt_name": "web_search_query"}),
        ("/v2/embed", {"input_type": "search-query"}),
    ],
)
async def test_a_purpose_that_nobody_knows_is_refused(api: Client, path: str, more: dict[str, Any]) -> None:
    (name,) = more
    body = {"model": DENSE, "input": "a", "inputs": "a", "texts": ["a"], **more}
    status, answer = await ask(api, "POST", path, body)
    assert status == 422
    assert f"[{name}] must be one of [search, query, search_query, ingest, document, " in str(answer)
    assert f"not [{more[name]}]" in str(answer)


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
async def test_coheres_truncate_is_heeded(api: Client, path: str) -> None:
    """Cohere: ``NONE`` is an error for a text that is too long, ``START`` discards its beginning."""
    body = {"model": DENSE, "input_type": "search_document"}
    for cutting, expected, words in (
        ("NONE", 400, "input [1] is longer than 512 tokens, and [truncate] is [NONE]"),
        ("START", 422, "input [1] is too long, and the model's texts are cut at their right, not at their left"),
        ("END", 200, ""),
        (None, 200, ""),
        ("MIDDLE", 422, "[truncate] must be one of [NONE, START, END]"),
    ):
        asked = body | {"texts": ["a", "word " * 600], "truncate": cutting}
        status, answer = await ask(api, "POST", path, asked)
        assert (cutting, status) == (cutting, expected)
        assert words in answer.get("message", "")
        if cutting != "MIDDLE":
            assert (await ask(api, "POST", path, asked | {"texts": ["a"]}))[0] == 200


async def test_fields_to_rank_by_are_refused_and_not_left_out(api: Client) -> None:
    body = {"model": RERANK, "query": "sea", "documents": [{"title": "sea", "text": "b"}], "rank_fields": ["title"]}
    status, answer = await ask(api, "POST", "/v1/rerank", body)
    assert status == 422
    assert answer["message"] == "[rank_fields] other than [text] are not read; send the texts"
    for more in ({"rank_fields": ["text"]}, {"rank_fields": None}, {"documents": ["b"]}):
        assert (await ask(api, "POST", "/v1/rerank", body | more))[0] == 200


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_ids_are_refused_with_the_way_out(api: Client, tokens: list[Any]) -> None:
    status, answer = await ask(api, "POST", "/v1/embeddings", {"model": DENSE, "input": tokens})
    assert status == 422
    assert "check_embedding_ctx_length=False" in answer["error"]["message"]


async def test_models_are_listed_and_names_are_mapped(start_api: Any) -> None:
    api = await start_api(model_names={"text-embedding-3-small": DENSE})
    _, listed = await ask(api, "GET", "/v1/models")
    assert {SPARSE, DENSE, RERANK, "text-embedding-3-small"} <= {model["id"] for model in listed["data"]}
    assert (await ask(api, "GET", "/v1/models/text-embedding-3-small"))[0] == 200
    assert (await ask(api, "GET", "/v1/models/nothing"))[0] == 404
    body = {"model": "text-embedding-3-small", "input": "a", "encoding_format": "base64"}
    status, answer = await ask(api, "POST", "/v1/embeddings?api-version=2024-10-21", body)
    assert (status, answer["model"]) == (200, "text-embedding-3-small")
    vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(vector, await native(api, "a", "ingest"), atol=1e-6)


async def test_formats_that_cannot_be_had_are_refused(api: Client) -> None:
    body = {"model": DENSE, "input": "a", "encoding_format": "int8"}
    status, answer = await ask(api, "POST", "/v1/embeddings", body)
    assert status == 400
    assert answer["error"]["message"] == "[encoding_format] must be one of [float, base64], not [int8]"


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v1/embeddings", {"error"}),
        ("/search/v1/embeddings", {"error"}),
        ("/v2/rerank", {"message"}),
        (f"/compat/hf/{DENSE}/embed", {"error", "error_type"}),
    ],
)
async def test_what_is_wrong_before_a_route_is_found_is_told_in_its_callers_form(
    api: Client, path: str, keys: set[str]
) -> None:
    for headers in ({"Content-Type": "text/plain"}, {"X-Inference-Api-Generation": "7.17"}):
        async with api.request("POST", path, data=b"{}", headers=headers) as response:
            answer = await response.json()
            assert response.status in (400, 406)
            assert set(answer) == keys
            if keys == {"error"}:
                assert set(answer["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_routes_are_told_in_their_callers_form(api: Client, method: str) -> None:
    status, answer = await ask(api, method, "/v1/moderations")
    assert status == 404
    assert answer["error"]["message"] == f"Invalid URL ({method} /v1/moderations)"
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (await ask(api, method, "/openai/deployments/a/images"))[1]["error"]["message"].startswith("Invalid URL")
    assert await ask(api, method, "/v2/classify") == (404, {"message": f"Invalid URL ({method} /v2/classify)"})
    assert (await ask(api, method, "/search/v1/moderations"))[1]["error"]["message"].startswith("Invalid URL")


@pytest.mark.parametrize("base", ["", f"/compat/cohere/{DENSE}"])
async def test_cohere_embeds(api: Client, base: str) -> None:
    body = {"model": DENSE, "texts": ["how do whales sing"], "input_type": "search_query"}
    wanted = await native(api, "how do whales sing", "search")
    status, old = await ask(api, "POST", f"{base}/v1/embed", body)
    assert (status, old["response_type"]) == (200, "embeddings_floats")
    assert old["meta"]["billed_units"]["input_tokens"] > 0
    np.testing.assert_allclose(old["embeddings"][0], wanted, atol=1e-6)
    _, new = await ask(api, "POST", f"{base}/v2/embed", body | {"embedding_types": ["float", "base64"]})
    np.testing.assert_allclose(new["embeddings"]["float"][0], wanted, atol=1e-6)
    packed = np.frombuffer(base64.b64decode(new["embeddings"]["base64"][0]), dtype="<f4")
    np.testing.assert_allclose(packed, wanted, atol=1e-6)
    status, refused = await ask(api, "POST", f"{base}/v2/embed", body | {"embedding_types": ["ubinary"]})
    assert (status, refused) == (422, {"message": "embedding_types ['ubinary'] cannot be had, only float and base64"})


async def test_tei_clients(api: Client) -> None:
    base = f"/compat/hf/{DENSE}"
    assert await ask(api, "POST", base, {"inputs": "a"}) == await ask(api, "POST", f"{base}/embed", {"inputs": "a"})
    _, vectors = await ask(api, "POST", f"{base}/embed", {"inputs": "how do whales sing", "prompt_name": "query"})
    np.testing.assert_allclose(vectors[0], await native(api, "how do whales sing", "search"), atol=1e-6)
    _, info = await ask(api, "GET", f"{base}/info")
    assert (info["model_id"], info["max_input_length"]) == ("bge-small-en-v1.5", 512)
    async with api.get(f"{base}/health") as response:
        assert response.status == 200
    for asked in ({"normalize": False}, {"truncation_direction": "up"}, {"dimensions": 64}):
        assert (await ask(api, "POST", f"{base}/embed", {"inputs": "a", **asked}))[0] == 422
    status, rows = await ask(api, "POST", "/rerank", {"query": "animals of the sea", "texts": TEXTS})
    assert (status, rows[0]["index"]) == (200, 1)


@pytest.mark.parametrize("model", [DENSE, ".multilingual-e5-small", ".multilingual-e5-small_linux-x86_64"])
async def test_trained_models_infer(api: Client, model: str) -> None:
    body = {"docs": [{"text_field": "a"}, {"content": "b"}]}
    status, answer = await ask(api, "POST", f"/_ml/trained_models/{model}/_infer", body)
    assert status == 200
    first = answer["inference_results"][0]["predicted_value"]
    np.testing.assert_allclose(first, await native(api, "a", "ingest"), atol=1e-6)
    assert len(answer["inference_results"]) == 2
    _, described = await ask(api, "GET", f"/_ml/trained_models/{model}")
    assert described["trained_model_configs"][0]["model_id"] == model


async def test_trained_models_infer_tokens_and_refusals(api: Client) -> None:
    body = {"docs": [{"text_field": "whales"}]}
    _, answer = await ask(api, "POST", "/_ml/trained_models/.elser_model_2/_infer", body)
    assert answer["inference_results"][0]["predicted_value"]["whales"] > 0
    status, refused = await ask(api, "POST", "/_ml/trained_models/nothing/_infer", body)
    assert (status, refused["error"]["type"]) == (404, "resource_not_found_exception")
    assert (await ask(api, "POST", "/_ml/trained_models/.elser_model_2/_infer", {"docs": []}))[0] == 400


async def test_the_root_has_what_typed_clients_insist_on(api: Client) -> None:
    _, root = await ask(api, "GET", "/")
    needed = {"number", "build_flavor", "build_type", "build_hash", "build_date", "build_snapshot", "lucene_version"}
    needed |= {"minimum_wire_compatibility_version", "minimum_index_compatibility_version"}
    assert needed <= set(root["version"])


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("service", ["", "elasticsearch"])
async def test_typed_clients_can_update(api: Client, method: str, service: str) -> None:
    settings = {"model_id": "all-MiniLM-L6-v2", "num_allocations": 1, "num_threads": 1}
    await ask(api, "PUT", "/_inference/text_embedding/mine", {"service": "elasticsearch", "service_settings": settings})
    change = {"service": service, "service_settings": {"num_allocations": 2}}
    status, answer = await ask(api, method, "/_inference/text_embedding/mine/_update", change)
    assert (status, answer["service_settings"]["num_allocations"]) == (200, 2)
    status, refused = await ask(api, method, "/_inference/text_embedding/mine/_update", change | {"service": "openai"})
    assert status == 400
    assert "cannot be updated, remove these fields and try again [{service=openai}]" in refused["error"]["reason"]


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        ("8.11.3", "8.11"), ("8.12", "8.12"), ("8.13.4", "8.14"), ("8.15.0", "8.16"), ("8.17.3", "8.16"),
        ("8.18.1", "8.19"), ("8.19.8", "8.19"), ("9.0.0", "9.4"), ("9.2", "9.4"), ("9.4.3-SNAPSHOT", "9.4"),
        ("9.5", "9.5"), ("9.9.1", "9.5"), ("8.10.4", None), ("7.17.0", None), ("newest", None), ("9", None),
    ],
)  # fmt: skip
def test_a_users_version_means_the_generation_that_speaks_it(version: str, generation: str | None) -> None:
    found = generation_of(version)
    assert (found.name if found else None) == generation


async def test_a_version_may_stand_in_the_header(api: Client) -> None:
    _, old = await ask(api, "GET", "/_inference/_all", **{"X-Inference-Api-Generation": "8.13.4"})
    assert "models" in old
    status, refused = await ask(api, "GET", "/_inference", **{"X-Inference-Api-Generation": "7.17"})
    assert (status, refused["error"]["type"]) == (400, "illegal_argument_exception")
