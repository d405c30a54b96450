"""The official Elasticsearch client, lines 8 and 9, drives the sidecar."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.api import client_calls
from tests.api.conftest import Client, StartApi

CLIENT_9 = Path(sys.prefix) / "clients" / "9"


def base_of(api: Client) -> str:
    return str(api.make_url("/")).rstrip("/")


@pytest.mark.parametrize("generation", ["9.5", "9.4", "8.19"])
async def test_client_of_line_8(start_api: StartApi, provider: str, generation: str) -> None:
    api = await start_api(api_generation=generation)
    version = await asyncio.to_thread(client_calls.drive, base_of(api), provider)
    assert version.startswith("8.")


async def test_client_of_line_9(api: Client, provider: str) -> None:
    assert CLIENT_9.is_dir(), "the 9.x client belongs into the environment: make setup"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        client_calls.__file__,
        base_of(api),
        provider,
        env={"PYTHONPATH": str(CLIENT_9)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    assert out.decode().startswith("9.")
