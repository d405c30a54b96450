"""What a mapping says of the texts to read and of ``_source``, checked before the first write.

A partial update writes a document anew from its ``_source``: what is left out there is lost. And a text that is not
there cannot be read: a field that only looks like one would leave every document without text.

Source: Elasticsearch's mapping reference, "_source field", "Alias field type", "copy_to", "Runtime fields".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sidecar.elastic.fields import copied_from, field_at
from sidecar.ingest.marker import MARKER_FIELD
from sidecar.ingest.stop import WrongFieldError

ACCEPT_SOURCE_LOSS = "--accept-source-loss"

_WITHOUT_TEXT = {
    "object": "is an object",
    "nested": "is a nested object",
    "flattened": "is a flattened object",
    "boolean": "holds no text",
    "binary": "holds no text",
    "dense_vector": "holds vectors",
    "sparse_vector": "holds vectors",
    "rank_features": "holds weights",
    "geo_point": "holds no text",
    "geo_shape": "holds no text",
    "rank_vectors": "holds vectors",
    "histogram": "holds no text",
    "aggregate_metric_double": "holds no text",
    "percolator": "holds a query",
    "integer_range": "holds a range",
    "long_range": "holds a range",
    "float_range": "holds a range",
    "double_range": "holds a range",
    "date_range": "holds a range",
}
_OPAQUE = ("flattened", "passthrough")


def check_whole_source(index: str, mapping: Mapping[str, Any], mode: str | None) -> None:
    """Raises :class:`WrongFieldError` unless ``_source`` holds documents whole; ``mode`` is the index setting's."""
    source = mapping.get("_source") or {}
    if str(source.get("enabled", "true")).lower() == "false" or mode == "disabled":
        raise WrongFieldError(
            f"index [{index}] keeps no _source: there is no text to read, and documents cannot be updated;"
            " index them anew with their vectors (sidecar index)"
        )
    for rule in ("includes", "excludes"):
        if source.get(rule):
            raise WrongFieldError(
                f"index [{index}] leaves fields out of _source ({rule} {list(source[rule])}): an update would remove"
                " them from every document that is written; reindex into an index with a whole _source, or, if"
                f" nothing of them is needed, say so with {ACCEPT_SOURCE_LOSS}"
            )


def check_sources(mappings: Mapping[str, Mapping[str, Any]], sources: Sequence[str]) -> None:
    """Raises :class:`WrongFieldError` for a source of which no document can hold a text.

    That is one that no mapping knows, and one that in some index never has a value in ``_source``.
    """
    for path in sources:
        if path.partition(".")[0] == MARKER_FIELD:
            raise WrongFieldError(f"source [{path}] is the marker, which says something else with every vector made")
        for index, mapping in mappings.items():
            if reason := why_no_text(mapping, path):
                raise WrongFieldError(f"source [{path}] of index [{index}] {reason}")
        if not any(is_known(mapping, path) for mapping in mappings.values()):
            names = ", ".join(list(mappings)[:3])
            raise WrongFieldError(
                f"source [{path}] is in no mapping of [{names}]; if the documents hold it all the same, map it first"
                ' ({"type": "text", "index": false} will do)'
            )


def is_known(mapping: Mapping[str, Any], path: str) -> bool:
    """Whether the mapping has the field, or a parent that holds what it likes."""
    if field_at(mapping, path) is not None or path in (mapping.get("runtime") or {}):
        return True
    names = path.split(".")
    for length in range(1, len(names)):
        parent = field_at(mapping, ".".join(names[:length]))
        if parent is not None and (
            parent.get("type") in _OPAQUE or str(parent.get("enabled", "true")).lower() == "false"
        ):
            return True
    return False


def why_no_text(mapping: Mapping[str, Any], path: str) -> str | None:
    """Why no document of an index can hold a text at ``path`` of its ``_source``; ``None`` where one may."""
    if reason := _left_out(mapping.get("_source") or {}, path):
        return reason
    field = field_at(mapping, path)
    if field is None:
        parent, _, leaf = path.rpartition(".")
        if leaf in ((field_at(mapping, parent) or {}).get("fields") or {}):
            return f"is a multi-field, whose text is that of [{parent}]; map that"
        runtime = (mapping.get("runtime") or {}).get(path)
        return "is a runtime field, which no document holds" if runtime and "script" in runtime else None
    kind = str(field.get("type", "object"))
    if kind == "alias":
        return f"is an alias of [{field.get('path')}]; map that"
    if kind in _WITHOUT_TEXT and str(field.get("enabled", "true")).lower() == "true":
        return _WITHOUT_TEXT[kind]
    if origin := copied_from(mapping, path):
        return f"gets its text from [{origin}] (copy_to) and has none in _source; map that"
    return None


def _left_out(source: Mapping[str, Any], path: str) -> str | None:
    includes, excludes = source.get("includes") or (), source.get("excludes") or ()
    if any(_matches(pattern, path) for pattern in excludes):
        return "is left out of _source (excludes)"
    if includes and not any(_matches(pattern, path) or pattern.startswith(f"{path}.") for pattern in includes):
        return "is left out of _source (includes)"
    return None


def _matches(pattern: str, path: str) -> bool:
    """Whether a rule of ``_source`` names the field or something above it; ``*`` also stands for dots."""
    names = path.split(".")
    return any(_wild(pattern, ".".join(names[:length])) for length in range(1, len(names) + 1))


def _wild(pattern: str, text: str) -> bool:
    parts = pattern.split("*")
    if len(parts) == 1:
        return pattern == text
    if not text.startswith(parts[0]) or not text.endswith(parts[-1]):
        return False
    place = len(parts[0])
    for part in parts[1:-1]:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return place <= len(text) - len(parts[-1])
