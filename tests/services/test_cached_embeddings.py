"""Equal texts are embedded once, as seen from outside: over HTTP, by a provider that counts what reaches it."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.app import create_app
from sidecar.settings import load_settings

OPENAI = {"service": "openai", "service_settings": {"api_key": "k", "model_id": "m"}}
COHERE = {"service": "cohere", "service_settings": {"api_key": "k", "model_id": "m", "embedding_type": "float"}}


def vector(model: str, kind: str, text: str) -> list[float]:
    """A vector that no other model, input type or text has."""
    return [float(zlib.crc32(f"{model}/{kind}/{text}".encode()) % 1000), 0.5]


@dataclass
class Provider:
    """OpenAI's and Cohere's embeddings; ``texts`` are all that were sent, in order."""

    texts: list[tuple[str, str]] = field(default_factory=list)

    async def openai(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.texts += [("", text) for text in body["input"]]
        data = [{"index": n, "embedding": vector(body["model"], "", t)} for n, t in enumerate(body["input"])]
        return web.json_response({"object": "list", "data": data, "model": "m", "usage": {}})

    async def cohere(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.texts += [(body["input_type"], text) for text in body["texts"]]
        vectors = [vector(body["model"], body["input_type"], text) for text in body["texts"]]
        return web.json_response({"id": "1", "embeddings": {"float": vectors}, "texts": body["texts"]})


@dataclass
class Served:
    provider: Provider
    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, body: Any) -> Any:
        async with self.session.request(method, self.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def vectors(self, inference_id: str, texts: list[str], **more: Any) -> list[list[float]]:
        answer = await self.ask("POST", f"/_inference/text_embedding/{inference_id}", {"input": texts, **more})
        return [item["embedding"] for item in answer["text_embedding"]]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    provider = Provider()
    upstream = web.Application()
    upstream.router.add_post("/v1/embeddings", provider.openai)
    upstream.router.add_post("/v2/embed", provider.cohere)
    runners = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    overrides = {"*": await start(upstream)}
    url = await start(create_app(load_settings({"data_dir": tmp_path, "upstream_overrides": overrides})))
    async with aiohttp.ClientSession() as session:
        yield Served(provider, session, url)
    for runner in reversed(runners):
        await runner.cleanup()


async def test_texts_reach_the_provider_once_and_come_back_in_their_places(served: Served) -> None:
    await served.ask("PUT", "/_inference/text_embedding/one", OPENAI)
    served.provider.texts.clear()
    asked = [["a", "b"], ["b", "a", "c"], ["c", "c"]]
    for texts in asked:
        assert await served.vectors("one", texts) == [vector("m", "", text) for text in texts]
    assert served.provider.texts == [("", "a"), ("", "b"), ("", "c")]
    async with served.session.get(served.url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    assert 'sidecar_embedding_cache_inputs_total{outcome="hit"} 4.0' in lines
    assert "sidecar_embedding_cache_saved_calls_total 1.0" in lines


async def test_callers_side_by_side_share_one_call(served: Served) -> None:
    await served.ask("PUT", "/_inference/text_embedding/one", OPENAI)
    served.provider.texts.clear()
    answers = await asyncio.gather(*(served.vectors("one", ["same"]) for _ in range(20)))
    assert answers == [[vector("m", "", "same")]] * 20
    assert served.provider.texts == [("", "same")]


async def test_an_input_type_that_reaches_the_provider_tells_texts_apart(served: Served) -> None:
    await served.ask("PUT", "/_inference/text_embedding/two", COHERE)
    served.provider.texts.clear()
    for name, kind in (("search", "search_query"), ("ingest", "search_document"), ("clustering", "clustering")):
        assert await served.vectors("two", ["a"], input_type=name) == [vector("m", kind, "a")]
        assert await served.vectors("two", ["a"], input_type=name) == [vector("m", kind, "a")]
    assert [kind for kind, _ in served.provider.texts] == ["search_query", "search_document", "clustering"]


async def test_what_the_call_sets_and_a_new_endpoint_are_told_apart(served: Served) -> None:
    await served.ask("PUT", "/_inference/text_embedding/one", OPENAI)
    await served.vectors("one", ["a"])
    served.provider.texts.clear()
    await served.vectors("one", ["a"], task_settings={"user": "someone"})
    assert served.provider.texts == [("", "a")]
    other = json.loads(json.dumps(OPENAI))
    other["service_settings"]["model_id"] = "n"
    async with served.session.delete(served.url + "/_inference/text_embedding/one") as response:
        assert response.status == 200
    await served.ask("PUT", "/_inference/text_embedding/one", other)
    assert await served.vectors("one", ["a"]) == [vector("n", "", "a")]


async def test_local_models_answer_equal_texts_alike(served: Served) -> None:
    path = "/_inference/sparse_embedding/.elser-2-elasticsearch"
    first = await served.ask("POST", path, {"input": ["whales sing", "ships"]})
    again = await served.ask("POST", path, {"input": ["ships", "whales sing"]})
    assert again["sparse_embedding"] == first["sparse_embedding"][::-1]
