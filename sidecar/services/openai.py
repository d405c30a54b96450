"""OpenAI embeddings and chat completions, also for servers that speak OpenAI's API behind ``url``.

Source: OpenAI API reference, "Create embeddings" and "Create chat completion"; OAuth 2.0 (RFC 6749), section 4.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidecar.core.errors import StatusError
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderRequest, TokenRequest
from sidecar.services.contents import require_texts, single_contents
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.oauth2 import ClientCredentials, basic_client_token, client_settings
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    EMBEDDING_FAILURES,
    OPENAI_FORM,
    ChatStream,
    chat_body,
    parse_completion,
    parse_embeddings,
)
from sidecar.services.openai_tasks import dimensions, embedding_body
from sidecar.services.setting_kinds import (
    MAX_INPUT_TOKENS,
    SIMILARITY,
    MaxInputTokens,
    RateLimit,
    Secret,
    Text,
    TextMap,
    Url,
    UrlType,
)
from sidecar.services.settings import Listed, Reading, Setting

EMBEDDINGS_URL = "https://api.openai.com/v1/embeddings"
CHAT_URL = "https://api.openai.com/v1/chat/completions"
CLIENT = ClientCredentials(("client_id", "scopes", "token_url"))

_RATE_LIMIT_HELP = Listed(
    "Rate Limit", "Default number of requests allowed per minute. For text_embedding is 3000. For completion is 500."
)
_ORGANIZATION = Text(
    name="organization_id",
    mutable=True,
    listed=Listed("Organization ID", "The unique identifier of your organization.", updatable=False),
)
_URL = Url(name="url", listed=Listed("URL", "The absolute URL of the external service to send requests to."))
_MODEL = Text(
    name="model_id", required=True, listed=Listed("Model ID", "The name of the model to use for the inference task.")
)
# newer than 9.4's own list of settings, so not listed there
_OAUTH2: tuple[Setting, ...] = (*client_settings(None, listed_since="9.5"), Url(name="token_url", mutable=True))
_EMBEDDING_SETTINGS: tuple[Setting, ...] = (
    UrlType(),
    _ORGANIZATION,
    SIMILARITY,
    MaxInputTokens(characters_per_token=3),
    dimensions("https://platform.openai.com/docs/api-reference/embeddings/create#embeddings-create-dimensions"),
    _URL,
    _MODEL,
    RateLimit(requests_per_minute=3000, listed=_RATE_LIMIT_HELP),
    *_OAUTH2,
)
_CHAT_SETTINGS = (
    _MODEL,
    _ORGANIZATION,
    _URL,
    MAX_INPUT_TOKENS,
    RateLimit(requests_per_minute=500, listed=_RATE_LIMIT_HELP),
    *_OAUTH2,
)
_TASK_SETTINGS: tuple[Setting, ...] = (
    Text(name="user"),
    TextMap(
        name="headers",
        listed=Listed(
            "Custom Headers", "Custom headers to include in the requests to OpenAI.", updatable=True, since="9.4"
        ),
    ),
)
_SECRETS: tuple[Setting, ...] = (
    Secret(
        name="api_key",
        listed=Listed(
            "API Key",
            "The OpenAI API authentication key. For more details about generating OpenAI API keys, refer to the "
            "https://platform.openai.com/account/api-keys.",
            required=True,
        ),
    ),
    Secret(name="client_secret"),
)


def check_settings(values: dict[str, Any], reading: Reading) -> None:
    """The OAuth2 settings come together or not at all."""
    missing = [name for name in CLIENT.names if name not in values]
    if missing and len(missing) < len(CLIENT.names):
        reading.complain(
            f"[service_settings] all OpenAI OAuth2 fields must be provided together; missing: [{', '.join(missing)}]"
        )


def check_secrets(secrets: dict[str, Any], reading: Reading) -> None:
    """Exactly one of ``api_key`` and ``client_secret``."""
    if "client_secret" not in secrets and "api_key" not in secrets and not reading.messages:
        reading.complain("[secret_settings] does not contain the required setting [api_key]")
    elif len(secrets) > 1:
        reading.complain("[secret_settings] must have exactly one of [api_key] or [client_secret] field set")


def drop_empty_headers(task_settings: dict[str, Any], _settings: dict[str, Any], _reading: Reading) -> None:
    """No headers are none to show."""
    if not task_settings.get("headers", True):
        del task_settings["headers"]


def merge(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is given replaces what is stored; a map without headers removes them."""
    merged = {**stored, **given}
    return {name: value for name, value in merged.items() if name != "headers" or value}


