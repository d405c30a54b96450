"""Azure OpenAI: OpenAI's models behind a deployment of an Azure resource.

Source: Azure OpenAI in Foundry Models REST API reference, "Embeddings" and "Chat completions"; Microsoft identity
platform, "OAuth 2.0 client credentials flow".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sidecar.core.errors import OtherError, ValidationError
from sidecar.core.generations import Generation
from sidecar.core.javatext import java_map_order
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderRequest, TokenRequest
from sidecar.services.declaration import Dense, RemoteTask, Service
from sidecar.services.oauth2 import ClientCredentials, azure_token, client_settings
from sidecar.services.openai_shapes import (
    CHAT_FAILURES,
    EMBEDDING_FAILURES,
    ChatForm,
    ChatStream,
    chat_body,
    parse_completion,
    parse_embeddings,
    quoting,
)
from sidecar.services.openai_tasks import dimensions, embedding_body
from sidecar.services.rate_limit_headers import remaining_limits
from sidecar.services.setting_kinds import SIMILARITY, MaxInputTokens, RateLimit, Secret, Text, TextMap
from sidecar.services.settings import Listed, Reading, Setting

# the deployment in the address decides on the model
FORM = ChatForm(model=False)
CLIENT = ClientCredentials(("client_id", "scopes", "tenant_id"))
TASK_SETTINGS_PARSER = "azure_openai_task_settings_parser"

_SECRET_HELP = "You must provide exactly one of API key, Entra ID, or OAuth2 client secret."  # noqa: S105
_OLDER_SECRET_HELP = "You must provide either an API key or an Entra ID."  # noqa: S105
_RATE_LIMIT_HELP = Listed(
    "Rate Limit",
    "The azureopenai service sets a default number of requests allowed per minute depending on the task type.",
)
_DEPLOYMENT: tuple[Setting, ...] = (
    Text(
        name="resource_name",
        required=True,
        listed=Listed("Resource Name", "The name of your Azure OpenAI resource."),
    ),
    Text(
        name="deployment_id",
        required=True,
        listed=Listed("Deployment ID", "The deployment name of your deployed models."),
    ),
    Text(name="api_version", required=True, listed=Listed("API Version", "The Azure API version ID to use.")),
)
_OAUTH2: tuple[Setting, ...] = (
    *client_settings("9.4", listed_since="9.4"),
    Text(
        name="tenant_id",
        mutable=True,
        since="9.4",
        listed=Listed(
            "OAuth2 Tenant ID",
            "The directory tenant that you want to request permission from.",
            sensitive=True,
            updatable=True,
            since="9.4",
        ),
    ),
)
_SECRETS: tuple[Setting, ...] = (
    Secret(name="api_key", listed=Listed("API Key", _SECRET_HELP, older_description=_OLDER_SECRET_HELP)),
    Secret(name="entra_id", listed=Listed("Entra ID", _SECRET_HELP, older_description=_OLDER_SECRET_HELP)),
    Secret(name="client_secret", since="9.4", listed=Listed("OAuth2 Client Secret", _SECRET_HELP, since="9.4")),
)
_VECTORS: tuple[Setting, ...] = (
    dimensions("https://learn.microsoft.com/en-us/azure/ai-services/openai/reference#request-body-1"),
    MaxInputTokens(characters_per_token=3),
    SIMILARITY,
)
_VECTOR_NAMES = tuple(setting.name for setting in _VECTORS)
_TASK_SETTINGS: tuple[Setting, ...] = (Text(name="user"), TextMap(name="headers", since="9.4"))


def settings(requests_per_minute: int, vectors: tuple[Setting, ...] = ()) -> tuple[Setting, ...]:
    """The settings of one task; the rate limit moved before those of vectors in 9.4."""
    return (
        *_DEPLOYMENT,
        RateLimit(requests_per_minute=requests_per_minute, since="9.4", listed=_RATE_LIMIT_HELP),
        *_OAUTH2,
        *vectors,
        RateLimit(requests_per_minute=requests_per_minute, until="9.4", listed=None),
    )


def check_settings(values: dict[str, Any], reading: Reading) -> None:
    """The OAuth2 settings come together or not at all."""
    missing = [name for name in CLIENT.names if name not in values]
    if len(missing) == len(CLIENT.names):
        return
    if len({"client_id", "scopes"} & set(missing)) == 1:
        name = "scopes" if "scopes" in missing else "client_id"
        text = f"[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [{name}]"
        _complain_before(reading, ("tenant_id", *_VECTOR_NAMES), text)
    # without a tenant the settings are looked at again as a whole, and so are those of a tenant alone
    if missing == ["client_id", "scopes"] or "tenant_id" in missing:
        rest = missing if missing == ["client_id", "scopes"] else ["tenant_id"]
        names = ", ".join(rest)
        text = f"[service_settings] all Azure OpenAI OAuth2 fields must be provided together; missing: [{names}]"
        _complain_before(reading, _VECTOR_NAMES, text)


def _complain_before(reading: Reading, names: tuple[str, ...], text: str) -> None:
    """Complain before anything that was said of the settings of these names."""
    later = (at for at, known in enumerate(reading.messages) if any(f"[{name}]" in known for name in names))
    reading.messages.insert(next(later, len(reading.messages)), text)


def check_secrets(secrets: dict[str, Any], reading: Reading) -> None:
    """Exactly one of the three credentials, of two before 9.4; from then on a wrong one before it is counted too."""
    wrong = [s.name for s in _SECRETS if any(f"[{s.name}]" in text for text in reading.messages)]
    given = [s.name for s in _SECRETS if s.name in secrets or s.name in wrong]
    is_wrong = reading.generation.at_least("9.4") and given[:1] == wrong[:1] != []
    if len(secrets) == 1 and not is_wrong:
        return
    if not reading.generation.at_least("9.4"):
        wanted = "must have only one of" if secrets else "must have either"
        reading.complain(f"[secret_settings] {wanted} the [api_key] or the [entra_id] key set")
        return
    received = f", received: [{', '.join(secrets)}]" if secrets and not wrong else ""
    reading.complain(
        f"[secret_settings] must have exactly one of [api_key], [entra_id], or [client_secret] field set{received}"
    )


def screen_task_settings(given: Mapping[str, Any], generation: Generation) -> None:
    """From 9.4 an object parser reads the task settings, which knows its fields and tells their places.

    The places are those in the text that Elasticsearch makes of the map first, in the order of its keys' hashes.

    Raises:
        SidecarError: a field is unknown or of another type.
    """
    if not generation.at_least("9.4"):
        return
    place = 2
    for name in java_map_order(given):
        value = given[name]
        key, text = _json(name), _json(value)
        at = place + len(key) + 1
        if name not in ("user", "headers"):
            raise _unparsable(place, f"unknown field [{name}]")
        expected = str if name == "user" else dict
        if value is not None and not isinstance(value, expected):
            raise _unparsable(at, f"{name} doesn't support values of type: {_token(value)}")
        if name == "headers" and value:
            reading = Reading({name: value}, "task_settings", generation, "azureopenai")
            TextMap(name=name).read(reading)
            if reading.messages:
                cause = ValidationError(*reading.messages)
                raise _unparsable(at + len(text) - 1, f"failed to parse field [{name}]", cause)
        place = at + len(text) + 1


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _token(value: Any) -> str:
    """The name that JSON parsers give to the token with which ``value`` begins."""
    if isinstance(value, bool):
        return "VALUE_BOOLEAN"
    names: dict[type, str] = {str: "VALUE_STRING", dict: "START_OBJECT", list: "START_ARRAY"}
    return names.get(type(value), "VALUE_NUMBER")


def _unparsable(column: int, reason: str, cause: ValidationError | None = None) -> OtherError:
    return OtherError(
        "x_content_parse_exception", f"[1:{column}] [{TASK_SETTINGS_PARSER}] {reason}", status=400, cause=cause
    )


_EMBEDDING_FAILURES = replace(EMBEDDING_FAILURES, rate_limit_details=remaining_limits)
_COMPLETION_FAILURES = replace(
    CHAT_FAILURES, retried=CHAT_FAILURES.retried | {429}, rate_limit_details=remaining_limits
)
_CHAT_FAILURES = quoting(CHAT_FAILURES, "azure_openai_error")


def url(call: Call, route: str) -> str:
    values = call.settings
    return (
        f"https://{values['resource_name']}.openai.azure.com/openai/deployments/{values['deployment_id']}"
        f"/{route}?api-version={values['api_version']}"
    )


def headers(call: Call) -> dict[str, str]:
    """The credential, then the task's own headers, which may replace it. An Entra ID is a ready token."""
    if "api_key" in call.secrets:
        sent = {"api-key": call.secrets["api_key"]}
    else:
        sent = {"Authorization": f"Bearer {call.token or call.secrets['entra_id']}"}
    return sent | dict(call.task_settings.get("headers") or {})


