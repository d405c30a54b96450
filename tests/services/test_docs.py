"""The curl commands of the pages do what they show; the stand-in plays the provider."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sidecar.core.tasks import TaskType
from sidecar.services.catalogue import Catalogue
from tests.services.conftest import Bench
from tests.services.exchange import read_events
from tests.services.recordings import VERSIONS, Recording, basic_recordings, recordings, with_key_file
from tests.services.stand_in import StandIn

Json = Any
PAGES = Path(__file__).parents[2] / "docs" / "services"
CATALOGUE = {service.name: service for service in Catalogue.discover()}
_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """One curl command."""

    method: str
    path: str
    body: Json

    @property
    def task_type(self) -> str:
        return self.path.split("/")[2]

    @classmethod
    def parse(cls, text: str) -> Command:
        words = shlex.split(text.replace("\\\n", " "))
        assert words[0] == "curl", text
        method, address, data, headers = "GET", "", None, []
        rest = iter(words[1:])
        for word in rest:
            if word in ("-X", "--request"):
                method = next(rest)
            elif word in ("-H", "--header"):
                headers.append(next(rest).lower().replace(" ", ""))
            elif word in ("-d", "--data"):
                data = next(rest)
            elif not word.startswith("-"):
                address = word
        assert address.startswith("localhost:9800/"), text
        assert data is None or "content-type:application/json" in headers, text
        parts = urlsplit("http://" + address)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return cls(method, path, None if data is None else json.loads(data))


def commands(name: str) -> list[Command]:
    """The commands of a page, in their order."""
    return [Command.parse(block) for block in _BLOCK.findall((PAGES / f"{name}.md").read_text())]


@dataclass(frozen=True)
class Example:
    """Recorded cases that create the endpoint of a command; ``any_request`` where none does and others lend replies."""

    cases: tuple[Recording, ...]
    any_request: bool = False

    @classmethod
    def of(cls, command: Command, service: str) -> Example:
        cases = [c for c in recordings(service, VERSIONS[0]) if c.task_type == command.task_type and c.call_replies]
        basics = {case.id: case for case in basic_recordings(service)}
        same = [basics.get(c.id, c) for c in cases if _settings(c.create["body"]) == _settings(command.body)]
        if same:
            return cls(tuple(sorted(same, key=lambda case: case.id not in basics)))
        if own := [case for case in basics.values() if case.task_type == command.task_type]:
            return cls(tuple(own), any_request=True)
        # Newer than the recordings: vectors that are asked for as those of another task type are.
        if command.task_type == TaskType.EMBEDDING:
            return cls((next(c for c in basics.values() if c.task_type == TaskType.TEXT_EMBEDDING),), any_request=True)
        # Or chat of a service whose completion streams the same events.
        (stream,) = (case for case in recordings(service, VERSIONS[0]) if case.name == "stream")
        return cls((replace(stream, create_replies=stream.call_replies),), any_request=True)

    def play_create(self, provider: StandIn) -> None:
        provider.play_create(self.cases[0])
        provider.is_open = self.any_request

    def play_call(self, command: Command, provider: StandIn) -> None:
        def is_same(case: Recording) -> bool:
            return bool(case.call["body"] == command.body) and _streams(case.call["path"]) == _streams(command.path)

        case = next(filter(is_same, self.cases), None)
        provider.play_call(case or self.cases[0])
        provider.is_open = self.any_request or case is None


@pytest.mark.parametrize("name", sorted(CATALOGUE))
async def test_the_examples_work(name: str, bench: Bench) -> None:
    service = CATALOGUE[name]
    created: dict[str, Example | None] = {}
    used = set()
    for command in commands(name):
        if command.method == "PUT":
            assert command.body["service"] == name
            example = created[command.path] = None if service.is_local else Example.of(command, name)
            if example is not None:
                example.play_create(bench.provider)
        else:
            used.add(command.task_type)
            example = created[command.path.removesuffix("/_stream")]
            if example is not None:
                example.play_call(command, bench.provider)
        answer = await bench.send(command.method, command.path, with_key_file(command.body))
        assert answer["status"] == 200, (command, answer, bench.provider.refusals)
        assert bench.provider.is_open or not bench.provider.refusals, command
        if _streams(command.path):
            events = read_events(answer["body"])
            assert events[-1]["data"] == "[DONE]"
            assert all(event["event"] == "message" for event in events)
    shown = {path.split("/")[2] for path in created}
    assert shown == used == {task_type.value for task_type in service.tasks}


def _streams(path: str) -> bool:
    return path.endswith("/_stream")


def _settings(body: Mapping[str, Json]) -> Json:
    return {name: value for name, value in with_key_file(dict(body)).items() if name != "service"}
