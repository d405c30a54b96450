"""Every recorded request is answered as Elasticsearch of that generation did, or differs for a written reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.app import create_app
from sidecar.core.generations import GENERATIONS
from sidecar.services.catalogue import Catalogue
from sidecar.settings import load_settings
from tests.recorded.cases import Case, Target, load_cases
from tests.recorded.comparison import differences
from tests.recorded.departures import DEPARTURES
from tests.recorded.provider import create_provider

AT_ONCE = 6
VERSIONS = [generation.version for generation in GENERATIONS.values() if generation.version in DEPARTURES]


@pytest.mark.parametrize(
    "version", [*VERSIONS[:2], *(pytest.param(each, marks=pytest.mark.slow) for each in VERSIONS[2:])]
)
async def test_only_written_departures_differ(version: str, tmp_path: Path) -> None:
    known = frozenset(service.name for service in Catalogue.discover())
    cases = list(load_cases(version))
    assert len(cases) > 400
    async with _target(version, tmp_path) as target:
        gate = asyncio.Semaphore(AT_ONCE)

        async def replay(case: Case) -> list[str]:
            async with gate:
                found, failed = await target.replay(case)
                return failed + differences(case, case.answers[version], found, known)

        results = await asyncio.gather(*(replay(case) for case in cases))
    differing = {case.id: found for case, found in zip(cases, results, strict=True) if found}
    written = DEPARTURES[version].keys() & {case.id for case in cases}
    surprising = [f"{name}: {found[0]}" for name, found in differing.items() if name not in written]
    vanished = sorted(written - differing.keys())
    assert not surprising, f"{len(surprising)} of {len(cases)} cases differ:\n" + "\n".join(surprising)
    assert not vanished, f"answered like Elasticsearch after all: {', '.join(vanished)}"


@asynccontextmanager
async def _target(version: str, data_dir: Path) -> AsyncIterator[Target]:
    generation = next(g.name for g in GENERATIONS.values() if g.version == version)
    # Retries are the same in number, only sooner.
    retries = {"retry_initial_delay": 0.01, "retry_max_delay": 0.02}
    settings = load_settings({"data_dir": data_dir, "api_generation": generation, **retries})
    async with (
        _served(create_provider()) as provider,
        _served(create_app(settings)) as base,
        aiohttp.ClientSession() as session,
    ):
        yield Target(session, base, provider)


@asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    """The base URL of ``app``, listening on a free port of the loopback interface."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
