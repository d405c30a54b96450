"""Whether two answers say the same.

Forgiven, because no other server can repeat it: the words of JSON parser errors (their places count), the order in
which Elasticsearch prints hash tables, endpoints of others in lists, byte order marks and the grouping of deltas in
event streams, the quoting of YAML, the bytes of CBOR. Internal errors of Elasticsearch (500) may be proper ones (400).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from tests.recorded.cases import Case, RecordedAnswer

Json = Any
_INTERNAL_ERRORS = ("class_cast_exception", "null_pointer_exception")
_HASH_ORDERED = ("[{", "[[", "following settings: [", "Supported tasks: [", "on headers [")
_NOT_COMPARED = ("stack_trace", "took")


def differences(case: Case, expected: RecordedAnswer, found: RecordedAnswer, services: frozenset[str]) -> list[str]:
    """What differs, the most telling first; empty when the answers are the same.

    Lists of services are compared as far as both sides have the service; ``services`` are those of the sidecar.
    """
    wanted, got = _parsed(expected), _parsed(found)
    if _is_repaired(expected, wanted, found, got):
        return []
    result = differ(expected.status, found.status, "status")
    for name in sorted(expected.headers.keys() | found.headers.keys()):
        if name == "x-elastic-product" and expected.product_header_varies:
            continue
        result += differ(_header(name, expected.headers.get(name)), _header(name, found.headers.get(name)), name)
    content_type = expected.headers.get("content-type", "")
    if "event-stream" in content_type and isinstance(wanted, str) and isinstance(got, str):
        wanted, got = _events(wanted), _events(got)
    else:
        is_yaml = "yaml" in content_type
        wanted, got = _normal(wanted, case, is_yaml), _normal(got, case, is_yaml)
    if _is_service_list(wanted) and _is_service_list(got):
        both = {entry["service"] for entry in wanted} & services
        wanted, got = ([entry for entry in entries if entry["service"] in both] for entries in (wanted, got))
    return result + differ(wanted, got, "body")


def _parsed(answer: RecordedAnswer) -> Json:
    """The body, with JSON that was kept as text parsed unless its layout matters (``pretty``)."""
    is_json = "json" in answer.headers.get("content-type", "")
    if isinstance(answer.body, str) and is_json and not answer.body.startswith("{\n"):
        return json.loads(answer.body or "null")
    return answer.body


def _is_repaired(expected: RecordedAnswer, wanted: Json, found: RecordedAnswer, got: Json) -> bool:
    if (expected.status, found.status) != (500, 400):
        return False
    kind, reason = _error(wanted)
    return bool(_error(got)[1]) and (kind in _INTERNAL_ERRORS or (kind, reason) == _error(got))


def _error(body: Json) -> tuple[Json, Json]:
    error = body.get("error") if isinstance(body, dict) else None
    return (error.get("type"), error.get("reason")) if isinstance(error, dict) else (None, error)


def _header(name: str, value: str | None) -> Json:
    if value is None:
        return None
    if name == "allow":
        return sorted(part.strip() for part in value.split(","))
    if name == "content-type":
        return value.lower().replace(" ", "").replace(";charset=utf-8", "")
    return sorted(re.findall(r'"((?:[^"\\]|\\.)*)"', value)) if name == "warning" else value


def _normal(body: Json, case: Case, is_yaml: bool) -> Json:
    if isinstance(body, str):
        return re.sub(r"[\"'\s]+", "", body.removeprefix("---")) if is_yaml else body
    if isinstance(body, dict) and body.keys() == {"base64"}:
        return "binary"
    for wrapper in ("endpoints", "models"):
        if isinstance(body, dict) and isinstance(body.get(wrapper), list):
            return {**body, wrapper: [endpoint for endpoint in body[wrapper] if _is_own(endpoint, case)]}
    return body


def _is_service_list(body: Json) -> bool:
    return isinstance(body, list) and all(isinstance(entry, dict) and "service" in entry for entry in body)


def _is_own(endpoint: Json, case: Case) -> bool:
    name = endpoint.get("inference_id", endpoint.get("model_id")) if isinstance(endpoint, dict) else None
    return name is None or name.startswith(".") or name in case.names


def _events(text: str) -> list[tuple[str, Json]]:
    events: list[tuple[str, Json]] = []
    for block in filter(str.strip, text.replace("\ufeff", "").split("\n\n")):
        fields = dict(line.split(":", 1) for line in block.split("\n") if ":" in line)
        name, data = fields.get("event", "").strip(), fields.get("data", "").strip()
        try:
            value = json.loads(data)
        except ValueError:
            value = data
        if isinstance(value, dict) and isinstance(value.get("completion"), list):
            events += [(name, {"completion": [delta]}) for delta in value["completion"]]
        else:
            events.append((name, value))
    return events


def differ(wanted: Json, got: Json, where: str) -> list[str]:
    """Where two JSON values differ, each place with both values."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        result = [f"{where}.{key}: missing" for key in sorted(wanted.keys() - got.keys())]
        result += [f"{where}.{key}: unexpected {_short(got[key])}" for key in sorted(got.keys() - wanted.keys())]
        for key in wanted.keys() & got.keys() - set(_NOT_COMPARED):
            result += differ(wanted[key], got[key], f"{where}.{key}")
        return result
    if isinstance(wanted, (list, tuple)) and isinstance(got, (list, tuple)):
        if len(wanted) != len(got):
            return [f"{where}: {len(wanted)} items expected, {len(got)} found"]
        return [d for n, (a, b) in enumerate(zip(wanted, got, strict=True)) for d in differ(a, b, f"{where}[{n}]")]
    return [] if _same(wanted, got) else [f"{where}: expected {_short(wanted)}, found {_short(got)}"]


def _same(wanted: Json, got: Json) -> bool:
    if isinstance(wanted, str) and isinstance(got, str):
        if "[Source: " in wanted:
            return _place(wanted) == _place(got)
        if any(mark in wanted for mark in _HASH_ORDERED):
            return _words(wanted) == _words(got)
        return wanted == got
    if _is_number(wanted) and _is_number(got):
        return math.isclose(wanted, got, rel_tol=1e-6, abs_tol=1e-6)
    return type(wanted) is type(got) and bool(wanted == got)


def _place(text: str) -> str:
    found = re.match(r"\[\d+:\d+\]", text)
    return found.group() if found else ""


def _words(text: str) -> list[str]:
    return sorted(re.split(r"[\s,;{}\[\]]+", text))


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "..."
