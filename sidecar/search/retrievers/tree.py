"""The nodes of a retriever tree.

    Native     what the cluster runs by itself: standard, knn, and rescorer, diversify, random_reranker over such
    Over       a rescorer, diversify or random_reranker over something that the cluster cannot run
    Fused      rrf, linear
    Pinned     pinned
    Reranked   text_similarity_reranker

Source: Elasticsearch's retriever reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sidecar.search.fusion import Normalizer

DEFAULT_WINDOW = 10
DEFAULT_RANK_CONSTANT = 60
DEFAULT_RERANK_ENDPOINT = ".rerank-v1-elasticsearch"

LEAVES = frozenset({"standard", "knn"})
RERANKERS_OF_THE_CLUSTER = frozenset({"rescorer", "diversify", "random_reranker"})
NATIVE = LEAVES | RERANKERS_OF_THE_CLUSTER
OURS = frozenset({"rrf", "linear", "pinned", "text_similarity_reranker", "auto"})

Filters: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """A tree that the cluster runs; ``body`` is that of its root, as the caller wrote it."""

    kind: str
    body: Mapping[str, Any]
    name: str | None = None
    min_score: float | None = None

    @property
    def label(self) -> str:
        """How errors name it."""
        return self.name or self.kind

    @property
    def is_sorted(self) -> bool:
        return self.kind == "standard" and "sort" in self.body


@dataclass(frozen=True, slots=True)
class Over:
    """A retriever of the cluster's whose child is not."""

    kind: str
    body: Mapping[str, Any]
    child: Node
    filters: Filters = ()
    name: str | None = None
    min_score: float | None = None

    @property
    def label(self) -> str:
        return self.name or self.kind


@dataclass(frozen=True, slots=True)
class Child:
    """A child of a fusion; ``normalizer`` for ``linear`` alone."""

    node: Node
    weight: float = 1.0
    normalizer: Normalizer = Normalizer.NONE


@dataclass(frozen=True, slots=True)
class Fused:
    """``rrf`` (with its ``rank_constant``) or ``linear``."""

    kind: str
    children: tuple[Child, ...]
    window: int = DEFAULT_WINDOW
    rank_constant: int = DEFAULT_RANK_CONSTANT
    filters: Filters = ()
    name: str | None = None
    min_score: float | None = None

    @property
    def label(self) -> str:
        return self.name or self.kind


@dataclass(frozen=True, slots=True)
class Pinned:
    """Documents that stand before the child's: by id in every index (``index`` ``None``), or in one."""

    child: Node
    pins: tuple[tuple[str | None, str], ...]
    window: int = DEFAULT_WINDOW
    filters: Filters = ()
    name: str | None = None
    min_score: float | None = None
    kind: str = "pinned"

    @property
    def label(self) -> str:
        return self.name or self.kind


@dataclass(frozen=True, slots=True)
class ChunkRescorer:
    """The ``size`` best chunks of each text are ranked in its place; ``settings`` ``None``: the endpoint's own size."""

    size: int = 1
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """``text_similarity_reranker``; ``budget`` in seconds and ``keeps_order`` are the sidecar's own."""

    child: Node
    field: str
    text: str
    inference_id: str = DEFAULT_RERANK_ENDPOINT
    window: int = DEFAULT_WINDOW
    chunks: ChunkRescorer | None = None
    allows_failures: bool = False
    keeps_order: bool = False
    budget: float | None = None
    filters: Filters = ()
    name: str | None = None
    min_score: float | None = None
    kind: str = "text_similarity_reranker"

    @property
    def label(self) -> str:
        return self.name or self.kind


Compound: TypeAlias = Over | Fused | Pinned | Reranked
Node: TypeAlias = Native | Over | Fused | Pinned | Reranked


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in order."""
    if isinstance(node, Fused):
        return tuple(child.node for child in node.children)
    return () if isinstance(node, Native) else (node.child,)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def window_of(node: Node) -> int | None:
    """The window of a node that has one of its own kind; ``None`` for what the cluster runs."""
    return node.window if isinstance(node, (Fused, Pinned, Reranked)) else None
