"""``rrf``, ``linear`` and ``pinned`` through the front: what a few lines make of the children's own answers.

A leaf is asked of the cluster directly, on a point in time that tells shard and document; all the rest is arithmetic.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.front.conftest import FilledFront
from tests.front.search_data import BOTH, fill
from tests.front.test_bound_writes import mapping
from tests.front.test_search_agreement import is_nine, match, semantic, standard

EXAMPLES = int(os.environ.get("SEARCH_EXAMPLES", "25"))
LARGEST = struct.unpack("f", b"\xff\xff\x7f\x7f")[0]
"""Of the scores that there are: weighted pins would go beyond."""
Row = tuple[float, int, str]
"""Score, place among equals, id."""


@pytest.fixture(scope="module")
def found(filled_front: FilledFront) -> FilledFront:
    fill(filled_front)
    return filled_front


class Arithmetic:
    """Evaluates a tree over indices of the cluster; ``matched`` collects what counts for the total."""

    def __init__(self, front: FilledFront, target: str, filters: list[Any]) -> None:
        self.front, self.target, self.filters = front, target, filters
        self.pit = front.send("POST", f"/{target}/_pit?keep_alive=1m", base=front.node)[1]["id"]
        self.matched: set[str] = set()
        self.equal_is_one = is_nine(front)  # since 9.2, to be exact

    def ranking(self, tree: Any, window: int) -> list[Row]:
        ((kind, body),) = tree.items()
        if kind in ("standard", "knn"):
            return self._leaf(kind, body, window)
        own = body.get("rank_window_size", 10)
        if kind == "pinned":
            return self._pinned(body, own)[:window]
        sums: dict[str, list[Any]] = {}
        for item in body["retrievers"]:
            child = item.get("retriever", item)
            weight = item.get("weight", 1.0) if "retriever" in item else 1.0
            rows = self.ranking(child, own)[:own]
            scores = self._parts(kind, body, item, [row[0] for row in rows])
            for row, part in zip(rows, scores, strict=True):
                entry = sums.setdefault(row[2], [0.0, row[1]])
                entry[0] = min(entry[0] + weight * part, LARGEST)
        rows = sorted(
            ((total, order, name) for name, (total, order) in sums.items()), key=lambda r: (-_single(r[0]), r[1])
        )
        return rows[:own][:window]

    def _parts(self, kind: str, body: Any, item: Any, scores: list[float]) -> list[float]:
        if kind == "rrf":
            return [1 / (body.get("rank_constant", 60) + rank) for rank in range(1, len(scores) + 1)]
        normalizer = item.get("normalizer", "none")
        if normalizer == "minmax" and scores:
            low, high = min(scores), max(scores)
            equal = 1.0 if self.equal_is_one else low
            return [equal if high - low < 1e-6 else (score - low) / (high - low) for score in scores]
        if normalizer == "l2_norm" and scores:
            length = math.sqrt(sum(score * score for score in scores))
            return scores if length < 1e-6 else [score / length for score in scores]
        return scores

    def _leaf(self, kind: str, body: Any, window: int) -> list[Row]:
        search: dict[str, Any] = {"size": window, "pit": {"id": self.pit}, "_source": False}
        search["sort"] = [*body.get("sort", [{"_score": "desc"}]), {"_shard_doc": "asc"}]
        search["track_scores"] = True
        if kind == "knn":
            search["knn"] = {**body, "filter": self.filters}
        else:
            search["query"] = {"bool": {"must": [body["query"]], "filter": self.filters}}
            matching = {"query": search["query"], "pit": search["pit"], "size": 200, "_source": False}
            self.matched |= {hit["_id"] for hit in self._hits(matching)}
        rows = [(hit["_score"], hit["sort"][-1], hit["_id"]) for hit in self._hits(search)]
        self.matched |= {row[2] for row in rows}
        return rows

    def _pinned(self, body: Any, window: int) -> list[Row]:
        ids = body["ids"]
        query = {"query": {"ids": {"values": ids}}, "pit": {"id": self.pit}, "size": 50, "_source": False}
        orders = {hit["_id"]: hit["sort"][-1] for hit in self._hits({**query, "sort": ["_shard_doc"]})}
        self.matched |= orders.keys()
        there = [name for name in ids if name in orders]
        last = 2.0**127 + 2 * 2.0**104  # the second float above 2 to the 127th, every earlier pin the next
        pins = [(last + (len(there) - 1 - at) * 2.0**104, orders[name], name) for at, name in enumerate(there)]
        rest = [row for row in self.ranking(body["retriever"], window) if row[2] not in orders]
        if any(row[0] > 2.0**127 for row in rest):
            rest = sorted(((min(row[0], 2.0**127), *row[1:]) for row in rest), key=lambda row: (-row[0], row[1]))
        return [*pins, *rest][:window]

    def _hits(self, body: Any) -> list[Any]:
        # Without a look at the shards beforehand, which may change their order and so the places among equals.
        target = "/_search?pre_filter_shard_size=2147483647"
        status, answer = self.front.send("POST", target, body, base=self.front.node)
        assert status == 200, answer
        return list(answer["hits"]["hits"])


def _single(value: float) -> float:

    return float(struct.unpack("f", struct.pack("f", value))[0])


_LEAVES = st.sampled_from(
    [
        standard({"match_all": {}}),
        standard({"match_all": {}}, sort=[{"n": "asc"}]),
        standard(match("lamp keeper")),
        standard(match("fog storm train bread")),
        standard(match("nothing")),
        standard({"constant_score": {"filter": {"term": {"kind": "a"}}, "boost": 2}}),
        standard({"range": {"n": {"gte": 5}}}),
        {"knn": {"field": "v", "query_vector": [1, 2], "k": 7, "num_candidates": 40}},
        {"knn": {"field": "v", "query_vector": [4, 0], "k": 3, "num_candidates": 40}},
    ]
)


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    weight = st.sampled_from([0, 0.5, 1, 2.5])
    window = st.sampled_from([{}, {"rank_window_size": 3}, {"rank_window_size": 25}])
    normalizer = st.sampled_from(["none", "minmax", "l2_norm"])
    weighted = st.fixed_dictionaries({"retriever": inner, "weight": weight})
    normalized = st.fixed_dictionaries({"retriever": inner, "weight": weight, "normalizer": normalizer})
    constant = st.sampled_from([{}, {"rank_constant": 1}])
    return st.one_of(
        st.tuples(st.lists(weighted | inner, min_size=1, max_size=3), window, constant).map(
            lambda parts: {"rrf": {"retrievers": parts[0], **parts[1], **parts[2]}}
        ),
        st.tuples(st.lists(normalized, min_size=1, max_size=3), window).map(
            lambda parts: {"linear": {"retrievers": parts[0], **parts[1]}}
        ),
        st.tuples(inner.filter(lambda tree: "sort" not in tree.get("standard", ())), window).map(
            lambda parts: {"pinned": {"retriever": parts[0], "ids": ["a5", "b1", "nobody"], **parts[1]}}
        ),
    )


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(
    tree=_around(st.recursive(_LEAVES, _around, max_leaves=6)),
    target=st.sampled_from(["find-a", "find-b", BOTH]),
    filters=st.sampled_from([[], [{"terms": {"kind": ["a", "b"]}}]]),
    start=st.sampled_from([0, 2]),
    size=st.sampled_from([None, 3]),
)
def test_a_fusion_is_what_its_children_come_to(
    found: FilledFront, tree: Any, target: str, filters: list[Any], start: int, size: int | None
) -> None:
    ((kind, body),) = tree.items()
    if filters and "pinned" not in str(tree):
        tree = {kind: {**body, "filter": filters}}
    else:
        filters = []
    arithmetic = Arithmetic(found, target, filters)
    rows = arithmetic.ranking(tree, 1000)
    wanted = rows[start:] if size is None else rows[start : start + size]
    search = {"retriever": tree, "from": start, "_source": False} | ({} if size is None else {"size": size})
    status, answer = found.send("POST", f"/{target}/_search", search)
    assert status == 200, answer
    got = [(hit["_score"], hit["_id"]) for hit in answer["hits"]["hits"]]
    assert len(got) == len(wanted)
    for (score, name), (expected, _, _) in zip(got, wanted, strict=True):
        own = next(row for row in rows if row[2] == name)
        assert _close(score, own[0])  # the hit has its own score ..
        assert _close(own[0], expected)  # .. which is the one of its place: neighbours may be equal but for rounding
    assert answer["hits"]["total"] == {"value": len(arithmetic.matched), "relation": "eq"}


@pytest.mark.parametrize(
    "settings", [{}, {"index.disable_sequence_numbers": True}, {"index.seq_no.index_options": "doc_values_only"}]
)
def test_documents_that_were_written_again_stand_once(found: FilledFront, settings: dict[str, Any]) -> None:
    """In an index of one shard, where documents go by their sequence numbers: every write has its own, if any."""
    index = "find-again"
    own = {"number_of_shards": 1, "number_of_replicas": 0, **settings}
    if found.send("PUT", f"/{index}", {"settings": own})[0] != 200:
        pytest.skip("this node does not know the setting")
    try:
        for turn, words in enumerate(("lamp keeper", "lamp fog", "storm keeper lamp lamp")):
            for place in range(turn * 3, 12, turn + 1):
                status, _ = found.send(
                    "PUT", f"/{index}/_doc/{place}?refresh=true", {"story": f"{words} {'x ' * place}"}
                )
                assert status in (200, 201)
        assert found.send("DELETE", f"/{index}/_doc/4?refresh=true")[0] == 200
        legs = [standard(match(words)) for words in ("lamp", "keeper storm", "fog", "nothing")]
        weighted = [{"retriever": leg, "weight": weight} for weight, leg in enumerate(legs, 1)]
        for tree in ({"rrf": {"retrievers": legs}}, {"linear": {"retrievers": weighted, "rank_window_size": 20}}):
            rows = Arithmetic(found, index, []).ranking(tree, 1000)
            status, answer = found.send("POST", f"/{index}/_search", {"retriever": tree, "size": 10})
            assert status == 200, answer
            hits = answer["hits"]["hits"]
            assert [hit["_id"] for hit in hits] == [name for _, _, name in rows[:10]]
            assert all(_close(hit["_score"], row[0]) for hit, row in zip(hits, rows, strict=False))
            assert answer["hits"]["total"]["value"] == 11
    finally:
        found.send("DELETE", f"/{index}")


def test_documents_of_a_shrunk_index_are_told_apart(found: FilledFront) -> None:
    """Its one shard holds those of several, each of which counted its sequence numbers from 0."""
    for name in ("find-wide", "find-narrow"):
        found.send("DELETE", f"/{name}?ignore_unavailable=true")
    own = {"number_of_shards": 3, "number_of_replicas": 0}
    assert found.send("PUT", "/find-wide", {"settings": own})[0] == 200
    try:
        for place in range(12):
            status, _ = found.send("PUT", f"/find-wide/_doc/{place}", {"story": f"lamp lamp{place}"})
            assert status == 201
        assert found.send("PUT", "/find-wide/_settings", {"index.blocks.write": True})[0] == 200
        shrunk = {"settings": {"index.number_of_shards": 1, "index.blocks.write": None}}
        assert found.send("PUT", "/find-wide/_shrink/find-narrow", shrunk)[0] == 200
        found.send("GET", "/_cluster/health/find-narrow?wait_for_status=yellow")
        numbers = {"sort": ["_seq_no"], "size": 20}
        stored = found.send("POST", "/find-narrow/_search", numbers, base=found.node)[1]["hits"]["hits"]
        assert len({hit["sort"][0] for hit in stored}) < len(stored) == 12
        for place in range(12):
            legs = [standard(match(f"lamp{place}")), standard(match("nothing"))]
            for counts in (True, False):
                search = {"retriever": {"rrf": {"retrievers": legs}}, "track_total_hits": counts}
                got = found.send("POST", "/find-narrow/_search", search)[1]["hits"]
                assert [hit["_id"] for hit in got["hits"]] == [str(place)]
                assert got.get("total", {"value": 1})["value"] == 1
    finally:
        found.send("DELETE", "/find-wide,find-narrow?ignore_unavailable=true")


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_total_below_what_is_ranked_is_of_all_that_is_ranked(found: FilledFront, size: int) -> None:
    legs = [standard(match("lamp")), standard(match("keeper"))]
    ranked = len(Arithmetic(found, "find-a", []).ranking({"rrf": {"retrievers": legs}}, 10))
    assert ranked > 2
    for tracked in range(ranked):
        search = {"retriever": {"rrf": {"retrievers": legs}}, "size": size, "track_total_hits": tracked}
        total = found.send("POST", "/find-a/_search", search)[1]["hits"]["total"]
        assert total == {"value": tracked, "relation": "gte"}


def _near(text: str) -> dict[str, Any]:
    builder = {"text_embedding": {"model_id": "dense", "model_text": text}}
    return {"knn": {"field": "vector", "k": 3, "query_vector_builder": builder}}


def _parts_with(text: str) -> dict[str, Any]:
    return {"nested": {"path": "parts", "query": match(text, "parts.text"), "inner_hits": {"name": text}}}


@pytest.mark.parametrize(
    "legs",
    [
        [standard(semantic("sense", "lamp")), standard(semantic("sense", "bell fog"))],
        [standard(match("lamp"), _name="first"), standard({"match": {"story": {"query": "fog", "_name": "second"}}})],
        [standard(_parts_with("lamp")), standard(_parts_with("keeper")), standard(match("fog"))],
        [{"knn": {"field": "v", "query_vector": [1, 2], "k": 4, "num_candidates": 9}}, standard(match("lamp keeper"))],
    ],
)
def test_a_page_and_its_count_are_those_of_one_search(found: FilledFront, legs: list[Any]) -> None:
    """With any parameter that shapes the answer both are asked in one."""
    for tree in ({"rrf": {"retrievers": legs, "_name": "all"}}, {"rrf": {"retrievers": legs}}):
        for extra in (
            {"size": 2},
            {"size": 3, "from": 1, "fields": ["kind"]},
            {"size": 0},
            {"size": 4, "version": True},
        ):
            answers = [
                found.send("POST", f"/{BOTH}/_search{query}", {"retriever": tree, **extra})
                for query in ("", "?typed_keys=true")
            ]
            assert [status for status, _ in answers] == [200, 200], answers
            assert answers[0][1]["hits"] == answers[1][1]["hits"]


def test_two_legs_of_neighbours_are_told_apart(filled_front: FilledFront) -> None:
    vector = {"type": "dense_vector", "dims": 4, "similarity": "l2_norm"}
    filled_front.index("bound", **mapping("text:vector=dense", vector=vector))
    for place, text in enumerate(("lamp", "bell", "fog lamp", "ship", "lamp bell")):
        assert filled_front.send("PUT", f"/bound/_doc/{place}?refresh=true", {"text": text})[0] == 201
    tree = {"rrf": {"retrievers": [standard(_near("lamp")), standard(_near("bell"))]}}
    status, answer = filled_front.send("POST", "/bound/_search", {"retriever": tree})
    assert status == 200, answer
    alone = [filled_front.send("POST", "/bound/_search", {"query": _near(text)})[1] for text in ("lamp", "bell")]
    wanted: dict[str, float] = {}
    for one in alone:
        for rank, hit in enumerate(one["hits"]["hits"], 1):
            wanted[hit["_id"]] = wanted.get(hit["_id"], 0.0) + 1 / (60 + rank)
    assert {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]} == pytest.approx(wanted)
    assert answer["hits"]["total"]["value"] == len(wanted)


def _routings(found: FilledFront, index: str) -> list[str]:
    """A value for each shard, by which documents are routed there."""
    shards: dict[int, str] = {}
    for value in "abcdefgh":
        about = found.send("GET", f"/{index}/_search_shards?routing={value}")[1]
        shards.setdefault(about["shards"][0][0]["shard"], value)
    return list(shards.values())


def test_documents_of_one_id_in_two_shards_are_told_apart(found: FilledFront) -> None:
    index = "find-routed"
    found.send("DELETE", f"/{index}?ignore_unavailable=true")
    settings = {"number_of_shards": 3, "number_of_replicas": 0}
    assert found.send("PUT", f"/{index}", {"settings": settings})[0] == 200
    try:
        first, second, *_ = _routings(found, index)
        for routing, words in ((first, "lamp lamp lamp"), (second, "keeper keeper")):
            for place in range(3):
                target = f"/{index}/_doc/{place}?refresh=true&routing={routing}"
                assert found.send("PUT", target, {"story": f"{words} {'x ' * place}"})[0] == 201
        child = standard({"bool": {"should": [match("lamp"), match("keeper")]}})
        wanted = found.send("POST", f"/{index}/_search", child["standard"], base=found.node)[1]["hits"]
        assert wanted["total"]["value"] == 6
        tree = {"linear": {"retrievers": [{"retriever": child}]}}
        rerank = {"field": "story", "inference_id": "judge", "inference_text": "keeper"}
        for own in (tree, {"rrf": {"retrievers": [tree, {"rrf": {"retrievers": [tree]}}]}}):
            got = found.send("POST", f"/{index}/_search", {"retriever": own})[1]["hits"]
            assert got["total"] == wanted["total"]
            assert [(hit["_id"], hit.get("_routing")) for hit in got["hits"]] == [
                (hit["_id"], hit.get("_routing")) for hit in wanted["hits"]
            ]
        one_lamp = {"rrf": {"retrievers": [standard(match("lamp"))], "filter": {"term": {"_routing": first}}}}
        alone = found.send("POST", f"/{index}/_search", {"retriever": one_lamp})[1]["hits"]
        assert [(hit["_id"], hit["_routing"]) for hit in alone["hits"]] == [(str(place), first) for place in range(3)]
        reranked = {"retriever": {"text_similarity_reranker": {"retriever": tree, **rerank}}}
        ranked = found.send("POST", f"/{index}/_search", reranked)[1]["hits"]["hits"]
        assert [hit["_routing"] for hit in ranked] == [second] * 3 + [first] * 3
    finally:
        found.send("DELETE", f"/{index}")


def test_a_document_without_a_routing_is_not_one_of_its_id_that_has_one(found: FilledFront) -> None:
    """What was routed elsewhere is neither shown nor scored for it, whether a leg found it or not."""
    index = "find-half-routed"
    found.send("DELETE", f"/{index}?ignore_unavailable=true")
    settings = {"number_of_shards": 3, "number_of_replicas": 0}
    assert found.send("PUT", f"/{index}", {"settings": settings})[0] == 200
    try:
        first, second, _ = _routings(found, index)
        for place in range(16):
            for routing, word in (("", "keeper"), (first, ""), (second, "bell")):
                story = "bell" if routing == second else "lamp " * (place + 1) + word
                target = f"/{index}/_doc/{place}?refresh=true" + (f"&routing={routing}" if routing else "")
                assert found.send("PUT", target, {"story": story})[0] in (200, 201)
        everything = found.send("POST", f"/{index}/_search", {"size": 50}, base=found.node)[1]["hits"]["hits"]
        names = [hit["_id"] for hit in everything]
        assert any("_routing" not in hit and names.count(hit["_id"]) > 1 for hit in everything)
        legs = [standard(match("keeper lamp")), standard(match("keeper"))]
        rankings = [
            found.send("POST", f"/{index}/_search", {**leg["standard"], "size": 50}, base=found.node)[1]["hits"]["hits"]
            for leg in legs
        ]
        wanted: dict[tuple[str, str | None], float] = {}
        for ranking in rankings:
            for rank, hit in enumerate(ranking, 1):
                key = hit["_id"], hit.get("_routing")
                wanted[key] = wanted.get(key, 0.0) + 1 / (60 + rank)
        tree = {"rrf": {"retrievers": legs, "rank_window_size": 50}}
        judged = {"field": "story", "inference_id": "judge", "inference_text": "keeper", "rank_window_size": 50}
        reranked = {"retriever": {"text_similarity_reranker": {"retriever": legs[1], **judged}}}
        for beside in ({}, {"aggs": {"n": {"value_count": {"field": "_index"}}}}, {"min_score": 0.001}):
            got = found.send("POST", f"/{index}/_search", {"retriever": tree, **beside})[1]["hits"]
            scores = {(hit["_id"], hit.get("_routing")): hit["_score"] for hit in got["hits"]}
            assert scores == pytest.approx(wanted)
            assert got["total"]["value"] == len(wanted)
            expected, ours = (
                found.send("POST", f"/{index}/_search", {**reranked, **beside}, base=base)[1]["hits"]
                for base in (found.node, None)
            )
            assert ours == expected
    finally:
        found.send("DELETE", f"/{index}")


def test_places_among_equals_do_not_depend_on_which_shards_a_leg_skips(found: FilledFront) -> None:
    """A search that sorts by a field looks at the shards beforehand, and counts those last in which nothing matches."""
    names = ("find-0", "find-1", "find-2")
    kinds = {"find-0": {}, "find-1": {"kind": "x"}, "find-2": {"kind": "y"}}
    try:
        for name, kind in kinds.items():
            settings = {"number_of_shards": 1, "number_of_replicas": 0}
            fields: dict[str, Any] = {"n": {"type": "integer"}} | {one: {"type": "keyword"} for one in kind}
            body = {"settings": settings, "mappings": {"properties": fields}}
            assert found.send("PUT", f"/{name}", body)[0] == 200
            for place in (1, 0) if name == "find-1" else (0, 1):
                document = {"n": place} | (kind if place == 0 else {})
                assert found.send("PUT", f"/{name}/_doc/{name}-{place}?refresh=true", document)[0] == 201
        one = standard({"match_all": {}}, filter={"term": {"kind": "x"}})
        other = standard({"match_all": {}}, filter={"term": {"kind": "y"}}, sort=[{"n": "asc"}])
        search = {"retriever": {"rrf": {"retrievers": [one, other]}}}
        for size in (1, 2):
            hits = found.send("POST", f"/{','.join(names)}/_search", {**search, "size": size})[1]["hits"]["hits"]
            assert [hit["_id"] for hit in hits] == ["find-1-0", "find-2-0"][:size]
    finally:
        found.send("DELETE", f"/{','.join(names)}?ignore_unavailable=true")


def test_pins_below_pins_stand_behind_them(found: FilledFront) -> None:
    inner = {"pinned": {"retriever": standard(match("lamp")), "ids": ["a2", "a5"]}}
    tree = {"pinned": {"retriever": inner, "ids": ["a9", "a7"]}}
    hits = found.send("POST", "/find-a/_search", {"retriever": tree})[1]["hits"]["hits"]
    assert [hit["_id"] for hit in hits[:2]] == ["a9", "a7"]
    assert {hit["_id"] for hit in hits[2:4]} == {"a2", "a5"}
    pages = [
        found.send("POST", "/find-a/_search", {"retriever": tree, "from": at, "size": 1})[1]["hits"]["hits"][0]
        for at in range(4)
    ]
    assert [hit["_id"] for hit in pages] == [hit["_id"] for hit in hits[:4]]


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)


def test_equal_scores_stand_in_the_order_of_the_documents(found: FilledFront) -> None:
    up, down = ({"standard": {"query": {"match_all": {}}, "sort": [{"_doc": way}]}} for way in ("asc", "desc"))
    tree = {"rrf": {"retrievers": [up, down], "rank_window_size": 100}}
    answer = found.send("POST", "/find-b/_search", {"retriever": tree, "size": 100, "_source": False})[1]
    hits = answer["hits"]["hits"]
    scores = [hit["_score"] for hit in hits]
    places = [int(hit["_id"][1:]) for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for place, (score, after) in enumerate(itertools.pairwise(scores)):
        if score == after:
            assert places[place] < places[place + 1]


@pytest.mark.parametrize("beside", [{}, {"aggs": {"kinds": {"terms": {"field": "kind"}}}}, {"min_score": 1e-9}])
def test_pages_are_parts_of_one_ranking(found: FilledFront, beside: dict[str, Any]) -> None:
    """Whether the last search scores the page alone or everything that is ranked, and equal scores at a page's end."""
    up, down = ({"standard": {"query": {"match_all": {}}, "sort": [{"_doc": way}]}} for way in ("asc", "desc"))
    body = {"retriever": {"rrf": {"retrievers": [up, down], "rank_window_size": 100}}, "_source": False}

    def page(start: int, size: int) -> Any:
        status, answer = found.send("POST", f"/{BOTH}/_search", {**body, **beside, "from": start, "size": size})
        assert status == 200, answer
        return answer["hits"]

    whole = page(0, 100)
    assert len(whole["hits"]) > 14
    for start in range(0, len(whole["hits"]), 7):
        part = page(start, 7)
        assert part["hits"] == whole["hits"][start : start + 7]
        assert (part["total"], part["max_score"]) == (whole["total"], whole["max_score"])


