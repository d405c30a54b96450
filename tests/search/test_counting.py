"""A page and its count out of one answer, beside what one search for both says."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.search.retrievers.counting import TARGET, page_beside_count, page_with_total

INDEX = "counted"
_PAGE: dict[str, Any] = {
    "bool": {"should": [{"constant_score": {"filter": {"term": {"_id": name}}, "boost": 2.5}} for name in "34"]}
}
_COUNTED: dict[str, Any] = {"range": {"n": {"lt": 30}}}


def call(node: str, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    request = urllib.request.Request(node + path, body, {"Content-Type": kind} if body else {}, method=method)
    with urllib.request.urlopen(request) as response:
        return bytes(response.read())


@pytest.fixture
def node(elasticsearch: str) -> Iterator[str]:
    call(elasticsearch, "PUT", f"/{INDEX}", b'{"settings":{"number_of_shards":3}}')
    lines = [
        f'{{"index":{{"_id":"{n}"}}}}\n{{"n":{n},"odd":"}}]}},\\"status\\":200,{{\\"hits\\":{{","x":1.0e-7}}\n'
        for n in range(40)
    ]
    call(elasticsearch, "POST", f"/{INDEX}/_bulk?refresh=true", "".join(lines).encode(), "application/x-ndjson")
    yield elasticsearch
    call(elasticsearch, "DELETE", f"/{INDEX}")


@pytest.mark.parametrize("tracked", [{}, {"track_total_hits": True}, {"track_total_hits": 7}])
def test_it_is_the_page_of_one_search_for_both(node: str, tracked: dict[str, Any]) -> None:
    pit = {"id": json.loads(call(node, "POST", f"/{INDEX}/_pit?keep_alive=1m"))["id"], "keep_alive": "1m"}
    body = {"size": 2, "fields": ["n"], "pit": pit, **tracked}
    lines = page_beside_count({**body, "query": _PAGE}, _COUNTED)
    shown = page_with_total(call(node, "POST", TARGET, lines, "application/x-ndjson"))
    both = {"bool": {**_PAGE["bool"], "filter": [_COUNTED]}}
    one = call(node, "POST", "/_search?filter_path=-pit_id", json.dumps({**body, "query": both}).encode())
    assert shown is not None
    assert {**json.loads(shown), "took": 0} == {**json.loads(one), "took": 0}
    start = shown.index(b'"hits":[')
    assert shown[start:] == one[one.index(b'"hits":[') :]  # to the digit, as it came


@pytest.mark.parametrize("wrong", ["page", "count"])
def test_what_fails_is_no_page(node: str, wrong: str) -> None:
    pit = {"id": json.loads(call(node, "POST", f"/{INDEX}/_pit?keep_alive=1m"))["id"]}
    fails = {"script": {"script": "throw new Exception('no')"}}
    queries = {"page": _PAGE, "count": _COUNTED, wrong: fails}
    lines = page_beside_count({"size": 2, "pit": pit, "query": queries["page"]}, queries["count"])
    assert page_with_total(call(node, "POST", TARGET, lines, "application/x-ndjson")) is None
