from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.bulk import BulkLimits, Outcome, cut, read_item


@dataclass(frozen=True)
class Sized:
    number: int
    size: int


actions = st.lists(st.integers(1, 50), max_size=60).map(lambda sizes: [Sized(n, size) for n, size in enumerate(sizes)])


@given(actions, st.integers(1, 10), st.integers(1, 100))
def test_bulks_keep_order_and_limits_and_lose_nothing(actions: list[Sized], count: int, bytes: int) -> None:
    bulks = list(cut(actions, BulkLimits(count, bytes)))
    assert [action for bulk in bulks for action in bulk] == actions
    for bulk in bulks:
        assert 1 <= len(bulk) <= count
        assert len(bulk) == 1 or sum(action.size for action in bulk) <= bytes


@given(actions, st.integers(1, 10), st.integers(1, 100))
def test_no_bulk_is_cut_without_need(actions: list[Sized], count: int, bytes: int) -> None:
    bulks = list(cut(actions, BulkLimits(count, bytes)))
    for bulk, following in pairwise(bulks):
        assert len(bulk) == count or sum(a.size for a in bulk) + following[0].size > bytes


def test_limits_halve_down_to_one_and_grow_back_to_where_they_were() -> None:
    limits = start = BulkLimits()
    for _ in range(20):
        limits = limits.halved()
    assert limits.actions == 1
    for _ in range(60):
        limits = limits.grown()
    assert limits == start


def failed(status: int, type: str, reason: str = "r", **more: Any) -> dict[str, Any]:
    return {"update": {"status": status, "error": {"type": type, "reason": reason, **more}}}


@pytest.mark.parametrize(
    ("item", "outcome"),
    [
        ({"update": {"status": 200}}, Outcome.WRITTEN),
        ({"create": {"status": 201}}, Outcome.WRITTEN),
        (failed(409, "version_conflict_engine_exception"), Outcome.CONFLICT),
        (failed(404, "document_missing_exception"), Outcome.GONE),
        (failed(404, "index_not_found_exception"), Outcome.STOP),
        (failed(404, "resource_not_found_exception"), Outcome.STOP),
        (failed(400, "document_parsing_exception"), Outcome.FAILED),
        (failed(400, "mapper_parsing_exception"), Outcome.FAILED),
        (failed(400, "strict_dynamic_mapping_exception"), Outcome.STOP),
        (failed(400, "illegal_argument_exception"), Outcome.STOP),
        (failed(400, "illegal_argument_exception", "Document contains at least one immense term"), Outcome.FAILED),
        (failed(429, "es_rejected_execution_exception"), Outcome.RETRY),
        (failed(503, "unavailable_shards_exception"), Outcome.RETRY),
        (failed(429, "cluster_block_exception"), Outcome.STOP),
        (failed(403, "cluster_block_exception"), Outcome.STOP),
        (failed(403, "security_exception"), Outcome.STOP),
        (failed(500, "inference_exception"), Outcome.FAILED),
    ],
)
def test_what_an_items_answer_means(item: dict[str, Any], outcome: Outcome) -> None:
    assert read_item(item).outcome is outcome


def test_the_reason_names_the_innermost_cause() -> None:
    cause = {"type": "illegal_argument_exception", "reason": "a different number of dimensions [3] than defined [4]"}
    answer = read_item(failed(400, "document_parsing_exception", "[1:2] failed to parse", caused_by=cause))
    assert answer.reason == (
        "document_parsing_exception: [1:2] failed to parse (a different number of dimensions [3] than defined [4])"
    )
