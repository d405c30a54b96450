"""``sidecar serve`` from start to end."""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from .conftest import Services

SECRET = "sk-nobody-may-see-this"
LOCAL = {
    "service": "elasticsearch",
    "service_settings": {"model_id": "splade-tiny", "num_allocations": 1, "num_threads": 1},
}


class Provider:
    """Answers embedding calls in OpenAI's form, when it is let."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.called = asyncio.Event()
        self.keys: list[str | None] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Authorization"))
        inputs = (await request.json())["input"]
        self.called.set()
        await self.may_answer.wait()
        data = [{"index": n, "embedding": [0.5, 1.0, float(n)]} for n in range(len(inputs))]
        return web.json_response({"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


@pytest.fixture
async def provider(aiohttp_server: AiohttpServer) -> Provider:
    provider = Provider()
    app = web.Application()
    app.router.add_post("/{path:.*}", provider.answer)
    server = await aiohttp_server(app)
    provider.url = f"http://127.0.0.1:{server.port}"
    return provider


def remote(provider: Provider) -> dict[str, Any]:
    return {"service": "openai", "service_settings": {"model_id": "m", "api_key": SECRET, "url": f"{provider.url}/v1"}}


async def test_it_starts_answers_and_stops(whole_services: Services) -> None:
    service = await whole_services.start()
    assert await service.request("GET", "/_sidecar/health/live") == (200, {"status": "live"})
    body = await service.ready()
    assert body["status"] == "ready"
    assert body["checks"]["store"] == {"ok": True, "serves": "store"}
    status, root = await service.request("GET", "/")
    assert (status, root["tagline"]) == (200, "You Know, for Search")
    status, metrics = await service.request("GET", "/metrics")
    assert status == 200
    assert 'sidecar_http_requests_total{method="GET",route="/",status="200"} 1.0' in metrics
    service.stop()
    assert await service.ended() == 0
    assert [len(service.events(name)) for name in ("listening", "stopping", "stopped")] == [1, 1, 1]
    assert "Traceback" not in "".join(service.log)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_requests_in_flight_are_finished_before_the_end(
    services: Services, provider: Provider, number: signal.Signals
) -> None:
    service = await services.start()
    status, body = await service.request("PUT", "/_inference/text_embedding/slow", remote(provider))
    assert status == 200, body
    provider.called.clear()
    provider.may_answer.clear()
    call = asyncio.create_task(service.request("POST", "/_inference/slow", {"input": ["a", "b"]}))
    await provider.called.wait()
    service.stop(number)
    async with asyncio.timeout(20):
        while True:
            try:
                async with aiohttp.ClientSession() as session, session.get(service.url):
                    await asyncio.sleep(0.02)
            except aiohttp.ClientConnectionError:
                break
    assert not call.done()
    provider.may_answer.set()
    status, body = await call
    assert (status, len(body["text_embedding"])) == (200, 2)
    assert await service.ended() == 0


async def test_endpoints_and_their_secrets_outlive_a_restart(services: Services, provider: Provider) -> None:
    service = await services.start()
    await service.request("PUT", "/_inference/text_embedding/remote", remote(provider))
    status, created = await service.request("PUT", "/_inference/sparse_embedding/local", LOCAL)
    assert status == 200, created
    service.stop(signal.SIGKILL)
    await service.ended()
    again = await services.start()
    status, found = await again.request("GET", "/_inference/local")
    assert (status, found["endpoints"]) == (200, [created])
    provider.keys.clear()
    status, body = await again.request("POST", "/_inference/remote", {"input": "a"})
    assert status == 200, body
    assert provider.keys == [f"Bearer {SECRET}"]


async def test_no_secret_is_logged_returned_or_stored(services: Services, provider: Provider) -> None:
    service = await services.start(log_level="debug")
    answers = [
        await service.request("PUT", "/_inference/text_embedding/remote", remote(provider)),
        await service.request("PUT", "/_inference/text_embedding/remote", remote(provider)),
        await service.request("GET", "/_inference/remote"),
        await service.request("POST", "/_inference/remote", {"input": "a"}),
    ]
    assert [status for status, _ in answers] == [200, 400, 200, 200]
    service.stop()
    await service.ended()
    stored = b"".join(file.read_bytes() for file in (services.directory / "data").rglob("*") if file.is_file())
    assert SECRET not in "".join(service.log)
    assert SECRET not in str(answers)
    assert b"remote" in stored
    assert SECRET.encode() not in stored


@pytest.mark.parametrize("path", ["completion/echo", "completion/echo/_stream"])
async def test_a_key_that_a_provider_echoes_is_not_returned(
    services: Services, aiohttp_server: AiohttpServer, path: str
) -> None:
    async def answer(request: web.Request) -> web.Response:
        message = f"bad key: {request.headers['Authorization']}"
        if (await request.json())["messages"][0]["content"] == "refused":
            return web.json_response({"error": {"message": message}}, status=401)
        return web.json_response({"choices": [{"message": {"content": "yes"}}]})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    server = await aiohttp_server(app)
    service = await services.start()
    settings = {"model_id": "m", "api_key": SECRET, "url": f"http://127.0.0.1:{server.port}/v1"}
    body = {"service": "openai", "service_settings": settings}
    assert (await service.request("PUT", "/_inference/completion/echo", body))[0] == 200
    _, answered = await service.request("POST", f"/_inference/{path}", {"input": "refused"})
    assert "bad key: Bearer ****" in str(answered)
    assert SECRET not in str(answered)


async def test_every_line_of_a_request_has_its_id(services: Services) -> None:
    service = await services.start()
    for path in ("/_inference/a", "/_inference/b", "/_sidecar/health/live", "/metrics"):
        await service.request("GET", path)
    service.stop()
    await service.ended()
    lines = service.events("request")
    assert [line["path"] for line in lines] == ["/_inference/a", "/_inference/b"]
    assert len({line["request_id"] for line in lines}) == 2


async def test_models_to_be_preloaded_make_it_ready(services: Services) -> None:
    service = await services.start(preload_models="splade-tiny,.multilingual-e5-small")
    body = await service.ready()
    assert body["checks"]["models"] == {"ok": True, "loaded": ["splade-tiny", ".multilingual-e5-small"]}
    assert 'sidecar_model_workers{model="splade-tiny",threads="1"} 1.0' in (await service.request("GET", "/metrics"))[1]


async def test_a_name_that_is_no_setting_is_a_warning(services: Services) -> None:
    service = await services.start(elasticsearch_uri="http://localhost:1")
    (warning,) = service.events("unknown_setting")
    assert "did you mean SIDECAR_ELASTICSEARCH_URL?" in warning["hint"]


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ([], {"port": "abc"}, "SIDECAR_PORT must be a valid integer"),
        (["--api-generation", "7.0"], {}, "SIDECAR_API_GENERATION must be a version of Elasticsearch from 8.11 on"),
        (["--host", "0.0.0.0"], {"upstream_overrides": '{"*": "http://127.0.0.1:1"}'}, "SIDECAR_UPSTREAM_OVERRIDES"),
        (["--set", "prot=1"], {}, "--set prot: write NAME=VALUE"),
        (["--set", "secret_key=tooshort"], {}, "--set secret_key: every process can read the command line"),
        (["--set", "SIDECAR_ELASTICSEARCH_API_KEY=tooshort"], {}, "set SIDECAR_ELASTICSEARCH_API_KEY, or use"),
        (["--host", "192.0.2.1"], {}, "Cannot listen on 192.0.2.1:"),
        ([], {"secret_key": "tooshort"}, "SIDECAR_SECRET_KEY must be 32 random bytes"),
        ([], {"data_dir": "/proc/nowhere"}, "SIDECAR_DATA_DIR"),
        ([], {"preload_models": "no-such-model"}, "SIDECAR_PRELOAD_MODELS: Model [no-such-model]"),
        (["--config", "absent.yaml"], {}, "SIDECAR_CONFIG_FILE: cannot read absent.yaml"),
    ],
)
async def test_what_cannot_be_served_is_refused_with_a_sentence(
    services: Services, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    status, out, error = await services.finish("serve", *arguments, **{"log_level": "error", "port": "0"} | settings)
    assert status == 2
    assert said in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert out == ""
    assert "tooshort" not in error


async def test_a_port_in_use_is_named(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, _, error = await services.finish("serve", "--port", port)
    assert status == 2
    assert f"Cannot listen on 127.0.0.1:{port}: " in error
    assert "Traceback" not in error


async def test_a_key_that_does_not_fit_stops_the_start(services: Services, provider: Provider) -> None:
    service = await services.start()
    await service.request("PUT", "/_inference/text_embedding/remote", remote(provider))
    service.stop()
    await service.ended()
    (services.directory / "data" / "secret.key").unlink()
    status, _, error = await services.finish("serve", "--port", "0")
    assert status == 2
    assert "(remote) were encrypted with another key" in error
    assert "Traceback" not in error


async def test_secrets_of_a_lost_key_are_told_for_as_long_as_they_stay(services: Services, provider: Provider) -> None:
    service = await services.start()
    await service.request("PUT", "/_inference/text_embedding/remote", remote(provider))
    service.stop()
    await service.ended()
    (services.directory / "data" / "secret.key").unlink()
    service = await services.start(allow_unreadable_secrets="true")
    ready = await service.ready()
    assert (ready["status"], ready["checks"]["store"]["unreadable_secrets"]) == ("degraded", ["remote"])
    assert [event["inference_ids"] for event in service.events("registry_secrets_unreadable")] == [["remote"]]
    assert "sidecar_endpoints_without_secrets 1.0" in (await service.request("GET", "/metrics"))[1]
    status, body = await service.request("DELETE", "/_inference/remote")
    assert status == 200, body
    assert (await service.ready())["status"] == "ready"
    assert "sidecar_endpoints_without_secrets 0.0" in (await service.request("GET", "/metrics"))[1]


async def test_a_file_that_is_no_database_is_named(services: Services) -> None:
    file = services.directory / "data" / "endpoints.db"
    file.parent.mkdir()
    file.write_text("not a database, " * 100)
    status, _, error = await services.finish("serve", "--port", "0")
    assert status == 2
    assert str(file) in error
    assert "Traceback" not in error


async def test_a_body_that_is_too_large_is_refused(services: Services) -> None:
    service = await services.start("--set", "max_body_size=10kb")
    status, _ = await service.request("POST", "/_inference/.elser-2-elasticsearch", {"input": "a" * 20_000})
    assert status == 413


async def test_config_shows_what_is_in_force_without_secrets(services: Services) -> None:
    file = services.directory / ".env"
    file.write_text(f"SIDECAR_SECRET_KEY={SECRET}\nSIDECAR_LOG_LEVEL=warning\nSIDECAR_PROT=1\n")
    status, out, error = await services.finish("config", port="1234")
    assert status == 0
    assert "SIDECAR_PORT=1234\n" in out
    assert "SIDECAR_LOG_LEVEL=warning\n" in out
    assert "SIDECAR_SECRET_KEY=********\n" in out
    assert SECRET not in out + error
    assert "did you mean SIDECAR_PORT?" in error


async def test_replicas_share_endpoints_through_elasticsearch(
    services: Services, provider: Provider, clean_cluster: str, tmp_path: Path
) -> None:
    _, key, _ = await services.finish("secrets", "new-key")
    shared = {"elasticsearch_url": clean_cluster, "secret_key": key.strip()}
    one, two = [await services.start(data_dir=str(tmp_path / name), **shared) for name in ("one", "two")]
    name = f"shared-{uuid.uuid4().hex[:8]}"
    status, created = await one.request("PUT", f"/_inference/text_embedding/{name}", remote(provider))
    assert status == 200, created
    assert await two.request("GET", f"/_inference/{name}") == (200, {"endpoints": [created]})
    provider.keys.clear()
    status, body = await two.request("POST", f"/_inference/{name}", {"input": "a"})
    assert status == 200, body
    assert provider.keys == [f"Bearer {SECRET}"]
    status, body = await two.request("DELETE", f"/_inference/{name}")
    assert status == 200, body
    async with asyncio.timeout(10):
        while (await one.request("GET", f"/_inference/{name}"))[0] != 404:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await one.request("PUT", f"/_inference/text_embedding/{name}", remote(provider))
    status, _, error = await services.finish(
        "serve", "--port", "0", data_dir=str(tmp_path / "three"), elasticsearch_url=clean_cluster
    )
    assert status == 2
    assert "the key generated on this machine cannot open them" in error
