"""Requests that Elasticsearch's documentation shows are taken, and refused where Elasticsearch itself refuses them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.core.generations import GENERATIONS
from tests.services.conftest import Bench
from tests.services.exchange import read_events
from tests.services.recordings import VERSIONS, Recording, basic_recordings, recordings, with_key_file
from tests.services.stand_in import Reply, StandIn

Json = Any
DOCUMENTED: Json = yaml.safe_load((Path(__file__).parent / "documented_requests.yaml").read_text())
LOCAL = ("elasticsearch", "elser")
SECRETS = ("hidden", "PRIVATE KEY")
TOKEN: Json = {"body": {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}}


def documented(kind: str) -> list[Any]:
    """A service's requests, for every generation that knows them; a quick run has the newest alone."""
    newest = next(reversed(GENERATIONS.values()))
    return [
        pytest.param(
            *(service, requests, generation.version),
            id=f"{service}-{since}-{generation.name}",
            marks=() if generation is newest else pytest.mark.slow,
        )
        for generation in GENERATIONS.values()
        for since, services in DOCUMENTED[kind].items()
        if generation.at_least(since)
        for service, requests in services.items()
    ]


def recorded(service: str, task_type: str, like: str | None) -> Recording:
    """The case called ``like``, of another task where it says so; the plain one without a name."""
    other, _, name = (like or "").rpartition("/")
    cases = recordings(service, VERSIONS[0]) if name else basic_recordings(service)
    return next(case for case in cases if case.task_type == (other or task_type) and name in ("", case.name))


def play(provider: StandIn, case: Recording, replies: Iterable[dict[str, Json]]) -> None:
    """Whatever is asked, reply as recorded."""
    provider.play((), map(Reply.recorded, replies), map(Reply.recorded, case.token_replies or (TOKEN,)))
    provider.is_open = True


async def create(bench: Bench, service: str, endpoint: Json, version: str) -> tuple[str, dict[str, Json]]:
    """The path of a new endpoint, and what is shown of it."""
    path = f"/_inference/{endpoint['task_type']}/plum"
    if service not in LOCAL:
        case = recorded(service, endpoint["task_type"], endpoint.get("like"))
        # a chat is validated by a stream
        is_chat = endpoint["task_type"] == "chat_completion"
        play(bench.provider, case, case.call_replies if is_chat else case.create_replies)
    body = with_key_file({"service": service, **settings_of(endpoint)})
    answer = await bench.send("PUT", path, body, version=version)
    assert answer["status"] == 200, (endpoint, answer["body"])
    return path, answer["body"]


def settings_of(endpoint: Json) -> dict[str, Json]:
    return {name: value for name, value in endpoint.items() if name.endswith("_settings")}


def lacking(sent: Json, shown: Json, place: str = "") -> list[str]:
    """Places of ``sent`` that ``shown`` does not repeat. Secrets are not looked for, nor is case."""
    if isinstance(sent, dict):
        inner = shown if isinstance(shown, dict) else {}
        return [found for name, value in sent.items() for found in lacking(value, inner.get(name), f"{place}/{name}")]
    is_same = sent in (shown, *SECRETS) or (isinstance(shown, str) and sent == shown.lower())
    return [] if is_same else [place]


@pytest.mark.slow
@pytest.mark.parametrize(("service", "endpoints", "version"), documented("create"))
async def test_endpoints_are_created(service: str, endpoints: list[Json], version: str, bench: Bench) -> None:
    for endpoint in endpoints:
        path, shown = await create(bench, service, endpoint, version)
        assert lacking(settings_of(endpoint) | endpoint.get("shown", {}), shown) == []
        assert not any(secret in json.dumps(shown) for secret in SECRETS)
        assert (await bench.send("GET", path, version=version))["body"] == {"endpoints": [shown]}
        assert (await bench.send("DELETE", path, version=version))["status"] == 200


@pytest.mark.parametrize(("service", "groups", "version"), documented("call"))
async def test_endpoints_are_called(service: str, groups: list[Json], version: str, bench: Bench) -> None:
    for group in groups:
        path, shown = await create(bench, service, group["endpoint"], version)
        task_type = shown["task_type"]
        streams = {"completion": ("", "/_stream"), "chat_completion": ("/_stream",)}.get(task_type, ("",))
        for body in group["bodies"]:
            for stream in streams:
                if service not in LOCAL:
                    case = recorded(service, task_type, "stream" if stream and task_type == "completion" else None)
                    play(bench.provider, case, case.call_replies)
                answer = await bench.send("POST", path + stream, body, version=version)
                assert answer["status"] == 200, (body, answer["body"])
                assert not stream or read_events(answer["body"])[-1] == {"event": "message", "data": "[DONE]"}
        await bench.send("DELETE", path, version=version)


@pytest.mark.parametrize("refusal", DOCUMENTED["refused"], ids=lambda refusal: refusal["put"])
async def test_what_elasticsearch_refuses_is_refused_in_its_words(refusal: Json, bench: Bench) -> None:
    answer = await bench.send("PUT", f"/_inference/{refusal['put']}", refusal["body"])
    assert answer["status"] == 400
    assert refusal["words"] in json.dumps(answer["body"])