def test_a_leg_that_fails_fails_the_search_with_its_cause(found: FilledFront) -> None:
    wrong = standard({"range": {"v": {"gte": 1}}})
    tree = {"rrf": {"retrievers": [standard({"match_all": {}}), wrong]}}
    status, answer = found.send("POST", "/find-a/_search", {"retriever": tree})
    assert status == 400
    assert answer["error"]["reason"].startswith("[rrf] search failed - retrievers '[standard]' returned errors.")
    (failed,) = answer["error"]["suppressed"]
    assert "range" in failed["failed_shards"][0]["reason"]["reason"]
    assert "Field [v] of type [dense_vector]" in failed["failed_shards"][0]["reason"]["reason"]


def test_a_failing_endpoint_fails_the_search_by_itself(found: FilledFront) -> None:
    tree = {"rrf": {"retrievers": [standard({"match_all": {}}), standard(semantic(text="fail it"))]}}
    status, answer = found.send("POST", "/find-a/_search", {"retriever": tree})
    assert (status, answer["error"]["type"]) == (400, "status_exception")
    assert "status [400]" in answer["error"]["reason"]


def test_no_point_in_time_stays_open(found: FilledFront) -> None:
    """Neither after an answer, nor where a text's vector cannot be had: it is opened while vectors are made."""
    found.index("find-open", mappings={"properties": {"sense": {"type": "semantic_text", "inference_id": "dense"}}})
    assert found.send("PUT", "/find-open/_doc/1?refresh=true", {"sense": "fog bell"})[0] == 201
    for text, status in (("bell", 200), ("fail it", 400)):
        legs = [standard({"match_all": {}}), standard(semantic("sense", text))]
        assert found.send("POST", "/find-open/_search", {"retriever": {"rrf": {"retrievers": legs}}})[0] == status

    def is_open() -> bool:
        counted = found.send("GET", "/find-open/_stats/search", base=found.node)[1]
        return bool(counted["_all"]["total"]["search"]["open_contexts"])

    deadline = time.monotonic() + 20  # less than the minute for which one that is forgotten stays
    while is_open() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_open()
    found.send("DELETE", "/find-open")


