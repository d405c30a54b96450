"""What narrows a dense ``semantic`` query beside it, held against a node: clauses that look into chunks do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.front.conftest import FilledFront
from tests.front.search_data import BOTH, fill
from tests.front.test_search_agreement import agree

DENSE = {"semantic": {"field": "sense", "query": "fog bell ships keeper"}}
CHUNKS = {"semantic": {"field": "words", "query": "fog bell ships keeper"}}
BY_MAPPING = {"match": {"words": "fog bell"}}
KIND = {"term": {"kind": "a"}}
LAMP = {"match": {"story": "lamp"}}
LATE = {"range": {"n": {"gte": 3}}}


def _bool(**parts: Any) -> dict[str, Any]:
    return {"bool": parts}


def _least(least: Any, *should: Any, **parts: Any) -> dict[str, Any]:
    return _bool(should=list(should), minimum_should_match=least, **parts)


def _around(query: Any) -> list[dict[str, Any]]:
    return [
        {"constant_score": {"filter": query}},
        _bool(must=[query]),
        _bool(must=query, filter=KIND),
        _bool(filter=[query, KIND]),
        _bool(should=[query, KIND]),
        _bool(should=[query, KIND], must=[LAMP]),
        _bool(must_not=[query]),
        _bool(must_not=[query], must=[KIND]),
        {"boosting": {"positive": query, "negative": KIND, "negative_boost": 0.5}},
        {"boosting": {"positive": KIND, "negative": query, "negative_boost": 0.5}},
        {"dis_max": {"queries": [query, KIND]}},
        {"dis_max": {"queries": [query]}},
        {"function_score": {"query": query, "weight": 2}},
        {"function_score": {"query": _bool(must=[query, KIND]), "min_score": 0.1}},
        {"script_score": {"query": query, "script": {"source": "1"}}},
        {"constant_score": {"filter": _bool(must=[KIND, {"dis_max": {"queries": [query, LAMP]}}])}},
    ]


REQUIRED = [
    *_around(CHUNKS),
    *_around(BY_MAPPING),
    *_around({"nested": {"path": "words.inference.chunks", "query": {"match_all": {}}}}),
    *_around(LATE),
    _least(1, CHUNKS, KIND),
    _least(2, CHUNKS, KIND, LAMP),
    _least(3, CHUNKS, KIND, LAMP, LATE),
    _least("3", CHUNKS, KIND, LAMP, LATE),
    _least("75%", CHUNKS, KIND, LAMP, LATE),
    _least(-1, CHUNKS, BY_MAPPING, KIND, LATE),
    _least("-50%", CHUNKS, KIND, LATE),
    _least(1, CHUNKS, KIND, must=[LATE]),
    _least(2, CHUNKS, KIND, LAMP, must=[LATE]),
    _least(1, CHUNKS, filter=[LATE]),
    _bool(),
]


@pytest.fixture(scope="module")
def found(filled_front: FilledFront) -> FilledFront:
    fill(filled_front)
    return filled_front


@pytest.mark.parametrize("part", ["must", "filter", "must_not"])
def test_a_dense_query_is_narrowed_as_in_the_cluster(found: FilledFront, part: str) -> None:
    for clause in REQUIRED:
        body = {"must": [DENSE]}
        body[part] = [*body.get(part, []), clause]
        agree(found, f"/{BOTH}/_search", {"size": 2, "query": {"bool": body}})
