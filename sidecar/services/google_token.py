"""Access tokens of Google Cloud service accounts.

Source: Google Identity, "Using OAuth 2.0 for server to server applications"; RFC 7523.
"""

from __future__ import annotations

import json
import time
from typing import Any

from google.auth import crypt, jwt

from sidecar.core.errors import OtherError, SidecarError, StatusError
from sidecar.core.generations import Generation
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, TokenRequest
from sidecar.services.oauth2 import form_request, oauth_error, read_token

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
LIFETIME_SECONDS = 3600
# fields of a key file without which no token can be asked for
KEY_FIELDS = ("client_id", "client_email", "private_key", "private_key_id")


def service_account(text: str, generation: Generation) -> dict[str, Any]:
    """The key file of a service account.

    Raises:
        StatusError: it is not one.
    """
    try:
        info = json.loads(text)
    except ValueError:
        raise _unreadable(
            "Error reading credentials from stream, the service account key is not JSON.", generation
        ) from None
    if not isinstance(info, dict) or not isinstance(info.get("type"), str):
        raise _unreadable("Error reading credentials from stream, 'type' field not specified.", generation)
    if info["type"] != "service_account":
        raise _unreadable(
            f"Error reading credentials from stream, 'type' value '{info['type']}' not recognized. "
            "Expecting 'service_account'.",
            generation,
        )
    if any(not isinstance(info.get(name), str) for name in KEY_FIELDS):
        raise _unreadable(
            "Error reading service account credential from JSON, expecting 'client_id', 'client_email', "
            "'private_key' and 'private_key_id'.",
            generation,
        )
    return info


def _unreadable(reason: str, generation: Generation) -> StatusError:
    """Before 9.4 only the deepest cause says what is wrong."""
    cause = OtherError("i_o_exception", reason)
    if generation.at_least("9.4"):
        return StatusError(reason, status=400, cause=cause)
    return StatusError(None, status=400, cause=OtherError("privileged_action_exception", None, cause=cause))


def request_token(call: Call) -> TokenRequest:
    """The token for the endpoint's ``service_account_json``.

    Raises:
        StatusError: that is not the key file of a service account.
    """
    text = call.secrets["service_account_json"]
    info = service_account(text, call.generation)
    url = info.get("token_uri") or TOKEN_URI

    def request() -> ProviderRequest:
        return form_request(
            url, {"grant_type": GRANT, "assertion": assertion(info, url, int(time.time()), call.generation)}
        )

    def failure(answer: ProviderAnswer | None) -> SidecarError:
        error, description = oauth_error(answer)
        reason = f"Error getting access token for service account: [{error}] {description}".rstrip()
        cause = OtherError("i_o_exception", reason)
        return StatusError(reason, status=400, cause=cause)

    return TokenRequest(
        key=f"{call.inference_id} {text}",
        request=request,
        read=read_token,
        failure=failure,
        retried=frozenset({429, 500, 502, 503}),
    )


def assertion(info: dict[str, Any], audience: str, now: int, generation: Generation) -> str:
    """The signed statement that is traded for a token; ``now`` is in seconds since 1970.

    Raises:
        StatusError: the private key cannot be read.
    """
    try:
        signer = crypt.RSASigner.from_service_account_info(info)  # type: ignore[no-untyped-call]
    except ValueError:
        raise _unreadable("Invalid PKCS#8 data.", generation) from None
    claims = {
        "iss": info["client_email"],
        "scope": SCOPE,
        "aud": audience,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }
    encoded: bytes = jwt.encode(signer, claims)  # type: ignore[no-untyped-call]
    return encoded.decode()
