"""IBM watsonx.ai: embeddings, reranking and chats of a project, with tokens from IBM Cloud's IAM.

Source: IBM watsonx.ai API reference, "Text embeddings", "Text rerank", "Text chat", "Text chat stream"; IBM Cloud IAM
Identity Services API, "Create an IAM access token for a user or service ID using an API key".
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

from sidecar.core.errors import OtherError, SidecarError
from sidecar.core.results import DenseEmbeddings, RankedDocument, Ranking
from sidecar.core.tasks import TaskType
from sidecar.services.calls import (
    Call,
    ProviderAnswer,
    ProviderRequest,
    TokenRequest,
    as_object,
    as_objects,
    field_missing,
    is_number,
    is_whole,
)
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.failures import (
    BAD_REQUEST,
    NOT_FOUND,
    PERMISSION,
    UNSUCCESSFUL,
    Failures,
    Words,
    client_status,
    words_of_error_object,
)
from sidecar.services.oauth2 import form_request, read_token
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    NO_USAGE_FORM,
    ChatStream,
    chat_body,
    dense_vectors,
    parse_completion,
)
from sidecar.services.setting_kinds import SIMILARITY, Flag, MaxInputTokens, PositiveInt, RateLimit, Secret, Text, Url
from sidecar.services.settings import Listed, Setting

TOKEN_URL = "https://iam.cloud.ibm.com/identity/token"  # noqa: S105 - an address
TOKEN_GRANT = "urn:ibm:params:oauth:grant-type:apikey"  # noqa: S105 - the name of a grant

_URL = Url(name="url", required=True, listed=Listed("URL", ""))
_API_VERSION = Text(
    name="api_version",
    required=True,
    listed=Listed(
        "API Version",
        "The IBM watsonx API version ID to use.",
        older_description="The IBM Watsonx API version ID to use.",
    ),
)
_MODEL = Text(
    name="model_id", required=True, listed=Listed("Model ID", "The name of the model to use for the inference task.")
)
_PROJECT = Text(name="project_id", required=True, listed=Listed("Project ID", ""))
_RATE_LIMIT = RateLimit(requests_per_minute=120, listed=None)
_API_KEY = Secret(name="api_key", required=True)
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    _MODEL,
    _PROJECT,
    _URL,
    _API_VERSION,
    MaxInputTokens(
        characters_per_token=3,
        listed=Listed("Maximum Input Tokens", "Allows you to specify the maximum number of tokens per input."),
    ),
    SIMILARITY,
    PositiveInt(name="dimensions"),
    _RATE_LIMIT,
)
_SETTINGS: tuple[Setting, ...] = (_URL, _API_VERSION, _MODEL, _PROJECT, _RATE_LIMIT)
_RERANK_TASK_SETTINGS: tuple[Setting, ...] = (
    Flag(name="return_documents"),
    PositiveInt(name="top_n"),
    PositiveInt(name="truncate_input_tokens"),
)


def words_of_watsonx(answer: ProviderAnswer) -> Words | None:
    """``{"error": {"message"}}``, or IBM's ``{"errors": [{"code", "message"}]}``."""
    words = words_of_error_object(answer)
    if words is not None or answer.is_text_plain:
        return words
    try:
        body = json.loads(answer.body)
    except ValueError:
        return None
    errors = body.get("errors") if isinstance(body, dict) else None
    error = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    return Words(error["message"])


FAILURES = Failures(
    words=words_of_watsonx,
    retried=frozenset({500}),
    prefixes={400: BAD_REQUEST, 403: PERMISSION, 404: NOT_FOUND, 429: UNSUCCESSFUL, 503: UNSUCCESSFUL},
)
_CHAT_FAILURES = replace(CHAT_FAILURES, words=words_of_watsonx, chat_type="watsonx_error", chat_fields=False)
_COMPLETION_FAILURES = replace(_CHAT_FAILURES, retried=frozenset({500}))


def address(call: Call, path: str) -> str:
    """``url`` is a host name, or a whole address of which scheme and authority count."""
    host = call.settings["url"]
    if "://" in host:
        parts = urlsplit(host)
        base = f"{parts.scheme}://{parts.netloc}"
    else:
        base = f"https://{host}"
    return f"{base}/ml/v1/text/{path}?version={quote(call.settings['api_version'], safe='')}"


def request_token(call: Call) -> TokenRequest:
    """An IAM token for the API key."""
    key = call.secrets["api_key"]

    def request() -> ProviderRequest:
        return form_request(TOKEN_URL, {"grant_type": TOKEN_GRANT, "apikey": key}, safe=":")

    def failure(answer: ProviderAnswer | None) -> SidecarError:
        if answer is None or answer.status < 300:
            cause = OtherError(
                "x_content_parse_exception", "Failed to add Bearer token to the request", is_elasticsearch_level=False
            )
            reason = f"Failed to send IBM watsonx request from inference entity id [{call.inference_id}]"
            error = FAILURES.with_chat_fields(f"{reason}. Cause: {cause.reason}", None, 500, call)
            error.cause = cause
            return error
        reason = (
            f"{FAILURES.prefix(answer)} for request to generate Bearer Token from inference entity id "
            f"[{call.inference_id}] status [{answer.status}]. Error message: [{answer.reason}]"
        )
        return FAILURES.with_chat_fields(reason, None, client_status(answer.status), call, answer.status)

    return TokenRequest(
        key=f"{call.inference_id} {TOKEN_URL} {key}",
        request=request,
        read=read_token,
        failure=failure,
        retried=frozenset({500}),
    )


