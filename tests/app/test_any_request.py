"""Any request gets an answer that is its caller's own fault or none: every route, format and encoding, seeded.

Small by default. ``FUZZ_REQUESTS=20000`` sends as many; ``FUZZ_SEED`` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from yarl import URL

from bench.generated_requests import requests
from tests.app.conftest import Service, Services
from tests.app.test_service import Provider, provider, remote

__all__ = ["provider"]

COUNT = int(os.environ.get("FUZZ_REQUESTS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
LARGEST = 30_000
ROUND = 2_000
SECONDS = 60


def memory(service: Service) -> float:
    """Resident memory of the service in MB."""
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def handles(service: Service) -> int:
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


async def test_any_request_is_answered(services: Services, provider: Provider) -> None:
    service = await services.start(body_timeout="5s")
    status, body = await service.request("PUT", "/_inference/text_embedding/dense", remote(provider))
    assert status == 200, body
    figures: list[tuple[float, int]] = []
    for first in range(0, COUNT, ROUND):
        await send_all(service, first, min(ROUND, COUNT - first))
        figures.append((memory(service), handles(service)))
    assert [line for line in service.log if '"level":"error"' in line] == [], "no caller's mistake is the service's"
    if len(figures) > 3:  # what is loaded once is there after the first rounds
        (before, opened), (after, still_open) = figures[2], figures[-1]
        assert after - before < 100, figures
        assert still_open - opened < 20, figures


async def send_all(service: Service, first: int, count: int) -> None:
    waiting = iter(list(requests(SEED + first, count, LARGEST, ("dense", "none", ".elser-2-elasticsearch"))))

    async def one_after_the_other() -> None:
        for sent in waiting:
            headers = sent.headers | {"Connection": "close"}  # what refuses a body unread ends the connection
            url = URL(service.url + sent.path, encoded=True)
            async with asyncio.timeout(SECONDS):
                async with service.session.request(sent.method, url, data=sent.body, headers=headers) as response:
                    await response.read()
            what = f"{sent.kind}: {sent.method} {sent.path} {sent.headers} {(sent.body or b'')[:300]!r}"
            assert response.status < 500, what

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(one_after_the_other())


@pytest.mark.parametrize("number", [1, 7])
def test_the_same_seed_makes_the_same_requests(number: int) -> None:
    assert list(requests(number, 20, 1000)) == list(requests(number, 20, 1000))