def request_token(call: Call) -> TokenRequest | None:
    if "client_secret" not in call.secrets:
        return None
    reason = (
        f"Failed attempting to retrieve access token for Azure OpenAI request for inference id: [{call.inference_id}]"
    )
    return azure_token(call.inference_id, call.settings, call.secrets, reason)


def request_embeddings(call: Call) -> ProviderRequest:
    """From 9.5 on vectors are asked for in base64, a third of the bytes."""
    body = embedding_body(call)
    if call.input_type is not None and call.input_type.is_internal:
        body["input_type"] = call.input_type.value
    if call.generation.at_least("9.5"):
        body["encoding_format"] = "base64"
    return ProviderRequest.json(url(call, "embeddings"), body, headers(call))


def request_completion(call: Call) -> ProviderRequest:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text} for text in call.texts], "n": 1}
    if user := call.task_settings.get("user"):
        body["user"] = user
    if call.stream:
        body["stream"] = True
    return ProviderRequest.json(url(call, "chat/completions"), body, headers(call))


def request_chat(call: Call) -> ProviderRequest:
    body = chat_body(call, FORM, None, call.task_settings.get("user"))
    return ProviderRequest.json(url(call, "chat/completions"), body, headers(call))


def _completion_stream(call: Call) -> ChatStream:
    return ChatStream(call, _COMPLETION_FAILURES)


