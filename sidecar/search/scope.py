"""What the indices of one search say of their fields, and which endpoints the sidecar has: all that rewriting asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.elastic.bindings import SEMANTIC_TEXT, Binding, SemanticText
from sidecar.elastic.index_catalog import IndexView
from sidecar.elastic.version import NEWEST, ServerVersion

# What a `match` or `multi_match` may name by a pattern; other types refuse it or match nothing by words.
_MATCHABLE = frozenset(
    {"text", "match_only_text", "search_as_you_type", "keyword", "constant_keyword", "wildcard", "annotated_text"}
)

_MOST_COMPLAINTS = 5


@dataclass(frozen=True, slots=True)
class EndpointKind:
    """What rewriting must know of an endpoint; ``dimensions`` where they are known."""

    inference_id: str
    task_type: TaskType
    dimensions: int | None = None

    @property
    def is_sparse(self) -> bool:
        return self.task_type is TaskType.SPARSE_EMBEDDING

    @property
    def is_dense(self) -> bool:
        return self.task_type in (TaskType.TEXT_EMBEDDING, TaskType.EMBEDDING)

    @property
    def is_other(self) -> bool:
        return not (self.is_sparse or self.is_dense)


@dataclass(frozen=True, slots=True)
class SearchScope:
    """The concrete indices of a search, the endpoints that it may name and the sidecar has, the cluster's version.

    ``foreign`` are endpoints that its body names and the sidecar does not have.
    """

    views: tuple[IndexView, ...] = ()
    endpoints: Mapping[str, EndpointKind] = field(default_factory=dict)
    version: ServerVersion = NEWEST
    foreign: tuple[str, ...] = ()

    @property
    def has_semantic_fields(self) -> bool:
        return any(view.semantic for view in self.views)

    @property
    def counts_once(self) -> bool:
        """Whether no two documents of a shard can have the same sequence number; false where nothing is known."""
        return bool(self.views) and not any(view.was_resized for view in self.views)

    @property
    def complaints(self) -> tuple[str, ...]:
        """Which bindings are not followed, for ``Warning`` headers: the searches themselves go on without them."""
        said = [f"index [{view.name}]: {unread.reason}" for view in self.views for unread in view.unread]
        more = len(said) - _MOST_COMPLAINTS
        return tuple(said if more <= 0 else [*said[:_MOST_COMPLAINTS], f"and [{more}] more bindings not followed"])

    def inference_ids(self) -> Iterator[str]:
        """Every endpoint that the indices name."""
        for view in self.views:
            for found in view.semantic:
                yield found.search_inference_id
                yield found.inference_id
            for binding in view.bindings:
                yield binding.inference_id

    def semantic(self, name: str) -> list[tuple[IndexView, SemanticText]]:
        """Where a field is a ``semantic_text``."""
        return [(view, found) for view in self.views for found in view.semantic if found.name == name]

    def binding(self, name: str) -> list[tuple[IndexView, Binding]]:
        """Where a plain vector field is filled by a binding; a passage's field by its whole path or its end."""
        return [
            (view, found)
            for view in self.views
            for found in view.bindings
            if found.target == name or (found.passages and name.startswith(found.target + "."))
        ]

    def types(self, name: str) -> dict[str, str]:
        """The field's type by index, without the indices that lack it."""
        found = {}
        for view in self.views:
            mapped = mapped_field(view.mapping, name)
            if mapped is not None:
                found[view.name] = str(mapped.get("type", "object"))
        return found


def mapped_field(mapping: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The field of a dotted path in a mapping, multi-fields included."""
    whole = (mapping.get("properties") or {}).get(name)
    if isinstance(whole, Mapping):
        return whole
    node: Mapping[str, Any] = mapping
    for part in name.split("."):
        below = (node.get("properties") or {}).get(part)
        if below is None:
            below = (node.get("fields") or {}).get(part)
        if not isinstance(below, Mapping):
            return None
        node = below
    return node


def matchable_fields(mapping: Mapping[str, Any], pattern: str) -> list[str]:
    """The fields of words, and those of ``semantic_text``, that a pattern with ``*`` names, in the mapping's order."""
    wanted = _MATCHABLE | {SEMANTIC_TEXT}
    return [
        name
        for name, found in _walk(mapping, "")
        if found.get("type") in wanted and fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))
    ]


def _walk(node: Mapping[str, Any], above: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in ("properties", "fields"):
        for name, found in (node.get(key) or {}).items():
            if isinstance(found, Mapping) and found.get("type") != "nested":
                yield above + name, found
                if found.get("type") != SEMANTIC_TEXT or key == "properties":
                    yield from _walk(found, f"{above}{name}.")
