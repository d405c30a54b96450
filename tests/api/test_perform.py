"""``POST /_inference``: bodies as Elasticsearch reads them, results as it writes them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Client

GENERIC = "[cluster:internal/xpack/inference]"
PARSE = "x_content_parse_exception"
VALIDATION = "action_request_validation_exception"
NO_UNIT = "failed to parse setting [timeout] with value [x] as a time value: unit is missing or unrecognized"
FAILED = "Validation Failed: 1: "


async def post(api: Client, path: str, body: str | bytes) -> tuple[int, dict[str, Any]]:
    async with api.post(path, data=body, headers={"Content-Type": "application/json"}) as response:
        return response.status, await response.json()


# What Elasticsearch 9.4.3 answered to these bodies, for an endpoint that is there.
@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ('{"input": 5}', PARSE, f"[1:11] {GENERIC} input doesn't support values of type: VALUE_NUMBER"),
        ('{"input":"x","inputs":"y"}', PARSE, f"[1:14] {GENERIC} unknown field [inputs] did you mean [input]?"),
        (
            '{"input":"x","input_typ":"y"}',
            PARSE,
            f"[1:14] {GENERIC} unknown field [input_typ] did you mean any of [input_type, input]?",
        ),
        ('{"a": 1, "b": 2}', PARSE, f"[1:2] {GENERIC} unknown field [a]"),
        ("[]", PARSE, f"[1:1] {GENERIC} Expected START_OBJECT but was: START_ARRAY"),
        (" ", PARSE, f"[1:0] {GENERIC} Expected START_OBJECT but was: null"),
        ('{"input": ["a", null]}', PARSE, f"[1:17] {GENERIC} failed to parse field [input]"),
        ('{"input":"x","top_n":99999999999}', PARSE, f"[1:22] {GENERIC} failed to parse field [top_n]"),
        ('{"input":"x","timeout":"abc"}', PARSE, f"[1:24] {GENERIC} failed to parse field [timeout]"),
        ('{"input":"x"', "x_content_e_o_f_exception", "[1:13] Unexpected end of file"),
        ("{}", VALIDATION, FAILED + "Field [input] cannot be null;"),
        ('{"input":[]}', VALIDATION, FAILED + "Field [input] cannot be an empty array;"),
        (
            '{"input":"x","query":"q","top_n":1}',
            VALIDATION,
            FAILED + "Field [top_n] cannot be specified for task type [text_embedding];",
        ),
    ],
)
async def test_wrong_bodies(api: Client, dense: str, body: str, kind: str, reason: str) -> None:
    status, answer = await post(api, f"/_inference/text_embedding/{dense}", body)
    assert (status, answer["error"]["type"], answer["error"]["reason"]) == (400, kind, reason)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ('{"input": [["a"]]}', ("illegal_state_exception", "expected value but got [START_ARRAY]")),
        ('{"input": [{"a": 1}]}', ("illegal_argument_exception", "Expected text at 1:12 but found START_OBJECT")),
        ('{"input":"x","top_n":"abc"}', ("number_format_exception", 'For input string: "abc"')),
        ('{"input":"x","top_n":"\\u0000"}', ("number_format_exception", "empty String")),
        ('{"input":"x","top_n":"1_0"}', ("number_format_exception", 'For input string: "1_0"')),
        ('{"input":"x","top_n":"\\ud800"}', ("number_format_exception", 'For input string: "\ud800"')),
        ('{"input":"x","top_n":"1e99"}', ("illegal_argument_exception", "Value [1e99] is out of range for an integer")),
        (
            '{"input":"x","input_type":"query"}',
            ("illegal_argument_exception", "No enum constant org.elasticsearch.inference.InputType.QUERY"),
        ),
        (
            '{"input":"x","input_type":"\\u0000"}',
            ("illegal_argument_exception", "No enum constant org.elasticsearch.inference.InputType."),
        ),
        (
            '{"input":"x","input_type":"internal_search"}',
            ("illegal_argument_exception", "Unrecognized input_type [internal_search]"),
        ),
    ],
)
async def test_causes_of_wrong_fields(api: Client, dense: str, body: str, cause: tuple[str, str]) -> None:
    _, answer = await post(api, f"/_inference/text_embedding/{dense}", body)
    found = answer["error"]["caused_by"]
    assert (found["type"], found["reason"]) == cause


@pytest.mark.parametrize(
    "body",
    [
        '{"input":"hello"}',
        '{"input":["hello"]}',
        '{"input":["hello"],"task_settings":{"unknown":1},"timeout":"5s"}',
        '{"input":"hello"} and more',
        '/* a comment */ {"input":"hello"}',
        '\ufeff{"input":"hello"}',
        '{"input":["\\u0068ello"]}',
        '{"input":[12345]}',
        '{"input":[false]}',
    ],
)
async def test_bodies_that_are_read(api: Client, dense: str, body: str) -> None:
    status, answer = await post(api, f"/_inference/text_embedding/{dense}", body)
    assert (status, answer) == (200, {"text_embedding": [{"embedding": [0.06, 0.07, 0.08, 0.09]}]})


async def test_inputs_keep_their_order_and_their_odd_ones(api: Client, dense: str) -> None:
    texts = ["", " ", "aa", "aa", "é" * 5, "\ud800"]
    status, answer = await post(api, f"/_inference/{dense}", '{"input":["", " ", "aa", "aa", "ééééé", "\\ud800"]}')
    firsts = [row["embedding"][0] for row in answer["text_embedding"]]
    assert (status, firsts) == (200, [round((len(text) + 1) / 100, 2) for text in texts])


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("text_embedding/none", "{", 400, "[1:2] Unexpected end of file"),
        ("none", "{", 404, "Inference endpoint not found [none]"),
        ("text_embedding/none", '{"input":"x"}', 404, "Inference endpoint not found [none]"),
        ("rerank/none", '{"input":"x"}', 400, FAILED + "Field [query] cannot be null for task type [rerank];"),
        (
            "rerank/none",
            '{"input":"x","query":""}',
            400,
            FAILED + "Field [query] cannot be empty for task type [rerank];",
        ),
        (
            "rerank/none",
            '{"input":"x","query":"q","input_type":"search"}',
            400,
            FAILED + "Field [input_type] cannot be specified for task type [rerank];",
        ),
        (
            "chat_completion/none",
            "{",
            400,
            "The [chat_completion] task type only supports streaming, please try again with the _stream API",
        ),
        (
            "rerank/my-text-embedding",
            '{"input":"x","query":"q"}',
            400,
            "Incompatible task_type, the requested type [rerank] does not match the model type [text_embedding]",
        ),
        ("embedding/none", "{}", 400, "Required [input]"),
        ("embedding/none", '{"input":[]}', 400, FAILED + "Field [inputs] cannot be an empty array;"),
        (
            "embedding/none",
            '{"input":{"content":{"type":"text","value":"x"}}}',
            404,
            "Inference endpoint not found [none]",
        ),
        ("none", None, 400, "request body is required"),
        ("text_embedding/none?timeout=x", '{"input":"x"}', 400, NO_UNIT),
    ],
)
async def test_what_is_checked_first(
    api: Client, dense: str, path: str, body: str | None, status: int, reason: str
) -> None:
    assert dense == "my-text-embedding"
    async with api.post(f"/_inference/{path}", data=body, headers={"Content-Type": "application/json"}) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["reason"]) == (status, reason)


async def test_nested_errors_of_multimodal_input(api: Client) -> None:
    status, answer = await post(
        api, "/_inference/embedding/x", '{"input": {"content": {"type": "smell", "value": "x"}}}'
    )
    error = answer["error"]
    chain = []
    while error:
        chain.append(error["reason"])
        error = error.get("caused_by")
    assert (status, chain) == (
        400,
        [
            "[1:32] [EmbeddingRequest] failed to parse field [input]",
            "[1:32] [InferenceStringGroup] failed to parse field [content]",
            "[1:32] [InferenceString] failed to parse field [type]",
            "Unrecognized type [smell], must be one of [text, image]",
        ],
    )


async def test_upstream_refusals_lose_the_product_header(api: Client, provider: str) -> None:
    settings = {"api_key": "k", "model_id": "m", "url": f"{provider}/fail/401/openai/v1/embeddings"}
    body = {"service": "openai", "service_settings": settings}
    async with api.put("/_inference/text_embedding/refused", json=body) as response:
        assert response.status == 200
    async with api.post("/_inference/refused", json={"input": "x"}) as response:
        assert response.status == 401
        assert "X-elastic-product" not in response.headers
        assert "openai says 401" in (await response.json())["error"]["reason"]


async def test_local_models_answer_every_task(api: Client) -> None:
    async with api.post("/_inference/.elser-2-elasticsearch", json={"input": "the weather is lovely"}) as response:
        (row,) = (await response.json())["sparse_embedding"]
    assert row["is_truncated"] is False
    weights = list(row["embedding"].values())
    assert weights == sorted(weights, reverse=True)
    assert {"weather", "lovely"} <= set(list(row["embedding"])[:5])
    documents = ["cats chase mice", "stocks fell sharply"]
    body = {"input": documents, "query": "which animal hunts mice?", "return_documents": True, "top_n": 1}
    async with api.post("/_inference/rerank/.rerank-v1-elasticsearch", json=body) as response:
        (best,) = (await response.json())["rerank"]
    assert (best["index"], best["text"]) == (0, documents[0])