def send(call: Call, path: str, body: Any) -> ProviderRequest:
    return ProviderRequest.json(address(call, path), body, {"Authorization": f"Bearer {call.token}"})


def request_embeddings(call: Call) -> ProviderRequest:
    names = {name: call.settings[name] for name in ("model_id", "project_id")}
    return send(call, "embeddings", {"inputs": call.texts, **names})


def results(answer: ProviderAnswer, name: str, where: str) -> list[dict[str, Any]]:
    """The items of ``results``, each with a ``name``.

    Raises:
        UnusableAnswerError: a field is missing.
    """
    body = as_object(answer.json())
    if "results" not in body:
        raise field_missing("results", f"IBM watsonx {where}")
    items = as_objects(body["results"])
    if any(item.get(name) is None for item in items):
        raise field_missing(name, f"IBM watsonx {where}")
    return items


def parse_vectors(answer: ProviderAnswer, call: Call) -> DenseEmbeddings:
    """``{"results": [{"embedding": [...]}]}``."""
    items = results(answer, "embedding", "embeddings")
    return DenseEmbeddings(dense_vectors([item["embedding"] for item in items]))


def request_rerank(call: Call) -> ProviderRequest:
    """``parameters`` and its ``return_options`` are always there."""
    options: dict[str, Any] = {"inputs": call.option("return_documents"), "top_n": call.option("top_n")}
    parameters: dict[str, Any] = {}
    if (limit := call.task_settings.get("truncate_input_tokens")) is not None:
        parameters["truncate_input_tokens"] = limit
    parameters["return_options"] = {name: value for name, value in options.items() if value is not None}
    body = {
        "model_id": call.settings["model_id"],
        "query": call.query,
        "inputs": [{"text": text} for text in call.texts],
        "project_id": call.settings["project_id"],
        "parameters": parameters,
    }
    return send(call, "rerank", body)


def parse_ranking(answer: ProviderAnswer, call: Call) -> Ranking:
    """``{"results": [{"index", "score", "input": {"text"}}]}``."""
    return Ranking(tuple(_ranked(item) for item in results(answer, "score", "rerank")))


def _ranked(item: dict[str, Any]) -> RankedDocument:
    index, score, document = item.get("index"), item["score"], item.get("input")
    if not is_whole(index):
        raise field_missing("index", "IBM watsonx rerank")
    if not is_number(score):
        raise field_missing("score", "IBM watsonx rerank")
    text = document.get("text") if isinstance(document, dict) else None
    return RankedDocument(index, score, text if isinstance(text, str) else None)


def request_chat(call: Call) -> ProviderRequest:
    """IBM names the model ``model_id``; ``model`` stands beside it for gateways that expect OpenAI's name."""
    body = {"project_id": call.settings["project_id"], **chat_body(call, NO_USAGE_FORM, call.settings["model_id"])}
    body["model_id"] = body["model"]
    return send(call, "chat_stream" if call.stream else "chat", body)


def _chat_task(task_type: TaskType) -> RemoteTask:
    is_completion = task_type is TaskType.COMPLETION
    failures = _COMPLETION_FAILURES if is_completion else _CHAT_FAILURES

    def stream(call: Call) -> ChatStream:
        return ChatStream(call, failures)

    return RemoteTask(
        sending=f"Failed to send IBM watsonx {task_type} request from inference entity id [{{id}}]",
        settings=_SETTINGS,
        secrets=(_API_KEY,),
        token=request_token,
        request=request_chat,
        parse=parse_completion,
        stream=stream,
        failures=failures,
        single_input="IBM watsonx completions" if is_completion else None,
        since="9.4",
    )


SERVICE = Service(
    name="watsonxai",
    title="IBM watsonx",
    older_title="IBM Watsonx",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send IBM watsonx embeddings request",
            settings=_EMBEDDING_SETTINGS,
            secrets=(_API_KEY,),
            token=request_token,
            request=request_embeddings,
            parse=parse_vectors,
            failures=FAILURES,
            dense=Dense("dot_product", compares_dimensions=False),
            max_inputs=1000,
            since="8.16",
        ),
        TaskType.RERANK: RemoteTask(
            sending="Failed to send IBM watsonx rerank request from inference entity id [{id}]",
            settings=_SETTINGS,
            secrets=(_API_KEY,),
            task_settings=_RERANK_TASK_SETTINGS,
            token=request_token,
            request=request_rerank,
            parse=parse_ranking,
            failures=FAILURES,
            since="8.19",
            listed_since="9.4",
        ),
        TaskType.COMPLETION: _chat_task(TaskType.COMPLETION),
        TaskType.CHAT_COMPLETION: _chat_task(TaskType.CHAT_COMPLETION),
    },
)
