"""Creating, showing, changing and deleting endpoints over HTTP; what differs between generations."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from sidecar.api.call import Call
from sidecar.api.keys import API_OPTIONS, ApiOptions
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from tests.api.conftest import Client, StartApi, create_endpoint


def settings(provider: str) -> dict[str, Any]:
    return {"api_key": "very-secret", "model_id": "m", "url": f"{provider}/openai/v1/embeddings"}


async def test_an_endpoint_from_start_to_end(api: Client, provider: str) -> None:
    body = {"service": "openai", "task_type": "text_embedding", "service_settings": settings(provider)}
    async with api.put("/_inference/mine?timeout=10s", json=body) as response:
        created = await response.json()
    assert (response.status, list(created)[:4]) == (200, ["inference_id", "task_type", "service", "service_settings"])
    assert "very-secret" not in await response.text()
    for path in ("mine", "text_embedding/mine", "any/mine"):
        async with api.get(f"/_inference/{path}") as response:
            assert await response.json() == {"endpoints": [created]}
    for path in ("", "/_all", "/*", "/text_embedding/_all", "/any/*"):
        async with api.get(f"/_inference{path}") as response:
            ids = [endpoint["inference_id"] for endpoint in (await response.json())["endpoints"]]
        assert "mine" in ids
        assert ids == sorted(ids)
    async with api.get("/_inference/completion/_all") as response:
        assert await response.json() == {"endpoints": []}
    async with api.put("/_inference/mine", json=body) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"]) == (400, "resource_already_exists_exception")
    async with api.put("/_inference/text_embedding/mine/_update", json={"task_settings": {"user": "u"}}) as response:
        assert (await response.json())["task_settings"] == {"user": "u"}
    async with api.delete("/_inference/mine?dry_run") as response:
        assert await response.json() == {"acknowledged": False, "pipelines": [], "indexes": [], "error_message": ""}
    async with api.delete("/_inference/rerank/mine") as response:
        assert response.status == 400
    async with api.delete("/_inference/mine") as response:
        assert await response.json() == {"acknowledged": True, "pipelines": [], "indexes": []}
    async with api.delete("/_inference/mine?force=true") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("bogus/x?foo", None, "Unknown task_type [bogus]"),
        ("rerank/x?timeout=5&foo", None, "failed to parse setting [timeout] with value [5] as a time value"),
        ("rerank/x?foo", None, "request body is required"),
        ("rerank/Bad_id", "{", "Validation Failed: 1: Invalid inference_id; 'Bad_id' can contain"),
        ("rerank/.elser-2-elasticsearch", "{", "Validation Failed: 1: Invalid inference_id;"),
        ("rerank/x", "{", "[1:2] Unexpected end of file"),
        ("rerank/x", '{"service":"a","service":"b"}', "[1:25] Duplicate field 'service'"),
        ("rerank/x", "[]", "Inference endpoint configuration is missing the [service] setting"),
        ("x", "{}", "model is missing required setting [task_type]"),
        ("rerank/x", '{"service":"nope"}', "Unknown service [nope]"),
    ],
)
async def test_order_of_checks(api: Client, path: str, body: str | None, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    async with api.put(f"/_inference/{path}", data=body, headers=headers) as response:
        answer = await response.json()
    assert response.status == 400
    assert answer["error"]["reason"].startswith(reason)


@pytest.mark.parametrize("generation", ["8.14", "8.12"])
async def test_older_generations_say_models(start_api: StartApi, provider: str, generation: str) -> None:
    api = await start_api(api_generation=generation)
    body = {"service": "openai", "service_settings": settings(provider)}
    async with api.put("/_inference/text_embedding/mine", json=body) as response:
        created = await response.json()
    assert response.status == 200, created
    assert created["model_id"] == "mine"
    assert created["task_settings"] == {}
    assert "chunking_settings" not in created
    assert "rate_limit" not in created["service_settings"]
    async with api.get("/_inference/text_embedding/mine") as response:
        assert await response.json() == {"models": [created]}
    async with api.get("/_inference/text_embedding/none") as response:
        assert (await response.json())["error"]["reason"] == "Model not found [none]"
    async with api.get("/_inference/sparse_embedding/.elser-2-elasticsearch") as response:
        assert response.status == 404
    async with api.delete("/_inference/text_embedding/mine?force=true") as response:
        assert response.status == 400
    async with api.delete("/_inference/text_embedding/mine") as response:
        assert await response.json() == {"acknowledged": True}


@pytest.mark.parametrize(("generation", "has_short_paths"), [("8.11", False), ("8.12", False), ("8.14", True)])
async def test_paths_without_task_type(start_api: StartApi, generation: str, has_short_paths: bool) -> None:
    api = await start_api(api_generation=generation)
    async with api.get("/_inference/none") as response:
        assert response.status == (404 if has_short_paths else 400)


async def test_one_token_map_of_8_11(start_api: StartApi) -> None:
    api = await start_api(api_generation="8.11")
    body = {"service": "elser", "service_settings": {"num_threads": 1, "num_allocations": 1}}
    async with api.put("/_inference/sparse_embedding/mine", json=body) as response:
        created = await response.json()
    assert (response.status, created.get("model_id"), created.get("service")) == (200, "mine", "elser")
    async with api.post("/_inference/sparse_embedding/mine", json={"input": "lovely weather"}) as response:
        tokens = (await response.json())["sparse_embedding"]
    assert isinstance(tokens, dict)
    assert {"weather", "lovely"} <= set(tokens)


async def test_a_request_chooses_its_generation(api: Client, dense: str) -> None:
    async with api.get(f"/_inference/{dense}", headers={"X-Inference-Api-Generation": "8.14"}) as response:
        (shown,) = (await response.json())["models"]
    assert shown["model_id"] == dense
    async with api.get("/_inference/_services", headers={"X-Inference-Api-Generation": "8.16"}) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (404, "resource_not_found_exception")
    async with api.get(f"/_inference/{dense}", headers={"X-Inference-Api-Generation": "7.17"}) as response:
        reason = (await response.json())["error"]["reason"]
    assert response.status == 400
    assert reason.startswith("Unknown generation [7.17] in header [X-Inference-Api-Generation], must be one of [8.11, ")


@pytest.mark.parametrize(
    ("generation", "status", "kind"),
    [("9.4", 429, "timeout_exception"), ("8.19", 408, "status_exception"), ("8.16", 500, "timeout_exception")],
)
async def test_a_timeout_in_each_generation(
    start_api: StartApi, provider: str, generation: str, status: int, kind: str
) -> None:
    api = await start_api(api_generation=generation)
    dense = await create_endpoint(api, f"{provider}/slow", "text_embedding", "embeddings")
    async with api.post(f"/_inference/text_embedding/{dense}?timeout=50ms", json={"input": "x"}) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"]) == (status, kind)
    assert error.get("timed_out") == (True if generation == "9.4" else None)


async def test_deprecations_are_warnings(api: Client) -> None:
    body = {"service": "elser", "service_settings": {"num_threads": 1, "num_allocations": 1}}
    async with api.put("/_inference/sparse_embedding/mine", json=body) as response:
        assert response.status == 200, await response.text()
        warnings = response.headers.getall("Warning")
    assert all(warning.startswith("299 Elasticsearch-9.4.3-") for warning in warnings)
    assert any("The [elser] service is deprecated" in warning for warning in warnings)


async def test_an_update_of_9_5_takes_a_timeout_and_chunking_settings(api: Client, provider: str) -> None:
    path, chunking = "/_inference/text_embedding/mine/_update", {"strategy": "word", "max_chunk_size": 50, "overlap": 5}
    body: dict[str, Any] = {"service": "openai", "service_settings": settings(provider)}
    async with api.put("/_inference/text_embedding/mine", json=body) as response:
        assert response.status == 200
    newer = {"X-Inference-Api-Generation": "9.5"}
    for query, body in (("?timeout=5s", {"task_settings": {"user": "u"}}), ("", {"chunking_settings": chunking})):
        async with api.put(path + query, json=body) as response:
            assert response.status == 400, await response.text()
        async with api.put(path + query, json=body, headers=newer) as response:
            updated = await response.json()
        assert response.status == 200, updated
    assert (updated["task_settings"], updated["chunking_settings"]) == ({"user": "u"}, chunking)
    async with api.put(path, json={"chunking_settings": {"strategy": "nope"}}, headers=newer) as response:
        assert (await response.json())["error"]["reason"] == "Invalid chunkingStrategy nope"
    async with api.put(f"{path}?timeout=0ms", json={"task_settings": {"user": "v"}}, headers=newer) as response:
        assert response.status == 200, await response.text()


async def test_chunking_settings_are_not_updated_of_what_embeds_nothing(api: Client, completion: str) -> None:
    body = {"chunking_settings": {"strategy": "none"}}
    path = f"/_inference/completion/{completion}/_update"
    async with api.put(path, json=body, headers={"X-Inference-Api-Generation": "9.5"}) as response:
        reason = (await response.json())["error"]["reason"]
    assert reason.startswith(
        "Request contained fields which cannot be updated, remove these fields and try again [{chu"
    )


@pytest.mark.parametrize(
    ("generation", "query", "completion", "embedding"),
    [
        ("9.4", "", "30s", "30s"),
        ("9.4", "?timeout=0", "0s", "0s"),
        ("9.5", "", "2m", "30s"),
        ("9.5", "?timeout=0", "2m", "30s"),
        ("9.5", "?timeout=5s", "5s", "5s"),
    ],
)
def test_the_time_of_a_call(generation: str, query: str, completion: str, embedding: str) -> None:
    options = ApiOptions(generation=GENERATIONS[generation])
    app = web.Application()
    app[API_OPTIONS] = options
    call = Call.begin(make_mocked_request("POST", f"/_inference/x{query}", app=app))
    call.read_target()
    assert str(call.timeout(TaskType.CHAT_COMPLETION)) == str(call.timeout(TaskType.COMPLETION)) == completion
    assert str(call.timeout(TaskType.TEXT_EMBEDDING)) == str(call.timeout()) == embedding


@pytest.mark.parametrize(("generation", "status"), [("9.4", 200), ("9.5", 400)])
async def test_top_n_below_one_is_an_error_from_9_5_on(api: Client, generation: str, status: int) -> None:
    body = {"query": "q", "input": ["a", "b"], "top_n": 0}
    headers = {"X-Inference-Api-Generation": generation}
    async with api.post("/_inference/rerank/.rerank-v1-elasticsearch", json=body, headers=headers) as response:
        assert response.status == status, await response.text()
