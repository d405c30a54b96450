"""Amazon Bedrock: embeddings of Titan and Cohere models, and chat with every model through Converse.

Source: Amazon Bedrock API reference, "InvokeModel", "Converse" and "ConverseStream"; User Guide, "Amazon Titan Text
Embeddings models" and "Cohere Embed models".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sidecar.core.errors import OtherError, SidecarError, StatusError, UpstreamError
from sidecar.core.results import DenseEmbeddings
from sidecar.core.tasks import InputType, TaskType
from sidecar.services.aws import SECRETS, error_type, host, read_error, signed
from sidecar.services.bedrock_converse import ConverseStream, check_chat, converse_body, model_of, parse_converse
from sidecar.services.calls import PLAIN_JSON, Call, ProviderAnswer, ProviderRequest, UnusableAnswerError
from sidecar.services.declaration import PUBLIC_INPUT_TYPES, Dense, RemoteTask, Service
from sidecar.services.failures import Failures, client_status, status_name, words_of_message
from sidecar.services.openai_shapes import dense_vectors
from sidecar.services.reading import SET_BY_USER
from sidecar.services.setting_kinds import (
    SIMILARITY,
    Choice,
    MaxInputTokens,
    Number,
    PositiveInt,
    RateLimit,
    Refused,
    Text,
)
from sidecar.services.settings import Listed, Reading, Setting

TITAN, COHERE = "AMAZONTITAN", "COHERE"
PROVIDERS = ("amazontitan", "anthropic", "ai21labs", "cohere", "meta", "mistral")
EMBEDDING_PROVIDERS = (TITAN, COHERE)
TOP_K_PROVIDERS = ("ANTHROPIC", COHERE, "MISTRAL")
# texts in one request: Titan takes a single one, Cohere's models on Bedrock at most 96
MAX_INPUTS = {TITAN: 1, COHERE: 96}
COHERE_INPUT_TYPES = {
    InputType.SEARCH: "search_query",
    InputType.CLASSIFICATION: "classification",
    InputType.CLUSTERING: "clustering",
}
# exceptions that Bedrock's interface names; Amazon's client for Java shows any other as its base class
MODELLED = frozenset(
    {
        "AccessDeniedException",
        "ConflictException",
        "InternalServerException",
        "ModelErrorException",
        "ModelNotReadyException",
        "ModelTimeoutException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "ServiceUnavailableException",
        "ThrottlingException",
        "ValidationException",
    }
)

# --- settings ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSize(PositiveInt):
    """A size that only the validation call may tell: checked like any other, then refused."""

    def checked(self, value: Any, reading: Reading) -> Any:
        if PositiveInt.checked(self, value, reading) is not None:
            reading.complain(f"[{reading.scope}] does not allow the setting [{self.name}]")


_COMMON: tuple[Setting, ...] = (
    Text(
        name="model",
        required=True,
        listed=Listed("Model", "The base model ID or an ARN to a custom model based on a foundational model."),
    ),
    Text(
        name="region",
        required=True,
        listed=Listed("Region", "The region that your model or ARN is deployed in."),
    ),
    Choice(
        name="provider",
        choices=PROVIDERS,
        upper=True,
        required=True,
        listed=Listed("Provider", "The model provider for your deployment."),
    ),
    RateLimit(
        requests_per_minute=240,
        owner="amazon_bedrock",
        listed=Listed(
            "Rate Limit", "By default, the amazonbedrock service sets the number of requests allowed per minute to 240."
        ),
    ),
)
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    *_COMMON,
    SIMILARITY,
    MaxInputTokens(characters_per_token=3),
    LearnedSize(
        name="dimensions",
        listed=Listed(
            "Dimensions",
            "The number of dimensions the resulting embeddings should have. For more information refer to "
            "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html.",
        ),
    ),
    Refused(name=SET_BY_USER),
)
_EMBEDDING_TASK_SETTINGS: tuple[Setting, ...] = (Choice(name="truncate", choices=("none", "start", "end")),)
_CHAT_TASK_SETTINGS: tuple[Setting, ...] = (
    Number(name="temperature", minimum=0.0, maximum=1.0),
    Number(name="top_p", minimum=0.0, maximum=1.0),
    Number(name="top_k", minimum=0.0, maximum=1.0),
    PositiveInt(name="max_new_tokens"),
)


def check_embedding_provider(settings: Mapping[str, Any], task_settings: Mapping[str, Any]) -> None:
    provider = settings["provider"]
    subject = f"The [text_embedding] task type for provider [{provider.lower()}]"
    if provider != COHERE and task_settings.get("truncate") is not None:
        raise StatusError(f"{subject} does not allow [truncate] field")
    if provider not in EMBEDDING_PROVIDERS:
        raise StatusError(f"{subject} is not available")


def check_top_k(settings: Mapping[str, Any], task_settings: Mapping[str, Any]) -> None:
    provider = settings["provider"]
    if provider not in TOP_K_PROVIDERS and task_settings.get("top_k") is not None:
        raise StatusError(f"The [top_k] task parameter is not available for provider [{provider.lower()}]")


# --- requests ------------------------------------------------------------------------------------------------


def url(call: Call, operation: str, model: str) -> str:
    """The model's name is one path segment, so that the ``:`` and ``/`` of ARNs are encoded."""
    return f"https://{host('bedrock-runtime', call.settings['region'])}/model/{quote(model, safe='')}/{operation}"


def sign(request: ProviderRequest, call: Call, now: datetime) -> ProviderRequest:
    return signed(request, call.secrets, service="bedrock", region=call.settings["region"], now=now)


def check_embeddings(call: Call) -> None:
    check_embedding_provider(call.settings, call.task_settings)