def _chat_stream(call: Call) -> ChatStream:
    return ChatStream(call, _CHAT_FAILURES)


_COMMON: dict[str, Any] = {
    "secrets": _SECRETS,
    "task_settings": _TASK_SETTINGS,
    "check": check_settings,
    "check_secrets": check_secrets,
    "check_endpoint": CLIENT.check_endpoint,
    "check_update": CLIENT.check_update,
    "screen_task_settings": screen_task_settings,
    "token": request_token,
}

SERVICE = Service(
    name="azureopenai",
    title="Azure OpenAI",
    tasks={
        TaskType.TEXT_EMBEDDING: RemoteTask(
            sending="Failed to send Azure OpenAI embeddings request",
            settings=settings(1440, _VECTORS),
            request=request_embeddings,
            parse=parse_embeddings,
            failures=_EMBEDDING_FAILURES,
            dense=Dense("dot_product"),
            max_inputs=2048,
            since="8.14",
            **_COMMON,
        ),
        TaskType.COMPLETION: RemoteTask(
            sending="Failed to send Azure OpenAI completion request",
            settings=settings(120),
            request=request_completion,
            parse=parse_completion,
            stream=_completion_stream,
            failures=_COMPLETION_FAILURES,
            single_input="Azure OpenAI completion",
            since="8.16",
            **_COMMON,
        ),
        TaskType.CHAT_COMPLETION: RemoteTask(
            sending="Failed to send Azure OpenAI chat completions request",
            settings=settings(120),
            request=request_chat,
            parse=parse_completion,
            stream=_chat_stream,
            failures=_CHAT_FAILURES,
            since="9.4",
            **_COMMON,
        ),
    },
)
