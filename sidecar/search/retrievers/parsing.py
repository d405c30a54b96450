"""From a ``retriever`` of a search body to a tree, or to Elasticsearch's complaint about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.core.chunking import parse_chunking_settings
from sidecar.core.errors import (
    ActionRequestValidationError,
    IllegalArgumentError,
    OtherError,
    SidecarError,
    XContentParseError,
)
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.time_values import parse_time_value
from sidecar.search.auto import PARAMETERS as AUTO_PARAMETERS
from sidecar.search.auto import auto_retriever
from sidecar.search.fusion import Normalizer
from sidecar.search.retrievers.reading import Locate, Path, Read, Reader, nowhere, token_of
from sidecar.search.retrievers.short_form import expanded, refusals
from sidecar.search.retrievers.tree import (
    DEFAULT_RANK_CONSTANT,
    DEFAULT_RERANK_ENDPOINT,
    DEFAULT_WINDOW,
    NATIVE,
    OURS,
    RERANKERS_OF_THE_CLUSTER,
    Child,
    ChunkRescorer,
    Fused,
    Native,
    Node,
    Over,
    Pinned,
    Reranked,
)
from sidecar.search.scope import SearchScope

_COMMON: Mapping[str, Read] = {"filter": Reader.filters, "_name": Reader.text, "min_score": Reader.decimal}


def kinds_of(tree: Any) -> set[str]:
    """The kinds of all retrievers in a tree, as far as it is well formed."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict) and item:
            kind, body = next(iter(item.items()))
            found.add(kind)
            if isinstance(body, dict):
                waiting.append(body.get("retriever"))
                below = body.get("retrievers")
                for child in below if isinstance(below, list) else ():
                    waiting.append(child.get("retriever", child) if isinstance(child, dict) else child)
    return found


def needs_us(tree: Any) -> bool:
    """Whether a tree holds a retriever that is executed here, and none that only the cluster knows."""
    kinds = kinds_of(tree)
    return bool(kinds & OURS) and kinds <= NATIVE | OURS


