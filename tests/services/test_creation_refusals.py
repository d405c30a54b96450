"""What is wrong with the settings of an endpoint, in the words and the order in which Elasticsearch 9.4.3 tells it."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.errors import SidecarError
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.tasks import TaskType
from sidecar.inference.checks import resolve_task_type
from sidecar.services.reading import Draft, merge_task_settings, read_endpoint
from tests.services.sample_calls import catalogue

MISTYPED = "field [{}] is not of the expected type. The value [{}] cannot be converted to a [{}]"
AZURE = {"resource_name": "r", "deployment_id": "d", "api_version": "1"}
ONE_SECRET = "[secret_settings] must have exactly one of [api_key], [entra_id], or [client_secret] field set"
WRONG_URL = (
    "[service_settings] Invalid url [ ] received for field [url]. Error: unable to parse url [ ]. "
    "Reason: Illegal character in path"
)
SAGEMAKER = {"access_key": "a", "secret_key": "s", "region": "r", "endpoint_name": "e"}


def read(
    service: str, task_type: TaskType, service_settings: dict[str, Any], task_settings: dict[str, Any] | None = None
) -> Draft:
    found = catalogue().get(service)
    assert found is not None
    body = {"service_settings": service_settings, "task_settings": task_settings or {}}
    return read_endpoint(found, task_type, "id", body, DEFAULT_GENERATION)


def failed(*messages: str) -> str:
    return "Validation Failed: " + "".join(f"{number}: {text};" for number, text in enumerate(messages, 1))


def unknown(settings: str, service: str) -> str:
    return f"Configuration contains settings [{settings}] unknown to the [{service}] service"


REFUSALS: list[tuple[str, TaskType, dict[str, Any], dict[str, Any], str]] = [
    (
        "openai",
        TaskType.COMPLETION,
        {"model_id": "m", "api_key": "k", "rate_limit": {"requests_per_minute": 2**63}},
        {},
        failed(
            "field [requests_per_minute] is not of one of the expected types. "
            f"The value [{2**63}] cannot be converted to one of [Integer, Long]"
        ),
    ),
    (
        "openai",
        TaskType.COMPLETION,
        {"model_id": "m", "api_key": "k", "organization_id": 1, "url": 2},
        {},
        failed(MISTYPED.format("organization_id", 1, "String"), MISTYPED.format("url", 2, "String")),
    ),
    (
        "openai",
        TaskType.TEXT_EMBEDDING,
        {"model_id": "m", "api_key": "k", "organization_id": 1, "url": 2},
        {},
        failed(MISTYPED.format("url", 2, "String"), MISTYPED.format("organization_id", 1, "String")),
    ),
    (
        "openai",
        TaskType.TEXT_EMBEDDING,
        {"model_id": "m", "api_key": "k", "organization_id": 2, "url": " "},
        {},
        failed(MISTYPED.format("organization_id", 2, "String"), WRONG_URL),
    ),
    ("cohere", TaskType.RERANK, {"model_id": "m", "api_key": "k", "model": 0}, {}, unknown("{model=0}", "cohere")),
    (
        "amazonbedrock",
        TaskType.COMPLETION,
        {
            **{"access_key": "a", "secret_key": "s", "region": "r", "provider": "cohere", "model": "m"},
            "rate_limit": {"x": 1},
        },
        {},
        unknown("{x=1}", "amazon_bedrock"),
    ),
    (
        "hugging_face_elser",
        TaskType.SPARSE_EMBEDDING,
        {"url": "http://x", "api_key": "k", "rate_limit": {"x": 1}},
        {},
        unknown("{x=1}", "hugging_face"),
    ),
    (
        "anthropic",
        TaskType.COMPLETION,
        {"model_id": "m", "api_key": "k"},
        {"max_tokens": 0, "top_p": 1, "top_k": "x", "temperature": "y"},
        MISTYPED.format("temperature", "y", "Double"),
    ),
    (
        "anthropic",
        TaskType.COMPLETION,
        {"model_id": "m", "api_key": "k"},
        {"max_tokens": "x", "top_k": 3_000_000_000},
        MISTYPED.format("top_k", 3_000_000_000, "Integer"),
    ),
    (
        "azureopenai",
        TaskType.TEXT_EMBEDDING,
        {**AZURE, "api_key": 1, "entra_id": "2"},
        {},
        failed(MISTYPED.format("api_key", 1, "String"), ONE_SECRET),
    ),
    (
        "azureopenai",
        TaskType.TEXT_EMBEDDING,
        {**AZURE, "api_key": "k", "client_id": 1, "scopes": ["x"], "tenant_id": 2},
        {},
        failed(
            MISTYPED.format("client_id", 1, "String"),
            "[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [client_id]",
            MISTYPED.format("tenant_id", 2, "String"),
            "[service_settings] all Azure OpenAI OAuth2 fields must be provided together; missing: [tenant_id]",
        ),
    ),
    (
        "jinaai",
        TaskType.TEXT_EMBEDDING,
        {"model_id": "m", "api_key": "k", "dimensions": "x", "max_input_tokens": "y"},
        {},
        failed(MISTYPED.format("dimensions", "x", "Integer"), MISTYPED.format("max_input_tokens", "y", "Integer")),
    ),
    (
        "deepseek",
        TaskType.COMPLETION,
        {"url": ":", "api_key": "k"},
        {},
        unknown("{api_key=k}", "deepseek"),
    ),
    ("deepseek", TaskType.COMPLETION, {"url": ":"}, {}, "unable to parse url [:]. Reason: Expected scheme name"),
    (
        "deepseek",
        TaskType.COMPLETION,
        {"api_key": ""},
        {},
        failed(
            "[service_settings] does not contain the required setting [model_id]",
            "[service_settings] Invalid value empty string. [api_key] must be a non-empty string",
        ),
    ),
    (
        "amazon_sagemaker",
        TaskType.COMPLETION,
        {**SAGEMAKER, "api": "openai"},
        {"user": 0},
        failed(MISTYPED.format("user", 0, "String")),
    ),
    (
        "amazon_sagemaker",
        TaskType.COMPLETION,
        {**SAGEMAKER, "api": "elastic"},
        {"user": 0},
        unknown("{user=0}", "amazon_sagemaker"),
    ),
    (
        "azureopenai",
        TaskType.TEXT_EMBEDDING,
        {**AZURE, "api_key": "k", "entra_id": 2},
        {},
        failed(MISTYPED.format("entra_id", 2, "String")),
    ),
    (
        "azureopenai",
        TaskType.TEXT_EMBEDDING,
        {**AZURE, "api_key": "k", "client_id": 1, "scopes": ["a"], "tenant_id": "t", "dimensions": "x"},
        {},
        failed(
            MISTYPED.format("client_id", 1, "String"),
            "[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [client_id]",
            MISTYPED.format("dimensions", "x", "Integer"),
        ),
    ),
    (
        "azureaistudio",
        TaskType.COMPLETION,
        {"target": "h t", "provider": "openai", "endpoint_type": "realtime", "api_key": "k"},
        {},
        "java.net.URISyntaxException: Illegal character in path at index 1: h t",
    ),
    (
        "groq",
        TaskType.CHAT_COMPLETION,
        {"url": " ", "organization_id": 1, "model_id": 1, "rate_limit": {"requests_per_minute": 0}},
        {},
        failed(
            MISTYPED.format("model_id", 1, "String"),
            MISTYPED.format("organization_id", 1, "String"),
            WRONG_URL,
            "[rate_limit] Invalid value [0]. [requests_per_minute] must be a positive long",
        ),
    ),
    (
        "fireworksai",
        TaskType.TEXT_EMBEDDING,
        {"url": " ", "model_id": 1, "dimensions": "x"},
        {},
        failed(MISTYPED.format("dimensions", "x", "Integer"), MISTYPED.format("model_id", 1, "String"), WRONG_URL),
    ),
    (
        "openai",
        TaskType.TEXT_EMBEDDING,
        {"url": " ", "model_id": 1, "dimensions": "x"},
        {},
        failed(MISTYPED.format("dimensions", "x", "Integer"), WRONG_URL, MISTYPED.format("model_id", 1, "String")),
    ),
    (
        "llama",
        TaskType.COMPLETION,
        {"url": "http://x", "model_id": "m", "api_key": None},
        {},
        failed("[secret_settings] does not contain the required setting [api_key]"),
    ),
    (
        "custom",
        TaskType.COMPLETION,
        {
            **{"url": "http://x", "request": 1, "response": {"json_parser": {"completion_result": "b"}}},
            **{"input_type": ["a"], "rate_limit": {"requests_per_minute": 0}},
        },
        {},
        failed(MISTYPED.format("request", 1, "String")),
    ),
    (
        "custom",
        TaskType.COMPLETION,
        {"url": "http://x", "request": 1, "response": {"a": "b"}, "rate_limit": {"requests_per_minute": -1}},
        {},
        failed(
            MISTYPED.format("request", 1, "String"),
            "[service_settings.response] does not contain the required setting [json_parser]",
            "[rate_limit] Invalid value [-1]. [requests_per_minute] must be a positive long",
        ),
    ),
    (
        "llama",
        TaskType.TEXT_EMBEDDING,
        {"url": "http://x", "model_id": "m", "similarity": 1, "dimensions": "x", "max_input_tokens": "y"},
        {},
        failed(
            MISTYPED.format("dimensions", "x", "Integer"),
            MISTYPED.format("similarity", 1, "String"),
            MISTYPED.format("max_input_tokens", "y", "Integer"),
        ),
    ),
    (
        "custom",
        TaskType.COMPLETION,
        {"url": "http://x", "input_type": {"a": "b"}, "response": {"json_parser": {"a": "b"}}},
        {},
        failed("[service_settings] does not contain the required setting [request]"),
    ),
]


@pytest.mark.parametrize(("service", "task_type", "service_settings", "task_settings", "reason"), REFUSALS)
def test_refused(
    service: str, task_type: TaskType, service_settings: dict[str, Any], task_settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SidecarError) as caught:
        read(service, task_type, service_settings, task_settings)
    assert caught.value.reason == reason
    assert caught.value.status == 400


def test_space_around_a_choice_is_ignored() -> None:
    settings = {"model_id": "m", "api_key": "k", "similarity": " L2_norm\t"}
    draft = read("openai", TaskType.TEXT_EMBEDDING, settings)
    assert draft.endpoint.service_settings["similarity"] == "l2_norm"


@pytest.mark.parametrize("headers", [{}, {"a": None}])
def test_no_headers_of_openai_are_none_to_show(headers: dict[str, Any]) -> None:
    draft = read("openai", TaskType.TEXT_EMBEDDING, {"model_id": "m", "api_key": "k"}, {"headers": headers})
    assert draft.endpoint.task_settings == {}
    service = catalogue().get("openai")
    assert service is not None
    task = service.tasks[TaskType.TEXT_EMBEDDING]
    stored = {"user": "u", "headers": {"a": "b"}}
    assert merge_task_settings(task, stored, {"headers": headers}, DEFAULT_GENERATION) == {"user": "u"}


def test_deepseek_ignores_what_stands_beside_its_settings() -> None:
    service = catalogue().get("deepseek")
    assert service is not None
    body = {"service_settings": {"model_id": "m", "api_key": "k"}, "chunking_settings": 1, "other": 2}
    assert read_endpoint(service, TaskType.COMPLETION, "id", body, DEFAULT_GENERATION).secrets == {"api_key": "k"}


def test_conflicting_task_types_are_quoted_as_given() -> None:
    with pytest.raises(SidecarError) as caught:
        resolve_task_type(TaskType.RERANK, "TEXT_EMBEDDING", DEFAULT_GENERATION)
    assert caught.value.reason == (
        "Cannot resolve conflicting task_type parameter in the request URL [rerank] "
        "and the request body [TEXT_EMBEDDING]"
    )
