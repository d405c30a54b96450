"""Whatever a provider answers, there is a result or a failure that says what is wrong with it, but no surprise."""

from __future__ import annotations

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.api.result_bodies import result_body
from sidecar.core.results import Answer, Completion, Ranking
from sidecar.services.calls import ProviderAnswer, UnusableAnswerError
from sidecar.wire.json_writer import write_json
from tests.services.altered import altered
from tests.services.recordings import VERSIONS, Recording, recordings, services
from tests.services.sample_calls import sample_call


@functools.cache
def answered() -> dict[str, Recording]:
    """By id, a case of every task whose provider answers with JSON."""
    found: dict[tuple[str, str], Recording] = {}
    for service in services():
        for case in recordings(service, VERSIONS[0]):
            succeeds = case.create_answer["status"] == 200 and (case.call_answer or {}).get("status") == 200
            if succeeds and case.call_replies and isinstance(case.call_replies[0].get("body"), (dict, list)):
                found.setdefault((service, case.task_type), case)
    return {case.id: case for case in found.values()}


@pytest.mark.parametrize("name", answered())
@settings(max_examples=30)
@given(data=st.data())
def test_an_answer_is_read_or_refused(name: str, data: st.DataObject) -> None:
    case = answered()[name]
    task, call = sample_call(case)
    body = altered(case.call_replies[0]["body"], data)
    try:
        result = task.parse(ProviderAnswer(200, {"content-type": "application/json"}, json.dumps(body).encode()), call)
    except UnusableAnswerError as error:
        assert error.cause.reason
        return
    shown = result.result if isinstance(result, Answer) else result
    assert write_json(result_body(shown, call.task_type, call.generation))
    if isinstance(shown, Completion):
        assert all(isinstance(text, str) for text in shown.results)
    elif isinstance(shown, Ranking):
        assert all(type(document.index) is int for document in shown.documents)


@pytest.mark.parametrize("name", answered())
@settings(max_examples=30)
@given(data=st.data(), status=st.sampled_from([400, 401, 403, 404, 413, 422, 429, 500, 503, 529, 302]))
def test_an_error_body_is_read_or_passed_over(name: str, data: st.DataObject, status: int) -> None:
    task, call = sample_call(answered()[name])
    error = {"message": "no", "type": "t", "code": 7, "http_status_code": 7}
    body = altered({**error, "error": error, "errors": [error], "detail": "no"}, data)
    answer = ProviderAnswer(status, {"content-type": "application/json"}, json.dumps(body).encode())
    failure = task.failures_for(call).error(answer, call)
    assert failure.status < 500
    assert failure.reason
