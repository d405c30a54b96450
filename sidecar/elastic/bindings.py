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
"""In ``_meta`` the bindings lie under it, in documents the marker: no binding may fill a field of that name."""
SEMANTIC_TEXT = "semantic_text"
_MOST_SHOWN = 100
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
            IllegalArgumentError: it is neither, names no field, or would fill a field of its own sources.
        """
        if isinstance(value, str):
            binding = _from_text(value)
        elif isinstance(value, Mapping):
            binding = _from_object(value)
        else:
            raise IllegalArgumentError(f"a map is a text of the form {_FORM} or an object, not {_shown(value)}")
        _check_fields(binding)
        return binding

    @property
    def place(self) -> str:
        """The path that is written: the nested field of passages, else the vector field itself."""
        return self.target.rpartition(".")[0] if self.passages else self.target


@dataclass(frozen=True, slots=True)
class UnreadBinding:
    """An entry of ``maps`` that cannot be followed, and why.

    ``target`` and ``sources`` are what it says of its fields; ``None`` and none where that cannot be known: it may be
    any field.
    """

    reason: str
    target: str | None = None
    sources: tuple[str, ...] = ()


def _from_text(value: str) -> Binding:
    fields, equals, inference_id = value.strip().rpartition("=")
    sources, colon, target = fields.partition(":")
    names = tuple(name.strip() for name in sources.split(","))
    if not (equals and colon and all(names) and target.strip() and inference_id.strip()):
        raise IllegalArgumentError(f"{_shown(value)} is not of the form {_FORM}")
    return Binding(names, target.strip(), inference_id.strip())


def _fields_named(value: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    source, target = value.get("source"), value.get("target")
    names = (source,) if isinstance(source, str) else tuple(source) if isinstance(source, list) else ()
    is_named = all(isinstance(name, str) and name for name in names)
    return names if is_named else (), target if isinstance(target, str) and target else None


def _from_object(value: Mapping[str, Any]) -> Binding:
    (names, target), inference_id = _fields_named(value), value.get("inference_id")
    if not (names and target is not None and isinstance(inference_id, str) and inference_id):
        raise IllegalArgumentError("a map needs [source], [target] and [inference_id]")
    chunking_settings = value.get("chunking_settings")
    if not isinstance(chunking_settings, Mapping | None):
        raise IllegalArgumentError(f"[chunking_settings] must be an object, not {_shown(chunking_settings)}")
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
        raise IllegalArgumentError(f"[{name}] must be one of [{', '.join(kind)}], not {_shown(value)}") from None


def _check_fields(binding: Binding) -> None:
    for path in (*binding.sources, binding.target):
        if not all(path.split(".")):
            raise IllegalArgumentError(f"{_shown(path)} is not the name of a field")
    if binding.passages and not binding.place:
        raise IllegalArgumentError(f"passages lie in a nested field, so their target is [FIELD.{binding.target}]")
    if overlap(binding.place, META_KEY):
        raise IllegalArgumentError(f"the field [{META_KEY}] is kept for the marker")
    for path in binding.sources:
        if overlap(binding.place, path):
            raise IllegalArgumentError(f"target [{binding.target}] would overwrite its own source field [{path}]")


def overlap(one: str, other: str) -> bool:
    """Whether two dotted paths are the same field, or one lies in the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _shown(value: object) -> str:
    """A value as messages show it, on one line and not in full length."""
    text = " ".join(str(value).split())
    return f"[{text}]" if len(text) <= _MOST_SHOWN else f"[{text[:_MOST_SHOWN]}...]"


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
        IllegalArgumentError: an entry that is there cannot be read, or two of them do not go together.
    """
    targets = {binding.target for binding in added}
    kept = [entry for entry, read in _entries(meta) if read.target not in targets]
    changed = _with_maps(meta, [*kept, *map(entry_of, added)])
    bindings_of({"_meta": changed})
    return changed


def unbound(meta: Mapping[str, Any] | None, targets: Collection[str] | None = None) -> dict[str, Any]:
    """The ``_meta`` of a mapping without the bindings of ``targets``, or without any, readable or not.

    Raises:
        IllegalArgumentError: ``targets`` are named, and there is no list of bindings to look for them.
    """
    if targets is None:
        return _with_maps(meta, [])
    return _with_maps(meta, [entry for entry, read in _entries(meta) if read.target not in targets])


def _with_maps(meta: Mapping[str, Any] | None, entries: Sequence[Any]) -> dict[str, Any]:
    changed = dict(meta or {})
    held = changed.get(META_KEY)
    ours = {**(held if isinstance(held, Mapping) else {}), "maps": list(entries)}
    if not entries:
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
        IllegalArgumentError: an entry cannot be followed.
    """
    bindings, unread = read_bindings(mapping)
    if unread:
        raise IllegalArgumentError(unread[0].reason)
    return bindings


def read_bindings(mapping: Mapping[str, Any]) -> tuple[tuple[Binding, ...], tuple[UnreadBinding, ...]]:
    """The bindings in a mapping's ``_meta`` that can be followed, and those that cannot."""
    try:
        read = [read for _, read in _entries(mapping.get("_meta"))]
    except IllegalArgumentError as error:
        return (), (UnreadBinding(str(error.reason)),)
    unread = [one for one in read if isinstance(one, UnreadBinding)]
    held: list[Binding] = []
    for one in read:
        if isinstance(one, Binding) and one not in held:
            held.append(one)
    conflicts = {id(one): reason for one in held if (reason := _conflict(one, held)) is not None}
    unread += [UnreadBinding(conflicts[id(one)], one.target, one.sources) for one in held if id(one) in conflicts]
    return tuple(one for one in held if id(one) not in conflicts), tuple(unread)


def _entries(meta: Mapping[str, Any] | None) -> list[tuple[Any, Binding | UnreadBinding]]:
    """Every entry of ``maps`` as it stands and as it is read; raises where there is something else in their place."""
    held = (meta or {}).get(META_KEY) or {}
    if not isinstance(held, Mapping):
        raise IllegalArgumentError(f"[_meta.{META_KEY}] must be an object, not {_shown(held)}")
    maps = held.get("maps") or ()
    if not isinstance(maps, list | tuple):
        raise IllegalArgumentError(f"[_meta.{META_KEY}.maps] must be a list, not {_shown(maps)}")
    return [(entry, _read(entry)) for entry in maps]


def _read(entry: Any) -> Binding | UnreadBinding:
    try:
        return Binding.parse(entry)
    except IllegalArgumentError as error:
        sources, target = _fields_said(entry)
        reason = f"[_meta.{META_KEY}.maps]: {error.reason}"
        return UnreadBinding(reason, target, sources if target is not None else ())


def _fields_said(entry: Any) -> tuple[tuple[str, ...], str | None]:
    """Sources and target of an entry that is not a binding, as far as it says them."""
    if isinstance(entry, Mapping):
        return _fields_named(entry)
    try:
        binding = _from_text(entry) if isinstance(entry, str) else None
    except IllegalArgumentError:
        binding = None
    return ((), None) if binding is None else (binding.sources, binding.target)


def _conflict(binding: Binding, held: Sequence[Binding]) -> str | None:
    """Why a binding does not go together with the others."""
    for other in held:
        if other is binding:
            continue
        if overlap(binding.target, other.target):
            return f"[_meta.{META_KEY}.maps]: targets [{binding.target}] and [{other.target}] overlap"
        for path in binding.sources:
            if overlap(other.place, path):
                return f"[_meta.{META_KEY}.maps]: source [{path}] of [{binding.target}] is itself filled by a map"
    return None


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
