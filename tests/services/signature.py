"""Checks SigV4 signatures as the provider does: computed anew from the known secret.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import re

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.services.exchange import Received

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,"
    r" ?SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_MUST_BE_SIGNED = {"host", "x-amz-date"}


def signature_fault(received: Received, secret_key: str) -> str | None:
    """What is wrong with the signature of a request, ``None`` when it is right."""
    match = _AUTHORIZATION.fullmatch(received.headers.get("authorization", ""))
    if match is None:
        return f"no signature: {received.headers.get('authorization')}"
    names = match["headers"].split(";")
    if missing := _MUST_BE_SIGNED - set(names):
        return f"not signed: {', '.join(sorted(missing))}"
    stamp = received.headers["x-amz-date"]
    if not stamp.startswith(match["date"]):
        return f"{stamp} is not of the day {match['date']}"
    digest = received.headers.get("x-amz-content-sha256")
    if digest is not None and digest != hashlib.sha256(received.body).hexdigest():
        return "the body's hash is wrong"
    headers = {name: received.headers[name] for name in names}
    request = AWSRequest(received.method, f"https://{received.host}{received.target}", headers, received.body)
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(match["key"], secret_key), match["service"], match["region"])
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return None if expected == match["signature"] else "the signature is wrong"
