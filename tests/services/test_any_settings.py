"""Whatever stands in the settings of an endpoint or a request, it is read or refused with 400, at once."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import SidecarError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.requests import InferenceRequest
from sidecar.core.tasks import TaskType
from sidecar.inference.remote import make_call, probe_call
from sidecar.services.calls import Call
from sidecar.services.declaration import RemoteTask
from sidecar.services.reading import read_endpoint, shown_settings
from tests.services.altered import altered
from tests.services.recordings import VERSIONS, Recording, recordings, services
from tests.services.sample_calls import catalogue, sample_call

# settings that some task or other has, to be altered
TASK_SETTINGS = {
    "input_type": "search",
    "user": "u",
    "headers": {"a": "b"},
    "top_n": 1,
    "return_documents": True,
    "truncate": "END",
    "parameters": {"a": 1},
    "max_tokens": 5,
    "temperature": 0.5,
    "thinking_config": {"thinking_budget": 5},
}


@functools.cache
def endpoints() -> dict[str, Recording]:
    """By id, the creation with the most settings of every task."""
    found: dict[tuple[str, str], Recording] = {}
    for service in services():
        for case in recordings(service, VERSIONS[0]):
            known = found.get((service, case.task_type))
            if case.create_answer["status"] == 200 and (known is None or _size(case) > _size(known)):
                found[service, case.task_type] = case
    return {case.id: case for case in found.values()}


def _size(case: Recording) -> int:
    return len(json.dumps(case.create["body"]))


def sent(task: RemoteTask, call: Call) -> None:
    task.request(replace(call, token="T") if task.token else call)


@pytest.mark.parametrize("name", endpoints())
@settings(max_examples=25)
@given(data=st.data())
def test_settings_of_an_endpoint(name: str, data: st.DataObject) -> None:
    case = endpoints()[name]
    body = {name: value for name, value in case.create["body"].items() if name != "service"}
    part = data.draw(st.sampled_from(sorted(body.keys() & {"service_settings", "task_settings"})))
    body[part] = altered(body[part], data)
    service, task_type = catalogue().get(case.service), TaskType(case.task_type)
    assert service is not None
    task = service.tasks[task_type]
    assert isinstance(task, RemoteTask)
    try:
        draft = read_endpoint(service, task_type, "id", body, DEFAULT_GENERATION)
        json.dumps(shown_settings(task, draft.endpoint, DEFAULT_GENERATION))
        sent(task, probe_call(task, draft.endpoint, draft.secrets, DEFAULT_GENERATION))
    except SidecarError as error:
        # 405 is SageMaker's word for a task that the endpoint's form does not have
        assert error.status in (400, 405)


@pytest.mark.parametrize("name", endpoints())
@settings(max_examples=25)
@given(data=st.data())
def test_task_settings_of_a_request(name: str, data: st.DataObject) -> None:
    case = endpoints()[name]
    task, call = sample_call(case)
    given_settings = {**TASK_SETTINGS, **case.create["body"].get("task_settings", {})}
    key = data.draw(st.sampled_from(sorted(given_settings)))
    given_settings[key] = altered(given_settings[key], data)
    endpoint = Endpoint("id", call.task_type, case.service, call.settings, call.task_settings)
    request = InferenceRequest(
        input=call.inputs[:1], query=call.query, task_settings=given_settings, chat=call.chat, stream=call.stream
    )
    try:
        sent(task, make_call(task, endpoint, call.secrets, request, DEFAULT_GENERATION))
    except SidecarError as error:
        assert error.status == 400


@pytest.mark.parametrize("name", [name for name in endpoints() if "/text_embedding/" in name])
def test_the_mark_that_elasticsearch_keeps_for_itself_is_refused(name: str) -> None:
    case = endpoints()[name]
    body = {name: value for name, value in case.create["body"].items() if name != "service"}
    body["service_settings"] = {**body["service_settings"], "dimensions_set_by_user": True}
    service = catalogue().get(case.service)
    assert service is not None
    with pytest.raises(SidecarError) as caught:
        read_endpoint(service, TaskType.TEXT_EMBEDDING, "id", body, DEFAULT_GENERATION)
    assert caught.value.status == 400
    if case.service in ("amazonbedrock", "azureaistudio", "googlevertexai"):
        assert "[service_settings] does not allow the setting [dimensions_set_by_user]" in (caught.value.reason or "")
    else:
        assert "contains settings [{dimensions_set_by_user=true}] unknown to" in (caught.value.reason or "")
