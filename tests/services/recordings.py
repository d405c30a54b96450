"""Recorded provider cases: what Elasticsearch sent to a provider, and what it answered its own caller."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sidecar.core.generations import GENERATIONS

Json = Any
HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
DEPARTURES = HERE / "departures"
VERSIONS = ("9.4.3", "8.19.8")
GENERATION_OF = {generation.version: name for name, generation in GENERATIONS.items()}


@dataclass(frozen=True)
class Recording:
    """One case in one version of Elasticsearch.

    ``create`` and ``call`` are the caller's requests, the ``*_answer`` what Elasticsearch answered (``call_answer`` is
    ``None`` where the endpoint could not be created), ``*_requests`` what it sent to the provider and ``*_replies``
    what the provider answered, the last one repeated.
    """

    id: str
    service: str
    task_type: str
    version: str
    only_status: bool
    create: dict[str, Json]
    create_answer: dict[str, Json]
    create_requests: tuple[dict[str, Json], ...]
    create_replies: tuple[dict[str, Json], ...]
    call: dict[str, Json]
    call_answer: dict[str, Json] | None
    call_requests: tuple[dict[str, Json], ...]
    call_replies: tuple[dict[str, Json], ...]
    token_replies: tuple[dict[str, Json], ...]

    @property
    def name(self) -> str:
        """The last part of the id."""
        return self.id.rpartition("/")[2]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values of the create request that must never be shown again."""
        settings = self.create["body"].get("service_settings", {})
        found = [settings.get(name) for name in ("api_key", "secret_key", "client_secret", "service_account_json")]
        found += list((settings.get("secret_parameters") or {}).values())
        return tuple(value for value in found if isinstance(value, str) and value)


def services() -> list[str]:
    """Services that have a fixture file."""
    return sorted(path.stem for path in FIXTURES.glob("*.jsonl"))


@functools.cache
def recordings(service: str, version: str) -> tuple[Recording, ...]:
    """The cases of a service that a version has, in their order."""
    lines = (FIXTURES / f"{service}.jsonl").read_text().splitlines()
    raw = (json.loads(line) for line in lines if line.strip())
    return tuple(_recording(case, version) for case in raw if version in case["create_answer"])


def basic_recordings(service: str, version: str = VERSIONS[0]) -> list[Recording]:
    """The plain case of every task type; a task type without one gives its first case that succeeds."""
    found: dict[str, Recording] = {}
    for case in recordings(service, version):
        succeeds = case.create_answer["status"] == 200 and (case.call_answer or {}).get("status") == 200
        if succeeds and case.call_requests and (case.task_type not in found or case.name == "basic"):
            found[case.task_type] = _as_documented(case)
    return list(found.values())


def _as_documented(case: Recording) -> Recording:
    """The case with the provider requests of its written departures: watsonx is called as IBM documents it."""
    if case.service != "watsonxai" or case.id not in departures(case.service, case.version):
        return case

    def documented(request: dict[str, Json]) -> dict[str, Json]:
        path, body = request["path"].replace("/text/reranks?", "/text/rerank?"), request["body"]
        if isinstance(body, dict) and "model" in body:
            body = {**body, "model_id": body["model"]}
        if isinstance(body, dict) and body.get("stream"):
            path = path.replace("/text/chat?", "/text/chat_stream?")
        return {**request, "path": path, "body": body}

    return replace(
        case,
        create_requests=tuple(map(documented, case.create_requests)),
        call_requests=tuple(map(documented, case.call_requests)),
    )


def departures(service: str, version: str) -> dict[str, str]:
    """The service's written departures: case id to reason, cases of other recordings among them."""
    path = DEPARTURES / f"{service}.json"
    written = json.loads(path.read_text()) if path.exists() else {}
    if written and not written.keys() & set(VERSIONS):
        return dict(written)
    return dict(written.get(version, {}))


def _recording(case: dict[str, Json], version: str) -> Recording:
    requests = case["upstream"].get(version, [])
    return Recording(
        id=case["id"],
        service=case["service"],
        task_type=case["task_type"],
        version=version,
        only_status=case.get("compare") == "status",
        create={"method": "PUT", **case["create"], "body": _filled(case["create"]["body"])},
        create_answer=case["create_answer"][version],
        create_requests=tuple(r for r in requests if r["for"] == "create"),
        create_replies=_replies(case.get("create_reply"), version),
        call=case["call"],
        call_answer=case["call_answer"].get(version),
        call_requests=tuple(r for r in requests if r["for"] == "call"),
        call_replies=_replies(case.get("upstream_reply"), version),
        token_replies=_replies(case.get("token_reply"), version),
    )


def _replies(recorded: Json, version: str) -> tuple[dict[str, Json], ...]:
    if isinstance(recorded, dict) and recorded.keys() & set(VERSIONS):
        recorded = recorded.get(version)
    if recorded is None:
        return ()
    return tuple(recorded) if isinstance(recorded, list) else (recorded,)


def _filled(body: Json) -> Json:
    """The body with a Google key file where the recording has a placeholder."""
    if isinstance(body, Mapping):
        return {name: _filled(value) for name, value in body.items()}
    return service_account() if body == "{{service_account_json}}" else body


def with_key_file(body: Json) -> Json:
    """A request to create an endpoint, with a Google key file in place of what a document shows of one."""
    if isinstance(body, dict) and "service_account_json" in body.get("service_settings", {}):
        return {**body, "service_settings": {**body["service_settings"], "service_account_json": service_account()}}
    return body


@functools.cache
def service_account() -> str:
    """A Google key file whose key was never used anywhere."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # read seven times as fast as one of 2048
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    email = "test@test-project.iam.gserviceaccount.com"
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "test-project",
            "private_key_id": "0000",
            "private_key": pem,
            "client_email": email,
            "client_id": "1",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com",
        }
    )
