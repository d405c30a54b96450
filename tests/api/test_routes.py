"""What every route owes its callers: methods, parameters, headers, envelopes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from yarl import URL

from sidecar.api.routes import ROUTES
from tests.api.conftest import Client, StartApi

PRODUCT = "X-elastic-product"
TEMPLATES = [route.template for route in ROUTES if route.template != "/_inference/{index}/{id}/_update"]


def raw(api: Client, path: str) -> URL:
    """``path`` as it stands, with nothing encoded or decoded on the way."""
    return URL(str(api.make_url("/")).rstrip("/") + path, encoded=True)


def path_of(template: str) -> str:
    return template.replace("{task_type}", "text_embedding").replace("{inference_id}", "none-such")


@pytest.mark.parametrize("template", TEMPLATES)
async def test_methods_a_route_does_not_have(api: Client, template: str) -> None:
    route = next(route for route in ROUTES if route.template == template)
    path = path_of(template)
    async with api.request("PATCH", path) as response:
        assert response.status == 405
        assert response.headers["Allow"].split(",") == list(route.handlers)
        assert response.headers[PRODUCT] == "Elasticsearch"
        allowed = ", ".join(route.handlers)
        reason = f"Incorrect HTTP method for uri [{path}] and method [PATCH], allowed: [{allowed}]"
        assert await response.json() == {"error": reason, "status": 405}
    async with api.options(path) as response:
        assert (response.status, await response.text()) == (200, "")
        assert response.headers["Allow"].split(",") == list(route.handlers)
    if "HEAD" not in route.handlers:
        async with api.head(path) as response:
            assert (response.status, await response.text()) == (405, "")


@pytest.mark.parametrize("template", TEMPLATES)
async def test_parameters_a_route_does_not_have(api: Client, template: str) -> None:
    route = next(route for route in ROUTES if route.template == template)
    path = path_of(template)
    for method in route.handlers:
        if method == "HEAD":
            continue
        body = {"json": {"input": "x"}} if method in ("POST", "PUT") else {}
        async with api.request(method, f"{path}?prety=1&foo", **body) as response:  # type: ignore[arg-type]
            answer = await response.json()
        assert response.status == 400, answer
        assert answer["status"] == 400
        reason = f"request [{path}] contains unrecognized parameters: [foo], [prety] -> did you mean [pretty]?"
        error = {"type": "illegal_argument_exception", "reason": reason}
        assert answer["error"] == {"root_cause": [error], **error}
        assert response.headers[PRODUCT] == "Elasticsearch"


@pytest.mark.parametrize("template", TEMPLATES)
async def test_broken_values_of_common_parameters(api: Client, template: str) -> None:
    route = next(route for route in ROUTES if route.template == template)
    method = next(iter(route.handlers))
    async with api.request(method, f"{path_of(template)}?human=maybe") as response:
        answer = await response.json()
    assert response.status == 400
    assert answer["error"]["reason"] == "Failed to parse value [maybe] as only [true] or [false] are allowed."


@pytest.mark.parametrize("path", ["/nope", "/_inference/a/b/c", "/_inference/a/b/c/d?x=1", "//_inference", "/compat"])
async def test_unknown_paths(api: Client, path: str) -> None:
    async with api.session.get(raw(api, path)) as response:
        assert response.status == 400
        assert await response.json() == {"error": f"no handler found for uri [{path}] and method [GET]"}
        assert response.headers[PRODUCT] == "Elasticsearch"


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        (
            "/_inference/a%zz",
            "illegal_argument_exception",
            "invalid escape sequence `%zz' at index 13 of: /_inference/a%zz",
        ),
        ("/_inference/%", "illegal_argument_exception", "unterminated escape sequence at end of string: /_inference/%"),
        ("/_inference/%z", "illegal_argument_exception", "partial escape sequence at end of string: /_inference/%z"),
        (
            "/_inference/x?foo=%zz",
            "bad_parameter_exception",
            "java.lang.IllegalArgumentException: invalid escape sequence `%zz' at index 0 of: %zz",
        ),
        (
            "/_inference/x?=foo&=",
            "illegal_argument_exception",
            "request [/_inference/x] contains unrecognized parameter: [foo]",
        ),
        ("/_inference//x", "status_exception", "Unknown task_type []"),
        ("/_inference/bogus/x?foo", "status_exception", "Unknown task_type [bogus]"),
    ],
)
async def test_broken_targets(api: Client, path: str, kind: str, reason: str) -> None:
    async with api.session.get(raw(api, path)) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"], error["reason"]) == (400, kind, reason)


@pytest.mark.parametrize(
    ("path", "inference_id"), [("a%2Fb", "a/b"), ("a%20b", "a b"), ("a+b", "a+b"), ("%C3%A9", "é"), ("a%0Ab", "a\nb")]
)
async def test_ids_are_decoded_after_the_path_is_split(api: Client, path: str, inference_id: str) -> None:
    async with api.session.get(raw(api, f"/_inference/{path}")) as response:
        assert response.status == 404
        assert (await response.json())["error"]["reason"] == f"Inference endpoint not found [{inference_id}]"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("none?task_type_or_id=x", 404, "Inference endpoint not found [none]"),
        ("none?inference_id=x", 400, "Unknown task_type [none]"),
        ("text_embedding?inference_id=none", 404, "Inference endpoint not found [none]"),
        ("text_embedding/none?inference_id=x&task_type_or_id=y", 404, "Inference endpoint not found [none]"),
        ("none?inference_i=x", 400, "request [/_inference/none] contains unrecognized parameter: [inference_i]"),
        (
            "text_embedding/none?inference_i=x",
            400,
            "request [/_inference/text_embedding/none] contains unrecognized parameter: [inference_i]"
            " -> did you mean [inference_id]?",
        ),
        (
            "_services/rerank?task_typ=x",
            400,
            "request [/_inference/_services/rerank] contains unrecognized parameter: [task_typ]"
            " -> did you mean [task_type]?",
        ),
    ],
)
async def test_values_of_the_path_may_stand_in_the_query(api: Client, path: str, status: int, reason: str) -> None:
    async with api.get(f"/_inference/{path}") as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (status, reason)


async def test_bodies_where_none_belongs(api: Client) -> None:
    async with api.delete("/_inference/x", json={"a": 1}) as response:
        reason = (await response.json())["error"]["reason"]
    assert (response.status, reason) == (400, "request [DELETE /_inference/x] does not support having a body")


async def test_the_callers_id_comes_back(api: Client) -> None:
    for path in ("/_inference", "/_inference/none", "/nope"):
        async with api.get(path, headers={"X-Opaque-Id": "mine"}) as response:
            assert response.headers["X-Opaque-Id"] == "mine"
    headers = [("X-Opaque-Id", "one"), ("X-Opaque-Id", "two")]
    async with api.get("/_inference", headers=headers) as response:
        assert response.status == 400
        reason = "multiple values for single-valued header [X-Opaque-Id]."
        assert (await response.json())["error"]["reason"] == reason


async def test_an_id_that_is_no_utf_8_breaks_nothing(api: Client) -> None:
    reader, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(b"GET /_inference/x HTTP/1.1\r\nHost: x\r\nX-Opaque-Id: a\xe9\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nX-Opaque-Id: a?\r\n" in answer


async def test_error_trace(api: Client) -> None:
    async with api.get("/_inference/none?error_trace") as response:
        error = (await response.json())["error"]
    assert error["stack_trace"].startswith("resource_not_found_exception: Inference endpoint not found [none]")
    assert error["root_cause"][0]["stack_trace"] == error["stack_trace"]
    assert str(__file__).split("/tests/")[0] not in error["stack_trace"]
    async with api.get("/_inference/none?error_trace=maybe") as response:
        short = {"error": "Failed to parse value [maybe] as only [true] or [false] are allowed.", "status": 400}
        assert await response.json() == short


async def test_who_answers(api: Client) -> None:
    async with api.get("/") as response:
        body: dict[str, Any] = await response.json()
    assert body["version"]["number"] == "9.4.3"
    assert body["cluster_name"] == "elasticsearch-inference-sidecar"
    assert body["version"]["build_flavor"] == "sidecar"
    async with api.head("/") as response:
        assert response.status == 200


async def test_bodies_have_a_limit(start_api: StartApi) -> None:
    api = await start_api(max_body_size=1000)
    async with api.post("/_inference/completion/x", json={"input": "x" * 2000}) as response:
        assert response.status == 413
        assert (await response.json())["status"] == 413
        assert response.headers[PRODUCT] == "Elasticsearch"
