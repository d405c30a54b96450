"""What a generation of the API changes on the way to a provider, where no recording of that release tells."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.core.generations import GENERATIONS
from sidecar.services.catalogue import Catalogue
from tests.services.conftest import Bench
from tests.services.recordings import service_account
from tests.services.stand_in import Reply

Json = Any
OPENAI = {"api_key": "k", "model_id": "m"}
VECTORS = Reply.json({"data": [{"embedding": [0.5, 0.25], "index": 0}, {"embedding": [0.25, 0.5], "index": 1}]})
V9_5 = GENERATIONS["9.5"].version


async def put(
    bench: Bench, path: str, service: str, settings: Json, version: str, reply: Reply = VECTORS
) -> dict[str, Json]:
    bench.provider.play((), [reply], [Reply.json({"access_token": "T", "expires_in": 3600})])
    bench.provider.is_open = True
    body = {"service": service, "service_settings": settings}
    return await bench.send("PUT", f"/_inference/{path}", body, version=version)


@pytest.mark.parametrize("version", ["8.14.1", "8.16.1"])
async def test_a_query_that_no_reranking_asks_for_fails_at_once_before_anything_is_sent(
    bench: Bench, version: str
) -> None:
    """8.16 waits for its timeout instead."""
    assert (await put(bench, "text_embedding/x", "openai", OPENAI, version))["status"] == 200
    sent = len(bench.provider.calls)
    answer = await bench.send("POST", "/_inference/text_embedding/x", {"input": "a", "query": "q"}, version=version)
    assert answer["status"] == 500
    error = answer["body"]["error"]
    assert error["type"] == "unsupported_operation_exception"
    assert error["reason"] == "OpenAI service does not support inference with query input"
    assert len(bench.provider.calls) == sent


@pytest.mark.parametrize("version", ["9.4.3", V9_5])
async def test_openai_embeds_texts_by_the_embedding_task(bench: Bench, version: str) -> None:
    created = await put(bench, "embedding/x", "openai", {**OPENAI, "dimensions": 2}, version)
    assert created["body"]["service_settings"]["similarity"] == "dot_product"
    assert created["body"]["chunking_settings"]["strategy"] == "sentence"
    body = {"input": ["first", {"content": {"type": "text", "value": "second"}}]}
    answer = await bench.send("POST", "/_inference/embedding/x", body, version=version)
    assert answer["body"] == {"embeddings": [{"embedding": [0.5, 0.25]}, {"embedding": [0.25, 0.5]}]}
    sent = bench.provider.calls[-1]
    assert (sent.host, sent.target) == ("api.openai.com", "/v1/embeddings")
    form = {"encoding_format": "base64"} if version == V9_5 else {}
    assert json.loads(sent.body) == {"input": ["first", "second"], "model": "m", "dimensions": 2, **form}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            [{"type": "text", "value": "a"}, {"type": "text", "value": "b"}],
            "Field [content] must contain a single item",
        ),
        ({"type": "image", "value": "data:image/png;base64,AAAA"}, "Non-text input provided for text-only model"),
    ],
)
async def test_openai_refuses_contents_that_it_cannot_embed(bench: Bench, content: Json, reason: str) -> None:
    await put(bench, "embedding/x", "openai", OPENAI, "9.4.3")
    answer = await bench.send("POST", "/_inference/embedding/x", {"input": [{"content": content}]})
    assert answer["status"] == 400
    assert answer["body"]["error"]["reason"].startswith(reason)


def test_task_types_of_9_5_are_taken_in_9_4_and_listed_in_9_5() -> None:
    def listed(generation: str) -> dict[str, list[str]]:
        services = Catalogue.discover().describe(None, GENERATIONS[generation])
        return {service["service"]: service["task_types"] for service in services}

    assert ("embedding" in listed("9.4")["openai"], "embedding" in listed("9.5")["openai"]) == (False, True)
    assert listed("9.4")["anthropic"] == ["completion"]
    assert listed("9.5")["anthropic"] == ["completion", "chat_completion"]


VERTEX = {"service_account_json": service_account(), "project_id": "p", "model_id": "m"}
GOOGLE_VECTOR = Reply.json({"predictions": [{"embeddings": {"values": [0.5, 0.25]}}]})
GEMINI = Reply.json({"candidates": [{"content": {"parts": [{"text": "Hello"}], "role": "model"}}]})


@pytest.mark.parametrize(
    ("task_type", "reply", "method"),
    [("text_embedding", GOOGLE_VECTOR, "predict"), ("completion", GEMINI, "generateContent")],
)
async def test_from_9_5_on_vertex_without_location_is_called_at_its_global_address(
    bench: Bench, task_type: str, reply: Reply, method: str
) -> None:
    refused = await put(bench, f"{task_type}/x", "googlevertexai", VERTEX, "9.4.3", reply)
    assert (refused["status"], bench.provider.calls) == (400, [])
    created = await put(bench, f"{task_type}/x", "googlevertexai", VERTEX, V9_5, reply)
    assert created["status"] == 200, created
    assert "location" not in created["body"]["service_settings"]
    # an endpoint is there for every generation
    answer = await bench.send("POST", f"/_inference/{task_type}/x", {"input": "a"})
    assert answer["status"] == 200, answer
    for call in bench.provider.calls:
        assert call.host == "aiplatform.googleapis.com"
        assert call.target == f"/v1/projects/p/locations/global/publishers/google/models/m:{method}"


def test_the_location_of_vertex_is_listed_as_what_it_is() -> None:
    def is_required(generation: str) -> bool:
        services = {s["service"]: s for s in Catalogue.discover().describe(None, GENERATIONS[generation])}
        found: bool = services["googlevertexai"]["configurations"]["location"]["required"]
        return found

    assert (is_required("9.4"), is_required("9.5")) == (True, False)


async def test_vertex_still_needs_project_and_model_in_9_5(bench: Bench) -> None:
    settings = {"service_account_json": service_account(), "location": "l"}
    answer = await put(bench, "completion/x", "googlevertexai", settings, V9_5)
    assert answer["status"] == 400
    assert "you must provide 'project_id', and 'model_id'" in answer["body"]["error"]["reason"]


async def test_the_effort_of_reasoning_goes_to_openai(bench: Bench) -> None:
    stream = Reply(headers={"content-type": "text/event-stream"}, body=b"data: [DONE]\n\n")
    assert (await put(bench, "chat_completion/x", "openai", OPENAI, "9.4.3", stream))["status"] == 200
    body: Json = {"messages": [{"role": "user", "content": "Hi"}], "reasoning": {"effort": "high", "summary": "auto"}}
    answer = await bench.send("POST", "/_inference/chat_completion/x/_stream", body)
    assert answer["status"] == 200, answer
    sent = json.loads(bench.provider.calls[-1].body)
    assert (sent["reasoning_effort"], sent.get("reasoning")) == ("high", None)
    body["reasoning"] = {"enabled": True}
    answer = await bench.send("POST", "/_inference/chat_completion/x/_stream", body)
    assert answer["status"] == 400
    assert "OpenAI chat completion requires [reasoning.effort]" in answer["body"]
