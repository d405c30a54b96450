"""Signatures, recomputed by hand from AWS's description and checked against its published examples.

Source: AWS IAM User Guide, "Create a signed AWS API request"; AWS signature version 4 test suite.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.core.tasks import TaskType
from sidecar.services import amazon_sagemaker, amazonbedrock
from sidecar.services.aws import host, signed
from sidecar.services.calls import Call, ProviderRequest

NOW = datetime(2015, 8, 30, 12, 36, 0, tzinfo=UTC)
STAMP = "20150830T123600Z"
# the credentials of AWS's own examples
SECRETS = {"access_key": "AKIDEXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}


def signature(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, *, region: str, service: str
) -> str:
    """The signature of a request whose ``headers`` (lower-case names) are all signed; ``path`` is in canonical form."""
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    digest = hashlib.sha256(body).hexdigest()
    canonical = "\n".join([method, path, query, lines, ";".join(sorted(headers)), digest])
    scope = f"{STAMP[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", STAMP, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRETS['secret_key']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("method", "query", "headers", "service", "expected"),
    [
        pytest.param(
            "GET",
            "Action=ListUsers&Version=2010-05-08",
            {
                "content-type": "application/x-www-form-urlencoded; charset=utf-8",
                "host": "iam.amazonaws.com",
                "x-amz-date": STAMP,
            },
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            id="the example of the user guide",
        ),
        pytest.param(
            "GET",
            "",
            {"host": "example.amazonaws.com", "x-amz-date": STAMP},
            "service",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            id="get-vanilla of the test suite",
        ),
        pytest.param(
            "POST",
            "",
            {"host": "example.amazonaws.com", "x-amz-date": STAMP},
            "service",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            id="post-vanilla of the test suite",
        ),
    ],
)
def test_the_computation_by_hand_gives_the_published_signatures(
    method: str, query: str, headers: dict[str, str], service: str, expected: str
) -> None:
    assert signature(method, "/", query, headers, b"", region="us-east-1", service=service) == expected


def check(request: ProviderRequest, canonical_path: str, *, region: str, service: str) -> None:
    """The request's own signature is the one computed by hand over what it says is signed."""
    parts = urlsplit(request.url)
    sent = {name.lower(): value for name, value in request.headers.items()} | {"host": parts.netloc}
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/([^/]+)/([^/]+)/aws4_request, "
        r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
        sent["authorization"],
    )
    assert match is not None
    assert match.groups()[:2] == (region, service)
    names = match[3].split(";")
    assert {"content-type", "host", "x-amz-content-sha256", "x-amz-date"} <= set(names)
    assert sent["x-amz-date"] == STAMP
    assert sent["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
    headers = {name: sent[name] for name in names}
    expected = signature(
        request.method, canonical_path, parts.query, headers, request.body, region=region, service=service
    )
    assert match[4] == expected


def bedrock_call(model: str, *, stream: bool = False) -> Call:
    return Call(
        inference_id="x",
        task_type=TaskType.COMPLETION,
        settings={"region": "us-east-1", "provider": "ANTHROPIC", "model": model},
        secrets=SECRETS,
        inputs=("Hi",),
        stream=stream,
    )


def test_a_model_id_is_encoded_once_in_the_path_and_twice_in_the_canonical_request() -> None:
    call = bedrock_call("a:b/c")
    request = amazonbedrock.sign(amazonbedrock.request_chat(call), call, NOW)
    assert request.url == "https://bedrock-runtime.us-east-1.amazonaws.com/model/a%3Ab%2Fc/converse"
    check(request, "/model/a%253Ab%252Fc/converse", region="us-east-1", service="bedrock")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_any_model_id_is_one_segment_and_signed_as_sent(model: str) -> None:
    call = bedrock_call(model, stream=True)
    request = amazonbedrock.sign(amazonbedrock.request_chat(call), call, NOW)
    segment = urlsplit(request.url).path.removeprefix("/model/").removesuffix("/converse-stream")
    assume(segment not in (".", ".."))  # canonical paths resolve dots; no model is called so
    assert "/" not in segment
    check(request, f"/model/{quote(segment, safe='')}/converse-stream", region="us-east-1", service="bedrock")


def test_headers_that_carry_settings_are_signed() -> None:
    call = Call(
        inference_id="x",
        task_type=TaskType.COMPLETION,
        settings={"region": "eu-central-1", "endpoint_name": "ep-1", "api": "elastic", "target_model": "m.tar.gz"},
        task_settings={"session_id": "s  1"},
        secrets=SECRETS,
        inputs=("Hi",),
    )
    request = amazon_sagemaker.sign(amazon_sagemaker.request(call), call, NOW)
    assert request.headers["X-Amzn-SageMaker-Target-Model"] == "m.tar.gz"
    assert "x-amzn-sagemaker-session-id" in request.headers["Authorization"]
    check(request, "/endpoints/ep-1/invocations", region="eu-central-1", service="sagemaker")


def test_a_changed_body_has_another_signature() -> None:
    def authorization(body: bytes) -> str:
        request = ProviderRequest("https://example.amazonaws.com/", body, {"Content-Type": "application/json"})
        return signed(request, SECRETS, service="bedrock", region="r", now=NOW).headers["Authorization"]

    assert authorization(b"{}") == authorization(b"{}")
    assert authorization(b"{}") != authorization(b"{ }")


def test_regions_of_china_have_their_own_domain() -> None:
    assert host("runtime.sagemaker", "us-gov-west-1") == "runtime.sagemaker.us-gov-west-1.amazonaws.com"
    assert host("runtime.sagemaker", "cn-north-1") == "runtime.sagemaker.cn-north-1.amazonaws.com.cn"
