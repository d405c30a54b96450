"""Provider requests and callers' answers in a form in which two of them can be compared."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tests.recorded.comparison import differ

Json = Any
CREDENTIAL_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
_TOKEN_PATH = re.compile(r"(/identity/token|/oauth2/v2\.0/token|/oauth2/token|/token)(\?.*)?$")
# The Microsoft login library of Elasticsearch asks for this before its first token.
_DISCOVERY_PATH = "/common/discovery/instance"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SIGNED = re.compile(r"^AWS4-HMAC-SHA256 Credential=([^/]+)/[^/]+/([^,]+),.*$")
_JWT = re.compile(r"^[\w-]+\.[\w-]+\.[\w-]+$")


@dataclass(frozen=True)
class Received:
    """One request as it came over the wire; ``target`` is path and query as they were sent."""

    method: str
    host: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, Json]:
        """As the recordings write requests."""
        headers = dict(self.headers)
        body: Json = None
        if self.body:
            try:
                body = json.loads(self.body)
            except ValueError:
                body = self.body.decode("utf-8", "replace")
        return {"method": self.method, "host": self.host, "path": self.target, "headers": headers, "body": body}


def is_token_request(target: str) -> bool:
    """True for the paths of the OAuth2 and IAM services."""
    return target.startswith(_DISCOVERY_PATH) or bool(_TOKEN_PATH.search(target))


def is_discovery(target: str) -> bool:
    return target.startswith(_DISCOVERY_PATH)


def request_differences(wanted: Mapping[str, Json], got: Mapping[str, Json]) -> list[str]:
    """What differs; headers besides the wanted ones are free unless they carry a credential."""
    first, second = _request(wanted), _request(got)
    kept = first["headers"].keys() | CREDENTIAL_HEADERS
    second["headers"] = {name: value for name, value in second["headers"].items() if name in kept}
    return differ(first, second, "request")


def answer_differences(wanted: Mapping[str, Json], got: Mapping[str, Json], *, only_status: bool) -> list[str]:
    """What differs between two answers of the form ``{"status", "content_type"?, "body"}``."""
    if only_status or wanted["status"] != got["status"]:
        found = differ(wanted["status"], got["status"], "answer.status")
        return [f"{text} {json.dumps(got['body'])[:300]}" for text in found]
    return differ(_answer(wanted), _answer(got), "answer")


def read_events(text: str) -> list[dict[str, Json]]:
    """Server-sent events; data that is JSON is parsed."""
    events: list[dict[str, Json]] = []
    for block in text.replace("\ufeff", "").replace("\r\n", "\n").split("\n\n"):
        fields = [line.partition(":") for line in block.split("\n") if line and not line.startswith(":")]
        if not fields:
            continue
        data: Json = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
        with contextlib.suppress(ValueError):
            data = json.loads(data)
        event = next((value.strip() for name, _, value in fields if name == "event"), "message")
        events.append({"event": event, "data": data})
    return events


def _answer(answer: Mapping[str, Json]) -> Json:
    body = answer.get("body")
    if isinstance(body, str) and "event-stream" in (answer.get("content_type") or ""):
        body = _stream(body)
    return json.loads(_UUID.sub("<uuid>", json.dumps(body)))


def _stream(text: str) -> Json:
    """How deltas are grouped, and which still precede an error, depends on how the network cut the stream."""
    events = read_events(text)
    errors = [event for event in events if event["event"] == "error"]
    if errors:
        return {"error": errors[0]["data"]}
    pieces = [e["data"]["completion"] for e in events if isinstance(e["data"], dict) and "completion" in e["data"]]
    if not pieces:
        return {"events": events}
    text = "".join(delta["delta"] for piece in pieces for delta in piece)
    return {"completion": text, "is_complete": events[-1]["data"] == "[DONE]"}


def _request(request: Mapping[str, Json]) -> dict[str, Json]:
    parts = urlsplit(request["path"])
    headers = {name.lower(): _header(name.lower(), value) for name, value in request["headers"].items()}
    body = request.get("body")
    if isinstance(body, str) and "form-urlencoded" in headers.get("content-type", ""):
        body = _form(body)
    return {
        "method": request["method"],
        "host": request["host"].partition(":")[0],
        "path": quote(unquote(parts.path)),
        "query": [list(pair) for pair in sorted(parse_qsl(parts.query, keep_blank_values=True))],
        "headers": headers,
        "body": json.loads(_UUID.sub("<uuid>", json.dumps(body))),
    }


def _header(name: str, value: str) -> str:
    if name == "content-type":
        return value.partition(";")[0].strip().lower()
    if name == "authorization" and (match := _SIGNED.match(value)):
        return f"AWS4-HMAC-SHA256 Credential={match[1]}/<date>/{match[2]}"
    return _UUID.sub("<uuid>", value)


def _form(text: str) -> dict[str, Json]:
    """A token request; what a login library adds by itself is dropped, signed assertions are compared by shape."""
    form: dict[str, Json] = dict(parse_qsl(text, keep_blank_values=True))
    form.pop("client_info", None)
    for name, value in form.items():
        if name == "scope":
            form[name] = sorted(set(value.split()) - {"openid", "profile", "offline_access"})
        elif name.endswith("assertion") and _JWT.match(value):
            form[name] = "<jwt>"
    return form
