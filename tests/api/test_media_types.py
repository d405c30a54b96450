"""Media types in and out, and what is said about those that do not fit."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
import yaml

from tests.api.conftest import Client

VENDOR = "application/vnd.elasticsearch+json"
RULE = (
    "A compatible version is required on both Content-Type and Accept headers if either one has requested a"
    " compatible version"
)


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("text/event-stream", "application/json"),
        ("*/*;q=0.1", "application/json;q=0.1"),
        ("text/plain;charset=utf-8", "application/json;charset=utf-8"),
        ("application/json; charset=utf-8", "application/json;charset=utf-8"),
        (f"{VENDOR}; compatible-with=9", f"{VENDOR};compatible-with=9"),
        (f"{VENDOR};compatible-with=8", f"{VENDOR};compatible-with=8"),
        ("application/yaml", "application/yaml"),
        ("application/cbor", "application/cbor"),
    ],
)
async def test_answers_in_the_type_asked_for(api: Client, accept: str | None, answered: str) -> None:
    headers = {} if accept is None else {"Accept": accept}
    async with api.get("/_inference/none", headers=headers, skip_auto_headers=("Accept",)) as response:
        data = await response.read()
    assert (response.status, response.headers["Content-Type"]) == (404, answered)
    body = yaml.safe_load(data) if "yaml" in answered else cbor2.loads(data) if "cbor" in answered else None
    body = body or await response.json(content_type=None)
    assert body["error"]["reason"] == "Inference endpoint not found [none]"


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/json", b'{"input": ["hello"]}'),
        ("application/x-ndjson", b'{"input": ["hello"]}'),
        ("application/yaml", b"input:\n- hello\n"),
        ("application/cbor", cbor2.dumps({"input": ["hello"]})),
    ],
)
async def test_reads_every_format(api: Client, dense: str, content_type: str, data: bytes) -> None:
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    async with api.post(f"/_inference/text_embedding/{dense}", data=data, headers=headers) as response:
        assert await response.json() == {"text_embedding": [{"embedding": [0.06, 0.07, 0.08, 0.09]}]}


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/json, text/plain", "*/*", None])
async def test_types_of_bodies_that_are_not_read(api: Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    async with api.post("/_inference/x", data=b"{}", headers=headers, skip_auto_headers=("Content-Type",)) as response:
        body = await response.json()
    assert response.status == 406
    assert body == {"error": f"Content-Type header [{content_type or ''}] is not supported", "status": 406}


@pytest.mark.parametrize(
    ("headers", "named", "cause"),
    [
        ({"Accept": "garbage"}, "Accept", "invalid media-type [garbage]"),
        ({"Accept": "a/b/c"}, "Accept", "invalid media-type [a/b/c]"),
        ({"Accept": "application/json;x"}, "Accept", "invalid parameters for header [application/json;x]"),
        ({"Content-Type": "garbage"}, "Content-Type", "invalid media-type [garbage]"),
        (
            {"Accept": f"{VENDOR};compatible-with=7"},
            "Content-Type, Accept",
            f"Accept version must be either version 9 or 8, but found 7. Accept={VENDOR};compatible-with=7",
        ),
        (
            {"Accept": f"{VENDOR};compatible-with=x"},
            "Content-Type, Accept",
            f"Accept version must be either version 9 or 8, but found x. Accept={VENDOR};compatible-with=x",
        ),
    ],
)
async def test_types_that_cannot_be_read(api: Client, headers: dict[str, str], named: str, cause: str) -> None:
    async with api.get("/_inference", headers=headers) as response:
        error: dict[str, Any] = (await response.json())["error"]
    assert (response.status, error["type"]) == (400, "media_type_header_exception")
    assert error["reason"] == f"Invalid media-type value on headers [{named}]"
    assert error["caused_by"]["reason"] == cause


@pytest.mark.parametrize(
    ("content", "accept", "cause"),
    [
        (f"{VENDOR};compatible-with=8", None, f"{RULE} and the compatible versions must match. Accept=null, "),
        (f"{VENDOR};compatible-with=9", None, f"{RULE}. Accept=null, "),
        ("application/json", f"{VENDOR};compatible-with=9", f"{RULE}. Accept={VENDOR};compatible-with=9, "),
        ("application/json", "application/json;compatible-with=8", f"{RULE} and the compatible versions must match. "),
        (f"{VENDOR};compatible-with=8", f"{VENDOR};compatible-with=9", f"{RULE} and the compatible versions must"),
    ],
)
async def test_versions_that_do_not_fit_together(api: Client, content: str, accept: str | None, cause: str) -> None:
    headers = {"Content-Type": content} | ({"Accept": accept} if accept else {})
    async with api.post("/_inference/x", data=b"{}", headers=headers, skip_auto_headers=("Accept",)) as response:
        error = (await response.json())["error"]
    assert response.status == 400
    assert error["caused_by"]["reason"].startswith(cause)


async def test_event_streams_may_be_asked_for_with_a_vendor_body(api: Client, completion: str) -> None:
    headers = {"Content-Type": f"{VENDOR}; compatible-with=9", "Accept": "text/event-stream"}
    path = f"/_inference/completion/{completion}/_stream"
    async with api.post(path, data=b'{"input": "x"}', headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"


async def test_the_format_parameter_wins(api: Client) -> None:
    async with api.get("/_inference/none?format=yaml", headers={"Accept": "application/json"}) as response:
        assert response.headers["Content-Type"] == "application/yaml"
        assert yaml.safe_load(await response.read())["status"] == 404


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/yaml", b"input: [1\n"),
        (
            "application/yaml",
            b"a: &a [x, x]\nb: &b [*a, *a]\n"
            + b"".join(
                b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % ((n, n) + (n - 1,) * 8)
                for n in range(ord("c"), ord("r"))
            ),
        ),
        ("application/cbor", b"\xff\xff"),
        ("application/yaml", b"input: .inf"),
    ],
    ids=["broken", "bomb", "broken-cbor", "not-finite"],
)
async def test_broken_bodies_of_other_formats(api: Client, content_type: str, data: bytes) -> None:
    headers = {"Content-Type": content_type, "Accept": "application/json"}
    async with api.post("/_inference/text_embedding/x", data=data, headers=headers) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"]) == (400, "x_content_parse_exception")


@pytest.mark.parametrize("answer", ["json", "yaml", "cbor"])
async def test_half_a_surrogate_pair_in_a_message_is_shown(api: Client, answer: str) -> None:
    raw = b'{"service":"x","half \\ud83d":1,"input":["\\udc00"]}'
    headers = {"Content-Type": "application/json", "Accept": f"application/{answer}"}
    async with api.put("/_inference/completion/x/_update", data=raw, headers=headers) as response:
        assert response.status == 400
        data = await response.read()
    assert data