def request_token(call: Call) -> TokenRequest | None:
    """The OAuth2 token of endpoints that were created with a ``client_secret``."""
    if "client_secret" not in call.secrets:
        return None
    prefix = "Failed to retrieve access token for request for inference id"
    return basic_client_token(call.inference_id, call.settings, call.secrets, prefix)


def headers(call: Call) -> dict[str, str]:
    """Credential, organization, then the task's own headers, which may replace either."""
    sent = {"Authorization": f"Bearer {call.token or call.secrets['api_key']}"}
    if organization := call.settings.get("organization_id"):
        sent["OpenAI-Organization"] = organization
    return sent | dict(call.task_settings.get("headers") or {})


def request_embeddings(call: Call) -> ProviderRequest:
    """From 9.5 on vectors are asked for in base64, a third of the bytes; servers behind ``url`` may not know it."""
    body = embedding_body(call, call.settings["model_id"])
    if call.generation.at_least("9.5"):
        body["encoding_format"] = "base64"
    return ProviderRequest.json(call.settings.get("url") or EMBEDDINGS_URL, body, headers(call))


def check_contents(call: Call) -> None:
    """The ``embedding`` task takes one text per input.

    Raises:
        StatusError: an input has several items, or is an image.
    """
    require_texts(single_contents(call, "openai"))


def check_chat(call: Call) -> None:
    """OpenAI knows only the effort of ``reasoning``.

    Raises:
        StatusError: ``reasoning`` without an effort.
    """
    if call.chat and call.chat.reasoning and not call.chat.reasoning.get("effort"):
        raise StatusError("OpenAI chat completion requires [reasoning.effort] to map to [reasoning_effort]")


def request_chat(call: Call) -> ProviderRequest:
    body = chat_body(call, OPENAI_FORM, call.settings["model_id"], call.task_settings.get("user"))
    if call.chat and call.chat.reasoning:
        body["reasoning_effort"] = call.chat.reasoning["effort"]
    return ProviderRequest.json(call.settings.get("url") or CHAT_URL, body, headers(call))


def stream(call: Call) -> ChatStream:
    return ChatStream(call, CHAT_FAILURES, "OpenAI")


_COMMON: dict[str, Any] = {
    "secrets": _SECRETS,
    "task_settings": _TASK_SETTINGS,
    "check": check_settings,
    "check_secrets": check_secrets,
    "check_endpoint": CLIENT.check_endpoint,
    "check_update": CLIENT.check_update,
    "check_task_settings": drop_empty_headers,
    "merge": merge,
    "token": request_token,
}

_TEXT_EMBEDDING = RemoteTask(
    sending="Failed to send OpenAI embeddings request",
    settings=_EMBEDDING_SETTINGS,
    request=request_embeddings,
    parse=parse_embeddings,
    failures=EMBEDDING_FAILURES,
    dense=Dense("dot_product"),
    max_inputs=2048,
    since="8.12",
    **_COMMON,
)


def _chat_task(since: str) -> RemoteTask:
    return RemoteTask(
        sending="Failed to send OpenAI chat completions request",
        settings=_CHAT_SETTINGS,
        check_call=check_chat,
        request=request_chat,
        parse=parse_completion,
        stream=stream,
        failures=CHAT_FAILURES,
        single_input="OpenAI chat completions",
        reads_reasoning=True,
        since=since,
        **_COMMON,
    )


SERVICE = Service(
    name="openai",
    title="OpenAI",
    tasks={
        TaskType.TEXT_EMBEDDING: _TEXT_EMBEDDING,
        TaskType.COMPLETION: _chat_task("8.14"),
        TaskType.CHAT_COMPLETION: _chat_task("8.19"),
        # of 9.5; taken in 9.4 as well, where Elasticsearch itself does not list it
        TaskType.EMBEDDING: replace(_TEXT_EMBEDDING, check_call=check_contents, since="9.4", listed_since="9.5"),
    },
)
