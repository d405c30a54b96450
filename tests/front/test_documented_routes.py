"""The proxies of docs/running.md send to the sidecar whatever a handler of the front looks at, and the rest past it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.front.dispatch import routes

PAGE = (Path(__file__).parents[2] / "docs" / "running.md").read_text("utf-8")


def _nginx(path: str) -> bool:
    patterns = re.findall(r"location ~ (\S+) \{ proxy_pass http://sidecar; \}", PAGE)
    assert len(patterns) > 5
    return any(re.search(pattern, path) for pattern in patterns)


def _envoy(path: str) -> bool:
    patterns = re.findall(r'safe_regex: \{regex: "([^"]+)"\}\}\n\s+route: \{cluster: sidecar', PAGE)
    assert len(patterns) > 5
    return any(re.fullmatch(pattern, path) for pattern in patterns)


@pytest.mark.parametrize("goes_to_the_sidecar", [_nginx, _envoy])
def test_a_proxy_sends_the_sidecar_what_it_looks_at(goes_to_the_sidecar: Callable[[str], bool]) -> None:
    own = ["/_inference", "/_inference/a/b", "/v1/embeddings", "/v2/rerank", "/compat/hf/x/sparse", "/_sidecar/rerank"]
    own += ["/v2/embed", "/search/v1/embeddings", "/ingest/v2/embed", "/openai/deployments/a/embeddings"]
    for path in [*own, *(re.sub(r"\{[^}]+\}", "articles", route.template) for route in routes())]:
        assert goes_to_the_sidecar(path), path
    for path in ("/", "/_cat/indices", "/_cluster/health", "/_nodes/stats", "/articles/_stats", "/_tasks", "/_mget"):
        assert not goes_to_the_sidecar(path), path
