"""Endpoints of local models: their number of workers, what is refused before it costs, texts that UTF-8 cannot hold.

The refusals of an update are those of nodes of 8.19.8 and 9.4.3.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

import pytest

from tests.api.conftest import Client, StartApi

PATH = "/_inference/sparse_embedding/mine"
FIXED: dict[str, Any] = {"num_allocations": 1}
ADAPTIVE: dict[str, Any] = {
    "adaptive_allocations": {"enabled": True, "min_number_of_allocations": 0, "max_number_of_allocations": 4}
}
OFF: dict[str, Any] = {"adaptive_allocations": {"enabled": False}}
MISSING = "[service_settings] does not contain one of the required settings [num_allocations, adaptive_allocations];"


async def create(api: Client, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    body = {"service": "elasticsearch", "service_settings": {"model_id": "splade-tiny", "num_threads": 1, **settings}}
    async with api.put(PATH, json=body) as response:
        return response.status, await response.json()


async def update(api: Client, settings: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with api.put(f"{PATH}/_update", json={"service_settings": settings}) as response:
        return response.status, await response.json()


def allocations(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body["service_settings"].items() if name.endswith("_allocations")}


@pytest.mark.parametrize(("before", "after"), [(ADAPTIVE, FIXED), (FIXED, ADAPTIVE), (FIXED, OFF), (OFF, FIXED)])
async def test_what_is_given_replaces_the_other(api: Client, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert (await create(api, before))[0] == 200
    status, body = await update(api, after)
    assert (status, allocations(body)) == (200, after)
    async with api.get(PATH) as response:
        (shown,) = (await response.json())["endpoints"]
    assert allocations(shown) == after


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({**FIXED, **ADAPTIVE}, "1: [num_allocations] cannot be set if [adaptive_allocations] is set;"),
        ({**FIXED, **OFF}, "1: [num_allocations] cannot be set if [adaptive_allocations] is set;"),
        ({"num_threads": 2}, f"1: [num_threads] cannot be updated;2: {MISSING}"),
        ({"foo": 1}, f"1: {MISSING}"),
        (
            {"num_allocations": 0},
            f"1: [service_settings] Invalid value [0]. [num_allocations] must be a positive integer;2: {MISSING}",
        ),
        (
            {"adaptive_allocations": {"min_number_of_allocations": 5, "max_number_of_allocations": 1}},
            "1: [min_number_of_allocations] must not be larger than [max_number_of_allocations];",
        ),
    ],
)
async def test_an_update_that_does_not_fit_is_refused(api: Client, given: dict[str, Any], messages: str) -> None:
    await create(api, ADAPTIVE)
    status, body = await update(api, given)
    assert (status, body["error"]["type"]) == (400, "validation_exception")
    assert body["error"]["reason"] == f"Validation Failed: {messages}"
    async with api.get(PATH) as response:
        (shown,) = (await response.json())["endpoints"]
    assert allocations(shown) == ADAPTIVE


async def test_up_to_8_19_only_a_fixed_number_changes(start_api: StartApi) -> None:
    api = await start_api(api_generation="8.19")
    await create(api, FIXED)
    status, body = await update(api, {"num_allocations": 2, **ADAPTIVE})
    assert (status, allocations(body)) == (200, {"num_allocations": 2})
    status, body = await update(api, ADAPTIVE)
    sent = json.dumps({"service_settings": ADAPTIVE}, separators=(",", ":"))
    assert (status, body["error"]["type"]) == (400, "status_exception")
    assert body["error"]["reason"] == f"Failed to parse [num_allocations] of update request [{sent}]"


REFUSED = "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive allocations is enabled;"


async def test_up_to_8_19_an_adaptive_number_stays(start_api: StartApi) -> None:
    api = await start_api(api_generation="8.19")
    await create(api, ADAPTIVE)
    status, body = await update(api, FIXED)
    assert (status, body["error"]["type"], body["error"]["reason"]) == (400, "validation_exception", REFUSED)


async def test_an_endpoint_has_one_or_the_other(api: Client) -> None:
    status, body = await create(api, {**FIXED, **ADAPTIVE})
    assert (status, body["error"]["reason"]) == (400, REFUSED)
    assert body["error"]["type"] == "action_request_validation_exception"
    assert (await create(api, {**FIXED, **OFF}))[0] == 200


async def test_the_number_of_workers_is_shown_as_asked_and_bounded_by_the_cores(api: Client) -> None:
    before = threading.active_count()
    status, body = await create(api, {"num_allocations": 1000})
    assert (status, allocations(body)) == (200, {"num_allocations": 1000})
    assert threading.active_count() - before < 100


SPARSE = "/_inference/sparse_embedding/.elser-2-elasticsearch"
DENSE = "/_inference/text_embedding/.multilingual-e5-small-elasticsearch"
RERANK = "/_inference/rerank/.rerank-v1-elasticsearch"
TOO_MANY = "The call has [1000000] inputs, local models take at most [4096] in one call: send them in several"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (SPARSE, "input"),
        (DENSE, "input"),
        (RERANK, "input"),
        ("/compat/hf/.elser-2-elasticsearch/sparse/ingest", "inputs"),
        ("/compat/hf/.multilingual-e5-small-elasticsearch/embed/search", "inputs"),
    ],
)
async def test_a_million_texts_in_one_call_are_refused_and_others_served(api: Client, path: str, field: str) -> None:
    body = {field: ["a"] * 1_000_000} | ({"query": "a"} if path == RERANK else {})
    async with api.post(path, json=body) as response:
        answer = await response.json()
    assert response.status == 413
    if path.startswith("/_inference"):
        assert (answer["error"]["type"], answer["error"]["reason"]) == ("status_exception", TOO_MANY)
    else:
        assert answer["error"] == TOO_MANY
    async with api.post(DENSE, json={"input": "a question", "input_type": "search"}) as response:
        assert response.status == 200


async def test_a_refusal_says_when_to_come_again(start_api: StartApi) -> None:
    api = await start_api(queue_items=4)

    async def ingest(texts: int) -> tuple[int, str | None]:
        async with api.post(SPARSE, json={"input": [f"text {n}" * 50 for n in range(texts)]}) as response:
            return response.status, response.headers.get("Retry-After")

    answers = await asyncio.gather(*(ingest(3) for _ in range(8)))
    assert (200, None) in answers
    refused = [retry_after for status, retry_after in answers if status == 429]
    assert refused
    assert all(retry_after is not None and int(retry_after) >= 1 for retry_after in refused)


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00", "a \\ud83d b", "\\ude00\\ud83d"])
async def test_half_a_surrogate_pair_is_read_as_the_replacement_character(api: Client, half: str) -> None:
    async def ask(path: str, text: str) -> Any:
        query = f'"query":"{text}",' if path == RERANK else ""
        data = f'{{{query}"input":["fine","{text}","last"]}}'
        async with api.post(path, data=data, headers={"Content-Type": "application/json"}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def scores(text: str) -> dict[int, float]:
        return {row["index"]: row["relevance_score"] for row in (await ask(RERANK, text))["rerank"]}

    whole = re.sub(r"\\ud[0-9a-f]{3}", r"\\ufffd", half)
    for path in (SPARSE, DENSE):
        assert await ask(path, half) == await ask(path, whole)
    assert await scores(half) == await scores(whole)


async def test_two_halves_that_stand_together_are_their_character(api: Client) -> None:
    async with api.post(SPARSE, json={"input": ["smile \U0001f600", "smile"]}) as response:
        assert response.status == 200
        assert (await response.json())["sparse_embedding"][0]["embedding"]


async def test_long_documents_are_reranked_by_passages_whatever_their_number(api: Client) -> None:
    settings = {"model_id": ".rerank-v1", "num_allocations": 1, "num_threads": 1, "long_document_strategy": "chunk"}
    async with api.put(
        "/_inference/rerank/long", json={"service": "elasticsearch", "service_settings": settings}
    ) as made:
        assert made.status == 200, await made.text()
    filler = "Bananas are yellow and sweet. " * 200
    documents = [filler, filler + "The wine is red.", "short", filler[:3000]] * 4
    async with api.post("/_inference/rerank/long", json={"query": "red wine", "input": documents}) as response:
        ranked = [row["index"] for row in (await response.json())["rerank"]]
    assert set(ranked[:4]) == {1, 5, 9, 13}
    assert sorted(ranked) == list(range(16))
