"""Unusual answers, told to the caller as real nodes tell them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sidecar.core.generations import GENERATIONS
from sidecar.services.calls import Call, ProviderAnswer, StreamFailedError, UnusableAnswerError
from sidecar.services.declaration import RemoteTask
from sidecar.services.failures import client_status
from tests.services.recordings import VERSIONS, recordings
from tests.services.sample_calls import sample_call

ERROR = {"error": {"message": "bad", "type": "t", "code": "c", "param": "p"}}


def task_and_call(service: str, task_type: str) -> tuple[RemoteTask, Call, Any]:
    """A task, a call of it and the body of the provider's recorded answer."""
    found = [c for c in recordings(service, VERSIONS[0]) if c.task_type == task_type and c.id.endswith("basic")]
    task, call = sample_call(found[0])
    return task, call, found[0].call_replies[0].get("body")


def answer(status: int, body: Any) -> ProviderAnswer:
    text = body if isinstance(body, str) else json.dumps(body)
    return ProviderAnswer(status, {"content-type": "application/json"}, text.encode(), "https://example.com")


def failure_of_stream(service: str, event: str, generation: str = "9.4") -> tuple[str | None, str | None, str | None]:
    """The type, the code and the reason of the failure that ``event`` makes of a chat stream."""
    task, call, _ = task_and_call(service, "chat_completion")
    assert task.stream is not None
    reader = task.stream(dataclasses.replace(call, generation=GENERATIONS[generation]))
    with pytest.raises(StreamFailedError) as caught:
        reader.feed(event.encode() + b"\n\n")
    error = caught.value.error
    reason = error.reason.replace(f"[{call.inference_id}]", "[id]") if error.reason else None
    return getattr(error, "chat_type", error.type), getattr(error, "chat_code", None), reason


@pytest.mark.parametrize(
    ("status", "told"), [(417, 417), (418, 400), (421, 400), (422, 422), (424, 424), (425, 400), (426, 400), (451, 400)]
)
def test_statuses_that_elasticsearch_has_no_name_for_become_400(status: int, told: int) -> None:
    assert client_status(status) == told


@pytest.mark.parametrize(
    ("generation", "chunk", "reason"),
    [
        ("9.4", {"error": {"message": "bad"}}, "Required [id, choices]"),
        ("9.4", {"choices": []}, "Required [id]"),
        ("9.4", {"error": {"message": "bad", "type": "t", "code": [7]}}, "Required [id, choices]"),
        ("8.19", {"error": {"message": "bad"}}, "Required [id, choices, model, object]"),
        ("8.19", {"id": "i", "choices": [], "object": "o"}, "Required [model]"),
    ],
)
def test_a_chunk_without_its_fields_is_refused(generation: str, chunk: Any, reason: str) -> None:
    kind, _, told = failure_of_stream("openai", "data: " + json.dumps(chunk), generation)
    assert (kind, told) == ("illegal_argument_exception", reason)


def test_an_error_event_that_says_nothing_readable_is_a_stream_error() -> None:
    reason = "Received an error response for request from inference entity id [id]"
    for generation, kind in (("9.4", "UnifiedChatCompletionErrorResponse"), ("8.19", "ErrorResponse")):
        told = failure_of_stream("openai", 'event: error\ndata: {"message": "plain"}', generation)
        assert told == (kind, "stream_error", reason)


@pytest.mark.parametrize("data", ["not json", "{}", '{"message": "plain"}', '{"error":{"mess'])
def test_where_whole_bodies_are_quoted_unreadable_chunks_are_quoted_too(data: str) -> None:
    reason = f"Received an error response for request from inference entity id [id]. Error message: [{data}]"
    assert failure_of_stream("mistral", f"data: {data}") == ("mistral_error", None, reason)


@pytest.mark.parametrize("service", ["openai", "cohere", "googleaistudio", "watsonxai"])
def test_text_after_the_answer_is_not_read(service: str) -> None:
    task, call, body = task_and_call(service, "text_embedding")
    with_text, alone = (task.parse(answer(200, text), call) for text in (json.dumps(body) + " xyz", body))
    assert repr(with_text) == repr(alone)


@pytest.mark.parametrize(
    ("service", "task_type", "body", "reason"),
    [
        ("hugging_face", "sparse_embedding", "[[0.5, 1.5]]", "[START_OBJECT] but found [VALUE_NUMBER]"),
        ("cohere", "text_embedding", "null", "[START_OBJECT] but found [VALUE_NULL]"),
        ("googleaistudio", "text_embedding", '{"embeddings": 7}', "[START_ARRAY] but found [VALUE_NUMBER]"),
        ("googleaistudio", "completion", "[]", "[START_OBJECT] but found [START_ARRAY]"),
        ("anthropic", "completion", '{"content": "x"}', "[START_ARRAY] but found [VALUE_STRING]"),
        ("watsonxai", "text_embedding", '{"results": ["x"]}', "[START_OBJECT] but found [VALUE_STRING]"),
    ],
)
def test_a_value_of_another_type_is_named(service: str, task_type: str, body: str, reason: str) -> None:
    task, call, _ = task_and_call(service, task_type)
    with pytest.raises(UnusableAnswerError) as caught:
        task.parse(answer(200, body), call)
    assert caught.value.status == 400
    assert caught.value.cause.reason == f"Failed to parse object: expecting token of type {reason}"


def test_a_prompt_too_long_for_a_chat_is_repeated_as_it_is() -> None:
    task, call, _ = task_and_call("mistral", "completion")
    failures = task.failures_for(call)
    refusal = answer(400, {"error": {"message": "Please reduce your prompt; or completion length."}})
    assert failures.is_retried(refusal)
    assert not failures.can_shorten
    assert (failures.error(refusal, call).reason or "").startswith("Received a content too large status code")


def test_openshift_calls_a_bad_ranking_request_an_input_validation_error() -> None:
    task, call, _ = task_and_call("openshift_ai", "rerank")
    for status, prefix in ((400, "Received an input validation error response"), (404, "Received an unsuccessful")):
        assert (task.failures_for(call).error(answer(status, ERROR), call).reason or "").startswith(prefix)


def test_watsonx_chat_errors_have_a_type_of_their_own() -> None:
    task, call, _ = task_and_call("watsonxai", "chat_completion")
    error = task.failures_for(call).error(answer(429, ERROR), call)
    told = [getattr(error, name) for name in ("chat_type", "chat_code", "chat_param")]
    assert told == ["watsonx_error", "too_many_requests", None]


@pytest.mark.parametrize("task_type", ["completion", "chat_completion"])
def test_ai21_failures_name_task_and_endpoint(task_type: str) -> None:
    task, _, _ = task_and_call("ai21", task_type)
    told = task.sending.replace("{task}", task_type).replace("{id}", "x")
    assert told == f"Failed to send AI21 {task_type} request from inference entity id [x]"
