"""Defects, log lines, and changes whose callers have left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
import structlog
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from sidecar.api.call import Call
from sidecar.api.keys import ApiOptions
from sidecar.api.router import Route
from sidecar.api.routes import add_routes, middlewares
from tests.api.conftest import Client


async def fail(_call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    raise RuntimeError("password=hunter2")


async def test_a_defect_is_logged_whole_and_told_briefly(aiohttp_client: AiohttpClient) -> None:
    app = web.Application(middlewares=middlewares())
    add_routes(app, ApiOptions(), (Route("/fail", {"GET": fail}),))
    client = await aiohttp_client(app)
    with structlog.testing.capture_logs() as logs:
        async with client.get("/fail?error_trace", headers={"X-Opaque-Id": "mine"}) as response:
            text = await response.text()
            body = await response.json()
    assert response.status == body["status"] == 500
    assert "hunter2" not in text
    assert "RuntimeError" not in text
    assert response.headers["X-elastic-product"] == "Elasticsearch"
    assert response.headers["X-Opaque-Id"] == "mine"
    (defect,) = [line for line in logs if line["event"] == "unexpected_error"]
    assert isinstance(defect["exc_info"], RuntimeError)
    assert body["error"]["reason"].startswith("internal error, the log of request [")


async def test_one_line_for_each_request(api: Client, dense: str) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        path = f"/_inference/text_embedding/{dense}"
        async with api.post(f"{path}?timeout=5s", json={"input": ["private words", "b"]}) as response:
            assert response.status == 200
        async with api.get(
            "/_inference/none", headers={"X-Opaque-Id": "mine", "Authorization": "ApiKey xyz-not-hex"}
        ) as response:
            assert response.status == 404
    first, second = [line for line in logs if line["event"] == "request"]
    assert (first["method"], first["path"], first["status"]) == ("POST", path, 200)
    assert (first["endpoint"], first["task_type"], first["inputs"]) == (dense, "text_embedding", 2)
    assert first["ms"] > 0
    assert (second["status"], second["error"], second["opaque_id"]) == (404, "resource_not_found_exception", "mine")
    assert first["request_id"] != second["request_id"]
    assert "private" not in repr(logs)
    assert "xyz-not-hex" not in repr(second)


async def test_a_change_is_finished_when_its_caller_leaves(api: Client, provider: str) -> None:
    settings = {"api_key": "k", "model_id": "m", "url": f"{provider}/always/slow/openai/v1/embeddings"}
    body = {"service": "openai", "service_settings": settings}
    call = asyncio.ensure_future(api.put("/_inference/text_embedding/late", json=body))
    await asyncio.sleep(0.3)
    call.cancel()
    for _ in range(100):
        async with api.get("/_inference/late") as response:
            if response.status == 200:
                return
        await asyncio.sleep(0.1)
    pytest.fail("the endpoint was never created")
