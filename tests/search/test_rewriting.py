"""Clauses that name an endpoint, wherever they stand, become clauses with vectors; all else stays as it came."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import IllegalArgumentError, StatusError
from sidecar.core.tasks import TaskType
from sidecar.elastic.bindings import bindings_of, semantic_fields
from sidecar.elastic.index_catalog import IndexView
from sidecar.elastic.version import NEWEST, ServerVersion
from sidecar.search.endpoint_words import may_match_semantic_text, may_need_rewriting
from sidecar.search.rewriting import Rewriter, Want
from sidecar.search.scope import EndpointKind, SearchScope
from sidecar.search.vector_queries import Options, sparse_clause

SPARSE = EndpointKind("sp", TaskType.SPARSE_EMBEDDING)
SPARSE_TOO = EndpointKind("sp2", TaskType.SPARSE_EMBEDDING)
DENSE = EndpointKind("de", TaskType.TEXT_EMBEDDING, 2)
ENDPOINTS = {kind.inference_id: kind for kind in (SPARSE, SPARSE_TOO, DENSE)}
TOKENS, VECTOR = {"fog": 2.0}, [0.5, 1.0]


def view(name: str, **properties: Any) -> IndexView:
    maps = properties.pop("maps", [])
    mapping = {"properties": properties, "_meta": {"sidecar": {"maps": maps}}}
    return IndexView(name, mapping, bindings_of(mapping), semantic_fields(mapping))


ONE = view(
    "one",
    words={"type": "semantic_text", "inference_id": "sp"},
    sense={"type": "semantic_text", "inference_id": "de"},
    tokens={"type": "sparse_vector"},
    bound={"type": "sparse_vector"},
    v={"type": "dense_vector"},
    text={"type": "text"},
    theirs={"type": "semantic_text", "inference_id": "unknown"},
    maps=["text:bound=sp", "text:v=de"],
)
TWO = view("two", words={"type": "semantic_text", "inference_id": "sp2"}, sense={"type": "text"})
SCOPE = SearchScope((ONE,), ENDPOINTS)


def rewritten(body: dict[str, Any], scope: SearchScope = SCOPE, size: int | None = 10) -> dict[str, Any]:
    collecting = Rewriter(scope)
    assert collecting.body(body, size) is body
    vectors: dict[Want, Any] = {
        want: TOKENS if scope.endpoints[want.inference_id].is_sparse else VECTOR for want in collecting.wants
    }
    return Rewriter(scope, vectors).body(body, size)


def wants(body: dict[str, Any], scope: SearchScope = SCOPE) -> list[Want]:
    collecting = Rewriter(scope)
    collecting.body(body, 10)
    return list(collecting.wants)


SEMANTIC = {"semantic": {"field": "words", "query": "fog"}}
WITH_TOKENS = {"sparse_vector": {"field": "words", "query_vector": TOKENS}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (SEMANTIC, WITH_TOKENS),
        ({"match": {"words": "fog"}}, WITH_TOKENS),
        (
            {"match": {"words": {"query": "fog", "operator": "and", "boost": 2, "_name": "n"}}},
            {"sparse_vector": {"field": "words", "query_vector": TOKENS, "boost": 2, "_name": "n"}},
        ),
        (
            {"semantic": {"field": "sense", "query": "fog"}},
            {"knn": {"field": "sense", "query_vector": VECTOR, "k": 10}},
        ),
        (
            {"sparse_vector": {"field": "tokens", "inference_id": "sp", "query": "fog", "prune": True}},
            {"sparse_vector": {"field": "tokens", "query_vector": TOKENS, "prune": True}},
        ),
        (
            {"sparse_vector": {"field": "bound", "query": "fog"}},
            {"sparse_vector": {"field": "bound", "query_vector": TOKENS}},
        ),
        (
            {"text_expansion": {"tokens": {"model_id": "sp", "model_text": "fog", "boost": 3}}},
            {"sparse_vector": {"field": "tokens", "query_vector": TOKENS, "boost": 3}},
        ),
        (
            {"knn": {"field": "v", "k": 3, "query_vector_builder": {"text_embedding": {"model_text": "fog"}}}},
            {"knn": {"field": "v", "k": 3, "query_vector": VECTOR}},
        ),
    ],
)
def test_a_clause_gets_its_vector(query: dict[str, Any], expected: dict[str, Any]) -> None:
    assert rewritten({"query": query}) == {"query": expected}


@pytest.mark.parametrize(
    "query",
    [
        {"match": {"text": "fog"}},
        {"semantic": {"field": "theirs", "query": "fog"}},
        {"semantic": {"field": "words", "query": 5}},
        {"semantic": {"field": "words", "query": "fog", "inner_hits": {}}},
        {"semantic": {"field": "words", "query": "fog", "boost": -1}},
        {"match": {"words": {"query": "fog", "color": 1}}},
        {"sparse_vector": {"field": "tokens", "inference_id": "nobody", "query": "fog"}},
        {"sparse_vector": {"field": "tokens", "inference_id": "sp", "query": "fog", "query_vector": {"a": 1}}},
        {"knn": {"field": "v", "query_vector_builder": {"lookup": {"id": "1"}}}},
        {"knn": {"field": "v", "query_vector": [1, 2]}},
        {"semantic": [SEMANTIC]},
        {"semantic": {"field": "words", "query": "fog"}, "match_all": {}},
    ],
)
def test_what_is_not_ours_stays_as_it_came(query: dict[str, Any]) -> None:
    body = {"query": query}
    assert rewritten(body) is body
    assert wants(body) == []


PLACES: list[Callable[[Any], dict[str, Any]]] = [
    lambda query: {"query": {"bool": {"must": query, "should": [query], "filter": query, "must_not": [query]}}},
    lambda query: {"query": {"nested": {"path": "p", "query": query}}},
    lambda query: {"query": {"function_score": {"query": query, "functions": [{"filter": query, "weight": 2}]}}},
    lambda query: {"query": {"dis_max": {"queries": [query, query]}}},
    lambda query: {"query": {"constant_score": {"filter": query}}},
    lambda query: {"query": {"boosting": {"positive": query, "negative": query, "negative_boost": 0.1}}},
    lambda query: {"query": {"knn": {"field": "v", "query_vector": [1, 2], "filter": [query]}}},
    lambda query: {"knn": {"field": "v", "query_vector": [1, 2], "filter": query}},
    lambda query: {"post_filter": query},
    lambda query: {"rescore": [{"query": {"rescore_query": query}}]},
    lambda query: {"aggs": {"semantic": {"filter": query, "aggs": {"f": {"filters": {"filters": {"a": query}}}}}}},
    lambda query: {"highlight": {"highlight_query": query, "fields": {"text": {"highlight_query": query}}}},
    lambda query: {"sort": [{"n": {"nested": {"path": "p", "filter": query}}}]},
    lambda query: {"retriever": {"standard": {"query": query, "filter": [query]}}},
    lambda query: {
        "retriever": {
            "rescorer": {"retriever": {"standard": {"query": query}}, "rescore": {"query": {"rescore_query": query}}}
        }
    },
    lambda query: {"retriever": {"rrf": {"retrievers": [{"retriever": {"standard": {"query": query}}}]}}},
]


@pytest.mark.parametrize("place", range(len(PLACES)))
def test_clauses_are_found_wherever_queries_stand(place: int) -> None:
    body = PLACES[place](SEMANTIC)
    assert rewritten(body) == PLACES[place](WITH_TOKENS)
    assert body == PLACES[place](SEMANTIC)  # the caller's own is not touched


def test_what_only_looks_like_a_clause_is_left_alone() -> None:
    body = {
        "query": {
            "script_score": {"query": {"match_all": {}}, "script": {"params": {"semantic": SEMANTIC["semantic"]}}}
        },
        "aggs": {"match": {"terms": {"field": "words"}}},
        "_source": ["semantic"],
    }
    assert rewritten(body) is body


def test_a_text_is_wanted_once_for_each_endpoint() -> None:
    body = {
        "query": {"bool": {"must": [SEMANTIC, SEMANTIC, {"match": {"sense": "fog"}}, {"match": {"words": "mist"}}]}}
    }
    assert wants(body) == [Want("sp", "fog"), Want("de", "fog"), Want("sp", "mist")]


def test_every_index_gets_its_own_part() -> None:
    scope = SearchScope((ONE, TWO), ENDPOINTS)
    words = rewritten({"query": {"match": {"words": {"query": "fog", "boost": 2}}}}, scope)["query"]["bool"]
    assert [part["bool"]["filter"] for part in words["should"]] == [
        [{"terms": {"_index": ["one"]}}],
        [{"terms": {"_index": ["two"]}}],
    ]
    assert words["boost"] == 2
    mixed = rewritten({"query": {"match": {"sense": "fog"}}}, scope)["query"]["bool"]["should"]
    assert mixed[1]["bool"]["must"] == [{"multi_match": {"query": "fog", "fields": ["sense"]}}]


def test_an_index_without_the_field_fails_as_the_clause_would() -> None:
    scope = SearchScope((ONE, TWO), ENDPOINTS)
    rewriter = Rewriter(scope, {Want("de", "fog"): VECTOR})
    rewriter.body({"query": {"semantic": {"field": "sense", "query": "fog"}}}, 10)
    (planted,) = rewriter.planted
    assert (planted.index, planted.reason) == ("two", "Field [sense] of type [text] does not support semantic queries")


def test_dense_queries_are_narrowed_by_what_a_bool_requires() -> None:
    term = {"term": {"kind": "a"}}
    body = {"query": {"bool": {"filter": [term], "must": [{"bool": {"should": [{"match": {"sense": "fog"}}]}}]}}}
    inner = rewritten(body)["query"]["bool"]["must"][0]["bool"]["should"][0]
    assert inner["knn"]["filter"] == [term]
    older = SearchScope((ONE,), ENDPOINTS, ServerVersion(8, 19))
    assert "filter" not in rewritten(body, older)["query"]["bool"]["must"][0]["bool"]["should"][0]["knn"]


@pytest.mark.parametrize(("size", "k"), [(2, 10), (25, 25)])
def test_a_dense_semantic_query_finds_as_many_as_the_search_shows(size: int, k: int) -> None:
    assert rewritten({"query": {"match": {"sense": "fog"}}}, size=size)["query"]["knn"]["k"] == k


def test_older_clusters_get_boosted_terms() -> None:
    old = SearchScope((ONE,), ENDPOINTS, ServerVersion(8, 14))
    query = {"sparse_vector": {"field": "tokens", "inference_id": "sp", "query": "fog", "boost": 2}}
    assert rewritten({"query": query}, old)["query"]["bool"] == {
        "minimum_should_match": 1,
        "should": [{"term": {"tokens": {"value": "fog", "boost": 2.0}}}],
        "boost": 2,
    }
    legacy = SearchScope((ONE,), ENDPOINTS, ServerVersion(8, 16))
    nested = rewritten({"query": SEMANTIC}, legacy)["query"]["nested"]
    assert nested["path"] == "words.inference.chunks"


def test_sections_on_semantic_text_search_its_chunks() -> None:
    section = {"field": "sense", "k": 3, "query_vector_builder": {"text_embedding": {"model_text": "fog"}}}
    expected = {"field": "sense.inference.chunks.embeddings", "k": 3, "query_vector": VECTOR}
    assert rewritten({"knn": [section]}) == {"knn": [expected]}
    assert rewritten({"retriever": {"knn": section}}) == {"retriever": {"knn": expected}}


def test_what_elasticsearch_refuses_at_once_is_refused_in_its_words() -> None:
    with pytest.raises(IllegalArgumentError, match="inference_id required to perform vector search on query string"):
        wants({"query": {"sparse_vector": {"field": "tokens", "query": "fog"}}})
    with pytest.raises(IllegalArgumentError, match=r"\[model_id\] must not be null"):
        wants(
            {"query": {"knn": {"field": "sense", "query_vector_builder": {"text_embedding": {"model_text": "x"}}}}},
            SearchScope((ONE, TWO), ENDPOINTS),
        )
    builder = {"embedding": {"inference_id": "de", "input": "fog"}}
    with pytest.raises(StatusError, match=r"has task type \[text_embedding\], expected \[embedding\]"):
        wants({"query": {"knn": {"field": "v", "query_vector_builder": builder}}})


def test_a_scan_tells_which_bodies_need_a_look() -> None:
    assert may_need_rewriting(json.dumps({"query": SEMANTIC}).encode())
    assert may_need_rewriting(b'{"query":{"\\u0073emantic":{}}}')
    assert not may_need_rewriting(b'{"query":{"match":{"text":"a semantic question"}}}')
    assert may_match_semantic_text(b'{"query":{"match":{"text":"x"}}}')
    assert not may_match_semantic_text(b'{"query":{"match_all":{}}}')


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["query", "bool", "must", "semantic", "match", "knn", "field", "filter", "aggs", "retriever"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(body=st.dictionaries(st.sampled_from(["query", "knn", "aggs", "retriever", "rescore", "sort"]), _JSON))
def test_no_body_is_too_odd(body: dict[str, Any]) -> None:
    before = json.dumps(body)
    rewritten(body, SearchScope((ONE, TWO), ENDPOINTS, NEWEST))
    assert json.dumps(body) == before


@pytest.mark.parametrize(
    ("version", "extra", "kind"),
    [
        ((8, 14, 1), {}, "bool"),
        ((8, 14, 1), {"prune": True}, "bool"),
        ((8, 16, 1), {}, "bool"),
        ((8, 16, 1), {"prune": False}, "bool"),
        ((8, 16, 1), {"prune": True}, "sparse_vector"),
        ((8, 19, 8), {}, "sparse_vector"),
        ((9, 4, 3), {"prune": True}, "sparse_vector"),
    ],
)
def test_terms_stand_for_a_query_that_may_be_missing(
    version: tuple[int, int, int], extra: dict[str, bool], kind: str
) -> None:
    clause = sparse_clause("tokens", {"boat": 1.5, "a": 0.5}, Options(extra=extra), ServerVersion(*version))
    assert list(clause) == [kind]
