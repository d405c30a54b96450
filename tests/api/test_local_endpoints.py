"""Endpoints of local models: their number of workers, what is refused before it costs, texts that UTF-8 cannot hold.

The refusals of an update are those of nodes of 8.19.8 and 9.4.3.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest

from sidecar.api.result_bodies import truncated_headers
from sidecar.core.results import DenseEmbeddings
from tests.api.conftest import Client, StartApi
from tests.runtime.tiny import WORDS, TinyModel

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
TOO_MANY_FOR_MODELS = "The call has [5000] inputs, local models take at most [4096] in one call: send them in several"
TOO_MANY = "An array holds more than [50000] values, which is the most for one call: send them in several"
FORMATS: dict[str, Callable[[Any], bytes]] = {
    "application/json": lambda body: json.dumps(body).encode(),
    "application/cbor": cbor2.dumps,
    "application/yaml": lambda body: json.dumps(body, separators=(",", ":")).replace('"a"', "a").encode(),
}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (SPARSE, "input"),
        (DENSE, "input"),
        (RERANK, "input"),
        ("/compat/hf/.elser-2-elasticsearch/sparse/ingest", "inputs"),
        ("/compat/hf/.multilingual-e5-small-elasticsearch/embed/search", "inputs"),
        ("/v1/embeddings", "input"),
        ("/v2/rerank", "documents"),
    ],
)
async def test_too_many_texts_in_one_call_are_refused_and_others_served(api: Client, path: str, field: str) -> None:
    model = ".multilingual-e5-small-elasticsearch" if field == "input" else ".rerank-v1-elasticsearch"
    more = {"query": "a"} if "rerank" in path else {}
    more |= {"model": model} if path.startswith("/v") else {}
    for content_type, write in FORMATS.items():
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        for count, kind, reason in (
            (1_000_000, "x_content_parse_exception", TOO_MANY),
            (5_000, "status_exception", TOO_MANY_FOR_MODELS),
        ):
            body = write({field: ["a"] * count, **more})
            async with api.post(path, data=body, headers=headers) as response:
                answer = await response.json()
            assert response.status == 413, answer
            if path.startswith("/_inference"):
                assert (answer["error"]["type"], answer["error"]["reason"], answer["status"]) == (kind, reason, 413)
            else:
                assert reason in json.dumps(answer)
    async with api.post(DENSE, json={"input": "a question", "input_type": "search"}) as response:
        assert response.status == 200


async def test_a_refusal_says_when_to_come_again(start_api: StartApi) -> None:
    api = await start_api(queue_items=4)

    async def ingest(caller: int) -> tuple[int, str | None]:
        texts = [f"caller {caller} text {n} " * 50 for n in range(3)]
        async with api.post(SPARSE, json={"input": texts}) as response:
            return response.status, response.headers.get("Retry-After")

    answers = await asyncio.gather(*map(ingest, range(8)))
    assert (200, None) in answers
    refused = [retry_after for status, retry_after in answers if status == 429]
    assert refused
    assert all(retry_after is not None and int(retry_after) >= 1 for retry_after in refused)


@pytest.mark.parametrize("half", ["\\ud83d", "\\udc00", "a \\ud83d b", "\\ude00\\ud83d"])
async def test_half_a_surrogate_pair_is_read_as_the_replacement_character(start_api: StartApi, half: str) -> None:
    # Nothing remembered: int8 vectors move a little with the company in which they are computed.
    api = await start_api(cache_size=0, cache_disk_size=0)

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


@pytest.mark.slow
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


async def test_a_cut_text_is_told_in_a_header_and_the_metrics(api: Client) -> None:
    long = "a word and another word " * 300
    texts = ["short", long, long, "short", long]
    for path in (DENSE, SPARSE, DENSE, SPARSE):  # computed, then remembered
        async with api.post(path, json={"input": texts}) as response:
            assert (response.status, response.headers["X-Sidecar-Truncated"]) == (200, "1-2, 4")
            body = await response.json()
        async with api.post(path, json={"input": "short"}) as response:
            assert "X-Sidecar-Truncated" not in response.headers
    assert [item["is_truncated"] for item in body["sparse_embedding"]] == [False, True, True, False, True]
    async with api.get("/metrics") as response:
        assert 'sidecar_model_truncated_total{model="bge-small-en-v1.5",threads="1"} 1.0' in await response.text()


async def test_the_header_of_many_cut_texts_stays_short() -> None:
    every_other = DenseEmbeddings((), is_truncated=tuple(n % 2 == 0 for n in range(4096)))
    (header,) = truncated_headers(every_other.truncated).values()
    assert header.startswith("0, 2, 4, 6, ")
    assert header.endswith(", 198, ...")


@pytest.mark.parametrize(("task_type", "extra"), [("text_embedding", {}), ("rerank", {"query": "red"})])
async def test_numbers_that_are_none_are_an_error_of_the_native_route(
    start_api: StartApi, tmp_path: Path, task_type: str, extra: dict[str, Any]
) -> None:
    tiny = TinyModel(tmp_path / "models" / "tiny")
    tiny.embedding[WORDS.index("blue")] = np.nan
    tiny.encoder()
    api = await start_api(models_dir=tmp_path / "models")
    settings = {"model_id": "tiny", "num_allocations": 1, "num_threads": 1}
    path = f"/_inference/{task_type}/mine"
    async with api.put(path, json={"service": "elasticsearch", "service_settings": settings}) as response:
        assert response.status == 200, await response.text()
    async with api.post(path, json={"input": ["green"], **extra}) as response:
        assert response.status == 200
    # "green" need not be computed again: the caller's own count is what he is told
    async with api.post(path, json={"input": ["green", "green", "blue"], **extra}) as response:
        body = await response.json()
    assert (response.status, body["error"]["type"]) == (500, "status_exception")
    assert body["error"]["reason"] == "Model [tiny] made no finite numbers of input [2]"
