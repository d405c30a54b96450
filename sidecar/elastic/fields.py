"""Vector fields of a mapping: how they are written for a server, found and put together.

Source: Elasticsearch's mapping reference, "Sparse vector field type" and "Dense vector field type".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.tasks import ElementType, Similarity
from sidecar.elastic.version import ServerVersion

MOST_DIMENSIONS = 4096
"""The limit from 8.11 on."""


def sparse_field(version: ServerVersion) -> dict[str, Any]:
    """A ``sparse_vector`` field that keeps every query token.

    From 8.19 and 9.1 on an index prunes query tokens by default, with thresholds tuned for ELSER; other models lose
    tokens they need.
    """
    field: dict[str, Any] = {"type": "sparse_vector"}
    if version.has_sparse_index_options:
        field["index_options"] = {"prune": False}
    return field


def dense_field(
    version: ServerVersion,
    dimensions: int,
    *,
    similarity: Similarity = Similarity.COSINE,
    element_type: ElementType = ElementType.FLOAT,
    index_type: str | None = None,
) -> dict[str, Any]:
    """An indexed ``dense_vector`` field; ``index_type`` defaults to ``int8_hnsw`` for floats where the server has it.

    Named here rather than left to the server, whose default changed twice (8.14 and 9.1).
    """
    field: dict[str, Any] = {"type": "dense_vector", "dims": dimensions, "index": True, "similarity": str(similarity)}
    if element_type is not ElementType.FLOAT:
        field["element_type"] = str(element_type)
    if element_type is ElementType.BIT:
        field["similarity"] = str(Similarity.L2_NORM)  # the only one bit vectors have
    if index_type is None:
        quantised = element_type is ElementType.FLOAT and version.has_int8_hnsw
        index_type = "int8_hnsw" if quantised else "hnsw"
    return field | {"index_options": {"type": index_type}}


def field_at(mapping: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """The field at a dotted ``path`` of a mapping, ``None`` when there is none; dotted names are understood."""
    properties = mapping.get("properties", {})
    names = path.split(".")
    for length in range(1, len(names) + 1):
        field = properties.get(".".join(names[:length]))
        if field is None:
            continue
        if length == len(names):
            return dict(field)
        found = field_at(field, ".".join(names[length:]))
        if found is not None:
            return found
    return None


def nested_parent(mapping: Mapping[str, Any], path: str) -> str | None:
    """The nearest parent of ``path`` that is mapped as ``nested``, if any."""
    names = path.split(".")
    for length in range(len(names) - 1, 0, -1):
        parent = ".".join(names[:length])
        field = field_at(mapping, parent)
        if field is not None and field.get("type") == "nested":
            return parent
    return None


def parent_in_the_way(mapping: Mapping[str, Any], path: str) -> tuple[str, str] | None:
    """The first parent of ``path`` that is mapped as something without indexed fields, with its type."""
    names = path.split(".")
    for length in range(1, len(names)):
        parent = ".".join(names[:length])
        field = field_at(mapping, parent)
        if field is None:
            continue
        if field.get("type", "object") not in ("object", "nested", "passthrough"):
            return parent, str(field["type"])
        if str(field.get("enabled", True)).lower() == "false":
            return parent, "object, enabled: false"
    return None


def runtime_field_over(mapping: Mapping[str, Any], path: str) -> str | None:
    """The runtime field that has the name of ``path`` or of a parent of it, if any."""
    names = path.split(".")
    runtime: Mapping[str, Any] = mapping.get("runtime") or {}
    above = (".".join(names[:length]) for length in range(1, len(names) + 1))
    return next((name for name in above if name in runtime), None)


def field_below(mapping: Mapping[str, Any], path: str, above: str = "") -> str | None:
    """A field whose name goes on where that of ``path`` ends, though no object lies between (``subobjects: false``)."""
    for name in mapping.get("runtime") or ():
        if name.startswith(f"{path}."):
            return str(name)
    properties: Mapping[str, Any] = mapping.get("properties", {})
    for name, field in properties.items():
        full = above + name
        if full.startswith(f"{path}."):
            return full
        if path.startswith(f"{full}.") and (found := field_below(field, path, f"{full}.")):
            return found
    return None


def keeps_dotted_names(mapping: Mapping[str, Any], path: str) -> bool:
    """Whether objects on the way to ``path`` are dissolved into dotted names (``subobjects``), nested ones as well."""
    names = path.split(".")
    parents = [field_at(mapping, ".".join(names[:length])) for length in range(1, len(names))]
    return any(str(level.get("subobjects", True)).lower() != "true" for level in (mapping, *parents) if level)


def copied_from(mapping: Mapping[str, Any], path: str, above: str = "") -> str | None:
    """The first field whose values are copied to ``path`` (``copy_to``), ``None`` when there is none."""
    properties: Mapping[str, Any] = mapping.get("properties", {})
    for name, field in properties.items():
        copies = field.get("copy_to", ())
        if path in ([copies] if isinstance(copies, str) else copies):
            return above + name
        if found := copied_from(field, path, f"{above}{name}."):
            return found
    return None


def nest(path: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """``properties`` that hold ``field`` at a dotted path."""
    *parents, leaf = path.split(".")
    properties: dict[str, Any] = {leaf: dict(field)}
    for name in reversed(parents):
        properties = {name: {"properties": properties}}
    return properties


_REPEATED = ("type", "include_in_parent", "include_in_root")
"""What cannot be updated in a nested field, and counts as changed where it is left out."""


def nest_into(mapping: Mapping[str, Any], path: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`nest`, with what Elasticsearch wants repeated of parents that are nested in ``mapping``."""
    *parents, leaf = path.split(".")
    properties: dict[str, Any] = {leaf: dict(field)}
    for length in range(len(parents), 0, -1):
        there = field_at(mapping, ".".join(parents[:length])) or {}
        own = {name: there[name] for name in _REPEATED if name in there} if there.get("type") == "nested" else {}
        properties = {parents[length - 1]: {**own, "properties": properties}}
    return properties


def merge_properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Both sets of ``properties`` in one, objects merged."""
    merged = dict(one)
    for name, value in other.items():
        mine = merged.get(name)
        merged[name] = merge_properties(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged
