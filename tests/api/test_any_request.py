"""Any request gets an answer that is its caller's own fault or none: every route, format and encoding, seeded.

Small by default. ``FUZZ_REQUESTS=20000`` sends as many; ``FUZZ_SEED`` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bench.generated_requests import requests
from tests.api.conftest import Client, StartApi, create_endpoint

COUNT = int(os.environ.get("FUZZ_REQUESTS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
LARGEST = 30_000
ROUND = 2_000
SECONDS = 60


def memory() -> float:
    """Resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_any_request_is_answered(start_api: StartApi, provider: str) -> None:
    api = await start_api(body_timeout="5s")
    ids = (await create_endpoint(api, provider, "text_embedding", "embeddings"), "none", ".elser-2-elasticsearch")
    answers: list[tuple[int, str]] = []
    figures: list[tuple[float, int]] = []
    for first in range(0, COUNT, ROUND):
        await send_all(api, first, min(ROUND, COUNT - first), ids, answers)
        figures.append((memory(), handles()))
    assert len(answers) == COUNT
    assert [(status, what) for status, what in answers if status >= 500] == []
    if len(figures) > 3:  # what is loaded once is there after the first rounds
        (before, opened), (after, still_open) = figures[2], figures[-1]
        assert after - before < 100, figures
        assert still_open - opened < 20, figures


async def send_all(api: Client, first: int, count: int, ids: tuple[str, ...], answers: list[tuple[int, str]]) -> None:
    waiting = iter(list(requests(SEED + first, count, LARGEST, ids)))

    async def one_after_the_other() -> None:
        for sent in waiting:
            what = f"{sent.kind}: {sent.method} {sent.path} {sent.headers} {(sent.body or b'')[:300]!r}"
            headers = sent.headers | {"Connection": "close"}  # what refuses a body unread ends the connection
            async with asyncio.timeout(SECONDS):
                async with api.request(sent.method, sent.path, data=sent.body, headers=headers) as response:
                    await response.read()
                    answers.append((response.status, what))

    await asyncio.gather(*(one_after_the_other() for _ in range(8)))


@pytest.mark.parametrize("number", [1, 7])
def test_the_same_seed_makes_the_same_requests(number: int) -> None:
    assert list(requests(number, 20, 1000)) == list(requests(number, 20, 1000))
