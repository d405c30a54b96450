"""The sidecar sends and answers what Elasticsearch sent and answered, but for written departures."""

from __future__ import annotations

import asyncio

import pytest

from tests.services.conftest import Bench, MakeBench
from tests.services.exchange import answer_differences
from tests.services.recordings import VERSIONS, Recording, departures, recordings, services

# Cases that wait for a rate limit or a timeout let others go on.
LANES = 4


@pytest.mark.parametrize(
    "version", [VERSIONS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in VERSIONS[1:])]
)
@pytest.mark.parametrize("service", services())
async def test_only_written_departures_differ(service: str, version: str, make_bench: MakeBench) -> None:
    cases = recordings(service, version)
    assert cases
    lanes = [await make_bench() for _ in range(min(LANES, len(cases)))]
    waiting = iter(cases)
    found: dict[str, list[str]] = {}

    async def work(lane: Bench) -> None:
        for case in waiting:
            found[case.id] = await replay(lane, case)

    await asyncio.gather(*(work(lane) for lane in lanes))
    differing = {case_id: differences for case_id, differences in found.items() if differences}
    written = departures(service, version).keys() & found.keys()
    surprising = [f"{name}: {found[name][0]}" for name in sorted(differing.keys() - written)]
    vanished = sorted(written - differing.keys())
    assert not surprising, f"{len(surprising)} of {len(cases)} cases differ:\n" + "\n".join(surprising)
    assert not vanished, f"answered like Elasticsearch after all: {', '.join(vanished)}"


async def replay(bench: Bench, case: Recording) -> list[str]:
    """What differs in one case, the first difference first."""
    provider, version = bench.provider, case.version
    provider.play_create(case)
    path = case.create["path"]
    answer = await bench.send("PUT", path, case.create["body"], version=version)
    found = [f"create: {text}" for text in (*provider.refusals, *provider.missing)]
    wanted = case.create_answer
    found += [f"create {text}" for text in answer_differences(wanted, answer, only_status=case.only_status)]
    if case.call_answer is None:
        return found
    provider.play_call(case)
    call = case.call
    answer = await bench.send(call["method"], call["path"], call["body"], version=version)
    found += [f"call: {text}" for text in (*provider.refusals, *provider.missing)]
    wanted = case.call_answer
    return found + [f"call {text}" for text in answer_differences(wanted, answer, only_status=case.only_status)]
