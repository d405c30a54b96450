"""OAuth2 clients of OpenAI and Azure OpenAI: settings and secret come together and stay together."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import SidecarError
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from sidecar.registry.secrets import UnreadableSecrets
from sidecar.services import azureopenai, openai
from sidecar.services.declaration import Service
from sidecar.services.reading import Update, read_endpoint, read_update

GENERATION = GENERATIONS["9.4"]
PLAIN = {
    "openai": {"model_id": "m"},
    "azureopenai": {"resource_name": "r", "deployment_id": "d", "api_version": "v"},
}
OAUTH2 = {
    "openai": {"client_id": "c", "scopes": ["s"], "token_url": "https://login.example.org/token"},
    "azureopenai": {"client_id": "c", "scopes": ["s"], "tenant_id": "t"},
}
KEY, SECRET = {"api_key": "k"}, {"client_secret": "x"}


@pytest.fixture(params=[openai.SERVICE, azureopenai.SERVICE], ids=lambda service: service.name)
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


def create(service: Service, settings: dict[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
    body = {"service_settings": {**PLAIN[service.name], **settings}}
    draft = read_endpoint(service, TaskType.TEXT_EMBEDDING, "x", body, GENERATION)
    return draft.endpoint, dict(draft.secrets)


def update(service: Service, stored: dict[str, Any], given: dict[str, Any]) -> Update:
    endpoint, secrets = create(service, stored)
    task = service.tasks[TaskType.TEXT_EMBEDDING]
    return read_update(task, endpoint, secrets, {"service_settings": given}, GENERATION)


def test_a_secret_without_its_settings_is_refused(service: Service) -> None:
    with pytest.raises(SidecarError, match=r"OAuth2 requires the fields \[client_id, scopes, \w+\], to be set"):
        create(service, SECRET)


def test_settings_without_their_secret_are_refused(service: Service) -> None:
    with pytest.raises(SidecarError, match=r"To use OAuth2 the \[client_secret\] field must be set"):
        create(service, {**OAUTH2[service.name], **KEY})


@pytest.mark.parametrize("scopes", [[], [""], ["s", ""]])
def test_scopes_are_never_empty(service: Service, scopes: list[str]) -> None:
    client = {**OAUTH2[service.name], **SECRET}
    with pytest.raises(SidecarError, match=r"\[scopes\] must be a non-empty list of strings"):
        create(service, {**client, "scopes": scopes})
    with pytest.raises(SidecarError, match=r"\[scopes\] must be a non-empty list of strings"):
        update(service, client, {"scopes": scopes})


def test_an_update_changes_the_client_of_an_endpoint_that_has_one(service: Service) -> None:
    client = {**OAUTH2[service.name], **SECRET}
    changed = update(service, client, {"client_id": "other", "client_secret": "y"})
    assert changed.endpoint.service_settings["client_id"] == "other"
    assert changed.secrets == {"client_secret": "y"}


@pytest.mark.parametrize("secret", [{}, KEY, SECRET])
def test_an_update_gives_no_client_to_an_endpoint_without_one(service: Service, secret: dict[str, str]) -> None:
    with pytest.raises(SidecarError, match=r"created without OAuth2, so \[client_id, scopes, \w+\] cannot be added"):
        update(service, KEY, {**OAUTH2[service.name], **secret})


def test_an_update_does_not_part_a_client_from_its_secret(service: Service) -> None:
    with pytest.raises(SidecarError, match="To use OAuth2"):
        update(service, {**OAUTH2[service.name], **SECRET}, KEY)
    with pytest.raises(SidecarError, match="OAuth2 requires the fields"):
        update(service, KEY, SECRET)


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example.org/token",
        "http://login.example.org/token",
        "https://login.example.org:8443/token",
        "https://login.example.org@elsewhere.example.org/token",
    ],
)
def test_a_stored_secret_goes_to_no_other_server_than_it_was_given_for(url: str) -> None:
    client = {**OAUTH2["openai"], **SECRET}
    for given in ({"token_url": url}, {"token_url": url, "client_id": "other"}):
        with pytest.raises(SidecarError, match=r"secrets would be sent to the new \[token_url\]"):
            update(openai.SERVICE, client, given)
    confirmed = update(openai.SERVICE, client, {"token_url": url, **SECRET})
    assert confirmed.endpoint.service_settings["token_url"] == url


@pytest.mark.parametrize(
    "url",
    ["https://login.example.org/other?a=b", "https://LOGIN.example.org:443/token", "HTTPS://login.example.org/token"],
)
def test_another_path_on_the_same_server_needs_no_secret(url: str) -> None:
    client = {**OAUTH2["openai"], **SECRET}
    assert update(openai.SERVICE, client, {"token_url": url}).endpoint.service_settings["token_url"] == url


def test_secrets_that_cannot_be_opened_are_replaced_unread(service: Service) -> None:
    endpoint, _ = create(service, KEY)
    task = service.tasks[TaskType.TEXT_EMBEDDING]
    unreadable = UnreadableSecrets("x")
    replaced = read_update(task, endpoint, unreadable, {"service_settings": {"api_key": "new"}}, GENERATION)
    assert replaced.changes
    assert replaced.secrets == {"api_key": "new"}
