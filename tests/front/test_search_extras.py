"""What the front adds to searches: plans, explanations, defaults, budgets, and every search of a multi search."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any
from urllib.parse import quote

import pytest
from elasticsearch import AsyncElasticsearch
from structlog.testing import capture_logs

from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.search.preparation import names_in_point_in_time
from tests.front.conftest import FilledFront
from tests.front.provider import relevance, tokens_of
from tests.front.search_data import BOTH, fill
from tests.front.test_search_agreement import match, reranked, semantic, standard


@pytest.fixture(scope="module")
def found(filled_front: FilledFront) -> FilledFront:
    fill(filled_front)
    return filled_front


def search(front: FilledFront, body: Any, query: str = "", index: str = "find-a") -> Any:
    status, answer = front.send("POST", f"/{index}/_search{query}", body)
    assert status == 200, answer
    return answer


def test_a_plan_is_shown_and_nothing_is_searched(found: FilledFront) -> None:
    tree = {"rrf": {"retrievers": [standard(semantic(text="bell")), standard(match("lamp"))], "rank_window_size": 7}}
    plan = search(found, {"retriever": tree, "size": 3}, "?sidecar.plan=true")
    assert [leg["window"] for leg in plan["legs"]] == [7, 7]
    assert plan["legs"][0]["body"]["query"]["sparse_vector"]["query_vector"] == tokens_of("bell")
    assert plan["fusion"]["retriever"] == "rrf"
    forwarded = search(found, {"query": semantic(text="bell")}, "?sidecar.plan=true")["forward"]
    assert forwarded["query"]["sparse_vector"]["field"] == "words"


def test_a_plan_tells_all_that_it_takes_to_do_it_by_hand(found: FilledFront) -> None:
    """The legs' bodies sent as they are shown, the texts to the reranker, its scores to the rescorer: the same hits."""
    judged = {"field": "story", "inference_id": "judge", "inference_text": "keeper bread", "min_score": 0.01}
    child = {"text_similarity_reranker": {"retriever": standard(semantic("sense")), **judged, "_name": "judged"}}
    rescore = {"window_size": 8, "query": {"rescore_query": semantic(text="lamp")}}
    tree = {"rescorer": {"retriever": child, "rescore": rescore}}
    plan = search(found, {"retriever": tree}, "?sidecar.plan=true")
    (leg,) = plan["legs"]
    over, below = plan["fusion"], plan["fusion"]["children"][0]
    assert (below["retriever"], below["_name"]) == ("text_similarity_reranker", "judged")
    hits = search(found, leg["body"])["hits"]["hits"][: below["rank_window_size"]]
    texts = [(hit["_id"], hit["fields"][below["field"]][0]) for hit in hits if "fields" in hit]
    status, answer = found.send(
        "POST",
        f"/_inference/rerank/{below['inference_id']}",
        {"query": below["inference_text"], "input": [text for _, text in texts]},
    )
    assert status == 200
    scores = {texts[row["index"]][0]: row["relevance_score"] for row in answer["rerank"]}
    ranked = [
        {"constant_score": {"filter": {"ids": {"values": [name]}}, "boost": max(score, 0) + min(math.exp(score), 1)}}
        for name, score in scores.items()
        if score >= below["min_score"]
    ]
    own = over["over_what_its_child_ranked"]["rescorer"]
    by_hand = {"rescorer": {**own, "retriever": standard({"bool": {"should": ranked}})}}
    body = {"retriever": by_hand, "size": over["rank_window_size"]}
    wanted = found.send("POST", "/find-a/_search", body, base=found.node)[1]["hits"]["hits"]
    got = search(found, {"retriever": tree})["hits"]["hits"]
    assert len(got) > 2
    assert [hit["_id"] for hit in got] == [hit["_id"] for hit in wanted]
    assert [hit["_score"] for hit in got] == pytest.approx([hit["_score"] for hit in wanted])


def test_pins_and_least_scores_stand_in_a_plan(found: FilledFront) -> None:
    pins = [{"_index": "find-a", "_id": "a3"}, {"_index": "find-b", "_id": "b1"}]
    fused = {"linear": {"retrievers": [{"retriever": standard(match("lamp"))}], "min_score": 0.5}}
    shown = search(found, {"retriever": {"pinned": {"docs": pins, "retriever": fused}}}, "?sidecar.plan=true")["fusion"]
    assert shown["pins"] == pins
    assert shown["children"][0]["min_score"] == 0.5


