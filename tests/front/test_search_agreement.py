"""The same searches asked of the cluster, which has the endpoints itself, and through the front: the same answers."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.front.conftest import FilledFront
from tests.front.search_data import BOTH, fill

EXAMPLES = int(os.environ.get("SEARCH_EXAMPLES", "25"))
TEXT = "fog bell ships keeper"


@pytest.fixture(scope="module")
def found(filled_front: FilledFront) -> FilledFront:
    fill(filled_front)
    return filled_front


def semantic(name: str = "words", text: str = TEXT, **more: Any) -> dict[str, Any]:
    return {"semantic": {"field": name, "query": text, **more}}


def match(text: str, field: str = "story") -> dict[str, Any]:
    return {"match": {field: text}}


def reranked(child: Any, **more: Any) -> dict[str, Any]:
    body = {"retriever": child, "field": "story", "inference_id": "judge", "inference_text": "keeper bread", **more}
    return {"retriever": {"text_similarity_reranker": body}}


def standard(query: Any, **more: Any) -> dict[str, Any]:
    return {"standard": {"query": query, **more}}


def rescored(child: Any, *windows: Any, **more: Any) -> dict[str, Any]:
    by = {"query": {"rescore_query": match("lamp")}}
    rescore = [by if window is None else {**by, "window_size": window} for window in windows or (10,)]
    return {"retriever": {"rescorer": {"retriever": child, "rescore": rescore, **more}}}


_EVERYTHING: dict[str, Any] = {"match_all": {}}  # some of it has no text to be reranked by
BODIES: dict[str, Any] = {
    "sparse": {"query": semantic()},
    "dense": {"query": semantic("sense")},
    "match sparse": {"query": match(TEXT, "words")},
    "match dense, boosted and named": {"query": {"match": {"sense": {"query": "lamp", "boost": 2, "_name": "m"}}}},
    "in must with a filter": {"query": {"bool": {"must": [semantic("sense")], "filter": [{"term": {"kind": "a"}}]}}},
    "in must not": {"query": {"bool": {"must_not": [semantic(text="bell")]}}, "sort": [{"n": "asc"}, "_score"]},
    "two dense": {"query": {"bool": {"must": [semantic("sense"), semantic("sense", "bread")]}}},
    "nested bools": {
        "query": {"bool": {"must_not": [{"term": {"kind": "b"}}], "must": [{"bool": {"should": [semantic("sense")]}}]}}
    },
    "dis_max": {"query": {"dis_max": {"queries": [semantic(), semantic("sense")], "tie_breaker": 0.3}}},
    "constant score": {"query": {"constant_score": {"filter": semantic(text="bell fog"), "boost": 3}}},
    "function score": {"query": {"function_score": {"query": semantic("sense"), "boost": 2}}},
    "boosting": {"query": {"boosting": {"positive": semantic(), "negative": match("fog"), "negative_boost": 0.5}}},
    "rescored": {
        "query": match("lamp keeper"),
        "rescore": {"window_size": 10, "query": {"rescore_query": semantic()}},
    },
    "filter of an aggregation": {
        "size": 0,
        "aggs": {"x": {"filter": semantic(text="lamp"), "aggs": {"y": {"sum": {"field": "n"}}}}},
    },
    "post filter": {"query": {"match_all": {}}, "post_filter": semantic(text="storm"), "size": 20},
    "small page": {"query": semantic("sense"), "size": 2},
    "large page": {"query": semantic("sense"), "size": 15, "from": 2},
    "highlight": {"query": semantic(), "highlight": {"fields": {"words": {"number_of_fragments": 1}}}},
    "collapsed": {"query": semantic(), "collapse": {"field": "kind"}},
    "wrong field": {"query": semantic("kind")},
    "unknown key": {"query": {"semantic": {"field": "words", "query": "x", "color": 1}}},
    "unknown word for match": {"query": {"match": {"words": {"query": "x", "color": 1}}}},
    "failing endpoint": {"query": semantic(text="fail now")},
    "retriever standard": {"retriever": standard(semantic("sense"), filter={"term": {"kind": "a"}})},
    "retriever rescorer": {
        "retriever": {
            "rescorer": {
                "retriever": standard(semantic("sense")),
                "rescore": {"window_size": 10, "query": {"rescore_query": match("lamp")}},
            }
        }
    },
    "reranked": reranked(standard(match("lamp keeper storm night"))),
    "reranked semantic": reranked(standard(semantic("sense")), rank_window_size=12),
    "reranked page": reranked(standard({"match_all": {}}), rank_window_size=8) | {"from": 3, "size": 3},
    "reranked beyond": reranked(standard({"match_all": {}}), rank_window_size=8) | {"from": 9},
    "reranked sorted": reranked(standard({"match_all": {}}, sort=[{"n": "desc"}]), rank_window_size=5),
    "reranked named": reranked(standard({"match": {"story": {"query": "lamp", "_name": "c"}}}), _name="r"),
    "reranked least": reranked(standard(match("lamp keeper storm")), min_score=0.5),
    "reranked least zero": reranked(standard({"match_all": {}}), min_score=0, rank_window_size=4),
    "reranked least of all": reranked(standard(match("lamp")), min_score=100),
    "reranked least beside": reranked(standard(match("lamp keeper storm"))) | {"min_score": 1.5},
    "reranked filter": reranked(standard(match("lamp keeper storm")), filter=[{"term": {"kind": "b"}}]),
    "reranked twice": reranked(
        reranked(standard(match("lamp keeper storm night")), rank_window_size=6)["retriever"],
        rank_window_size=4,
        inference_text="fog lamp",
    ),
    "reranked knn": reranked({"knn": {"field": "v", "query_vector": [1, 1], "k": 6, "num_candidates": 20}}),
    "reranked knn small": reranked(
        {"knn": {"field": "v", "query_vector": [1, 1], "k": 6, "num_candidates": 20}}, rank_window_size=2
    ),
    "reranked nothing": reranked(standard(match("zzz"))),
    "reranked no field": reranked(standard(match("lamp")), field="nowhere"),
    "reranked number": reranked(standard(match("lamp")), field="n"),
    "reranked aggregated": reranked(standard(match("lamp keeper storm")), rank_window_size=3)
    | {"size": 2, "aggs": {"k": {"terms": {"field": "kind"}}, "s": {"max": {"script": "_score"}}}},
    "reranked collapsed": reranked(standard(match("lamp keeper storm"))) | {"collapse": {"field": "kind"}},
    "reranked highlighted": reranked(standard(match("lamp"))) | {"highlight": {"fields": {"story": {}}}, "size": 4},
    "reranked, highlighted where it was not looked": reranked(standard(match("lamp")))
    | {"highlight": {"fields": {"words": {}, "sense": {"type": "semantic"}, "story": {}}}},
    "reranked semantic, highlighted elsewhere too": reranked(standard(semantic()))
    | {"highlight": {"fields": {"words": {}, "sense": {}}}, "size": 5},
    "reranked inner hits": reranked(
        standard({"nested": {"path": "parts", "query": match("lamp keeper", "parts.text"), "inner_hits": {"size": 1}}})
    ),
    "reranked, none tracked": reranked(standard(match("lamp keeper"))) | {"track_total_hits": False},
    "reranked, some tracked": reranked(standard(match("lamp keeper storm"))) | {"track_total_hits": 2},
    "reranked fails": reranked(standard(match("lamp")), inference_text="fail"),
    "reranked fails, allowed": reranked(
        standard(match("lamp storm")), inference_text="fail", allow_rerank_failures=True
    ),
    "reranker unknown": reranked(standard(match("lamp")), inference_id="nobody"),
    "reranker of another task": reranked(standard(match("lamp")), inference_id="sparse"),
    "reranker without text": reranked(standard(match("lamp")), inference_text=""),
    "reranker without child": {
        "retriever": {"text_similarity_reranker": {"field": "story", "inference_text": "x", "inference_id": "judge"}}
    },
    "reranker with unknown key": reranked(standard(match("lamp")), top_n=3),
    "window below size": reranked(standard(match("lamp")), rank_window_size=3) | {"size": 5},
    "reranked, everything named": reranked(
        standard(
            {
                "bool": {
                    "_name": "b",
                    "must": [{"match": {"story": {"query": "lamp storm", "_name": "m"}}}],
                    "should": [{"term": {"kind": {"value": "a", "_name": "t"}}}],
                }
            },
            filter={"range": {"n": {"gte": 0, "_name": "f"}}},
            _name="s",
        ),
        filter={"exists": {"field": "n", "_name": "e"}},
        _name="r",
    ),
    "reranked, a name in the place of another": reranked(
        standard({"match": {"story": {"query": "lamp storm", "_name": "m"}}}, _name="s")
    ),
    "reranked, a semantic query's name": reranked(standard(semantic(_name="m"))),
    "reranked knn, named": reranked(
        {"knn": {"field": "v", "query_vector": [1, 1], "k": 6, "num_candidates": 20, "_name": "k"}}, _name="r"
    ),
    "reranked twice, named": reranked(
        reranked(standard(match("lamp keeper"), _name="s"), _name="i")["retriever"], rank_window_size=6, _name="o"
    ),
    "reranked twice, the outer window larger": reranked(
        reranked(standard(match("lamp keeper")), rank_window_size=6)["retriever"]
    )
    | {"size": 30},
    "reranked over a rescorer with a smaller window": reranked(
        {
            "rescorer": {
                "retriever": standard(match("lamp")),
                "rescore": {"window_size": 5, "query": {"rescore_query": {"match_all": {}}}},
            }
        }
    ),
    **{
        f"reranked over a rescorer over a least score, {list(beside) or ''}": reranked(
            rescored(standard(_EVERYTHING, min_score=0.8), 10)["retriever"]
        )
        | beside
        for beside in ({}, {"size": 3}, {"post_filter": {"term": {"kind": "a"}}})
    },
    "reranked over two rescorers over a least score": reranked(
        rescored(rescored(standard(_EVERYTHING, min_score=0.8), 10)["retriever"], 10)["retriever"]
    ),
    "reranked over a window of nothing": reranked(
        reranked(standard(match("lamp")), rank_window_size=0)["retriever"], rank_window_size=2
    ),
    "rescored over a smaller window": {
        "retriever": {
            "rescorer": {
                "retriever": reranked(standard(match("lamp")), rank_window_size=5)["retriever"],
                "rescore": {"query": {"rescore_query": {"match_all": {}}}},
            }
        }
    },
    "reranked twice, the inner with a least score": reranked(
        reranked(standard(match("lamp keeper storm")), min_score=0.5)["retriever"], rank_window_size=5
    ),
    "rescored, reranked, named": {
        "retriever": {
            "rescorer": {
                "retriever": reranked(standard(match("lamp keeper"), _name="s"), _name="i")["retriever"],
                "rescore": {"query": {"rescore_query": {"match_all": {}}}},
                "_name": "o",
            }
        }
    },
    **{
        f"rescored over reranked, windows of {windows}{beside or ''}": rescored(
            reranked(standard(_EVERYTHING), rank_window_size=20)["retriever"], *windows
        )
        | beside
        for windows in ((10,), (3,), (12, 15), (None, 15), ("12",), (12.7,), (0,), (-1,))
        for beside in ({}, {"size": 3}, {"from": 2, "size": 12}, {"aggs": {"k": {"terms": {"field": "kind"}}}})
    },
    "reranked over rescored over reranked": reranked(
        rescored(reranked(standard(semantic("sense")), rank_window_size=20)["retriever"], 8)["retriever"],
        rank_window_size=3,
    ),
    **{
        f"rescored semantic, {own} in {outer}": rescored(standard(semantic(**own), **outer), _name="r")
        for own in ({}, {"_name": "m"})
        for outer in ({}, {"_name": "s"}, {"filter": {"term": {"kind": "a"}}})
    },
    **{
        f"counted where a child has a least score, {name}, {beside}": body | beside
        for name, body in {
            "none": reranked(standard(_EVERYTHING, min_score=0), rank_window_size=6),
            "some": reranked(standard(_EVERYTHING, min_score=0.5), rank_window_size=6),
            "a reranker": reranked(
                reranked(standard(_EVERYTHING), rank_window_size=8, min_score=0)["retriever"], rank_window_size=6
            ),
            "its own": rescored(reranked(standard(_EVERYTHING), rank_window_size=8)["retriever"], 6, min_score=0.1),
        }.items()
        for beside in ({"size": 2}, {"size": 6, "aggs": {"k": {"terms": {"field": "kind"}}}})
    },
    "slice without a point in time": reranked(standard(match("lamp"))) | {"slice": {"id": 0, "max": 2}},
    "slice beside what is wrong besides": reranked(standard(match("lamp")))
    | {"slice": {"id": 0, "max": 2}, "size": 20, "sort": ["n"]},
    **{
        f"semantic with {more}": {"query": semantic(**more)}
        for more in (
            {"boost": "2.5"},
            {"boost": ""},
            {"boost": None},
            {"boost": "-1"},
            {"_name": None},
            {"_name": ["x"]},
        )
    },
    **{
        f"match with {more}": {"query": {"match": {"sense": {"query": TEXT, **more}}}}
        for more in ({"boost": "1e1"}, {"boost": None}, {"boost": "x"}, {"_name": None})
    },
    "semantic and standard, both named, sorted": {
        "retriever": standard(semantic(_name="m"), _name="s", sort=[{"n": "asc"}, "_doc"])
    },
    "reranker unknown, above a reranker": reranked(
        reranked(standard(match("lamp")))["retriever"], inference_id="nobody"
    ),
    "reranker without a name": reranked(standard(match("lamp")), inference_id=""),
    "reranker fails above a rescorer": reranked(
        {
            "rescorer": {
                "retriever": standard(match("lamp")),
                "rescore": {"query": {"rescore_query": {"match_all": {}}}},
            }
        },
        inference_text="fail",
    ),
    "reranker without text, nothing found": reranked(standard(match("zzz")), inference_text=""),
    "window a fraction": reranked(standard(match("lamp storm keeper")), rank_window_size=3.7),
    "window an empty text": reranked(standard(match("lamp")), rank_window_size=""),
    "window negative": reranked(standard(match("lamp")), rank_window_size=-2),
    "window zero": reranked(standard(match("lamp")), rank_window_size=0),
    "window no number": reranked(standard(match("lamp")), rank_window_size="many"),
    "beside a query": reranked(standard(match("lamp"))) | {"query": {"match_all": {}}},
    "beside a sort and a rescore": reranked(standard(match("lamp")))
    | {"sort": ["n"], "rescore": {"query": {"rescore_query": match("fog")}}},
    "child with unknown key": reranked({"standard": {"query": match("lamp"), "color": 1}}),
    "child that fails": reranked(standard({"range": {"v": {"gte": 1}}})),
    "body with unknown key": reranked(standard(match("lamp"))) | {"color": 1},
}
_SINCE_NINE: dict[str, Any] = {
    "counted where a child two below has a least score": reranked(
        reranked(standard(_EVERYTHING, min_score=0.5), rank_window_size=8)["retriever"], rank_window_size=6
    )
    | {"size": 6, "aggs": {"k": {"terms": {"field": "kind"}}}},
    "sparse by name only": {"query": {"sparse_vector": {"field": "words", "query": "fog bell"}}},
    "reranked chunks": reranked(
        standard(match("lamp keeper storm")),
        chunk_rescorer={"size": 1, "chunking_settings": {"strategy": "word", "max_chunk_size": 10, "overlap": 2}},
    ),
    "reranker unknown, with chunks": reranked(standard(match("lamp")), inference_id="nobody", chunk_rescorer={}),
    "chunked by nothing": reranked(standard(match("lamp storm")), chunk_rescorer={"chunking_settings": {}}),
    "chunked by a number": reranked(standard(match("lamp")), chunk_rescorer={"chunking_settings": 3}),
    "chunked without a strategy": reranked(
        standard(match("lamp")), chunk_rescorer={"chunking_settings": {"max_chunk_size": 20, "overlap": 1}}
    ),
    "chunked without a size": reranked(
        standard(match("lamp")), chunk_rescorer={"chunking_settings": {"max_chunk_size": None}}
    ),
    "chunked wrongly, with a size": reranked(
        standard(match("lamp")), chunk_rescorer={"size": 1, "chunking_settings": {"strategy": "word"}}
    ),
    "diversified after reranking": {
        "retriever": {
            "diversify": {
                "type": "mmr",
                "field": "v",
                "lambda": 0.4,
                "retriever": reranked(standard(match("lamp keeper storm")), rank_window_size=4)["retriever"],
            }
        }
    },
    **{
        f"diversified semantic, {own} in {outer}": {
            "retriever": {
                "diversify": {
                    "type": "mmr",
                    "field": "v",
                    "lambda": 0.3,
                    "retriever": standard(semantic(**own), **outer),
                }
            }
        }
        for own in ({}, {"_name": "m"})
        for outer in ({}, {"_name": "s"})
    },
    "diversified": {
        "retriever": {
            "diversify": {"type": "mmr", "field": "v", "lambda": 0.3, "size": 4, "retriever": standard(semantic())}
        }
    },
}


def is_nine(front: FilledFront) -> bool:
    return str(front.send("GET", "/", base=front.node)[1]["version"]["number"]).startswith("9")


@pytest.mark.parametrize("name", [*BODIES, *_SINCE_NINE])
def test_the_front_answers_as_the_cluster_does(found: FilledFront, name: str) -> None:
    if name in _SINCE_NINE and not is_nine(found):
        pytest.skip("not on this line")
    body = BODIES.get(name) or _SINCE_NINE[name]
    for target in ("find-a", BOTH):
        agree(found, f"/{target}/_search", body)


_BESIDE_COUNTS: dict[str, Any] = {
    "nothing": {},
    "aggs": {"aggs": {"k": {"terms": {"field": "kind"}}}},
    "collapse": {"collapse": {"field": "kind", "inner_hits": {"name": "k", "size": 2}}},
    "highlight": {"highlight": {"fields": {"story": {}}}},
    "post_filter": {"post_filter": {"term": {"kind": "a"}}},
    "min_score": {"min_score": 1.2},
}


@pytest.mark.parametrize("beside", list(_BESIDE_COUNTS))
@pytest.mark.parametrize("counted", [False, True, 0, 1, 4, 5, 6, 100, None, -1, "x"])
def test_what_is_not_ranked_is_looked_at_only_where_it_counts(found: FilledFront, counted: Any, beside: str) -> None:
    """Where no more matches are counted than there are ranked documents, these are all that the last search finds."""
    child = standard(match("lamp keeper storm"), _name="child")
    body = reranked(child, rank_window_size=5, _name="own") | _BESIDE_COUNTS[beside]
    for target in ("find-a", BOTH):
        agree(found, f"/{target}/_search", body if counted is None else {**body, "track_total_hits": counted})


@pytest.mark.parametrize(
    "address",
    ["/_search?index=find-a", "/find-b/_search?index=find-a", "/find-a/_search?size=-1", "/_search?index=no-such"],
)
def test_addresses_mean_what_they_mean_to_the_cluster(found: FilledFront, address: str) -> None:
    for body in (reranked(standard(match("lamp keeper"))), {"query": semantic()}):
        agree(found, address, body)


@pytest.mark.parametrize(
    "boosts", [[{"find-b": 5}], [{"find-a": 0.1}, {"find-b": 3}], [{"nobody": 2}], [{"find-a": "x"}]]
)
def test_boosts_of_indices_do_not_touch_what_was_ranked(found: FilledFront, boosts: Any) -> None:
    for body in (reranked(standard(match("lamp keeper"))), {"query": semantic()}, {"retriever": standard(semantic())}):
        agree(found, f"/{BOTH}/_search", {**body, "indices_boost": boosts})


_YAML = {
    "a search": "query:\n  semantic:\n    field: words\n    query: fog bell\n",
    "a tree": json.dumps(reranked(standard(match("lamp")))),  # which is YAML as well
    "a refusal": "query:\n  semantic:\n    field: words\n    query: fail now\n",
}


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/yaml", "text/plain"])
@pytest.mark.parametrize("name", list(_YAML))
def test_an_answer_has_the_form_of_the_body_where_no_other_is_wanted(
    found: FilledFront, name: str, accept: str | None
) -> None:
    headers = {"Content-Type": "application/yaml"} | ({} if accept is None else {"Accept": accept})
    forms = []
    for base in (found.node, found.url):
        request = urllib.request.Request(f"{base}/find-a/_search", _YAML[name].encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                forms.append((answer.status, answer.headers["Content-Type"]))
        except urllib.error.HTTPError as error:
            forms.append((error.code, error.headers["Content-Type"]))
    assert forms[0] == forms[1]


def test_a_source_without_its_type_is_refused(found: FilledFront) -> None:
    for body in (reranked(standard(match("lamp"))), {"query": semantic()}):
        source = "/find-a/_search?source=" + urllib.parse.quote(json.dumps(body))
        for path, right in ((source, 400), (f"{source}&source_content_type=application/json", 200)):
            expected, got = (found.send("GET", path, base=base) for base in (found.node, None))
            assert got[0] == expected[0] == right
            assert got[1].get("error") == expected[1].get("error")


@pytest.mark.parametrize(
    ("parameters", "size", "most"),
    [
        *(("", None, {}), ("&scroll_size=12", 12, {}), ("&scroll_size=4", 4, {})),
        *(("", None, {"max_docs": 11}), ("&scroll_size=12", 12, {"max_docs": 14}), ("", None, {"max_docs": 3})),
    ],
)
def test_what_changes_by_query_finds_as_many_neighbours_as_it_reads_at_a_time(
    found: FilledFront, parameters: str, size: int | None, most: dict[str, int]
) -> None:
    """And never fewer than ten."""
    query = semantic("sense", "lamp")
    script = {"script": {"source": "ctx._source.n = 1"}}
    source = {"index": "find-a", "query": query} | ({} if size is None else {"size": size})
    mapping = found.send("GET", "/find-a/_mapping")[1]["find-a"]
    totals = []
    for base in (found.node, None):
        for name in ("find-copy", "find-part"):
            found.send("DELETE", f"/{name}?ignore_unavailable=true")
            assert found.send("PUT", f"/{name}", {"settings": {"number_of_replicas": 0}, **mapping})[0] == 200
        for path, body in (
            ("/_reindex?refresh=true", {"source": {"index": "find-a"}, "dest": {"index": "find-copy"}}),
            ("/_reindex?refresh=true", {"source": source, "dest": {"index": "find-part"}, **most}),
            (f"/find-copy/_update_by_query?refresh=true{parameters}", {"query": query, **script, **most}),
            (f"/find-copy/_delete_by_query?{parameters.strip('&')}", {"query": query, **most}),
        ):
            status, answer = found.send("POST", path, body, base=base)
            assert status == 200, answer
            totals.append(answer["total"])
    found.send("DELETE", "/find-copy,find-part")
    assert totals[:4] == totals[4:]
    assert 0 < totals[1] < totals[0]


@pytest.mark.parametrize("text", ["lamp twice", "lamp never"])
def test_an_endpoint_that_makes_more_or_less_than_was_asked_is_not_searched_with(found: FilledFront, text: str) -> None:
    bodies = [{"query": semantic(name, text)} for name in ("words", "sense")]
    if "twice" in text:
        bodies.append(reranked(standard(match("lamp")), inference_text=text))
    for body in bodies:
        expected = found.send("POST", "/find-a/_search", body, base=found.node)[0]
        status, got = found.send("POST", "/find-a/_search", body)
        assert status == expected >= 400
        assert any(words in json.dumps(got) for words in ("query inference results retrieved", "count mismatch"))


@pytest.mark.parametrize("allowed", ["true", "false"])
@pytest.mark.parametrize("beside", [{}, {"track_total_hits": False}, {"size": 1, "track_total_hits": 1}])
def test_a_leg_of_which_a_shard_fails_is_no_answer_where_none_in_part_is_wanted(
    found: FilledFront, allowed: str, beside: dict[str, Any]
) -> None:
    """Whether or not the last search would look at that shard again."""
    script = "if (doc['_index'].value == 'find-b') { throw new IllegalArgumentException('no') } return 1"
    failing = {"script_score": {"query": match("lamp keeper"), "script": {"source": script}}}
    tree = reranked(standard(failing))
    fused = {"retriever": {"rrf": {"retrievers": [standard(failing), standard(match("fog"))]}}}
    path = f"/{BOTH}/_search?allow_partial_search_results={allowed}"
    wanted = 200 if allowed == "true" else 400
    if is_nine(found):  # 8.19.8 refuses the parameter where it is true, and heeds it nowhere
        assert found.send("POST", path, {**tree, **beside}, base=found.node)[0] == wanted
    for body in (tree, fused):
        status, answer = found.send("POST", path, {**body, **beside})
        assert status == wanted
        header = {"index": BOTH, "allow_partial_search_results": allowed == "true"}
        lines = "".join(json.dumps(line) + "\n" for line in (header, {**body, **beside}))
        (one,) = found.send("POST", "/_msearch", lines.encode())[1]["responses"]
        assert one["status"] == status
        if status == 200:
            assert one["hits"]["hits"] == answer["hits"]["hits"]
            assert answer["hits"]["hits"]


_WRAPPED: list[Any] = [
    semantic("sense"),
    match("lamp", "words"),
    match("lamp"),
    {"bool": {"must": [semantic()], "filter": {"term": {"kind": "a"}}}},
    {"term": {"kind": "a"}},
    {"semantic": {"field": "words"}},
    semantic(text="fail now"),
]


@pytest.mark.parametrize("query", _WRAPPED)
def test_wrapped_queries_are_read(found: FilledFront, query: Any) -> None:
    """As base64, in which clients send a query that they hold as text; they narrow and are narrowed as they stand."""

    def wrapped(inner: Any) -> Any:
        return {"wrapper": {"query": base64.b64encode(json.dumps(inner).encode()).decode()}}

    bodies: list[Any] = [
        {"query": wrapped(query)},
        {"query": wrapped({"bool": {"should": [wrapped(query), wrapped(match("storm"))]}})},
        {"query": {"bool": {"must": [semantic("sense", "bread")], "filter": [wrapped(query)]}}},
        {"query": {"bool": {"must": [wrapped(semantic("sense", "bread"))], "filter": [query]}}},
        {"retriever": standard(wrapped(query), filter=wrapped({"terms": {"kind": ["a", "b"]}}))},
    ]
    if "field" not in query.get("semantic", ()) or "query" in query["semantic"]:
        bodies.append(reranked(standard(wrapped(query))))
    for body in bodies:
        agree(found, f"/{BOTH}/_search", body)


def test_a_wrapped_query_may_name_an_endpoint(found: FilledFront) -> None:
    query = {"sparse_vector": {"field": "tokens", "inference_id": "sparse", "query": "lamp storm"}}
    wrapped = {"wrapper": {"query": base64.b64encode(json.dumps(query).encode()).decode()}}
    bare, held = (found.send("POST", "/find-a/_search", {"query": one})[1]["hits"] for one in (query, wrapped))
    assert bare["hits"]
    assert held == bare


@pytest.mark.parametrize("text", ["###", "bm9wZQ==", "W10=", ""])
def test_what_is_wrapped_wrongly_is_for_the_cluster_to_refuse(found: FilledFront, text: str) -> None:
    agree(found, "/find-a/_search", {"query": {"wrapper": {"query": text}}})


def test_causes_of_a_failed_child_are_told_once(found: FilledFront) -> None:
    body = reranked(standard({"match_phrase": {"words": "lamp"}}))
    expected, got = (found.send("POST", "/find-b/_search", body, base=base)[1]["error"] for base in (found.node, None))
    shard = expected["root_cause"][0]["suppressed"][0]["failed_shards"][0]
    assert "caused_by" not in shard["reason"]
    assert got == expected


@pytest.mark.parametrize("beside", ["size", "from"])
def test_negative_pages_are_refused(found: FilledFront, beside: str) -> None:
    agree(found, "/find-a/_search", reranked(standard(match("lamp"))) | {beside: -1})


@pytest.mark.parametrize("address", ["/find-a/_search?colour=1", "/find-a,find%2Db/_search?lenient=true"])
def test_refused_parameters_are_said_of_the_callers_address(found: FilledFront, address: str) -> None:
    for body in (reranked(standard(match("lamp"))), {"query": semantic()}):
        agree(found, address, body)


def test_searches_of_several_take_their_index_from_the_address(found: FilledFront) -> None:
    bodies = [{"query": semantic()}, reranked(standard(match("lamp keeper")))]
    lines = "".join(f"{{}}\n{json.dumps(body)}\n" for body in bodies).encode()
    expected, got = (
        found.send("POST", "/_msearch?index=find-a", lines, base=base)[1]["responses"] for base in (found.node, None)
    )
    for one, other in zip(got, expected, strict=True):
        assert _close(one["hits"], other["hits"])
        assert one["hits"]["total"]["value"] > 0


@pytest.mark.parametrize(
    "header", ['{"color":1}', '{"search_type":"none"}', '{"indices":["find-a"]}', "[1]", '{"index":7}']
)
def test_headers_of_searches_are_read_as_the_cluster_reads_them(found: FilledFront, header: str) -> None:
    ours = json.dumps(reranked(standard(match("lamp"))))
    for lines in (f"{header}\n{ours}\n", f'{{"index":"find-a"}}\n{{"size":0}}\n{header}\n{ours}\n'):
        expected, got = (
            found.send("POST", "/find-a/_msearch", lines.encode(), base=base) for base in (found.node, None)
        )
        assert got[0] == expected[0], (got, expected)
        if got[0] >= 400:
            assert _error(got[1]["error"]) == _error(expected[1]["error"])
        else:
            assert [one["status"] for one in got[1]["responses"]] == [one["status"] for one in expected[1]["responses"]]


def _judged(*parameters: str) -> str:
    """A reranker as JSON text, with these parameters in this order and those that it must have."""
    own = '"field":"story","inference_id":"judge","inference_text":"keeper bread"'
    return '{"text_similarity_reranker":{' + ",".join(parameters).replace("OWN", own) + "}}"


def _body(*members: str) -> str:
    return "{" + ",".join(members) + "}"


_ALL = '"retriever":{"standard":{"query":{"match_all":{}}}}'
_CHILDREN = [
    '{"standard":{"query":{"match":["a"]}}}',
    "[1]",
    "{}",
    '"x"',
    '{"standard":{"query":{"match_all":{}}},"boost":2}',
    '{"nope":{}}',
    '{"standard":[]}',
    '{"standard":{"query":0}}',
    '{"standard":{"query":{}}}',
    '{"standard":{"query":null}}',
    '{"standard":{"filter":[{"match":1}]}}',
    '{"standard":{"color":1}}',
    '{"standard":{"sort":[{"n":7}]}}',
    '{"standard":{"query":{"match":{"story":"lamp","_name":"x"}}}}',
    '{"standard":{"query":{"semantic":{"field":"words","query":"lamp"},"_name":"x"}}}',
    '{"knn":{"field":"v"}}',
    '{"knn":{"field":"v","query_vector":[1,1],"num_candidates":9}}',
    _judged('"retriever":{"standard":{"query":{"match":3}}}', "OWN"),
]
_BESIDE = ['"size":[1]', '"color":1', '"_source":{"x":1}', '"size":true', '"highlight":7', '"sort":[{"n":7}]']
MALFORMED = [
    *(_body('"retriever":' + _judged(f'"retriever":{child}', "OWN")) for child in _CHILDREN),
    *(_body('"retriever":' + _judged("OWN", f'"retriever":{child}')) for child in _CHILDREN),
    *(_body('"retriever":' + _judged(_ALL, "OWN", '"rank_window_size":-1'), beside) for beside in _BESIDE),
    *(_body('"retriever":' + _judged(_ALL, "OWN", '"top_n":1'), beside) for beside in _BESIDE),
    *(_body(beside, '"retriever":' + _judged(_ALL, "OWN")) for beside in _BESIDE),
    *(_body('"query":{"semantic":{"field":"words","query":"fail"}}', beside) for beside in _BESIDE),
    '{"retriever":{"text_similarity_reranker":[1]}}',
    _body('"retriever":' + _judged(_ALL, "OWN")[:-1] + ',"_name":"x"}'),
    '{"retriever":{"standard":{"query":{"semantic":{"field":"words","query":"fog"}},"_name":["a"]}}}',
    '{"query":{"bool":{"must":[{"semantic":{"field":"sense","query":"fog"}}],"filter":[{"range":{"n":7}}]}}}',
    '{"query":{"semantic":{"field":"words","query":"a text"}},"_source":[[]]}',
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_wrong_first_in_a_body_is_what_is_said(found: FilledFront, text: str) -> None:
    """Also where it stands behind what fails here, and beside retrievers that the cluster is not asked to run."""
    _fail_alike(found, "/find-a/_search", text)


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_wrong_first_is_said_by_other_apis_too(found: FilledFront, text: str) -> None:
    """A search that cannot be read fails all of a ``_msearch``, the first of several by its own words."""
    _fail_alike(found, "/find-a/_async_search", text, "/find-a/_search")  # a module that nodes may lack
    good = '{}\n{"query":{"semantic":{"field":"words","query":"fog"}}}\n'
    bad = f"{{}}\n{text}\n"
    _fail_alike(found, "/find-a/_msearch", good + bad + '{}\n{"query":{"nope":{}}}\n')
    _fail_alike(found, "/find-a/_msearch", good + '{}\n{"query":{"nope":{}}}\n' + bad)


def test_all_that_is_not_allowed_in_a_multi_search_is_said_together(found: FilledFront) -> None:
    judged = _judged(_ALL, "OWN", '"rank_window_size":5')
    small = _body('"size":20', f'"retriever":{judged}')
    sorted_too = _body('"size":20', '"sort":["n"]', f'"retriever":{judged}')
    _fail_alike(found, "/find-a/_msearch", f"{{}}\n{small}\n{{}}\n{sorted_too}\n")
    _fail_alike(found, "/find-a/_async_search", sorted_too, "/find-a/_search")


def _fail_alike(found: FilledFront, path: str, text: str, asked: str | None = None) -> None:
    """``path`` of the front as ``asked`` of the node, the same path unless said."""
    expected = found.send("POST", asked or path, text.encode(), base=found.node)
    got = found.send("POST", path, text.encode())
    assert got[0] == expected[0] >= 400, (got, expected)
    assert _error(got[1]["error"]) == _error(expected[1]["error"])


_LEAVES = st.sampled_from(
    [
        {"match_all": {}},
        match("lamp keeper"),
        match("fog storm train"),
        semantic(),
        semantic("sense"),
        semantic("sense", "bread oven"),
        {"term": {"kind": "a"}},
        {"range": {"n": {"gte": 4}}},
        {"exists": {"field": "sense"}},
        {"match": {"words": "lamp"}},
    ]
)


def _around(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    part = st.lists(inner, min_size=1, max_size=2)
    bools = st.fixed_dictionaries(
        {}, optional={"must": part, "should": part, "filter": part, "must_not": st.lists(inner, max_size=1)}
    )
    return st.one_of(
        bools.map(lambda body: {"bool": body}),
        inner.map(lambda query: {"constant_score": {"filter": query, "boost": 1.5}}),
        part.map(lambda queries: {"dis_max": {"queries": queries}}),
        st.tuples(inner, inner).map(
            lambda pair: {"boosting": {"positive": pair[0], "negative": pair[1], "negative_boost": 0.4}}
        ),
        inner.map(lambda query: {"function_score": {"query": query, "functions": [{"filter": query, "weight": 2}]}}),
    )


@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(query=st.recursive(_LEAVES, _around, max_leaves=5), size=st.sampled_from([None, 2, 13]), data=st.data())
def test_made_up_searches_are_answered_as_the_cluster_does(
    found: FilledFront, query: Any, size: int | None, data: st.DataObject
) -> None:
    if data.draw(st.booleans()):
        body = reranked(standard(query), rank_window_size=data.draw(st.sampled_from([3, 13])))
        size = None
    else:
        body = {"query": query}
    agree(found, f"/{BOTH}/_search", body if size is None else {**body, "size": size})


def agree(front: FilledFront, path: str, body: Any) -> None:
    """The same status, hits, scores, totals, highlights, aggregations, error types and reasons."""
    expected = front.send("POST", path, body, base=front.node)
    got = front.send("POST", path, body)
    assert got[0] == expected[0], (got, expected)
    if "error" in expected[1]:
        assert _error(got[1]["error"]) == _error(expected[1]["error"])
        return
    assert got[1]["_shards"] == expected[1]["_shards"]
    assert _close(got[1].get("aggregations"), expected[1].get("aggregations"))
    ours, theirs = got[1]["hits"], expected[1]["hits"]
    assert ours.get("total") == theirs.get("total")
    assert _close(ours["max_score"], theirs["max_score"])
    assert [hit["_id"] for hit in ours["hits"]] == [hit["_id"] for hit in theirs["hits"]]
    for hit, other in zip(ours["hits"], theirs["hits"], strict=True):
        assert _close(hit, other), (hit, other)


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_close(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return bool(one == other)


def _error(error: Any) -> Any:

    def bare(one: Any) -> Any:
        return one.get("type"), re.sub(r"\[\d+:\d+\] ?", "", str(one.get("reason")))

    return bare(error), [bare(cause) for cause in error.get("root_cause", ())][:1]
