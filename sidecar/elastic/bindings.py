"""Bindings: which field of an index is filled from which text by which endpoint. They live in the cluster.

    {"_meta": {"sidecar": {"maps": ["text:text_sparse=.elser-2-elasticsearch", {"source": ["title", "text"], ...}]}}}

A ``semantic_text`` field is a binding by itself: its mapping names the endpoint and, by ``copy_to``, its sources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from sidecar.core.errors import IllegalArgumentError

META_KEY = "sidecar"
SEMANTIC_TEXT = "semantic_text"
_FORM = "SOURCE_FIELD[,SOURCE_FIELD...]:TARGET_FIELD=INFERENCE_ID"


class LongTexts(StrEnum):
    """What becomes of a text that is longer than the endpoint's model reads."""

    TRUNCATE = "truncate"
    FAIL = "fail"
    CHUNK = "chunk"


_Word = TypeVar("_Word", bound=StrEnum)


class OnFailure(StrEnum):
    """What becomes of a document whose inference failed."""

    FAIL = "fail"
    INDEX_PENDING = "index_pending"


@dataclass(frozen=True, slots=True)
class Binding:
    """``sources`` (dotted paths) are embedded by ``inference_id`` into the vector field ``target``.

    With ``passages`` the target lies in a nested field, one object per piece of the text. ``overwrite`` makes vectors
    anew that the document brings itself.
    """

    sources: tuple[str, ...]
    target: str
    inference_id: str
    passages: bool = False
    chunking_settings: Mapping[str, Any] | None = None
    long_texts: LongTexts = LongTexts.TRUNCATE
    on_failure: OnFailure = OnFailure.FAIL
    overwrite: bool = False

    @classmethod
    def parse(cls, value: object) -> Binding:
        """Reads one entry of ``maps``: a text ``SOURCE:TARGET=ID``, or an object with these fields.

        Raises:
            IllegalArgumentError: it is neither.
        """
        if isinstance(value, str):
            fields, equals, inference_id = value.strip().rpartition("=")
            sources, colon, target = fields.partition(":")
            names = tuple(name.strip() for name in sources.split(","))
            if not (equals and colon and all(names) and target.strip() and inference_id.strip()):
                raise IllegalArgumentError(f"[{value}] is not of the form {_FORM}")
            return cls(names, target.strip(), inference_id.strip())
        if isinstance(value, Mapping):
            return _from_object(value)
        raise IllegalArgumentError(f"a map is a text of the form {_FORM} or an object, not [{value}]")


def _from_object(value: Mapping[str, Any]) -> Binding:
    source, target, inference_id = (value.get(name) for name in ("source", "target", "inference_id"))
    names = (source,) if isinstance(source, str) else tuple(source) if isinstance(source, list) else ()
    is_named = bool(names) and all(isinstance(name, str) and name for name in names)
    if not (is_named and isinstance(target, str) and isinstance(inference_id, str)):
        raise IllegalArgumentError("a map needs [source], [target] and [inference_id]")
    chunking_settings = value.get("chunking_settings")
    if not isinstance(chunking_settings, Mapping | None):
        raise IllegalArgumentError(f"[chunking_settings] must be an object, not [{chunking_settings}]")
    return Binding(
        sources=names,
        target=target,
        inference_id=inference_id,
        passages=bool(value.get("passages", False)),
        chunking_settings=chunking_settings,
        long_texts=_one_of(LongTexts, "long_texts", value.get("long_texts", LongTexts.TRUNCATE)),
        on_failure=_one_of(OnFailure, "on_failure", value.get("on_failure", OnFailure.FAIL)),
        overwrite=bool(value.get("overwrite", False)),
    )


def _one_of(kind: type[_Word], name: str, value: Any) -> _Word:
    try:
        return kind(value)
    except ValueError:
        raise IllegalArgumentError(f"[{name}] must be one of [{', '.join(kind)}], not [{value}]") from None


