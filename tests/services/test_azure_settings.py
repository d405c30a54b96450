"""Azure OpenAI's settings, in the words of a real Elasticsearch 9.4.3 that was asked the same."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.errors import SidecarError
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from sidecar.services.azureopenai import SERVICE
from sidecar.services.reading import read_endpoint

DEPLOYMENT = {"resource_name": "r", "deployment_id": "d", "api_version": "v"}
OAUTH2 = {"client_id": "c", "scopes": ["s"], "tenant_id": "t"}


def refusal(settings: dict[str, Any], task_settings: dict[str, Any] | None = None) -> str:
    body = {"service_settings": {**DEPLOYMENT, **settings}, "task_settings": task_settings or {}}
    with pytest.raises(SidecarError) as refused:
        read_endpoint(SERVICE, TaskType.COMPLETION, "azure", body, GENERATIONS["9.4"])
    return str(refused.value.reason)


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        (
            {"client_id": "c"},
            [
                "[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [scopes]",
                "[service_settings] all Azure OpenAI OAuth2 fields must be provided together; missing: [tenant_id]",
            ],
        ),
        (
            {"tenant_id": "t"},
            [
                "[service_settings] all Azure OpenAI OAuth2 fields must be provided together; "
                "missing: [client_id, scopes]"
            ],
        ),
        (
            {"tenant_id": "t", "client_id": "c"},
            ["[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [scopes]"],
        ),
        (
            {**OAUTH2, "scopes": [5], "client_secret": "x"},
            [
                "Expected all items in list for field [service_settings.scopes] to be of type String "
                "but item [5] at index [0] is of type [Integer]",
                "[service_settings] OAuth2 fields [client_id, scopes] must be provided together; missing: [scopes]",
            ],
        ),
        ({"client_secret": "x", "bogus": 1}, ["OAuth2 requires the fields [client_id, scopes, tenant_id], to be set."]),
        (
            {**OAUTH2, "api_key": "k"},
            [
                "To use OAuth2 the [client_secret] field must be set, either remove fields "
                "[client_id, scopes, tenant_id], or provide the [client_secret] field."
            ],
        ),
        (
            {"entra_id": "e", "client_secret": "x"},
            [
                "[secret_settings] must have exactly one of [api_key], [entra_id], or [client_secret] field set, "
                "received: [entra_id, client_secret]"
            ],
        ),
    ],
)
def test_credentials_must_fit_together(settings: dict[str, Any], reasons: list[str]) -> None:
    numbered = "".join(f"{number}: {reason};" for number, reason in enumerate(reasons, 1))
    assert refusal(settings) == f"Validation Failed: {numbered}"


@pytest.mark.parametrize(
    ("task_settings", "reason"),
    [
        ({"x": 1}, "[1:2] [azure_openai_task_settings_parser] unknown field [x]"),
        ({"user": "a", "x": 1}, "[1:2] [azure_openai_task_settings_parser] unknown field [x]"),
        (
            {"user": None, "headers": None, "x": 2},
            "[1:17] [azure_openai_task_settings_parser] unknown field [x]",
        ),
        ({"user": 5}, "[1:9] [azure_openai_task_settings_parser] user doesn't support values of type: VALUE_NUMBER"),
        (
            {"headers": 5},
            "[1:12] [azure_openai_task_settings_parser] headers doesn't support values of type: VALUE_NUMBER",
        ),
        ({"headers": {"a": 5}}, "[1:18] [azure_openai_task_settings_parser] failed to parse field [headers]"),
    ],
)
def test_task_settings_are_refused_at_their_place(task_settings: dict[str, Any], reason: str) -> None:
    assert refusal({"api_key": "k"}, task_settings) == reason


def test_a_complete_oauth2_client_is_taken() -> None:
    body = {"service_settings": {**DEPLOYMENT, **OAUTH2, "client_secret": "x"}}
    draft = read_endpoint(SERVICE, TaskType.COMPLETION, "azure", body, GENERATIONS["9.4"])
    assert draft.secrets == {"client_secret": "x"}
    assert draft.endpoint.service_settings["scopes"] == ["s"]
    assert "client_secret" not in draft.endpoint.service_settings