@dataclass(frozen=True, slots=True)
class TreeParser:
    """``scope`` resolves the short form ``query`` and ``fields``."""

    scope: SearchScope
    locate: Locate = nowhere

    def parse(self, tree: Any, path: Path = ("retriever",)) -> Node:
        """The tree.

        Raises:
            XContentParseError, IllegalArgumentError, ActionRequestValidationError: with Elasticsearch's words.
        """
        if not isinstance(tree, dict) or not tree:
            raise XContentParseError(
                f"[{self.locate(path)}] retriever doesn't support values of type: {token_of(tree)}"
            )
        kind, body = next(iter(tree.items()))
        if not isinstance(body, dict):
            text = f"[{kind}] retriever malformed, no [START_OBJECT] after retriever name"
            raise OtherError("parsing_exception", text, is_elasticsearch_level=True)
        node = self._node(kind, body, path)
        if len(tree) > 1:
            text = f"[{kind}] malformed retriever, expected [END_OBJECT] but found [FIELD_NAME]"
            raise OtherError("parsing_exception", text, is_elasticsearch_level=True)
        return node

    def _node(self, kind: str, body: dict[str, Any], path: Path) -> Node:
        here = (*path, kind)
        if kind == "auto":
            return self._auto(body, here)
        if kind in OURS:
            return self._own(Reader(kind, body, here, self.locate))
        name = body.get("_name")
        least = body.get("min_score")
        label = name if isinstance(name, str) else None
        score = float(least) if isinstance(least, int | float) and not isinstance(least, bool) else None
        if kind in RERANKERS_OF_THE_CLUSTER and needs_us(body.get("retriever")):
            filters = body.get("filter", ())
            return Over(
                kind,
                {key: value for key, value in body.items() if key not in ("retriever", "filter")},
                self._below_rescorer(kind, body, here),
                tuple(filters) if isinstance(filters, list | tuple) else (filters,),
                label,
                score,
            )
        return Native(kind, body, label, score)

    def _own(self, reader: Reader) -> Node:
        """A retriever of ours; only here is known what is wrong with its parameters."""
        read = {
            "rrf": self._rrf,
            "linear": self._linear,
            "pinned": self._pinned,
            "text_similarity_reranker": self._reranked,
        }
        try:
            return read[reader.kind](reader)
        except SidecarError as error:
            if "is_of_the_form" not in vars(error):
                error.is_of_the_form = True
            raise

    def _below(self, reader: Reader, name: str, tree: Any, path: Path) -> Node:
        """A child; what is wrong with its form is wrong with the parameter that holds it."""
        try:
            return self.parse(tree, path)
        except (XContentParseError, IllegalArgumentError, OtherError) as error:
            cause: SidecarError = error
            if (
                name == "retriever"
                and isinstance(tree, dict)
                and isinstance(tree.get(kind := next(iter(tree), "")), dict)
            ):
                cause = Reader("retriever", tree, path, self.locate).failed(kind, error)
            failed = reader.failed(name, cause)
            failed.is_of_the_form = error.is_of_the_form
            raise failed from error

    def _below_rescorer(self, kind: str, body: dict[str, Any], path: Path) -> Node:
        """The child of a retriever of the cluster's; a ``rescorer`` tells what is wrong with it twice."""
        reader = Reader(kind, body, path, self.locate)
        try:
            return self._below(reader, "retriever", body["retriever"], (*path, "retriever"))
        except XContentParseError as error:
            if kind != "rescorer":
                raise
            whole = OtherError("parsing_exception", error.reason, cause=error, is_elasticsearch_level=True)
            whole.is_of_the_form = error.is_of_the_form
            raise whole from error

    def _auto(self, body: dict[str, Any], path: Path) -> Node:
        unknown = [name for name in body if name not in AUTO_PARAMETERS]
        if unknown:
            raise Reader("auto", body, path, self.locate).complaint(unknown[0], f"[auto] unknown field [{unknown[0]}]")
        return self.parse(auto_retriever(self.scope, body), path)

    # --- rrf and linear

    def _rrf(self, reader: Reader) -> Node:
        fields: dict[str, Read] = {
            **_COMMON,
            "retrievers": Reader.things,
            "query": Reader.text,
            "fields": Reader.texts,
            "rank_constant": Reader.whole,
            "rank_window_size": Reader.whole,
        }
        values = reader.read(fields)
        constant = values.get("rank_constant", DEFAULT_RANK_CONSTANT)
        if constant < 1:
            raise IllegalArgumentError("[rank_constant] must be greater or equal to [1] for [rrf]")
        return self._fused(reader, values, constant)

    def _linear(self, reader: Reader) -> Node:
        fields: dict[str, Read] = {
            **_COMMON,
            "retrievers": Reader.things,
            "query": Reader.text,
            "fields": Reader.texts,
            "normalizer": _normalizer,
            "rank_window_size": Reader.whole,
        }
        values = reader.read(fields)
        if values.get("min_score", 0) < 0:
            raise IllegalArgumentError(f"[min_score] must be greater than or equal to 0, was: [{values['min_score']}]")
        return self._fused(reader, values, DEFAULT_RANK_CONSTANT)

    def _fused(self, reader: Reader, values: dict[str, Any], constant: int) -> Node:
        kind, window = reader.kind, values.get("rank_window_size", DEFAULT_WINDOW)
        found = refusals(kind, values)
        if found:
            raise ActionRequestValidationError(*found)
        path: Path = (*reader.path, "retrievers")
        is_short = "query" in values
        items = expanded(self.scope, kind, values, window, constant) if is_short else values["retrievers"]
        children = tuple(self._child(reader, item, (*path, place)) for place, item in enumerate(items))
        return Fused(
            kind,
            children,
            window,
            constant,
            values.get("filter", ()),
            values.get("_name"),
            values.get("min_score"),
        )

    def _child(self, reader: Reader, item: Any, path: Path) -> Child:
        if not isinstance(item, dict) or "retriever" not in item:
            if reader.kind == "linear":
                raise reader.failed("retrievers", IllegalArgumentError("Required [retriever]"))
            return Child(self._below(reader, "retrievers", item, path))
        fields: dict[str, Read] = {"retriever": Reader.thing, "weight": Reader.decimal}
        if reader.kind == "linear":
            fields["normalizer"] = _normalizer
        own = Reader(reader.kind, item, path, self.locate)
        try:
            values = own.read(fields)
        except IllegalArgumentError as error:
            raise reader.failed("retrievers", error) from None
        weight = values.get("weight", 1.0)
        if weight < 0:
            text = f"[weight] must be non-negative, found [{weight}]"
            raise reader.failed("retrievers", IllegalArgumentError(text))
        node = self._below(reader, "retrievers", values["retriever"], (*path, "retriever"))
        return Child(node, weight, values.get("normalizer", Normalizer.NONE))

    # --- pinned

    def _pinned(self, reader: Reader) -> Node:
        fields: dict[str, Read] = {
            **_COMMON,
            "ids": Reader.texts,
            "docs": Reader.things,
            "retriever": Reader.thing,
            "rank_window_size": Reader.whole,
        }
        values = reader.read(fields, ("retriever",))
        ids, docs = values.get("ids"), values.get("docs")
        if ids is not None and docs is not None:
            raise IllegalArgumentError("Both 'ids' and 'docs' cannot be specified at the same time")
        if not ids and not docs:
            raise IllegalArgumentError("Either 'ids' or 'docs' must be provided and non-empty for pinned retriever")
        pins = tuple((None, name) for name in ids) if ids else tuple(_document(doc) for doc in docs or ())
        if len(set(pins)) != len(pins):
            raise IllegalArgumentError("duplicate id found" if ids else "duplicate doc found")
        child = self._below(reader, "retriever", values["retriever"], (*reader.path, "retriever"))
        if isinstance(child, Native) and child.is_sorted and not _by_score(child.body["sort"]):
            raise IllegalArgumentError("[pinned] retriever only supports sorting by score")
        return Pinned(
            child,
            pins,
            values.get("rank_window_size", DEFAULT_WINDOW),
            values.get("filter", ()),
            values.get("_name"),
            values.get("min_score"),
        )

    # --- text_similarity_reranker

    def _reranked(self, reader: Reader) -> Node:
        fields: dict[str, Read] = {
            **_COMMON,
            "retriever": Reader.thing,
            "field": Reader.text,
            "inference_id": Reader.text,
            "inference_text": Reader.text,
            "rank_window_size": Reader.whole,
            "chunk_rescorer": _chunk_rescorer,
            "allow_rerank_failures": Reader.boolean,
            "failures_allowed": Reader.boolean,
            "budget": _budget,
            "on_failure": _on_failure,
        }
        values = reader.read(fields, ("retriever", "inference_text", "field"))
        return Reranked(
            self._below(reader, "retriever", values["retriever"], (*reader.path, "retriever")),
            values["field"],
            values["inference_text"],
            values.get("inference_id", DEFAULT_RERANK_ENDPOINT),
            values.get("rank_window_size", DEFAULT_WINDOW),
            values.get("chunk_rescorer"),
            values.get("allow_rerank_failures", False),
            values.get("on_failure", False),
            values.get("budget"),
            values.get("filter", ()),
            values.get("_name"),
            values.get("min_score"),
        )


