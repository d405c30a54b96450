"""Providers that take little at once, answer with nonsense, fall silent or hang, and what callers see of that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.app import RESOURCES, create_app
from sidecar.settings import load_settings

Json = Any
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEY = "sk-nobody-may-see-this"


@asynccontextmanager
async def provider(answer: Answer) -> AsyncIterator[str]:
    """The address of a provider that answers everything with ``answer``."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", answer)
    async with served(app) as url:
        yield url


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Sidecar:
    session: aiohttp.ClientSession
    url: str
    app: web.Application

    async def create(self, path: str, service: str, **settings: Json) -> None:
        body = {"service": service, "service_settings": {"api_key": KEY, **settings}}
        async with self.session.put(f"{self.url}/_inference/{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def call(self, path: str, body: Json, timeout: str = "20s") -> tuple[int, Json]:
        url = f"{self.url}/_inference/{path}"
        async with self.session.post(url, json=body, params={"timeout": timeout}) as response:
            text = await response.text()
            return response.status, json.loads(text) if "json" in response.headers["Content-Type"] else text


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Sidecar]:
    settings = load_settings(
        {
            "data_dir": tmp_path,
            "cache_size": 0,
            "retry_initial_delay": 0.001,
            "retry_max_delay": 0.002,
            "stream_idle_timeout": 0.3,
            "max_connections": 4,
        }
    )
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(app))
        yield Sidecar(await stack.enter_async_context(aiohttp.ClientSession()), url, app)