@pytest.mark.parametrize("query", [{"match_all": {}}, match("lamp"), semantic()])
def test_a_plan_may_be_asked_of_any_search_or_not(found: FilledFront, query: Any) -> None:
    plan = search(found, {"query": query, "size": 2}, "?sidecar.plan")
    assert plan["forward"]["size"] == 2
    if query != semantic():
        assert plan["forward"]["query"] == query
    plain = search(found, {"query": query, "size": 2})
    for off in ("?sidecar.plan=false", "?sidecar.explain=false"):
        assert search(found, {"query": query, "size": 2}, off)["hits"] == plain["hits"]
    explained = search(found, {"query": query, "size": 2}, "?sidecar.explain=true")["hits"]["hits"]
    assert [hit["_score"] for hit in explained] == [hit["_score"] for hit in plain["hits"]["hits"]]
    assert "forward" in search(found, {}, "?sidecar.plan=true")


def test_a_text_is_embedded_once(found: FilledFront) -> None:
    text = "a text that nobody asked for yet"
    found.asked.clear()
    tree = {"rrf": {"retrievers": [standard(semantic(text=text)), standard(semantic("sense", text))]}}
    search(found, {"retriever": tree})
    assert found.asked == [text, text]  # once for each endpoint


def test_hits_say_how_they_were_found(found: FilledFront) -> None:
    tree = {
        "linear": {
            "retrievers": [
                {"retriever": standard(semantic(text="lamp bell")), "weight": 2, "normalizer": "minmax"},
                {"retriever": standard(match("lamp")), "weight": 1},
            ]
        }
    }
    hits = search(found, {"retriever": tree}, "?sidecar.explain=true")["hits"]["hits"]
    assert hits
    for hit in hits:
        legs = hit["_sidecar"]["legs"]
        assert hit["_score"] == pytest.approx(sum(leg.get("adds", 0.0) for leg in legs), rel=1e-5)
        for token in legs[0].get("tokens", ()):
            assert token["query_weight"] == tokens_of("lamp bell")[token["token"]]
            assert token["product"] == pytest.approx(token["query_weight"] * token["stored_weight"], rel=1e-4)
        assert "_explanation" not in hit or hit["_explanation"]


def test_a_fusion_explains_itself_as_elasticsearch_does(found: FilledFront) -> None:
    tree = {"rrf": {"retrievers": [standard(match("lamp"), _name="by words"), standard(match("bell"))]}}
    hits = search(found, {"retriever": tree, "explain": True})["hits"]["hits"]
    for hit in hits:
        explanation = hit["_explanation"]
        assert explanation["value"] == pytest.approx(hit["_score"])
        assert explanation["description"].startswith("rrf score: [")
        ranks = [detail["value"] for detail in explanation["details"]]
        assert hit["_score"] == pytest.approx(sum(1 / (60 + rank) for rank in ranks if rank), rel=1e-5)
        for detail in explanation["details"]:
            assert bool(detail["details"]) == bool(detail["value"])
            assert detail["value"] or "result not found" in detail["description"]
        assert "[by words]" in explanation["details"][0]["description"]


def test_the_default_retriever_comes_from_the_mapping(found: FilledFront) -> None:
    plan = search(found, {"retriever": {"auto": {"query": "lamp"}}}, "?sidecar.plan=true")
    assert [child["weight"] for child in plan["fusion"]["children"]] == [0.3, 0.2, 0.5]
    assert {child["normalizer"] for child in plan["fusion"]["children"]} == {"minmax"}
    assert plan["fusion"]["rank_window_size"] == 100
    assert search(found, {"retriever": {"auto": {"query": "lamp"}}, "size": 4})["hits"]["hits"]
    nobody = {"retriever": {"auto": {"query": "x"}}}
    for index in ("find-nobody", "find-nobody*"):
        bare = found.send("POST", f"/{index}/_search", {"query": {"match_all": {}}}, base=found.node)
        status, answer = found.send("POST", f"/{index}/_search", nobody)
        assert (status, answer.get("error")) == (bare[0], bare[1].get("error"))
        assert status == 404 or answer["hits"]["hits"] == []
    status, answer = found.send("POST", "/find-a/_search", {"retriever": {"auto": {"query": "x", "colour": 1}}})
    assert status == 400
    assert "unknown field [colour]" in answer["error"]["reason"]


