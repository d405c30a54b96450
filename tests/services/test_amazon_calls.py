"""What the sender does for Amazon's services: one text a call for Titan, headers handed through, no repeated calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import SidecarError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.requests import InferenceRequest
from sidecar.core.results import Answer, Completion, DenseEmbeddings
from sidecar.core.tasks import TaskType
from sidecar.inference.remote import make_call
from sidecar.services import amazon_sagemaker, amazonbedrock
from sidecar.services.calls import Call
from sidecar.services.declaration import RemoteTask, Service
from sidecar.upstream.connection import ConnectionConfig
from sidecar.upstream.sender import RetryConfig, Sender
from tests.services.conftest import Bench
from tests.services.recordings import VERSIONS, recordings
from tests.services.stand_in import Reply

SECRETS = {"access_key": "AKIATEST", "secret_key": "test-secret"}
BEDROCK = {"region": "us-east-1", "provider": "AMAZONTITAN", "model": "amazon.titan-embed-text-v2:0"}
SAGEMAKER = {"region": "us-east-1", "endpoint_name": "ep-1", "api": "elastic"}


@dataclass
class Amazon:
    """A server that stands in for Amazon: it answers Titan's vectors and SageMaker's completions."""

    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        if self.status != 200:
            headers = {"x-amzn-errortype": "ThrottlingException:http://amazon", "x-amzn-requestid": "r-1"}
            return web.json_response({"message": "Slow down"}, status=self.status, headers=headers)
        if "inputText" in body:
            return web.json_response({"embedding": [float(body["inputText"]), 1.0]})
        headers = {"X-Amzn-SageMaker-New-Session-Id": "s-1", "X-Amzn-SageMaker-Custom-Attributes": "a", "X-Other": "o"}
        return web.json_response({"completion": [{"result": "Hello"}]}, headers=headers)


@pytest.fixture
def amazon() -> Amazon:
    return Amazon()


@pytest.fixture
async def sender(amazon: Amazon) -> AsyncIterator[Sender]:
    app = web.Application()
    app.router.add_post("/{tail:.*}", amazon.answer)
    async with TestServer(app) as server:
        config = ConnectionConfig(overrides={"*": str(server.make_url("/"))})
        sender = Sender(connection=config, retries=RetryConfig(initial_delay=0.001))
        yield sender
        await sender.close()


async def perform(sender: Sender, service: Service, call: Call) -> Answer:
    task = service.tasks[call.task_type]
    assert isinstance(task, RemoteTask)
    return await sender.perform(service.name, task, call)


def call(task_type: TaskType, settings: dict[str, Any], *texts: str, **more: Any) -> Call:
    return Call(inference_id="a", task_type=task_type, settings=settings, secrets=SECRETS, inputs=tuple(texts), **more)


async def test_titan_gets_one_text_a_call_and_the_vectors_keep_their_order(sender: Sender, amazon: Amazon) -> None:
    texts = [str(number) for number in range(10)]
    answer = await perform(sender, amazonbedrock.SERVICE, call(TaskType.TEXT_EMBEDDING, BEDROCK, *texts))
    assert isinstance(answer.result, DenseEmbeddings)
    assert [vector[0] for vector in answer.result.vectors] == list(range(10))
    assert sorted(body["inputText"] for body in amazon.bodies) == texts


async def test_bedrock_is_asked_once(sender: Sender, amazon: Amazon) -> None:
    amazon.status = 429
    with pytest.raises(SidecarError) as caught:
        await perform(sender, amazonbedrock.SERVICE, call(TaskType.TEXT_EMBEDDING, BEDROCK, "1"))
    assert len(amazon.bodies) == 1
    assert caught.value.status == 429
    text = "Slow down (Service: BedrockRuntime, Status Code: 429, Request ID: r-1) (SDK Attempt Count: 1)"
    assert caught.value.reason == f"AmazonBedrock invoke model failure: [{text}]"
    assert caught.value.cause is not None
    assert (caught.value.cause.type, caught.value.cause.reason) == ("throttling_exception", text)


async def test_sagemaker_is_asked_three_times(sender: Sender, amazon: Amazon) -> None:
    amazon.status = 503
    with pytest.raises(SidecarError, match=r"Received an error from SageMaker for \[a\]") as caught:
        await perform(sender, amazon_sagemaker.SERVICE, call(TaskType.COMPLETION, SAGEMAKER, "Hi"))
    assert len(amazon.bodies) == 3
    assert caught.value.status == 400


async def test_sagemakers_own_headers_reach_the_caller(sender: Sender, amazon: Amazon) -> None:
    request = call(TaskType.COMPLETION, SAGEMAKER, "Hi", task_settings={"session_id": "s", "k": 1})
    answer = await perform(sender, amazon_sagemaker.SERVICE, request)
    assert answer.result == Completion(("Hello",))
    assert answer.headers == {
        "X-elastic-sagemaker-custom-attributes": "a",
        "X-elastic-sagemaker-new-session-id": "s-1",
    }
    assert json.dumps(amazon.bodies) == json.dumps([{"input": "Hi", "task_settings": {"k": 1}}])


def test_sagemakers_further_task_settings_mean_nothing_to_the_sidecar() -> None:
    task = amazon_sagemaker.SERVICE.tasks[TaskType.SPARSE_EMBEDDING]
    assert isinstance(task, RemoteTask)
    endpoint = Endpoint("a", TaskType.SPARSE_EMBEDDING, "amazon_sagemaker", SAGEMAKER)
    asked = InferenceRequest(input=("a",), task_settings={"input_type": "passage"})
    made = make_call(task, endpoint, SECRETS, asked, DEFAULT_GENERATION)
    body = json.loads(task.request(made).body)
    assert body == {"input": "a", "task_settings": {"input_type": "passage"}}


@pytest.mark.parametrize("name", ["elastic_all_parameters", "openai_basic"])
async def test_sagemakers_own_headers_come_before_its_streams(name: str, bench: Bench) -> None:
    cases = recordings("amazon_sagemaker", VERSIONS[0])
    case = next(case for case in cases if (case.task_type, case.name) == ("chat_completion", name))
    reply = Reply.recorded(case.call_replies[0])
    own = {"X-Amzn-SageMaker-New-Session-Id": "s-1", "X-Amzn-SageMaker-Custom-Attributes": "a", "X-Other": "o"}
    bench.provider.play_create(case)
    bench.provider.replies = [replace(reply, headers={**reply.headers, **own})]
    assert (await bench.send("PUT", case.create["path"], case.create["body"]))["status"] == 200
    bench.provider.play_call(case, replace(reply, headers={**reply.headers, **own}))
    async with bench.open("POST", case.call["path"], case.call["body"]) as response:
        text = await response.text()
    assert not bench.provider.refusals
    assert text.count("event: message") > 2
    assert text.endswith("data: [DONE]\n\n")
    handed = {name: value for name, value in response.headers.items() if "sagemaker" in name.lower()}
    assert handed == {"X-elastic-sagemaker-new-session-id": "s-1", "X-elastic-sagemaker-custom-attributes": "a"}


async def test_a_stream_without_items_has_no_headers_of_sagemakers(bench: Bench) -> None:
    cases = recordings("amazon_sagemaker", VERSIONS[0])
    case = next(case for case in cases if case.name == "stream_exception")
    bench.provider.play_create(case)
    assert (await bench.send("PUT", case.create["path"], case.create["body"]))["status"] == 200
    reply = Reply.recorded(case.call_replies[0])
    headers = {**reply.headers, "X-Amzn-SageMaker-New-Session-Id": "s-1"}
    bench.provider.play_call(case, replace(reply, headers=headers))
    async with bench.open("POST", case.call["path"], case.call["body"]) as response:
        assert (await response.text()).startswith("event: error")
    assert not any("sagemaker" in name.lower() for name in response.headers)
