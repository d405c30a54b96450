"""Amazon SageMaker endpoints that speak Elasticsearch's own form or OpenAI's.

Source: Amazon SageMaker Runtime API reference, "InvokeEndpoint" and "InvokeEndpointWithResponseStream"; Elasticsearch
API reference, "Create an Amazon SageMaker inference endpoint".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from sidecar.core.errors import OtherError, StatusError, UpstreamError
from sidecar.core.results import Answer, StreamItem, StreamStart
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.aws import SECRETS, error_type, host, read_error, signed
from sidecar.services.calls import (
    PLAIN_JSON,
    Call,
    ProviderAnswer,
    ProviderRequest,
    StreamFailedError,
    UnusableAnswerError,
    no_reasoning,
)
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.failures import Failures, client_status, status_name, words_of_message
from sidecar.services.reading import SET_BY_USER
from sidecar.services.sagemaker_payloads import ELASTIC, OPENAI, body_of, payload_stream, result_of
from sidecar.services.setting_kinds import Choice, Flag, PositiveInt, Text
from sidecar.services.settings import Listed, Setting

# the task types of each api, in the order in which Elasticsearch names them
OPENAI_TASKS = (TaskType.COMPLETION, TaskType.TEXT_EMBEDDING, TaskType.CHAT_COMPLETION)
TASKS_OF_APIS = {OPENAI: OPENAI_TASKS, ELASTIC: tuple(TaskType)}

BATCH_SIZE = 256
PREFIX = "X-Amzn-SageMaker-"
# by setting; those marked false are unknown to the operation that streams
SETTING_HEADERS = {
    "target_model": ("Target-Model", False),
    "target_container_hostname": ("Target-Container-Hostname", True),
    "inference_component_name": ("Inference-Component", True),
}
TASK_SETTING_HEADERS = {
    "custom_attributes": ("Custom-Attributes", True),
    "enable_explanations": ("Enable-Explanations", False),
    "inference_id": ("Inference-Id", True),
    "session_id": ("Session-Id", True),
    "target_variant": ("Target-Variant", True),
}
RETURNED_HEADERS = ("Custom-Attributes", "New-Session-Id", "Closed-Session-Id")
# errors that SageMaker's interface names; Amazon's client for Java shows any other as its base class
MODELLED = frozenset(
    {
        "InternalDependencyException",
        "InternalFailure",
        "ModelError",
        "ModelNotReadyException",
        "ServiceUnavailable",
        "ValidationError",
    }
)

# --- settings ------------------------------------------------------------------------------------------------

_SETTINGS: tuple[Setting, ...] = (
    Text(
        name="endpoint_name",
        required=True,
        listed=Listed("Endpoint Name", "The name specified when creating the SageMaker Endpoint."),
    ),
    Text(
        name="region",
        required=True,
        listed=Listed("Region", "The AWS region that your model or ARN is deployed in."),
    ),
    Text(
        name="api",
        required=True,
        listed=Listed("API", "The API format that your SageMaker Endpoint expects."),
    ),
    Text(
        name="target_model",
        listed=Listed("Target Model", "The model to request when calling a SageMaker multi-model Endpoint."),
    ),
    Text(
        name="target_container_hostname",
        listed=Listed(
            "Target Container Hostname",
            "The hostname of the container when calling a SageMaker multi-container Endpoint.",
        ),
    ),
    Text(name="inference_component_name"),
    PositiveInt(
        name="batch_size",
        listed=Listed(
            "Batch Size", "The maximum size a single chunk of input can be when chunking input for semantic text."
        ),
    ),
)
_TASK_SETTINGS: tuple[Setting, ...] = (
    Text(name="user"),
    Text(
        name="custom_attributes",
        listed=Listed(
            "Custom Attributes", "An opaque informational value forwarded as-is to the model within SageMaker."
        ),
    ),
    Text(
        name="enable_explanations",
        listed=Listed(
            "Enable Explanations",
            "JMESPath expression overriding the ClarifyingExplainerConfig in the SageMaker Endpoint Configuration.",
        ),
    ),
    Text(
        name="inference_id",
        listed=Listed("Inference ID", "Informational identifying for auditing requests within the SageMaker Endpoint."),
    ),
    Text(
        name="session_id",
        listed=Listed("Session ID", "Creates or reuses an existing Session for SageMaker stateful models."),
    ),
    Text(
        name="target_variant",
        listed=Listed("Target Variant", "The production variant when calling the SageMaker Endpoint"),
    ),
)
_DIMENSIONS = PositiveInt(name="dimensions")
_ELASTIC_VECTORS: tuple[Setting, ...] = (
    _DIMENSIONS,
    Flag(name=SET_BY_USER),
    Choice(name="similarity", choices=("cosine", "dot_product", "l2_norm"), required=True),
    Choice(name="element_type", choices=("bit", "byte", "float"), required=True, until="9.4"),
    Choice(name="element_type", choices=("bfloat16", "bit", "byte", "float"), required=True, since="9.4"),
)


def check_api(settings: Mapping[str, Any], task_type: TaskType) -> None:
    """Refuse an ``api`` that has no form for the task type.

    Raises:
        StatusError: 405.
    """
    tasks = TASKS_OF_APIS.get(settings["api"], ())
    if task_type not in tasks:
        raise StatusError(
            f"Task [{settings['api']}] is not compatible for service [sagemaker] and api [{task_type}]. "
            f"Supported tasks: [[{', '.join(tasks)}]]",
            status=405,
        )


def vector_settings(settings: Mapping[str, Any]) -> tuple[Setting, ...]:
    """What the ``api`` adds for vectors: OpenAI's form fixes everything but their size."""
    check_api(settings, TaskType.TEXT_EMBEDDING)
    return (_DIMENSIONS,) if settings["api"] == OPENAI else _ELASTIC_VECTORS


