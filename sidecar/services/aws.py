"""What Amazon's services share: credentials, signatures, hosts, and how errors are told.

Source: AWS IAM User Guide, "AWS Signature Version 4 for API requests"; AWS General Reference, "Service endpoints";
Smithy, "AWS restJson1 protocol", operation error serialization.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sidecar.services.calls import ProviderAnswer, ProviderRequest
from sidecar.services.setting_kinds import Secret
from sidecar.services.settings import Listed, Setting

SECRETS: tuple[Setting, ...] = (
    Secret(
        name="access_key",
        required=True,
        listed=Listed("Access Key", "A valid AWS access key that has permissions to use Amazon Bedrock."),
    ),
    Secret(
        name="secret_key",
        required=True,
        listed=Listed("Secret Key", "A valid AWS secret key that is paired with the access_key."),
    ),
)


class _ClockedSigV4(SigV4Auth):  # type: ignore[misc]
    """Signature version 4 for a given moment, where botocore's own takes the present one."""

    def __init__(self, credentials: Credentials, service: str, region: str, now: datetime) -> None:
        super().__init__(credentials, service, region)
        self._timestamp = now.strftime(SIGV4_TIMESTAMP)

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._timestamp
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


def signed(
    request: ProviderRequest, secrets: Mapping[str, Any], *, service: str, region: str, now: datetime
) -> ProviderRequest:
    """``request`` with the headers of signature version 4.

    ``service`` is the signing name, ``now`` a moment in UTC. All headers are signed, and the body by its digest. The
    path of the URL must be percent-encoded already; the canonical request encodes it once more, as AWS expects.
    """
    headers = {**request.headers, "X-Amz-Content-SHA256": hashlib.sha256(request.body).hexdigest()}
    unsigned = AWSRequest(method=request.method, url=request.url, data=request.body, headers=headers)
    credentials = Credentials(secrets["access_key"], secrets["secret_key"])
    _ClockedSigV4(credentials, service, region, now).add_auth(unsigned)
    return replace(request, headers=dict(unsigned.headers.items()))


def host(prefix: str, region: str) -> str:
    """The host of a regional endpoint; China's regions have a domain of their own."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{prefix}.{region}.{suffix}"


@dataclass(frozen=True, slots=True)
class AwsError:
    """What an error answer says. ``name`` is the error's name without namespace, ``None`` when it is not told."""

    name: str | None
    message: str
    request_id: str | None

    def described(self, service: str, status: int) -> str:
        """The message as Amazon's own client for Java words it."""
        return f"{self.message} (Service: {service}, Status Code: {status}, Request ID: {self.request_id or 'null'})"


def read_error(answer: ProviderAnswer) -> AwsError:
    """The error of an unsuccessful answer: its name from the header or the body, its message from the body."""
    body: Any = None
    if not answer.is_text_plain:
        try:
            body = json.loads(answer.body)
        except ValueError:
            body = None
    fields = body if isinstance(body, dict) else {}
    message = fields.get("message", fields.get("Message"))
    if not isinstance(message, str):
        message = f"Service returned HTTP status code {answer.status}"
    name = answer.headers.get("x-amzn-errortype") or fields.get("__type") or fields.get("code")
    # "aws.bedrock#ValidationException:http://internal.amazon.com/..." names a ValidationException
    name = str(name).partition(":")[0].rpartition("#")[2] if name else None
    return AwsError(name, message, answer.headers.get("x-amzn-requestid"))


def error_type(name: str) -> str:
    """``throttlingException`` as the error types of Elasticsearch are written: ``throttling_exception``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
