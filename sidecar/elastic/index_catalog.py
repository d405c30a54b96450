"""What the cluster says of its indices, as far as the sidecar needs it, remembered for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
from elasticsearch import AsyncElasticsearch, AuthorizationException, BadRequestError, NotFoundError

from sidecar.elastic.bindings import SEMANTIC_TEXT, Binding, SemanticText, UnreadBinding, read_bindings, semantic_fields
from sidecar.elastic.version import ServerVersion, server_version

_log = structlog.stdlib.get_logger(__name__)
_FRESH_SECONDS = 5.0
_ABSENT_SECONDS = 0.5
# what Elasticsearch writes into a mapping that names no endpoint; a template's mapping may still lack it
_DEFAULT_ENDPOINT = ".elser-2-elasticsearch"
_BLOCKS = ("write", "read_only", "read_only_allow_delete")
# 9.4.3, on which it was seen; Elasticsearch names 9.3. No older node can hold a shard of such an index.
_PACKS_VECTORS_SINCE = 9_094_000
# Settings that shrinking, splitting and cloning leave in an index; which of them depends on the version.
_OF_RESIZED = frozenset({"resize", "shrink", "routing_partition_size"})
SEARCHED = "open"
"""What patterns of a search stand for where it does not say so by ``expand_wildcards``: nothing hidden."""


# A template without either in any of its parts makes no index in which something is filled.
_OF_BINDINGS = (SEMANTIC_TEXT, "sidecar")


@dataclass(frozen=True, slots=True)
class IndexView:
    """One concrete index: its mapping, its bindings, its ``semantic_text`` fields, its pipelines.

    ``bindings`` and ``semantic`` name any endpoint; whether it is one of the sidecar's is for the reader to ask.
    ``unread`` are bindings that cannot be followed, a matter of this index alone. ``names`` are its own, its aliases'
    and its data stream's. ``may_refuse`` says that it may not take documents: closed, blocked, or not there and not to
    be made by itself. ``packs_vectors``: vectors of indexed fields may be written in base64, and are shown as arrays.
    ``was_resized``: it may be another one shrunk, whose shards each counted their sequence numbers.
    """

    name: str
    mapping: Mapping[str, Any]
    bindings: tuple[Binding, ...] = ()
    semantic: tuple[SemanticText, ...] = ()
    default_pipeline: str | None = None
    final_pipeline: str | None = None
    unread: tuple[UnreadBinding, ...] = ()
    names: tuple[str, ...] = ()
    is_there: bool = True
    may_refuse: bool = False
    packs_vectors: bool = False
    was_resized: bool = False


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """Settings of the whole cluster that forbid writes: which missing indices it makes, whether all are blocked."""

    auto_create: str = "true"
    is_blocked: bool = False


class IndexCatalog:
    """The indices behind names, aliases, data streams and patterns; asked with the sidecar's own credentials."""

    def __init__(self, client: AsyncElasticsearch) -> None:
        self._client = client
        self._known: dict[tuple[str, str], tuple[float, tuple[IndexView, ...]]] = {}
        self._writable: dict[str, tuple[float, IndexView]] = {}
        self._pipelines: tuple[float, Mapping[str, Mapping[str, Any]]] | None = None
        self._version: ServerVersion | None = None
        self._rules: tuple[float, ClusterRules] | None = None
        self._changes = 0  # what was asked for before a change is not kept behind it

    async def version(self) -> ServerVersion:
        """The cluster's version, asked once."""
        if self._version is None:
            self._version = await server_version(self._client)
        return self._version

    async def resolve(self, expression: str, expand_wildcards: str = SEARCHED) -> tuple[IndexView, ...]:
        """Every concrete index that a search over ``expression`` touches; none where nothing is there.

        ``expand_wildcards`` is the search's own, as its patterns stand for more or fewer indices.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        key = (expression, expand_wildcards)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        changes = self._changes
        answer = await self._client.indices.get(
            index=expression or "*",
            ignore_unavailable=True,
            allow_no_indices=True,
            expand_wildcards=expand_wildcards.split(","),
        )
        views = tuple(_view(name, about) for name, about in answer.body.items())
        # What another way makes is soon to be found: a search for meaning in it fails where it is not known of.
        age = 0.0 if views else _FRESH_SECONDS - _ABSENT_SECONDS
        if changes == self._changes:
            self._known[key] = (time.monotonic() - age, views)
        return views

    async def written(self, name: str) -> IndexView:
        """The concrete index that a write to ``name`` reaches: an index, an alias's or data stream's write index, or
        the one that would be made, as its template says; ``name`` may be date math.

        Where nothing of that name can be written the view is empty, and the cluster says so to the writer.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        known = self._writable.get(name)
        if known is not None and time.monotonic() - known[0] < _FRESH_SECONDS:
            return known[1]
        changes = self._changes
        view, is_there = await self._ask_for_writing(name)
        if view.bindings or view.semantic or view.unread:
            rules = await self._cluster_rules()
            closed_to_new = not is_there and rules.auto_create != "true"
            may_refuse = view.may_refuse or rules.is_blocked or closed_to_new
            view = replace(view, is_there=is_there, may_refuse=may_refuse)
        # An index that is not there yet is made by the very write that asked.
        age = 0.0 if is_there else _FRESH_SECONDS - _ABSENT_SECONDS
        if changes == self._changes:
            self._writable[name] = (time.monotonic() - age, view)
        return view

    async def templated(self) -> tuple[IndexView, ...]:
        """What templates would make of new indices: a view for each that has something to do with bindings.

        Asked anew each time. What the sidecar may not look at was not bound by it.

        Raises:
            ApiError, TransportError: the cluster does not answer.
        """
        try:
            named = (await self._client.indices.get_index_template()).body["index_templates"]
            parts = (await self._client.cluster.get_component_template()).body["component_templates"]
            older = (await self._client.indices.get_template()).body
            texts = {part["name"]: str(part) for part in parts}
            views = [_view(name, about) for name, about in older.items()]
            for about in named:
                composed = about["index_template"].get("composed_of") or ()
                whole = [str(about), *(texts.get(name, "") for name in composed)]
                if any(word in text for word in _OF_BINDINGS for text in whole):
                    answer = await self._client.indices.simulate_template(name=about["name"])
                    views.append(_view(about["name"], answer.body.get("template") or {}))
        except (AuthorizationException, NotFoundError) as error:
            _log.warning("templates_unreadable", cause=type(error).__name__)
            return ()
        return tuple(views)

    async def _ask_for_writing(self, name: str) -> tuple[IndexView, bool]:
        if not name or "*" in name or "," in name:
            return IndexView(name, {}), True
        try:
            answer = await self._client.indices.get(index=name, ignore_unavailable=True, expand_wildcards="all")
            found = write_index(name, answer.body)
            if found is not None:
                return _view(found, answer.body[found]), True
            if answer.body:
                return IndexView(name, {}), True
            simulated = await self._client.indices.simulate_index_template(name=name)
        except (BadRequestError, NotFoundError):
            return IndexView(name, {}), False
        except AuthorizationException:
            # What the sidecar may not look at was not bound by it.
            _log.warning("index_unreadable_with_own_credentials", index=name)
            return IndexView(name, {}), True
        return _view(name, simulated.body.get("template") or {}), False

    async def _cluster_rules(self) -> ClusterRules:
        if self._rules is not None and time.monotonic() - self._rules[0] < _FRESH_SECONDS:
            return self._rules[1]
        changes = self._changes
        rules = await self._ask_for_rules()
        if changes == self._changes:
            self._rules = (time.monotonic(), rules)
        return rules

    async def _ask_for_rules(self) -> ClusterRules:
        try:
            answer = await self._client.cluster.get_settings(
                include_defaults=True, filter_path="*.action.auto_create_index,*.cluster.blocks"
            )
        except AuthorizationException:
            return ClusterRules()  # then the cluster refuses after the inference
        levels = [answer.body.get(level) or {} for level in ("defaults", "persistent", "transient")]
        auto_create = [level["action"]["auto_create_index"] for level in levels if "action" in level]
        blocks: dict[str, Any] = {}
        for level in levels:
            blocks |= (level.get("cluster") or {}).get("blocks") or {}
        is_blocked = any(_is_true(blocks.get(name)) for name in _BLOCKS)
        return ClusterRules(str(auto_create[-1]) if auto_create else "true", is_blocked)

    async def pipelines(self) -> Mapping[str, Mapping[str, Any]]:
        """All ingest pipelines by name.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        if self._pipelines is not None and time.monotonic() - self._pipelines[0] < _FRESH_SECONDS:
            return self._pipelines[1]
        changes = self._changes
        try:
            found: Mapping[str, Mapping[str, Any]] = (await self._client.ingest.get_pipeline()).body
        except NotFoundError:  # what a cluster without any says
            found = {}
        if changes == self._changes:
            self._pipelines = (time.monotonic(), found)
        return found

    async def has_endpoint(self, inference_id: str) -> bool:
        """Whether the cluster itself has an inference endpoint of that id, whatever its licence; asked anew each time.

        Raises:
            ApiError, TransportError: the cluster refuses or does not answer.
        """
        try:
            await self._client.inference.get(inference_id=inference_id)
        except NotFoundError:
            return False
        return True

    def drop(self) -> None:
        """Forget everything: a change of mappings, aliases, templates or pipelines passed through."""
        self._changes += 1
        self._known.clear()
        self._writable.clear()
        self._rules = None
        self._pipelines = None


def write_index(name: str, indices: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Which of ``indices`` (an answer of the get index API) a write to ``name`` reaches; ``None`` when none does."""
    if name in indices:
        return name
    of_stream = [index for index, about in indices.items() if about.get("data_stream") == name]
    if of_stream:
        return max(of_stream, key=lambda index: index.rpartition("-")[2].zfill(20))
    behind = {index: (about.get("aliases") or {}).get(name) for index, about in indices.items()}
    chosen = [index for index, alias in behind.items() if alias and alias.get("is_write_index")]
    if chosen:
        return chosen[0]
    if len(indices) == 1:
        (index,) = indices
        alias = behind[index]
        return None if alias is not None and alias.get("is_write_index") is False else index
    return None


