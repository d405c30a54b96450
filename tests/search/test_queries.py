import math

from sidecar.elastic.version import ServerVersion
from sidecar.search.queries import query_weights, sparse_terms_query

V8_14, V9_4 = ServerVersion(8, 14, 1), ServerVersion(9, 4, 3)


def test_servers_without_the_query_get_boosted_terms_and_escaped_dots() -> None:
    assert sparse_terms_query("v", query_weights({"sea": 1.5, "a.b": 0.5}, V8_14)) == {
        "bool": {
            "minimum_should_match": 1,
            "should": [
                {"term": {"v": {"value": "sea", "boost": 1.5}}},
                {"term": {"v": {"value": "a__b", "boost": 0.5}}},
            ],
        }
    }


def test_weights_that_say_nothing_are_left_out() -> None:
    assert query_weights({"zero": 0.0, "nan": math.nan, "sea": 1.0}, V9_4) == {"sea": 1.0}


def test_only_the_heaviest_tokens_are_asked_for() -> None:
    weights = query_weights({f"t{n}": float(n) for n in range(1000)}, V9_4)
    assert len(weights) == 500
    assert min(weights.values()) == 500.0