def embeddings(vectors: list[list[float]]) -> web.Response:
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    return web.json_response({"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


# --- too large


async def test_a_body_that_is_too_large_is_halved_and_no_text_is_cut(sidecar: Sidecar) -> None:
    sizes: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        sizes.append(len(body))
        if len(body) > 20_000:
            return web.json_response({"error": "too large"}, status=413)
        return web.json_response([[float(len(text)), 1.0] for text in json.loads(body)["inputs"]])

    async with provider(answer) as url:
        await sidecar.create("text_embedding/tei", "hugging_face", url=url)
        texts = [f"{n:04}" * (200 + n) for n in range(50)]
        status, body = await sidecar.call("text_embedding/tei", {"input": texts})
    assert status == 200
    assert [item["embedding"][0] for item in body["text_embedding"]] == [len(text) for text in texts]
    assert len(sizes) < 10


async def test_of_a_list_only_the_text_that_is_too_long_is_cut_and_marked(sidecar: Sidecar) -> None:
    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["inputs"]
        if any(len(text) > 1500 for text in texts):
            return web.json_response({"error": "too long"}, status=413)
        return web.json_response([[{"index": len(text), "value": 1.0}] for text in texts])

    texts = ["short", "x" * 5000, "y" * 1400, "z" * 1600, "brief"]
    async with provider(answer) as url:
        await sidecar.create("sparse_embedding/tei", "hugging_face", url=url)
        status, body = await sidecar.call("sparse_embedding/tei", {"input": texts})
    assert status == 200
    found = [(int(next(iter(item["embedding"]))), item["is_truncated"]) for item in body["sparse_embedding"]]
    # the endpoint's own limit, 512 tokens of three characters, comes first
    assert found == [(5, False), (768, True), (1400, False), (768, True), (5, False)]


async def test_dense_vectors_of_cut_texts_are_marked_across_parts_of_a_call(sidecar: Sidecar) -> None:
    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["inputs"]
        if len(texts) > 3 or any(len(text) > 1000 for text in texts):
            return web.json_response({"error": "too long"}, status=413)
        return web.json_response([[float(len(text)), 1.0] for text in texts])

    texts = ["short", "x" * 5000, "y" * 900, "z" * 1600, "brief", "v" * 1400]
    async with provider(answer) as url:
        await sidecar.create("text_embedding/tei", "hugging_face", url=url, max_input_tokens=512)
        address = f"{sidecar.url}/_inference/text_embedding/tei"
        async with sidecar.session.post(address, json={"input": texts}) as response:
            body = await response.json()
            # by the endpoint's own limit, 512 tokens of three characters, and by half for the provider
            assert [item["embedding"][0] for item in body["text_embedding"]] == [5, 768, 900, 768, 5, 700]
            assert response.headers["X-Sidecar-Truncated"] == "1, 3, 5"


@pytest.mark.parametrize("service", ["hugging_face", "together"])
async def test_no_document_is_cut_for_a_ranking(sidecar: Sidecar, service: str) -> None:
    """As Elasticsearch: 9.4.3 and 8.19.8 send the same documents three times, and then say that it is too much."""
    sent: list[Json] = []
    refusing = False

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        if refusing:
            sent.append(body.get("texts", body.get("documents")))
            return web.json_response({"error": "too long"}, status=413)
        scores = [{"index": n, "score": 1.0, "relevance_score": 1.0} for n in range(1)]
        return web.json_response(scores if service == "hugging_face" else {"results": scores})

    documents = ["short", "y" * 1400, "brief and", "z" * 2]
    async with provider(answer) as url:
        settings = {"url": url} if service == "hugging_face" else {"url": url, "model_id": "m"}
        await sidecar.create("rerank/one", service, **settings)
        refusing = True
        status, body = await sidecar.call("rerank/one", {"query": "q", "input": documents})
    assert status == 413
    assert body["error"]["reason"].startswith("Received a content too large status code for request")
    assert sent == [documents] * 3


async def test_a_provider_for_whom_everything_is_too_large_is_not_asked_for_each_text(sidecar: Sidecar) -> None:
    calls = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        if len((await request.json())["inputs"]) == 1 and calls == 1:
            return web.json_response([[1.0, 1.0]])
        return web.json_response({"error": "no"}, status=413)

    async with provider(answer) as url:
        await sidecar.create("text_embedding/tei", "hugging_face", url=url)
        status, _ = await sidecar.call("text_embedding/tei", {"input": [f"text {n}" for n in range(64)]})
    assert status == 413
    # six halvings, then one text three times
    assert calls == 1 + 6 + 3


async def test_a_part_without_all_its_results_fails_the_call(sidecar: Sidecar) -> None:
    async def answer(request: web.Request) -> web.Response:
        vectors = [[float(text)] for text in (await request.json())["input"] if text.isdigit()] or [[0.0]]
        return embeddings(vectors[:-1] if len(vectors) > 1000 else vectors)

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        status, body = await sidecar.call("text_embedding/o", {"input": [str(n) for n in range(3000)]})
    assert status == 500
    assert "answered with [2047] results for [2048] inputs" in body["error"]["reason"]


# --- nonsense


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
async def test_numbers_that_no_index_takes_are_an_error_that_names_the_input(sidecar: Sidecar, value: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        if "query" in body:
            scores = [
                f'{{"index":{n},"relevance_score":{value if n == 1 else n}}}' for n in range(len(body["documents"]))
            ]
            return web.Response(text=f'{{"results":[{",".join(scores)}]}}', content_type="application/json")
        vectors = ["[1.0,2.0]" if "bad" not in text else f"[1.0,{value}]" for text in body["input"]]
        data = [f'{{"index":{n},"embedding":{vector}}}' for n, vector in enumerate(vectors)]
        text = f'{{"object":"list","data":[{",".join(data)}],"usage":{{"prompt_tokens":1,"total_tokens":1}}}}'
        return web.Response(text=text, content_type="application/json")

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        status, body = await sidecar.call("text_embedding/o", {"input": ["good", "bad", "good"]})
        assert status >= 400
        assert "The embedding of input [1] holds a value that is not a finite number" in body["error"]["reason"]
        assert (await sidecar.call("text_embedding/o", {"input": ["good", "fine"]}))[0] == 200


async def test_an_integer_beyond_a_double_is_an_error_of_the_provider(sidecar: Sidecar) -> None:
    async def answer(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        return embeddings([[10**400 if text == "bad" else 1] for text in texts])

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        status, body = await sidecar.call("text_embedding/o", {"input": ["bad"]})
    assert status >= 400
    assert "internal error" not in json.dumps(body)
    assert "number" in body["error"]["reason"]


@pytest.mark.parametrize(("status", "text"), [(200, "x"), (200, '{"a":"'), (400, "x"), (500, '{"error":{"message":"')])
async def test_megabytes_of_nonsense_are_quoted_in_a_few_hundred_characters(
    sidecar: Sidecar, status: int, text: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if b"how big" in await request.read():
            return embeddings([[1.0]])
        end = '"}}' if "error" in text else ""
        return web.Response(text=text + "y" * 5_000_000 + end, status=status, content_type="application/json")

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        _, body = await sidecar.call("text_embedding/o", {"input": ["a"]})
    assert "error" in body
    assert len(json.dumps(body)) < 10_000
    if status == 200:
        assert "[truncated" in json.dumps(body)


# --- streams

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
CHUNK = {
    "id": "1",
    "model": "m",
    "object": "chat.completion.chunk",
    "choices": [{"delta": {"content": "a"}, "index": 0}],
}


async def stream(request: web.Request, *events: Json, stays: asyncio.Event | None = None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(f"data: {json.dumps(event)}\n\n".encode())
    if stays is not None:
        await stays.wait()
    return response


async def chat(sidecar: Sidecar, answer: Answer) -> tuple[int, Json]:
    async with provider(answer) as url:
        await sidecar.create("chat_completion/c", "openai", model_id="m", url=url)
        return await sidecar.call("chat_completion/c/_stream", CHAT)


async def test_a_silent_stream_ends_and_gives_its_connection_back(sidecar: Sidecar) -> None:
    never = asyncio.Event()
    calls = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return await stream(request, CHUNK, stays=None if calls == 1 else never)

    status, text = await chat(sidecar, answer)
    assert status == 200
    assert '"content":"a"' in text
    assert "Nothing came from the provider for [0.3s]" in text
    assert "[DONE]" not in text
    sender = sidecar.app[RESOURCES].sender
    assert (sender.open_streams, sender.calls_in_flight) == (0, 0)


async def test_the_words_of_an_error_with_a_number_as_code_arrive(sidecar: Sidecar) -> None:
    error = {"error": {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}}

    async def answer(request: web.Request) -> web.StreamResponse:
        is_probe = "how big" in (await request.text())
        return await stream(request, CHUNK, *([] if is_probe else [error]))

    _, text = await chat(sidecar, answer)
    assert "boom" in text
    assert '"code":"500"' in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "gateway says no", "type": "t"}}, "gateway says no"),
        ({"id": "x", "choices": [{"message": {"content": "whole"}}]}, "one JSON body"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
async def test_a_json_body_in_the_place_of_a_stream_is_an_error(
    sidecar: Sidecar, body: Json, said: str, kind: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "how big" in (await request.text()):
            return await stream(request, CHUNK)
        return web.json_response(body, content_type=kind)

    _, text = await chat(sidecar, answer)
    if kind != "application/json":
        said = said.replace("JSON body", "body that is no stream")
    assert said in str(text)
    assert "[DONE]" not in str(text)


async def test_a_page_in_the_place_of_a_stream_is_an_error(sidecar: Sidecar) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "how big" in (await request.text()):
            return await stream(request, CHUNK)
        return web.Response(text="<html>Sign in</html>", content_type="text/html")

    _, text = await chat(sidecar, answer)
    assert "Sign in" in str(text)
    assert "[DONE]" not in str(text)


@pytest.mark.parametrize(
    "error", ["boom", {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}]
)
async def test_the_words_of_an_error_in_any_stream_arrive(sidecar: Sidecar, error: Json) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            return web.json_response({"choices": [{"message": {"content": "yes"}}]})
        return await stream(request, CHUNK, {"error": error})

    async with provider(answer) as url:
        await sidecar.create("completion/words", "openai", model_id="m", url=url)
        _, text = await sidecar.call("completion/words/_stream", {"input": "a"})
    assert "boom" in str(text)
    assert "[choices]" not in str(text)


# --- hanging


async def test_providers_that_hang_take_no_connection_from_others(sidecar: Sidecar) -> None:
    hanging = asyncio.Semaphore(0)
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        if b"how big" in await request.read():
            return embeddings([[1.0]])
        hanging.release()
        await never.wait()
        return embeddings([[1.0]])

    async def answer(_request: web.Request) -> web.Response:
        return embeddings([[1.0]])

    async with AsyncExitStack() as stack:
        for name, how in (("one", hang), ("two", hang), ("three", answer)):
            url = await stack.enter_async_context(provider(how))
            await sidecar.create(f"text_embedding/{name}", "openai", model_id="m", url=url)
        calls = [
            asyncio.create_task(sidecar.call(f"text_embedding/{name}", {"input": ["a"]}))
            for name in ("one", "two")
            for _ in range(10)
        ]
        for _ in range(8):  # four each, and the rest wait
            await hanging.acquire()
        found = await asyncio.gather(*(sidecar.call("text_embedding/three", {"input": ["a"]}) for _ in range(4)))
        assert [status for status, _ in found] == [200] * 4
        assert sidecar.app[RESOURCES].sender.calls_in_flight == 20
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        async with asyncio.timeout(10):
            while sidecar.app[RESOURCES].sender.calls_in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


# --- secrets


@pytest.mark.parametrize("key", ["sk-x\n", "sk-x\r\n", "sk-x \n", "\nsk-x"])
async def test_a_key_with_a_line_end_is_sent_without_it(sidecar: Sidecar, key: str) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        seen.append(request.headers.get("X-Mine", ""))
        return embeddings([[1.0]])

    async with provider(answer) as url:
        settings = {"api_key": key, "model_id": "m", "url": url}
        body = {
            "service": "openai",
            "service_settings": settings,
            "task_settings": {"headers": {"X-Mine": "a\r\nX-Other: b"}},
        }
        async with sidecar.session.put(f"{sidecar.url}/_inference/text_embedding/k", json=body) as response:
            assert response.status == 200, await response.text()
    assert " ".join(seen[0].split()) == "Bearer sk-x"
    assert seen[1].split() == ["a", "X-Other:", "b"]


async def test_a_header_with_a_control_character_is_named_and_not_quoted(sidecar: Sidecar) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return embeddings([[1.0]])

    async with provider(answer) as url:
        settings = {"api_key": f"{KEY}\x01", "model_id": "m", "url": url}
        body = {"service": "openai", "service_settings": settings}
        async with sidecar.session.put(f"{sidecar.url}/_inference/text_embedding/k", json=body) as response:
            text = await response.text()
    assert response.status in (400, 500)
    assert "The header [Authorization] holds a control character" in text
    assert KEY not in text


async def test_the_log_of_a_failed_call_says_who_failed_and_how_without_the_key(
    sidecar: Sidecar, capfd: pytest.CaptureFixture[str]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        if b"how big" in await request.read():
            return embeddings([[1.0]])
        return web.json_response({"error": {"message": f"Incorrect API key: {KEY}", "type": "t"}}, status=401)

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        status, _ = await sidecar.call("text_embedding/o", {"input": ["a"]})
    assert status == 401
    log = capfd.readouterr()
    (line,) = [line for line in (log.out + log.err).splitlines() if "upstream_call_failed" in line]
    for part in ("host=127.0.0.1", "upstream_status=401", "service=openai", "Incorrect API key: ********"):
        assert part in line
    assert KEY not in log.out + log.err


# --- when to come again


@pytest.mark.parametrize(
    ("waiting", "at_least"),
    [
        ({"Retry-After": "1"}, 1.0),
        ({"retry-after-ms": "300", "Retry-After": "1"}, 0.3),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({}, 0.0),
    ],
)
@pytest.mark.parametrize("task_type", ["text_embedding", "completion"])
async def test_a_provider_is_asked_again_when_it_says(
    sidecar: Sidecar, waiting: dict[str, str], at_least: float, task_type: str
) -> None:
    asked: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        if b"how big" not in await request.read():
            asked.append(time.monotonic())
            if len(asked) == 1:
                return web.json_response({"message": "slow down"}, status=429, headers=waiting)
        if task_type == "completion":
            return web.json_response({"text": "fine", "message": {"content": [{"text": "fine"}]}})
        return web.json_response({"embeddings": {"float": [[1.0, 2.0]]}, "embeddings_floats": [[1.0, 2.0]]})

    async with provider(answer) as url:
        await sidecar.create(f"{task_type}/c", "cohere", model_id="m", url=url)
        status, body = await sidecar.call(f"{task_type}/c", {"input": ["a"]})
    assert status == 200, body
    assert len(asked) == 2
    assert asked[1] - asked[0] >= at_least


@pytest.mark.parametrize(
    ("said", "timeout", "passed_on"),
    [("17", "5s", {"17"}), ("17.2", "5s", {"18"}), ("60", "5m", {"60"}), (None, "5m", {"3599", "3600"})],
)
async def test_a_caller_who_cannot_wait_so_long_is_told_at_once_when_to_come_again(
    sidecar: Sidecar, said: str | None, timeout: str, passed_on: set[str]
) -> None:
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        if b"how big" in await request.read():
            return embeddings([[1.0]])
        asked += 1
        hour = datetime.now(UTC) + timedelta(hours=1)
        again = format_datetime(hour, usegmt=True) if said is None else said
        return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": again})

    async with provider(answer) as url:
        await sidecar.create("text_embedding/o", "openai", model_id="m", url=url)
        # A search of that form has nine seconds, and never 429, on which Elasticsearch would repeat it.
        for place, model, wanted in (
            (f"_inference/o?timeout={timeout}", {}, 429),
            ("search/v1/embeddings", {"model": "o"}, 400),
        ):
            asked = 0
            async with sidecar.session.post(f"{sidecar.url}/{place}", json={"input": "a", **model}) as response:
                assert response.status == wanted, await response.text()
                assert response.headers["Retry-After"] in passed_on
            assert asked == 1
