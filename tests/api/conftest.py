"""The whole application on a real port, and a model provider beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp.plugin import AiohttpClient, AiohttpServer

from sidecar.app import create_app
from sidecar.settings import load_settings
from tests.recorded.provider import create_provider

Client: TypeAlias = TestClient[Any, Any]
StartApi: TypeAlias = Callable[..., Awaitable[Client]]


@pytest.fixture
async def provider(aiohttp_server: AiohttpServer) -> str:
    """Base URL of a model provider."""
    server: TestServer = await aiohttp_server(create_provider())
    return str(server.make_url("/")).rstrip("/")


@pytest.fixture
def start_api(aiohttp_client: AiohttpClient, tmp_path: Path) -> StartApi:
    """Starts the sidecar with some settings changed; a client of it."""

    async def start(**settings: Any) -> Client:
        quick = {"retry_initial_delay": 0.01, "retry_max_delay": 0.02}
        app = create_app(load_settings({"data_dir": tmp_path, **quick, **settings}))
        return await aiohttp_client(app)

    return start


@pytest.fixture
async def api(start_api: StartApi) -> Client:
    """The sidecar with default settings."""
    return await start_api()


@pytest.fixture
async def dense(api: Client, provider: str) -> str:
    """Id of a dense endpoint whose vectors come from the provider."""
    return await create_endpoint(api, provider, "text_embedding", "embeddings")


@pytest.fixture
async def completion(api: Client, provider: str) -> str:
    """Id of a completion endpoint of the provider."""
    return await create_endpoint(api, provider, "completion", "chat/completions")


async def create_endpoint(api: Client, provider: str, task_type: str, path: str) -> str:
    settings = {"api_key": "very-secret", "model_id": "m", "url": f"{provider}/openai/v1/{path}"}
    body = {"service": "openai", "service_settings": settings}
    inference_id = f"my-{task_type.replace('_', '-')}"
    async with api.put(f"/_inference/{task_type}/{inference_id}", json=body) as response:
        assert response.status == 200, await response.text()
    return inference_id