def request_embeddings(call: Call) -> ProviderRequest:
    body: dict[str, Any]
    if call.settings["provider"] == TITAN:
        body = {"inputText": call.texts[0]}
    else:
        purpose = call.input_type.public if call.input_type else InputType.INGEST
        body = {"texts": call.texts, "input_type": COHERE_INPUT_TYPES.get(purpose, "search_document")}
        if truncate := call.task_settings.get("truncate"):
            body["truncate"] = truncate.upper()
    headers = {"Accept": "application/json", **PLAIN_JSON}
    return ProviderRequest.json(url(call, "invoke", call.settings["model"]), body, headers)


def check_converse(call: Call) -> None:
    check_top_k(call.settings, call.task_settings)
    check_chat(call)


def request_chat(call: Call) -> ProviderRequest:
    operation, accept = ("converse", "application/json")
    if call.stream:
        operation, accept = ("converse-stream", "application/vnd.amazon.eventstream")
    headers = {"Accept": accept, **PLAIN_JSON}
    return ProviderRequest.json(url(call, operation, model_of(call)), converse_body(call), headers)


# --- answers -------------------------------------------------------------------------------------------------


def parse_embeddings(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """Titan: ``{"embedding": [...]}``; Cohere: ``{"embeddings": [[...]]}`` or ``{"embeddings": {"float": [[...]]}}``.

    Raises:
        UnusableAnswerError: a field is missing or not what it should be.
    """
    if not answer.body:
        raise _whole("parsing_exception", "Failed to parse object: expecting token of type [START_OBJECT]", 400)
    try:
        body = answer.json()
        return DenseEmbeddings(dense_vectors(_vectors(body, call.settings["provider"])))
    except UnusableAnswerError as error:
        if error.is_whole:
            raise
        failure = UpstreamError("Amazon Bedrock invoke model call failed", status=500, cause=error.cause)
        raise UnusableAnswerError(failure, is_whole=True) from None


def _vectors(body: Any, provider: str) -> list[Any]:
    name, title = ("embedding", "Amazon Titan") if provider == TITAN else ("embeddings", "Cohere")
    found = body.get(name) if isinstance(body, dict) else None
    if isinstance(found, dict):
        found = found.get("float")
    if not isinstance(found, list):
        reason = f"Failed to find required field [{name}] in {title} embeddings response"
        raise _whole("illegal_state_exception", reason, 500)
    return [found] if provider == TITAN else found


def _whole(type: str, reason: str, status: int) -> UnusableAnswerError:
    return UnusableAnswerError(OtherError(type, reason, status=status, is_elasticsearch_level=True), is_whole=True)


# --- failures ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BedrockFailures(Failures):
    """Failures in the words of Amazon's client for Java, as Elasticsearch shows them, with the provider's status."""

    def error(self, answer: ProviderAnswer, call: Call) -> UpstreamError:
        told = read_error(answer)
        text = f"{told.described('BedrockRuntime', answer.status)} (SDK Attempt Count: 1)"
        name = told.name if told.name in MODELLED else "BedrockRuntimeException"
        status = client_status(answer.status)
        cause: SidecarError = OtherError(error_type(name), text, status=status)
        if call.stream:
            kind = "completion_exception"
            reason = f"software.amazon.awssdk.services.bedrockruntime.model.{name}: {text}"
        else:
            kind, reason = "exception", f"AmazonBedrock invoke model failure: [{text}]"
            if call.task_type is TaskType.COMPLETION:
                converse = f"AmazonBedrock converse failure: [{text}]"
                cause = OtherError(kind, converse, status=status, cause=cause, is_elasticsearch_level=True)
                reason = f"Failed to send request from inference entity id [{call.inference_id}]"
        error = UpstreamError(
            reason,
            status=status,
            cause=cause,
            upstream_status=answer.status,
            chat_type=kind,
            chat_code=status_name(status),
        )
        error.type = kind
        return error


FAILURES = BedrockFailures(
    words=words_of_message, retried=frozenset(), retries_unusable=False, retries_unanswered=False
)

# --- the service ---------------------------------------------------------------------------------------------

_EMBEDDINGS = RemoteTask(
    sending="Failed to send Amazon Bedrock embeddings request from inference entity id [{id}]",
    settings=_EMBEDDING_SETTINGS,
    secrets=SECRETS,
    task_settings=_EMBEDDING_TASK_SETTINGS,
    check_together=check_embedding_provider,
    check_call=check_embeddings,
    request=request_embeddings,
    sign=sign,
    parse=parse_embeddings,
    parses_empty=True,
    failures=FAILURES,
    dense=Dense(similarity_of=lambda settings: "cosine" if settings["provider"] == TITAN else "dot_product"),
    input_types=PUBLIC_INPUT_TYPES,
    max_inputs_of=lambda settings: MAX_INPUTS[settings["provider"]],
    since="8.15",
)
_COMPLETION = RemoteTask(
    sending="Failed to send Amazon Bedrock request from inference entity id [{id}]",
    settings=_COMMON,
    secrets=SECRETS,
    task_settings=_CHAT_TASK_SETTINGS,
    check_together=check_top_k,
    check_call=check_converse,
    request=request_chat,
    sign=sign,
    parse=parse_converse,
    stream=ConverseStream,
    failures=FAILURES,
    since="8.15",
)

SERVICE = Service(
    name="amazonbedrock",
    title="Amazon Bedrock",
    tasks={
        TaskType.TEXT_EMBEDDING: _EMBEDDINGS,
        TaskType.COMPLETION: _COMPLETION,
        TaskType.CHAT_COMPLETION: replace(_COMPLETION, since="9.4", stores_unvalidated=True),
    },
)
