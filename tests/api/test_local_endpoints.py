"""Endpoints of local models: what an update may make of their number of workers.

The refusals of an update are those of nodes of 8.19.8 and 9.4.3.
"""

from __future__ import annotations

import json
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
