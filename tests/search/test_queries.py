import math

from sidecar.elastic.version import ServerVersion
from sidecar.search.queries import heaviest, knn_search, query_weights, sparse_query, text_query

V8_14, V8_19, V9_4 = ServerVersion(8, 14, 1), ServerVersion(8, 19, 8), ServerVersion(9, 4, 3)


def test_sparse_query_never_prunes() -> None:
    for version in (V8_19, V9_4):
        assert sparse_query("v", {"sea": 1.5}, version) == {
            "sparse_vector": {"field": "v", "query_vector": {"sea": 1.5}, "prune": False}
        }


def test_servers_without_the_query_get_boosted_terms_and_escaped_dots() -> None:
    assert sparse_query("v", {"sea": 1.5, "a.b": 0.5}, V8_14) == {
        "bool": {
            "minimum_should_match": 1,
            "should": [
                {"term": {"v": {"value": "sea", "boost": 1.5}}},
                {"term": {"v": {"value": "a__b", "boost": 0.5}}},
            ],
        }
    }


def test_a_query_without_tokens_matches_nothing() -> None:
    assert sparse_query("v", {"zero": 0.0, "nan": math.nan}, V9_4) == {"match_none": {}}


def test_only_the_heaviest_tokens_are_asked_for() -> None:
    weights = query_weights({f"t{n}": float(n) for n in range(1000)}, V9_4)
    assert len(weights) == 500
    assert min(weights.values()) == 500.0


def test_knn_looks_at_more_candidates_than_it_returns() -> None:
    assert knn_search("v", [0.5, 1.0], 10) == {"field": "v", "query_vector": [0.5, 1.0], "k": 10, "num_candidates": 100}
    assert knn_search("v", [1.0], 50, filter={"term": {"a": 1}})["num_candidates"] == 250
    assert knn_search("v", [1.0], 9000)["num_candidates"] == 10_000
    assert "filter" in knn_search("v", [1.0], 5, filter={"term": {"a": 1}})


def test_words_are_searched_in_one_field_or_several() -> None:
    assert text_query("text", "sea") == {"match": {"text": {"query": "sea"}}}
    assert text_query("title^2, text", "sea") == {"multi_match": {"query": "sea", "fields": ["title^2", "text"]}}


def test_heaviest_tokens_first_equal_ones_by_name() -> None:
    assert heaviest({"b": 1.0, "a": 1.0, "c": 2.0}, 2) == [("c", 2.0), ("a", 1.0)]
