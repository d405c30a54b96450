"""Bulks in whose middle something is killed: what was acknowledged is there with its vector, nothing is half there.

    python -m tests.front.kills ELASTICSEARCH_URL [--rounds 100] [--restart-node COMMAND]

Each round sends a bulk into a bound index and kills, at a random moment, the sidecar, its provider, or (every tenth
round, where COMMAND kills the node and brings it back) Elasticsearch itself. Then the documents are read straight from
the cluster. The provider is this module too: vectors that anybody can compute from the text.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import aiohttp
import typer
from aiohttp import web
from elasticsearch import AsyncElasticsearch

from sidecar.elastic.version import server_version

Victim = Literal["sidecar", "provider", "node"]
DIMENSIONS = 8
DOCUMENTS = 60
ENDPOINT = "kills-endpoint"
_PROVIDER_SECONDS = 0.02
_START_SECONDS = 120


def vector_of(text: str) -> list[float]:
    """The provider's vector: bytes of a digest, so that float32 holds each exactly."""
    return [float(byte + 1) for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


async def embeddings(request: web.Request) -> web.Response:
    """OpenAI's form, a little slowly."""
    texts = (await request.json())["input"]
    await asyncio.sleep(_PROVIDER_SECONDS)
    data = [{"object": "embedding", "index": n, "embedding": vector_of(text)} for n, text in enumerate(texts)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return web.json_response({"object": "list", "data": data, "model": "m", "usage": usage})


def serve_provider(port: int) -> None:
    app = web.Application()
    app.router.add_post("/v1/embeddings", embeddings)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


@dataclass
class Killable:
    """A process that can be killed and started again on its port."""

    command: list[str]
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Raises ``RuntimeError`` or ``TimeoutError`` where it ends or does not listen in time."""
        self.process = await asyncio.to_thread(
            subprocess.Popen, self.command, env=os.environ | self.environment, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(_START_SECONDS):
            while not await asyncio.to_thread(_listens, self.port):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.command[2]} ended with status {self.process.returncode}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        time.sleep(0.05)
        return False
    return True


@dataclass
class Outcome:
    """What a round saw. ``wrong`` must stay empty."""

    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    stored_unanswered: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """Node, sidecar and provider of all rounds."""

    cluster: AsyncElasticsearch
    sidecar: Killable
    provider: Killable
    index: str
    restart_node: str | None = None
    numbers: random.Random = field(default_factory=lambda: random.Random(7))

    async def round(self, victim: Victim, number: int) -> Outcome:
        """One bulk, one kill, everything up again, and a look at what is there."""
        texts = {f"{number}-{n}": f"text {number} {n}" for n in range(DOCUMENTS)}
        sending = asyncio.create_task(self._send(texts))
        await asyncio.sleep(self.numbers.uniform(0, 0.25))
        await self._kill(victim)
        statuses = await sending
        outcome = Outcome()
        await self._look(texts, statuses, outcome)
        return outcome

    async def _kill(self, victim: Victim) -> None:
        if victim == "node":
            assert self.restart_node is not None
            await (await asyncio.create_subprocess_shell(self.restart_node)).wait()
            return
        chosen = self.sidecar if victim == "sidecar" else self.provider
        chosen.kill()
        await chosen.start()

    async def _send(self, texts: dict[str, str]) -> dict[str, int]:
        """Status by id of every item that was answered."""
        lines = [
            json.dumps(line) for name, text in texts.items() for line in ({"index": {"_id": name}}, {"text": text})
        ]
        url = f"http://127.0.0.1:{self.sidecar.port}/{self.index}/_bulk"
        headers = {"Content-Type": "application/x-ndjson"}
        try:
            body = "\n".join([*lines, ""]).encode()
            async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
                items = (await answer.json())["items"]
        except (aiohttp.ClientError, KeyError, ValueError):
            return {}
        return {item["index"]["_id"]: item["index"]["status"] for item in items}

    async def _look(self, texts: dict[str, str], statuses: dict[str, int], outcome: Outcome) -> None:
        await self.cluster.cluster.health(wait_for_status="yellow", index=self.index, timeout="60s")
        found = await self.cluster.mget(index=self.index, ids=list(texts))
        for document in found["docs"]:
            name, is_there = document["_id"], document["found"]
            status = statuses.get(name)
            is_whole = is_there and document["_source"].get("vector") == vector_of(texts[name])
            if is_there and not is_whole:
                outcome.wrong.append(f"{name}: half there, answered {status}: {document['_source']}")
            if status in (200, 201):
                outcome.acknowledged += 1
                if not is_there:
                    outcome.wrong.append(f"{name}: acknowledged and not there")
            elif status is None:
                outcome.unanswered += 1
                outcome.stored_unanswered += is_there
            else:
                outcome.refused += 1
                if is_there:
                    outcome.wrong.append(f"{name}: refused with {status} and there")


@asynccontextmanager
async def stage(url: str, directory: Path, restart_node: str | None = None) -> AsyncIterator[Stage]:
    """Everything up, with an index bound to the provider's endpoint; removed afterwards."""
    ports = [_free_port() for _ in range(2)]
    provider = Killable([sys.executable, "-m", "tests.front.kills", "--provider", str(ports[0])], ports[0])
    settings = {"FRONT": "true", "ELASTICSEARCH_URL": url, "DATA_DIR": str(directory), "PORT": str(ports[1])}
    settings |= {
        "LOG_LEVEL": "error",
        "RETRY_TIMEOUT": "1s",
        "RETRY_INITIAL_DELAY": "50ms",
        "ALLOW_UNREADABLE_SECRETS": "true",
    }
    environment = {f"SIDECAR_{name}": value for name, value in settings.items()}
    sidecar = Killable([sys.executable, "-m", "sidecar", "serve"], ports[1], environment)
    index = f"kills-{uuid4().hex[:8]}"
    async with AsyncElasticsearch(url, request_timeout=120) as cluster:
        try:
            await asyncio.gather(provider.start(), sidecar.start())
            await _prepare(cluster, f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[0]}", index)
            yield Stage(cluster, sidecar, provider, index, restart_node)
        finally:
            with suppress(aiohttp.ClientError):  # a sidecar that is down leaves it, and its key is gone
                async with aiohttp.ClientSession() as session:
                    await session.delete(f"http://127.0.0.1:{ports[1]}/_inference/{ENDPOINT}-{index}?force=true")
            sidecar.kill()
            provider.kill()
            await cluster.indices.delete(index=index, ignore_unavailable=True)


async def _prepare(cluster: AsyncElasticsearch, sidecar: str, provider: str, index: str) -> None:
    endpoint = f"{ENDPOINT}-{index}"
    service: dict[str, Any] = {"model_id": "m", "api_key": "k", "url": f"{provider}/v1/embeddings"}
    service |= {"dimensions": DIMENSIONS, "similarity": "l2_norm"}
    body = {"service": "openai", "service_settings": service}
    url = f"{sidecar}/_inference/text_embedding/{endpoint}"
    async with aiohttp.ClientSession() as session, session.put(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
    vector = {"type": "dense_vector", "dims": DIMENSIONS, "similarity": "l2_norm"}
    settings: dict[str, Any] = {"number_of_replicas": 0}
    if (await server_version(cluster)).since(None, (9, 2)):
        settings["index.mapping.exclude_source_vectors"] = False  # so that what is stored is seen
    await cluster.indices.create(
        index=index,
        settings=settings,
        mappings={
            "_meta": {"sidecar": {"maps": [f"text:vector={endpoint}"]}},
            "properties": {"text": {"type": "text"}, "vector": vector},
        },
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def play(url: str, rounds: int, restart_node: str | None) -> list[str]:
    """All rounds; what was wrong."""
    wrong: list[str] = []
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        async with stage(url, Path(directory), restart_node) as everything:
            for number in range(rounds):
                victim: Victim = "sidecar" if number % 2 else "provider"
                if restart_node is not None and number % 10 == 9:
                    victim = "node"
                outcome = await everything.round(victim, number)
                wrong += outcome.wrong
                totals.update({f"{victim} kills": 1, "acknowledged": outcome.acknowledged, "refused": outcome.refused})
                totals.update({"unanswered": outcome.unanswered, "of these stored": outcome.stored_unanswered})
    print(", ".join(f"{name}: {count}" for name, count in totals.items()))
    return wrong


def main(
    elasticsearch: Annotated[str, typer.Argument(help="A node whose indices this program may add to.")] = "",
    rounds: Annotated[int, typer.Option(help="How often something is killed.")] = 100,
    restart_node: Annotated[str | None, typer.Option(help="Command that kills the node and starts it again.")] = None,
    provider: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Kill things in the middle of bulks, and look what is left."""
    if provider:
        serve_provider(provider)
        return
    wrong = asyncio.run(play(elasticsearch, rounds, restart_node))
    print("\n".join(wrong) or "nothing wrong")
    raise typer.Exit(bool(wrong))


if __name__ == "__main__":
    typer.run(main)