def _view(name: str, about: Mapping[str, Any]) -> IndexView:
    mapping = about.get("mappings") or {}
    index = (about.get("settings") or {}).get("index") or {}
    bindings, unread = read_bindings(mapping)
    return IndexView(
        name=name,
        mapping=mapping,
        bindings=bindings,
        semantic=semantic_fields(mapping, _DEFAULT_ENDPOINT),
        default_pipeline=_pipeline(index.get("default_pipeline")),
        final_pipeline=_pipeline(index.get("final_pipeline")),
        unread=unread,
        names=(name, *(about.get("aliases") or ()), *filter(None, [about.get("data_stream")])),
        may_refuse=_is_true(index.get("verified_before_close"))
        or any(_is_true((index.get("blocks") or {}).get(block)) for block in _BLOCKS),
        packs_vectors=_packs_vectors(index),
        was_resized=not _OF_RESIZED.isdisjoint(index),
    )


def _packs_vectors(settings: Mapping[str, Any]) -> bool:
    """Whether an index of these settings keeps indexed vectors beside its documents, and puts them in where one reads.

    Where it does not, a document shows its vector as it was written.
    """
    created = str((settings.get("version") or {}).get("created"))
    is_new = created.isdecimal() and int(created) >= _PACKS_VECTORS_SINCE
    return is_new and _is_true((settings.get("mapping") or {}).get("exclude_source_vectors", True))


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


def _pipeline(name: str | None) -> str | None:
    return None if name in (None, "_none") else name
