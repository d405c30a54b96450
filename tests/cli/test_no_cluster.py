"""Where no Elasticsearch answers, every command that needs one says so in one sentence that names the address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import AsyncElasticsearch, TransportError

from sidecar.elastic.client import failure_text
from tests.ingest.command import run_command


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that is taken and refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "docs", "x"),
        ("bind", "docs", "--map", "text:v=e"),
        ("unbind", "docs"),
        ("bindings",),
        ("backfill", "docs", "--map", "text:v=e"),
        ("endpoints", "list"),
        ("connect", "--url", "http://sidecar:9209"),
        ("disconnect", "--url", "http://sidecar:9209"),
    ],
)
def test_one_sentence_names_the_address(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SIDECAR_ELASTICSEARCH_URL", silent)
    ended = run_command(tmp_path, *arguments)
    assert ended.output == f"Elasticsearch cannot be reached at {silent}: nothing answers there.\n"
    assert ended.exit_code == 2


async def _failure(url: str) -> str:
    async with AsyncElasticsearch(url, max_retries=0) as client:
        with pytest.raises(TransportError) as caught:
            await client.perform_request("HEAD", "/")
    return failure_text(caught.value)


def test_a_host_without_an_address_is_no_refusal() -> None:
    said = asyncio.run(_failure("http://no.such.host.invalid:9200"))
    assert said
    assert said != "nothing answers there"
    assert not {"[", "]"} & set(said)
    assert "ssl" not in said


def test_no_stored_endpoint_is_said_beside_the_list(tmp_path: Path) -> None:
    assert run_command(tmp_path, "endpoints", "import", str(_empty(tmp_path))).exit_code == 0
    ended = run_command(tmp_path, "endpoints", "list")
    assert (ended.stdout, ended.stderr, ended.exit_code) == ("", "No endpoints are stored.\n", 0)


def _empty(folder: Path) -> Path:
    path = folder / "none.jsonl"
    path.touch()
    return path