def entry_of(binding: Binding) -> str | dict[str, Any]:
    """The entry of ``maps`` that :meth:`Binding.parse` reads as ``binding``: a text where that says it all."""
    plain = Binding(binding.sources, binding.target, binding.inference_id)
    if binding == plain:
        return f"{','.join(binding.sources)}:{binding.target}={binding.inference_id}"
    entry: dict[str, Any] = {"source": list(binding.sources), "target": binding.target}
    entry["inference_id"] = binding.inference_id
    for name in ("passages", "chunking_settings", "long_texts", "on_failure", "overwrite"):
        if getattr(binding, name) != getattr(plain, name):
            value = getattr(binding, name)
            entry[name] = str(value) if isinstance(value, StrEnum) else value
    return entry


def bound(meta: Mapping[str, Any] | None, added: Sequence[Binding]) -> dict[str, Any]:
    """The ``_meta`` of a mapping with further bindings; those of the same target are replaced, all else stays.

    Raises:
        IllegalArgumentError: an entry that is there cannot be read.
    """
    targets = {binding.target for binding in added}
    kept = [binding for binding in bindings_of({"_meta": meta or {}}) if binding.target not in targets]
    return _with_maps(meta, [*kept, *added])


def unbound(meta: Mapping[str, Any] | None, targets: Collection[str] | None = None) -> dict[str, Any]:
    """The ``_meta`` of a mapping without the bindings of ``targets``, or without any."""
    held = bindings_of({"_meta": meta or {}})
    return _with_maps(meta, [binding for binding in held if targets is not None and binding.target not in targets])


def _with_maps(meta: Mapping[str, Any] | None, bindings: Sequence[Binding]) -> dict[str, Any]:
    changed = dict(meta or {})
    ours = {**(changed.get(META_KEY) or {}), "maps": [entry_of(binding) for binding in bindings]}
    if not bindings:
        del ours["maps"]
    changed[META_KEY] = ours
    if not ours:
        del changed[META_KEY]
    return changed


@dataclass(frozen=True, slots=True)
class SemanticText:
    """A ``semantic_text`` field of a mapping; ``sources`` are the fields that are copied to it, without itself.

    ``path`` is where its own text stands in a document: the field it is a multi-field of, else the field itself.
    """

    name: str
    inference_id: str
    search_inference_id: str
    sources: tuple[str, ...] = ()
    model_settings: Mapping[str, Any] | None = None
    chunking_settings: Mapping[str, Any] | None = None
    path: str = ""


def bindings_of(mapping: Mapping[str, Any]) -> tuple[Binding, ...]:
    """The bindings in a mapping's ``_meta``; none where there are none.

    Raises:
        IllegalArgumentError: an entry cannot be read.
    """
    meta = (mapping.get("_meta") or {}).get(META_KEY) or {}
    if not isinstance(meta, Mapping):
        raise IllegalArgumentError(f"[_meta.{META_KEY}] must be an object, not [{meta}]")
    maps = meta.get("maps") or ()
    if not isinstance(maps, list | tuple):
        raise IllegalArgumentError(f"[_meta.{META_KEY}.maps] must be a list, not [{maps}]")
    return tuple(Binding.parse(entry) for entry in maps)


def semantic_fields(mapping: Mapping[str, Any], default_inference_id: str = "") -> tuple[SemanticText, ...]:
    """Every ``semantic_text`` field of a mapping, multi-fields included."""
    fields = list(_fields(mapping))
    copies: dict[str, list[str]] = {}
    for name, field, _ in fields:
        targets = field.get("copy_to") or ()
        for target in (targets,) if isinstance(targets, str) else targets:
            copies.setdefault(target, []).append(name)
    found = []
    for name, field, path in fields:
        if field.get("type") == SEMANTIC_TEXT:
            inference_id = field.get("inference_id") or default_inference_id
            found.append(
                SemanticText(
                    name=name,
                    inference_id=inference_id,
                    search_inference_id=field.get("search_inference_id") or inference_id,
                    sources=tuple(copies.get(path, ())),
                    model_settings=field.get("model_settings"),
                    chunking_settings=field.get("chunking_settings") or None,
                    path=path,
                )
            )
    return tuple(found)


def _fields(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Name and definition of every field, and the path at which its values stand."""
    for name, field in (mapping.get("properties") or {}).items():
        if isinstance(field, Mapping):
            path = above + name
            yield path, field, path
            for leaf, multi_field in (field.get("fields") or {}).items():
                if isinstance(multi_field, Mapping):
                    yield f"{path}.{leaf}", multi_field, path
            yield from _fields(field, f"{path}.")
