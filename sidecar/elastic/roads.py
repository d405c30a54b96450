"""What a cluster lets the sidecar do, by its version, its licence and its modules.

Source: Elasticsearch's subscriptions page and release notes; answers of 8.14.1, 8.16.1, 8.19.8 and 9.4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elasticsearch import ApiError, AsyncElasticsearch

from sidecar.elastic.version import ServerVersion, server_version

_LICENCES_WITH_INFERENCE = frozenset({"trial", "enterprise"})
_INFERENCE, _MACHINE_LEARNING, _FUSION = "x-pack-inference", "x-pack-ml", "rank-rrf"


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """``licence`` is its type, ``None`` where the caller may not ask; ``modules`` are those that every node has."""

    version: ServerVersion
    licence: str | None
    is_active: bool
    modules: frozenset[str] | None

    @property
    def calls_endpoints(self) -> bool:
        """Whether the licence lets Elasticsearch call inference endpoints; before 8.18 it did not ask."""
        is_licensed = self.licence is None or (self.licence in _LICENCES_WITH_INFERENCE and self.is_active)
        return is_licensed or not self.version.since((8, 18))

    def has(self, module: str) -> bool:
        return self.modules is None or module in self.modules


@dataclass(frozen=True, slots=True)
class Road:
    """A way to vectors or to searches with them; ``reason`` says why it is open or closed."""

    name: str
    is_open: bool
    reason: str


async def cluster_facts(client: AsyncElasticsearch) -> ClusterFacts:
    """Asks the cluster.

    Raises:
        ApiError, TransportError: it does not answer.
    """
    version = await server_version(client)
    licence: str | None = None
    is_active = True
    try:
        body = (await client.license.get()).body["license"]
        licence, is_active = body["type"], body["status"] == "active"
    except (ApiError, KeyError):
        pass  # without the right to ask, trying shows it
    return ClusterFacts(version, licence, is_active, await _modules(client))


async def _modules(client: AsyncElasticsearch) -> frozenset[str] | None:
    try:
        nodes = (await client.nodes.info(metric="plugins", filter_path="nodes.*.modules.name")).body.get("nodes") or {}
    except ApiError:
        return None
    found = [frozenset(module["name"] for module in node.get("modules", ())) for node in nodes.values()]
    return frozenset.intersection(*found) if found else None


def roads(facts: ClusterFacts) -> tuple[Road, ...]:
    """Every road, open or closed, the sidecar's own first."""
    calls = _calls(facts)
    learning = _needs(facts, _MACHINE_LEARNING)
    return (
        Road("the sidecar in front: vectors on write, rewritten searches", True, "on any licence (SIDECAR_FRONT)"),
        Road("sidecar index, backfill, search", True, "on any licence"),
        _road(
            "semantic_text filled by the sidecar",
            [] if facts.version.has_inference_fields else [f"needs 8.18 or newer, this is {facts.version}"],
        ),
        _road("Elasticsearch calls the sidecar: its own endpoints", calls),
        _road("semantic_text filled by Elasticsearch", [*calls, *_since(facts, (8, 15))]),
        _road("inference processors run by Elasticsearch", [*calls, *learning]),
        _road("sparse_vector and knn queries inferred by Elasticsearch", [*calls, *learning]),
        _road("text_similarity_reranker run by Elasticsearch", [*calls, *_since(facts, (8, 14))]),
        _road("rrf and linear run by Elasticsearch", [*_licensed(facts), *_needs(facts, _FUSION)]),
    )


def _road(name: str, missing: Iterable[str]) -> Road:
    reasons = list(dict.fromkeys(missing))
    return Road(name, not reasons, "; ".join(reasons))


def _calls(facts: ClusterFacts) -> list[str]:
    licence = [] if facts.calls_endpoints else [_licence_reason(facts)]
    return [*licence, *_needs(facts, _INFERENCE)]


def _licensed(facts: ClusterFacts) -> list[str]:
    is_licensed = facts.licence is None or (facts.licence in _LICENCES_WITH_INFERENCE and facts.is_active)
    return [] if is_licensed else [_licence_reason(facts)]


def _licence_reason(facts: ClusterFacts) -> str:
    state = facts.licence if facts.is_active else f"{facts.licence}, expired"
    return f"needs an Enterprise or trial licence, this one is {state}"


def _needs(facts: ClusterFacts, module: str) -> list[str]:
    return [] if facts.has(module) else [f"the nodes lack the module {module}"]


def _since(facts: ClusterFacts, eight: tuple[int, int]) -> list[str]:
    shown = ".".join(map(str, eight))
    return [] if facts.version.since(eight) else [f"needs {shown} or newer, this is {facts.version}"]