def task_settings_of(settings: Mapping[str, Any]) -> tuple[Setting, ...]:
    """Only OpenAI's form knows ``user``; for the other it is an unknown task setting."""
    return tuple(setting for setting in _TASK_SETTINGS if setting.name != "user" or settings["api"] == OPENAI)


def complete_vectors(settings: dict[str, Any], task_settings: dict[str, Any]) -> None:
    """The mark for sizes set by users is shown by the ``elastic`` form, and always false there."""
    settings.pop(SET_BY_USER, None)
    if settings["api"] == ELASTIC:
        settings[SET_BY_USER] = False


# --- requests ------------------------------------------------------------------------------------------------


def check_chat(call: Call) -> None:
    """Only the ``elastic`` form has a place for ``reasoning``.

    Raises:
        OtherError: it was given for the other.
    """
    if call.chat and call.chat.reasoning and call.settings["api"] == OPENAI:
        raise no_reasoning("amazon_sagemaker")


def request(call: Call) -> ProviderRequest:
    """``invocations`` or its streaming twin; settings of both kinds travel as headers."""
    settings = call.settings
    operation = "invocations-response-stream" if call.stream else "invocations"
    url = f"https://{host('runtime.sagemaker', settings['region'])}"
    url += f"/endpoints/{quote(settings['endpoint_name'], safe='')}/{operation}"
    headers = {f"{PREFIX}Accept" if call.stream else "Accept": "application/json", **PLAIN_JSON}
    for values, names in ((settings, SETTING_HEADERS), (call.task_settings, TASK_SETTING_HEADERS)):
        for name, (header, is_streamed) in names.items():
            if values.get(name) is not None and (is_streamed or not call.stream):
                headers[PREFIX + header] = values[name]
    return ProviderRequest.json(url, body_of(call), headers)


def sign(request: ProviderRequest, call: Call, now: datetime) -> ProviderRequest:
    return signed(request, call.secrets, service="sagemaker", region=call.settings["region"], now=now)


def probe_as_ingestion(call: Call) -> Call:
    return replace(call, input_type=InputType.INTERNAL_INGEST)


# --- answers -------------------------------------------------------------------------------------------------


def parse(answer: ProviderAnswer, call: Call) -> Answer:
    """The result, with the headers about sessions and attributes for the caller.

    Raises:
        UnusableAnswerError: the body is not what the ``api`` promises.
    """
    try:
        result = result_of(answer, call)
    except UnusableAnswerError as error:
        failure = UpstreamError(
            f"Failed to translate SageMaker response for [{call.inference_id}]",
            status=500,
            cause=error.cause,
            chat_type="error",
            chat_code=status_name(500),
        )
        raise UnusableAnswerError(failure, is_whole=True) from None
    return Answer(result, returned_headers(answer.headers))


