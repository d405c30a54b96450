"""OAuth 2.0 client credentials, as OpenAI-compatible gateways and Azure take them. Source: RFC 6749, section 4.4."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from sidecar.core.errors import OtherError, SidecarError, StatusError, ValidationError
from sidecar.services.calls import ProviderAnswer, ProviderRequest, TokenRequest
from sidecar.services.setting_kinds import Text, TextList
from sidecar.services.settings import Listed, Reading, Setting

FORM_TYPE = "application/x-www-form-urlencoded"
# assumed when the server does not say how long a token lives: short, so that a wrong guess costs little
DEFAULT_LIFETIME_SECONDS = 300.0


# --- the settings of a client ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes(TextList):
    """A list of at least one non-empty string, and no empty one."""

    name: str = "scopes"

    def checked(self, value: Any, reading: Reading) -> Any:
        if not value or not all(value):
            reading.complain(f"[{reading.scope}] Invalid value. [{self.name}] must be a non-empty list of strings")
            return None
        return value


def client_settings(since: str | None, listed_since: str) -> tuple[Setting, ...]:
    """``client_id`` and ``scopes``, known from ``since`` and described by ``GET _inference/_services`` from another."""
    return (
        Text(
            name="client_id",
            mutable=True,
            since=since,
            listed=Listed(
                "OAuth2 Client ID",
                "ID of application registered with the authorization server.",
                updatable=True,
                since=listed_since,
            ),
        ),
        Scopes(
            mutable=True,
            since=since,
            listed=Listed(
                "OAuth2 Scopes",
                "The permissions that the application is requesting.",
                updatable=True,
                since=listed_since,
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """How a service takes OAuth2 clients: ``names`` are the settings that a ``client_secret`` needs, all of them."""

    names: tuple[str, ...]

    def check_endpoint(self, settings: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
        """The secret needs the settings, and they need it.

        Raises:
            ValidationError: one is there without the other.
        """
        names = ", ".join(self.names)
        has_settings = all(name in settings for name in self.names)
        if "client_secret" in secrets and not has_settings:
            raise ValidationError(f"OAuth2 requires the fields [{names}], to be set.")
        if has_settings and "client_secret" not in secrets:
            raise ValidationError(
                f"To use OAuth2 the [client_secret] field must be set, either remove fields [{names}], "
                "or provide the [client_secret] field."
            )

    def check_update(self, settings: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Updates change the settings of a client; they give none to an endpoint that was created without.

        Raises:
            ValidationError: an update would.
        """
        added = [name for name in self.names if given.get(name) is not None and name not in settings]
        if added:
            raise ValidationError(
                f"[service_settings] the endpoint was created without OAuth2, so [{', '.join(added)}] cannot be added; "
                "create another endpoint with them"
            )


# --- tokens ---------------------------------------------------------------------------------------------------


def form_request(
    url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None, safe: str = ""
) -> ProviderRequest:
    """A form-encoded POST; ``safe`` characters go out as they are."""
    return ProviderRequest(url, urlencode(fields, safe=safe).encode(), {"Content-Type": FORM_TYPE, **(headers or {})})


def basic_authorization(client_id: str, client_secret: str) -> str:
    """RFC 6749, section 2.3.1: both parts are form-encoded before they are joined."""
    pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def read_token(answer: ProviderAnswer) -> tuple[str, float]:
    """Token and lifetime in seconds from ``{"access_token", "expires_in"}``.

    Raises:
        ValueError: there is no token in the answer.
    """
    body = json.loads(answer.body)
    token = body.get("access_token") if isinstance(body, dict) else None
    if not token:
        raise ValueError("the answer holds no access_token")
    return str(token), float(body.get("expires_in") or DEFAULT_LIFETIME_SECONDS)


def oauth_error(answer: ProviderAnswer | None) -> tuple[str, str]:
    """``error`` and ``error_description`` of a refusal, as far as they can be read."""
    if answer is None:
        return "no_answer", "the token server could not be reached"
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    error = str(body.get("error") or f"status {answer.status}")
    return error, str(body.get("error_description") or "")


def basic_client_token(
    inference_id: str, settings: Mapping[str, Any], secrets: Mapping[str, Any], failure_prefix: str
) -> TokenRequest:
    """The token of ``client_id``, ``client_secret``, ``scopes`` and ``token_url``, with HTTP Basic authentication."""
    url, scopes = settings["token_url"], " ".join(settings["scopes"])
    authorization = basic_authorization(settings["client_id"], secrets["client_secret"])

    def failure(answer: ProviderAnswer | None) -> SidecarError:
        error, description = oauth_error(answer)
        status = answer.status if answer is not None and answer.status < 500 else 500
        return StatusError(
            f"{failure_prefix} [{inference_id}]: [{error}] {description}".rstrip(),
            status=status if status >= 400 else 500,
        )

    return TokenRequest(
        key=f"{inference_id} {url} {settings['client_id']} {scopes} {authorization}",
        request=lambda: form_request(
            url, {"grant_type": "client_credentials", "scope": scopes}, {"Authorization": authorization}
        ),
        read=read_token,
        failure=failure,
        retried=frozenset({429, 500, 502, 503}),
    )


def token_refused(reason: str, answer: ProviderAnswer | None, cause_type: str) -> SidecarError:
    """A failure whose cause is the token server's own description."""
    error, description = oauth_error(answer)
    cause = OtherError(cause_type, description or error)
    return OtherError("exception", reason, status=500, cause=cause, is_elasticsearch_level=True)


def azure_token(
    inference_id: str, settings: Mapping[str, Any], secrets: Mapping[str, Any], reason: str
) -> TokenRequest:
    """The token of ``tenant_id``, ``client_id``, ``client_secret`` and ``scopes`` from Microsoft's identity platform.

    ``reason`` is what a refusal is called; Microsoft's own description becomes its cause.
    """
    url = f"https://login.microsoftonline.com/{quote(settings['tenant_id'], safe='')}/oauth2/v2.0/token"
    fields = {
        "grant_type": "client_credentials",
        "client_id": settings["client_id"],
        "client_secret": secrets["client_secret"],
        "scope": " ".join(settings["scopes"]),
    }

    def failure(answer: ProviderAnswer | None) -> SidecarError:
        return token_refused(reason, answer, f"msal_{'client' if answer is None else 'service'}_exception")

    return TokenRequest(
        key=f"{inference_id} {url} {urlencode(fields)}",
        request=lambda: form_request(url, fields),
        read=read_token,
        failure=failure,
        retried=frozenset({429, 500, 502, 503}),
    )
