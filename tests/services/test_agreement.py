"""Catalogue, pages, fixtures, departures and tables say the same, and a provider is one module and one fixture file."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import sidecar.services
from sidecar.core.generations import GENERATIONS
from sidecar.services.catalogue import Catalogue
from sidecar.services.declaration import Service
from sidecar.services.setting_kinds import RateLimit, Refused
from sidecar.services.settings import Setting
from tests.recorded.cases import load_cases
from tests.recorded.comparison import differ
from tests.services.conftest import Bench, MakeBench
from tests.services.recordings import (
    DEPARTURES,
    FIXTURES,
    GENERATION_OF,
    VERSIONS,
    departures,
    recordings,
    services,
)
from tests.services.stand_in import Reply
from tools import departures as departures_page
from tools import service_index

PAGES = Path(__file__).parents[2] / "docs" / "services"
CATALOGUE = {service.name: service for service in Catalogue.discover()}
REMOTE = sorted(name for name, service in CATALOGUE.items() if not service.is_local)


def test_every_service_has_fixtures_and_a_page_and_nothing_is_left_over() -> None:
    assert services() == REMOTE
    assert sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README") == sorted(CATALOGUE)
    assert {path.stem for path in DEPARTURES.glob("*.json")} <= CATALOGUE.keys()
    assert {path.suffix for path in (*FIXTURES.iterdir(), *DEPARTURES.iterdir())} == {".json", ".jsonl"}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_service_is_in_the_module_of_its_name(name: str) -> None:
    module = importlib.import_module("sidecar.services." + re.sub(r"\W", "_", name))
    assert module.SERVICE is CATALOGUE[name]


@pytest.mark.parametrize("name", REMOTE)
def test_the_fixtures_show_every_task_type_that_the_recorded_releases_have(name: str) -> None:
    recorded = {case.task_type for version in VERSIONS for case in recordings(name, version)}
    newest = GENERATIONS[GENERATION_OF[VERSIONS[0]]]
    tasks = CATALOGUE[name].tasks
    assert {task_type.value for task_type in tasks if newest.at_least(tasks[task_type].listed_since)} <= recorded
    assert all(case.service == name for version in VERSIONS for case in recordings(name, version))


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_page_names_every_task_type_and_setting(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    missing = sorted(word for word in _words(CATALOGUE[name]) if not re.search(rf"`{re.escape(word)}[`.]", page))
    assert page.startswith(f"# `{name}`\n")
    assert not missing, f"not named: {', '.join(missing)}"


def _words(service: Service) -> set[str]:
    words = {task_type.value for task_type in service.tasks}
    for task in service.tasks.values():
        settings = (*task.settings, *task.secrets, *task.task_settings)
        words |= {_name(setting) for setting in settings if not isinstance(setting, Refused) and setting.until is None}
    return words


def _name(setting: Setting) -> str:
    return "rate_limit.requests_per_minute" if isinstance(setting, RateLimit) else setting.name


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_list_of_services_is_the_recorded_one(version: str, bench: Bench) -> None:
    (case,) = (case for case in load_cases(version) if case.id == "services/all")
    answer = await bench.send("GET", "/_inference/_services", version=version)
    wanted, found = ({s["service"]: s for s in body} for body in (case.answers[version].body, answer["body"]))
    own = {name for name, service in CATALOGUE.items() if not service.in_elasticsearch}
    assert own <= found.keys()
    assert not differ(wanted, {name: body for name, body in found.items() if name not in own}, "services")


@pytest.mark.parametrize("name", sorted(path.stem for path in DEPARTURES.glob("*.json")))
def test_departures_are_of_recorded_cases_and_have_a_reason(name: str) -> None:
    for version in VERSIONS:
        known = {case.id for case in recordings(name, version)} | {case.id for case in load_cases(version)}
        written = departures(name, version)
        assert written.keys() <= known
        assert all(reason.endswith(".") and len(reason) > 20 for reason in written.values())


def test_the_table_of_departures_is_up_to_date() -> None:
    assert departures_page.DOCUMENT.read_text() == departures_page.document()


def test_the_index_of_services_is_up_to_date() -> None:
    assert service_index.DOCUMENT.read_text() == service_index.document()


_NEWCOMER = """
from sidecar.core.tasks import TaskType
from sidecar.services.declaration import Service
from sidecar.services.openai_shapes import MAX_TOKENS_FORM
from sidecar.services.openai_tasks import ChatProvider
from sidecar.services.setting_kinds import RateLimit, Text

_CHAT = ChatProvider(
    title="Newcomer",
    sending="Failed to send Newcomer request",
    single_input="Newcomer",
    url="https://api.newcomer.example/chat",
    form=MAX_TOKENS_FORM,
    settings=(Text(name="model_id", required=True), RateLimit(requests_per_minute=60)),
)
SERVICE = Service(
    name="newcomer", title="Newcomer", tasks={TaskType.COMPLETION: _CHAT.task(TaskType.COMPLETION, "9.4")}
)
"""


async def test_a_module_is_all_a_provider_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_bench: MakeBench
) -> None:
    (tmp_path / "newcomer.py").write_text(_NEWCOMER)
    monkeypatch.setattr(sidecar.services, "__path__", [*sidecar.services.__path__, str(tmp_path)])
    try:
        bench = await make_bench()
        bench.provider.is_open = True
        body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}}]}
        bench.provider.replies = [Reply.json(body)]
        endpoint = {"service": "newcomer", "service_settings": {"api_key": "k", "model_id": "m"}}
        created = await bench.send("PUT", "/_inference/completion/new", endpoint)
        answer = await bench.send("POST", "/_inference/completion/new", {"input": "Hi"})
        listed = await bench.send("GET", "/_inference/_services")
    finally:
        sys.modules.pop("sidecar.services.newcomer", None)
    assert created["status"] == 200, created
    assert answer["body"] == {"completion": [{"result": "Hello"}]}
    assert "newcomer" in {service["service"] for service in listed["body"]}
    assert {call.host for call in bench.provider.calls} == {"api.newcomer.example"}
    assert json.loads(bench.provider.calls[-1].body)["model"] == "m"