@pytest.mark.parametrize("target", ["find-a", BOTH])
def test_highlights_are_those_of_what_was_asked(found: FilledFront, target: str) -> None:
    query, shown = (
        semantic("words", "lamp storm"),
        {"fields": {name: {"type": "semantic"} for name in ("words", "sense")}},
    )
    plain = found.send("POST", f"/{target}/_search", {"query": query, "highlight": shown, "size": 20})[1]["hits"][
        "hits"
    ]
    tree = {"rrf": {"retrievers": [standard(query), standard(match("title", "lamp"))], "rank_window_size": 20}}
    fused = found.send("POST", f"/{target}/_search", {"retriever": tree, "highlight": shown, "size": 20})[1]["hits"]
    wanted = {hit["_id"]: hit["highlight"] for hit in plain}
    assert wanted
    assert all(highlights.keys() == {"words"} for highlights in wanted.values())
    assert {hit["_id"]: hit["highlight"] for hit in fused["hits"] if "highlight" in hit} == wanted


def test_what_is_wrong_with_a_fusion_is_told_in_elasticsearchs_words(found: FilledFront) -> None:
    def reason(tree: Any, **more: Any) -> str:
        status, answer = found.send("POST", "/find-a/_search", {"retriever": tree, **more})
        assert status == 400
        return str(answer["error"]["root_cause"][0]["reason"])

    leaf = standard({"match_all": {}})
    assert "[rrf] must provide [retrievers] or [query]" in reason({"rrf": {}})
    assert "[rrf] cannot combine [retrievers] and [query]" in reason({"rrf": {"retrievers": [leaf], "query": "x"}})
    assert "[linear] [normalizer] must be provided" in reason({"linear": {"query": "x"}})
    small = {"rrf": {"retrievers": [leaf], "rank_window_size": 2}}
    assert "[rrf] requires [rank_window_size: 2] be greater than or equal to [size: 5]" in reason(small, size=5)
    assert "cannot specify [retriever] and [sort]" in reason(small, sort=["n"])
    assert "Either 'ids' or 'docs'" in reason({"pinned": {"retriever": leaf, "ids": []}})
    assert "unknown field [colour]" in reason({"rrf": {"retrievers": [leaf], "colour": 1}})


def test_the_short_form_is_the_long_one(found: FilledFront) -> None:
    short = {"rrf": {"query": "lamp fog", "fields": ["title^2", "story", "words", "sense^3"]}}
    words = {"multi_match": {"query": "lamp fog", "type": "most_fields", "fields": ["title^2", "story"]}}
    inner = [
        {"retriever": standard(match("lamp fog", "words")), "weight": 1},
        {"retriever": standard(match("lamp fog", "sense")), "weight": 3},
    ]
    long = {"rrf": {"retrievers": [standard(words), {"rrf": {"retrievers": inner}}]}}
    answers = [found.send("POST", f"/{BOTH}/_search", {"retriever": tree})[1]["hits"] for tree in (short, long)]
    assert answers[0] == answers[1]
    assert answers[0]["hits"]