def test_a_budget_reranks_what_there_is_time_for(found: FilledFront) -> None:
    child = standard(match("lamp keeper storm night"))
    answer = search(found, reranked(child, budget="1ms"))
    told = [hit["fields"]["_sidecar.reranked"][0] for hit in answer["hits"]["hits"]]
    assert told[0] is True
    assert told == sorted(told, reverse=True)
    ample = search(found, reranked(child, budget="1m"))["hits"]["hits"]
    plain = search(found, reranked(child))["hits"]["hits"]
    assert [hit["_id"] for hit in ample] == [hit["_id"] for hit in plain]
    assert all(hit["fields"]["_sidecar.reranked"] == [True] for hit in ample)


def test_a_reranker_that_is_away_keeps_the_order_where_the_body_says_so(found: FilledFront) -> None:
    child = standard(match("lamp keeper storm"))
    kept = search(found, reranked(child, inference_text="fail", on_failure="keep_order"))["hits"]["hits"]
    assert [hit["_id"] for hit in kept] == [
        hit["_id"] for hit in search(found, {"retriever": child})["hits"]["hits"] if "story" in hit["_source"]
    ]


def test_hits_that_one_has_are_reranked(found: FilledFront) -> None:
    answer = search(found, {"query": match("lamp keeper storm"), "size": 6})
    asked = {"response": answer, "query": "keeper bread", "inference_id": "judge", "field": "story"}
    status, reordered = found.send("POST", "/_sidecar/rerank", asked)
    assert status == 200
    stories = [hit["_source"]["story"] for hit in answer["hits"]["hits"]]
    best = sorted(stories, key=lambda story: -relevance("keeper bread", story))
    assert [hit["_source"]["story"] for hit in reordered["hits"]["hits"]] == best
    assert reordered["hits"]["total"] == answer["hits"]["total"]
    assert found.send("POST", "/_sidecar/rerank", {"response": answer})[0] == 400


def test_every_search_of_a_multi_search_is_answered_in_its_place(found: FilledFront) -> None:
    tree = {"rrf": {"retrievers": [standard(match("lamp")), standard(semantic(text="bell"))]}}
    bodies = [
        ({"index": "find-a"}, {"query": semantic(text="bell")}),
        ({"index": ["find-a", "find-b"]}, {"retriever": tree}),
        ({"index": "find-a"}, {"query": semantic(text="fail")}),
        ({}, {"query": {"match_all": {}}, "size": 1}),
        ({"index": "nobody"}, {"retriever": tree}),
    ]
    lines = b"".join(json.dumps(value).encode() + b"\n" for pair in bodies for value in pair)
    status, answer = found.send("POST", "/find-b/_msearch", lines, Content_Type="application/x-ndjson")
    assert status == 200
    alone = [
        found.send("POST", f"/{index}/_search", body)
        for index, (_, body) in zip(("find-a", BOTH, "find-a", "find-b", "nobody"), bodies, strict=True)
    ]
    for (code, single), one in zip(alone, answer["responses"], strict=True):
        assert one["status"] == code
        assert one.get("hits") == single.get("hits")
        assert one.get("error", {}).get("reason") == single.get("error", {}).get("reason")


def test_other_apis_take_semantic_queries(found: FilledFront) -> None:
    query = {"query": semantic(text="lamp bell")}
    total = search(found, query)["hits"]["total"]["value"]
    assert found.send("POST", "/find-a/_count", query)[1]["count"] == total > 0
    first = search(found, query)["hits"]["hits"][0]
    explained = found.send("POST", f"/find-a/_explain/{first['_id']}", query)[1]
    assert explained["explanation"]["value"] == pytest.approx(first["_score"])
    assert found.send("POST", "/find-a/_validate/query", query)[1]["valid"] is True
    status, answer = found.send("POST", "/find-a/_search?scroll=1m", {**query, "size": 1})
    assert status == 200
    assert answer["_scroll_id"]
    pit = found.send("POST", "/find-a/_pit?keep_alive=1m")[1]["id"]
    tree = {"rrf": {"retrievers": [standard(match("lamp")), standard(semantic(text="bell"))]}}
    for body in (query, {"retriever": tree}):
        there = found.send("POST", "/_search", {**body, "pit": {"id": pit}})[1]["hits"]
        assert there["total"] == search(found, body)["hits"]["total"]
        assert [hit["_id"] for hit in there["hits"]] == [hit["_id"] for hit in search(found, body)["hits"]["hits"]]


