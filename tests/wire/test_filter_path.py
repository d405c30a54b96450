"""``filter_path``: what real nodes keep, and what must hold for every body and every path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.wire.filter_path import PathFilter

SETTINGS = {"url": "u", "rate_limit": {"requests_per_minute": 3000}}
BODY = {
    "endpoints": [{"inference_id": "e", "task_type": "rerank", "service": "hugging_face", "service_settings": SETTINGS}]
}
DELETION = {"acknowledged": False, "pipelines": [], "indexes": []}

NAMES = st.sampled_from(["a", "b", "ab", "abc", "x.y", ""])
BODIES = st.recursive(
    st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=15,
).filter(lambda body: isinstance(body, dict))
PATHS = st.lists(st.sampled_from(["a", "b", "a*", "*", "**", "*b*", "ab"]), min_size=1, max_size=4).map(".".join)


# Seen on 8.19.8 and 9.4.3.
@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("endpoints.inference_id,endpoints.service", [{"inference_id": "e", "service": "hugging_face"}]),
        ("**.requests_per_minute", [{"service_settings": {"rate_limit": {"requests_per_minute": 3000}}}]),
        ("endpoints.service_settings.*.*", [{"service_settings": {"rate_limit": {"requests_per_minute": 3000}}}]),
        ("endpoints.*_id", [{"inference_id": "e"}]),
        ("e*.s*.u*", [{"service_settings": {"url": "u"}}]),
        ("endpoints.**.**", [{"service_settings": SETTINGS}]),
        ("**.**.**.**", [{"service_settings": {"rate_limit": {"requests_per_minute": 3000}}}]),
        ("-*.service_settings,endpoints.service_settings.url,endpoints.inference_id", [{"inference_id": "e"}]),
        (
            "-endpoints.*.*",
            [{"inference_id": "e", "task_type": "rerank", "service": "hugging_face"}],
        ),
        (" endpoints.inference_id ,,", [{"inference_id": "e"}]),
    ],
)
def test_keeps_what_elasticsearch_keeps(path: str, kept: Any) -> None:
    assert PathFilter.parse(path).apply(BODY) == {"endpoints": kept}


@pytest.mark.parametrize(
    "path",
    [
        "nope",
        "endpoints.0",
        "endpoints.**.inference_id",
        "**.endpoints",
        "endpoints..service",
        "ENDPOINTS",
        "end?oints",
        "-**",
        "-*",
        "endpoints.inference_id.*",
        "**.url,-**.service_settings",
    ],
)
def test_nothing_left_is_an_empty_object(path: str) -> None:
    assert PathFilter.parse(path).apply(BODY) == {}


@pytest.mark.parametrize("path", ["", ",", "-", "--endpoints", "-nope", "**", "*", "endpoints.**", "endpoints.*"])
def test_everything_stays(path: str) -> None:
    path_filter = PathFilter.parse(path)
    assert (path_filter.apply(BODY) if path_filter else BODY) == BODY


def test_empty_lists_stay_when_they_were_empty_before() -> None:
    assert PathFilter.parse("-acknowledged").apply(DELETION) == {"pipelines": [], "indexes": []}
    assert PathFilter.parse("pipelines").apply(DELETION) == {"pipelines": []}
    assert PathFilter.parse("pipelines.x").apply(DELETION) == {}


def test_vectors_are_leaves() -> None:
    vector = np.ones(3, dtype=np.float32)
    kept = PathFilter.parse("**.embedding").apply({"text_embedding": [{"embedding": vector}]})
    assert kept["text_embedding"][0]["embedding"] is vector


def _leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item, path)]
    return [(path, value)]


@given(BODIES, PATHS)
def test_included_and_excluded_leaves_are_the_whole(body: Any, path: str) -> None:
    included = _leaves(PathFilter.parse(path).apply(body))
    excluded = _leaves(PathFilter.parse(f"-{path}").apply(body))
    assert sorted(map(repr, included + excluded)) == sorted(map(repr, _leaves(body)))


@given(BODIES, PATHS, PATHS)
def test_two_paths_keep_what_each_keeps(body: Any, first: str, second: str) -> None:
    both = set(map(repr, _leaves(PathFilter.parse(f"{first},{second}").apply(body))))
    each = {repr(leaf) for path in (first, second) for leaf in _leaves(PathFilter.parse(path).apply(body))}
    assert both == each


@given(BODIES, st.text(alphabet="ab*.,-\\ ", max_size=30))
def test_filtering_twice_changes_nothing_more(body: Any, path: str) -> None:
    path_filter = PathFilter.parse(path)
    once = path_filter.apply(body)
    assert path_filter.apply(once) == once


def test_runs_of_stars_stay_cheap() -> None:
    name = "a" * 2000
    assert PathFilter.parse("*a" * 10 + "****b").apply({name: 1}) == {}
