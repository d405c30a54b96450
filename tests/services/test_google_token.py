"""The statement that Google trades for a token: signed with the service account's key, for the right audience."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from sidecar.core.errors import StatusError
from sidecar.core.generations import GENERATIONS
from sidecar.core.tasks import TaskType
from sidecar.services.calls import Call, ProviderAnswer
from sidecar.services.google_token import request_token

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEY_FILE = {
    "type": "service_account",
    "client_id": "1",
    "client_email": "a@example.iam.gserviceaccount.com",
    "private_key": PRIVATE,
    "private_key_id": "k1",
    "token_uri": "https://token.example/token",
}


def call(key_file: str, generation: str = "9.4") -> Call:
    return Call(
        inference_id="vertex",
        task_type=TaskType.RERANK,
        settings={},
        secrets={"service_account_json": key_file},
        generation=GENERATIONS[generation],
    )


def test_the_statement_is_signed_for_the_token_server() -> None:
    request = request_token(call(json.dumps(KEY_FILE))).request()
    assert request.url == "https://token.example/token"
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    # raises unless the signature, the audience and the times are right
    claims = jwt.decode(form["assertion"][0], certs=PUBLIC, audience="https://token.example/token")  # type: ignore[no-untyped-call]
    assert claims["iss"] == "a@example.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert claims["exp"] - claims["iat"] == 3600


def test_google_is_asked_where_the_key_file_names_no_server() -> None:
    key_file = {name: value for name, value in KEY_FILE.items() if name != "token_uri"}
    assert request_token(call(json.dumps(key_file))).request().url == "https://oauth2.googleapis.com/token"


@pytest.mark.parametrize(
    "key_file",
    ["nonsense", "[]", "{}", '{"type": "authorized_user"}', json.dumps({**KEY_FILE, "private_key": None})],
)
def test_what_is_no_key_file_is_refused(key_file: str) -> None:
    with pytest.raises(StatusError) as refusal:
        request_token(call(key_file))
    assert refusal.value.status == 400
    assert refusal.value.reason
    assert PRIVATE not in refusal.value.reason


def test_a_damaged_private_key_is_refused_without_being_shown() -> None:
    damaged = json.dumps(
        {**KEY_FILE, "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"}
    )
    with pytest.raises(StatusError) as refusal:
        request_token(call(damaged)).request()
    assert "c2VjcmV0" not in str(refusal.value.reason)


def test_a_refusal_quotes_the_token_server() -> None:
    answer = ProviderAnswer(400, {}, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
    error = request_token(call(json.dumps(KEY_FILE))).failure(answer)
    assert "[invalid_grant] Invalid JWT Signature." in str(error.reason)