def returned_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers for those of an answer."""
    found = {name.lower(): headers.get((PREFIX + name).lower()) for name in RETURNED_HEADERS}
    return {f"X-elastic-sagemaker-{name}": value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SageMakerFailures(Failures):
    """Failures in Elasticsearch's words, the provider's own below them, with the provider's status."""

    def error(self, answer: ProviderAnswer, call: Call) -> UpstreamError:
        told = read_error(answer)
        name = f"{told.name.removesuffix('Exception')}Exception" if told.name in MODELLED and told.name else ""
        status = client_status(answer.status)
        if answer.status == 403:
            reason = f"Access and Secret key stored in [{call.inference_id}] do not have sufficient permissions."
        elif answer.status == 429:
            reason = f"SageMaker denied the request for [{call.inference_id}] due to request throttling"
        else:
            reason = f"Received an error from SageMaker for [{call.inference_id}]"
        text = told.described("SageMakerRuntime", answer.status)
        return UpstreamError(
            reason,
            status=status,
            cause=OtherError(error_type(name or "SageMakerRuntimeException"), text, status=status),
            upstream_status=answer.status,
            chat_type="error",
            chat_code=status_name(status),
        )


FAILURES = SageMakerFailures(
    words=words_of_message, retried=frozenset({429, 500, 503}), retries_unusable=False, chat_type="error"
)


class SageMakerStream:
    """The stream of either form, begun with the headers for the caller."""

    def __init__(self, call: Call) -> None:
        self._reader = payload_stream(call, FAILURES)
        self._start: list[StreamItem] = []

    def open(self, headers: Mapping[str, str]) -> None:
        if found := returned_headers(headers):
            self._start = [StreamStart(found)]

    def feed(self, data: bytes) -> list[StreamItem]:
        return self._begun(partial(self._reader.feed, data))

    def finish(self) -> list[StreamItem]:
        return self._begun(self._reader.finish)

    def _begun(self, read: Callable[[], list[StreamItem]]) -> list[StreamItem]:
        """What is read, behind the start when it is the first; a failure that comes first has no headers."""
        try:
            items = read()
        except StreamFailedError as failure:
            raise StreamFailedError(self._with_start(failure.items), failure.error) from None
        return self._with_start(items)

    def _with_start(self, items: list[StreamItem]) -> list[StreamItem]:
        if not items:
            return items
        start, self._start = self._start, []
        return [*start, *items]


# --- the service ---------------------------------------------------------------------------------------------


def _task(task_type: TaskType) -> RemoteTask:
    def further_settings(settings: Mapping[str, Any]) -> tuple[Setting, ...]:
        check_api(settings, task_type)
        return ()

    return RemoteTask(
        sending="Failed to send request to SageMaker for [{id}]",
        settings=_SETTINGS,
        secrets=SECRETS,
        secrets_first=True,
        ignores_top_level=True,
        task_settings=_TASK_SETTINGS,
        task_settings_of=task_settings_of,
        further_settings=further_settings,
        shows_empty_task_settings=True,
        keeps_unknown_task_settings=True,
        request=request,
        sign=sign,
        parse=parse,
        parses_empty=True,
        failures=FAILURES,
        input_types=PUBLIC_INPUT_TYPES,
        batch_size=BATCH_SIZE,
        batch_size_of=lambda settings: settings.get("batch_size"),
        has_chunking=False,
        since="8.19",
    )


_COMPLETION = replace(_task(TaskType.COMPLETION), stream=SageMakerStream, probe=probe_as_ingestion)

SERVICE = Service(
    name="amazon_sagemaker",
    title="Amazon SageMaker",
    tasks={
        TaskType.TEXT_EMBEDDING: replace(
            _task(TaskType.TEXT_EMBEDDING),
            further_settings=vector_settings,
            shows=frozenset({"similarity", "element_type", SET_BY_USER}),
            dense=Dense(similarity=None),
            complete=complete_vectors,
        ),
        TaskType.SPARSE_EMBEDDING: _task(TaskType.SPARSE_EMBEDDING),
        TaskType.RERANK: _task(TaskType.RERANK),
        TaskType.COMPLETION: _COMPLETION,
        TaskType.CHAT_COMPLETION: replace(
            _task(TaskType.CHAT_COMPLETION), stream=SageMakerStream, check_call=check_chat, reads_reasoning=True
        ),
    },
)