def _normalizer(reader: Reader, name: str) -> Normalizer:
    value = reader.text(name)
    try:
        return Normalizer(value)
    except ValueError:
        raise IllegalArgumentError(f"Unknown normalizer [{value}]") from None


def _chunk_rescorer(reader: Reader, name: str) -> ChunkRescorer:
    value = reader.thing(name)
    settings = value.get("chunking_settings")
    size = value.get("size", 1)
    cause: SidecarError | None = None
    if isinstance(size, bool) or not isinstance(size, int):
        size = Reader(name, value, (*reader.path, name), reader.locate).whole("size")
    if settings is not None and not isinstance(settings, dict):
        raise reader.failed(
            name, Reader(name, value, (*reader.path, name), reader.locate).unsupported("chunking_settings", settings)
        )
    settings = settings or None
    if size < 1:
        cause = IllegalArgumentError("size must be greater than 0")
    elif settings is not None:
        try:
            settings = parse_chunking_settings(_with_defaults(settings), generation=DEFAULT_GENERATION)
        except SidecarError as error:
            cause = error
    if cause is not None:
        wrong = XContentParseError(f"Failed to build [{name}] after last required field arrived", cause=cause)
        known = [key for key in value if key in ("size", "chunking_settings")]
        if len(known) > 1:  # it is built as soon as it has all that it can have
            wrong = Reader(name, value, (*reader.path, name), reader.locate).failed(known[-1], wrong)
        raise reader.failed(name, wrong)
    return ChunkRescorer(size, settings)


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Given only a size, the rest is by sentences without overlap."""
    if "strategy" in settings:
        return settings
    if settings.keys() != {"max_chunk_size"}:
        raise IllegalArgumentError("Can't generate Chunker without ChunkingStrategy provided")
    if settings["max_chunk_size"] is None:
        raise IllegalArgumentError("max_chunk_size must not be null")
    return {"strategy": "sentence", "sentence_overlap": 0, **settings}


def _budget(reader: Reader, name: str) -> float:
    value = reader.text(name)
    try:
        return parse_time_value(value, name).seconds
    except SidecarError as error:
        raise reader.failed(name, error) from None


def _on_failure(reader: Reader, name: str) -> bool:
    value = reader.text(name)
    if value not in ("fail", "keep_order"):
        raise reader.failed(name, IllegalArgumentError(f"[{name}] is [fail] or [keep_order], found [{value}]"))
    return value == "keep_order"


def _document(value: Any) -> tuple[str | None, str]:
    if not isinstance(value, dict) or not isinstance(value.get("_id"), str):
        raise IllegalArgumentError("Document requires a non-empty [_id]")
    index = value.get("_index")
    return (index if isinstance(index, str) else None, value["_id"])


def _by_score(sort: Any) -> bool:
    items = sort if isinstance(sort, list) else [sort]
    return all(item == "_score" or (isinstance(item, dict) and list(item) == ["_score"]) for item in items)