def test_patterns_stand_for_what_the_search_says_they_stand_for(found: FilledFront) -> None:
    hidden = {"text": {"type": "text"}, "words": {"type": "semantic_text", "inference_id": "sparse"}}
    found.index("find-hidden", mappings={"properties": hidden}, aliases={})
    settings = {"index.hidden": True}
    try:
        assert found.send("PUT", "/find-hidden/_doc/1?refresh=true", {"words": "bell bell"})[0] == 201
        assert found.send("PUT", "/find-hidden/_settings", settings)[0] == 200
        query = {"query": match("bell", "words"), "size": 100}  # only the mappings tell that it is semantic
        seen = {hit["_index"] for hit in search(found, query, index="find-*")["hits"]["hits"]}
        assert seen == {"find-a", "find-b"}
        everything = "?expand_wildcards=open,hidden"
        seen = {hit["_index"] for hit in search(found, query, everything, "find-h*")["hits"]["hits"]}
        assert seen == {"find-hidden"}
        lines = json.dumps({"index": "find-h*", "expand_wildcards": "all"}) + "\n" + json.dumps(query) + "\n"
        many = found.send("POST", "/_msearch", lines.encode(), Content_Type="application/x-ndjson")[1]["responses"]
        assert [hit["_index"] for hit in many[0]["hits"]["hits"]] == ["find-hidden"]
        pit = found.send("POST", "/find-hidden/_pit?keep_alive=1m")[1]["id"]
        assert names_in_point_in_time(pit) == ["find-hidden"]
        hits = found.send("POST", "/_search", {**query, "pit": {"id": pit}})[1]["hits"]["hits"]
        assert [hit["_index"] for hit in hits] == ["find-hidden"]
    finally:
        found.send("DELETE", "/find-hidden")


def test_a_point_in_time_names_its_indices_whatever_they_are_called(found: FilledFront) -> None:
    names = ["find-.ü-ж", "find-" + "x" * 130, "find-0"]
    for name in names:
        found.index(quote(name))
    pit = found.send("POST", f"/{quote(','.join(names))}/_pit?keep_alive=1m")[1]["id"]
    assert {*names} <= {*names_in_point_in_time(pit)}
    assert names_in_point_in_time("no id") == []
    found.send("DELETE", f"/{quote(','.join(names))}")


async def test_no_system_index_is_asked_for(elasticsearch: str) -> None:
    async with AsyncElasticsearch(elasticsearch) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await IndexCatalog(client).resolve("*") is not None


@pytest.mark.parametrize("filters", [[], [{"match_all": {}}]])
def test_a_deprecation_is_told_once_however_often_its_clause_is_rewritten(
    filled_front: FilledFront, filters: list[Any]
) -> None:
    filled_front.index("old", mappings={"properties": {"tokens": {"type": "sparse_vector"}}})
    clause = {"text_expansion": {"tokens": {"model_id": "sparse", "model_text": "fog"}}}
    body = {"query": {"bool": {"must": [clause, clause], "filter": filters}}}
    told = [text for name, text in filled_front.headers("POST", "/old/_search", body) if name == "Warning"]
    assert len(told) == 1
    assert "text_expansion is deprecated. Use sparse_vector instead." in told[0]


def test_the_log_names_endpoints_that_the_sidecar_does_not_have(filled_front: FilledFront) -> None:
    filled_front.index("old", mappings={"properties": {"tokens": {"type": "sparse_vector"}}})
    said = []
    for name in ("sparse", "sparze"):
        clause = {"sparse_vector": {"field": "tokens", "inference_id": name, "query": "fog"}}
        with capture_logs() as events:
            filled_front.send("POST", "/old/_search", {"query": clause})
        said += [event.get("foreign_endpoints") for event in events if event["event"] == "request"]
    assert said == [None, ["sparze"]]


@pytest.mark.parametrize("body", [{"retriever": {"auto": {"query": "fog"}}}, {"query": {"match_all": {}}}])
@pytest.mark.parametrize("name", ["sidecar.explain", "sidecar.plan"])
def test_a_flag_is_true_or_false(found: FilledFront, name: str, body: Any) -> None:
    status, answer = found.send("POST", f"/find-a/_search?{name}=maybe", body)
    assert (status, answer) == found.send("POST", "/find-a/_search?track_scores=maybe", {})
    plain = {key: value for key, value in search(found, body, f"?{name}=false").items() if key != "took"}
    assert plain == {key: value for key, value in search(found, body).items() if key != "took"}
    for given in ("", "=true"):
        assert search(found, body, f"?{name}{given}").keys() == search(found, body, f"?{name}=true").keys()
