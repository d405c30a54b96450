"""One document of a write: which texts it wants embedded, and its source with what came of them.

Rules: a field's own ``_inference_fields`` are kept as they are; a vector that the document brings is kept where the
marker says that it fits the text, or where there is none (it is the user's own); fields without text lose theirs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson

from sidecar.core.errors import ResourceNotFoundError, SidecarError, StatusError
from sidecar.elastic.bindings import LongTexts, OnFailure, SemanticText
from sidecar.elastic.source import SEPARATOR, text_at, values_at, well_formed
from sidecar.front.embedding import Vectors, inference_failure
from sidecar.front.json_members import Change, Into, appended, changed
from sidecar.front.source_text import SourceText
from sidecar.front.targets import SemanticTarget, Unfillable, VectorTarget, WritePlan
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.marker import MARKER_FIELD, Marker, Stamp, input_hash
from sidecar.ingest.pieces import Piece, halved
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, Stretch, chunks_of, inference_results, stretches
from sidecar.ingest.semantic_values import ABSENT, NULL, texts_of, value_at
from sidecar.ingest.vector import UnusableVectorError, merged_value

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _SourcePieces:
    """The pieces of one source field with their offsets."""

    source: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class _VectorWork:
    """A vector to be made, or (without pieces) to be taken away; with an ``error`` it cannot be made."""

    target: VectorTarget
    pieces: tuple[Piece, ...]
    stamp: Stamp | None
    error: SidecarError | None = None


@dataclass(slots=True)
class Filling:
    """What a document wants. ``needs_stored`` says that the stored document must be read to know it.

    ``notes`` are for the caller, as warnings; so is ``cut``, how many texts of each field the model did not read whole.
    """

    source: SourceText
    plan: WritePlan
    is_partial: bool
    marker: Marker
    semantic: list[tuple[SemanticTarget, list[_SourcePieces]]] = field(default_factory=list)
    vectors: list[_VectorWork] = field(default_factory=list)
    needs_stored: bool = False
    notes: set[str] = field(default_factory=set)
    cut: Counter[str] = field(default_factory=Counter)

    def texts(self) -> Iterator[tuple[EndpointProfile, str]]:
        """Every text to be embedded, with its endpoint."""
        for target, sources in self.semantic:
            for pieces in sources:
                for stretch in pieces.stretches:
                    for text in stretch.piece.chunks:
                        yield target.profile, text
        for work in self.vectors:
            for piece in work.pieces:
                for text in piece.chunks:
                    yield work.target.profile, text

    @property
    def is_idle(self) -> bool:
        """Whether the document goes on as it came."""
        return not self.semantic and not self.vectors

    @property
    def wanted_vectors(self) -> frozenset[str]:
        """The names of the vector fields that are to be made."""
        return frozenset(work.target.name for work in self.vectors if work.pieces)

    def give_up(self, name: str, error: SidecarError) -> None:
        """Makes no vector for a field, as if its inference had failed with ``error``.

        Raises:
            SidecarError: ``error``, where the binding does not say that the document is stored all the same.
        """
        for position, work in enumerate(self.vectors):
            if work.target.name == name:
                if work.target.binding.on_failure is not OnFailure.INDEX_PENDING:
                    raise error
                self.vectors[position] = replace(work, pieces=(), error=error)


def examine(
    source: SourceText,
    plan: WritePlan,
    *,
    is_partial: bool = False,
    whole: SourceText | None = None,
    marker: Marker | None = None,
) -> Filling:
    """What the document wants; ``is_partial`` for the ``doc`` of an update, which holds changed fields only.

    ``whole`` and ``marker`` are those of the document that the update will leave, where it was read.

    Raises:
        SidecarError: a value that Elasticsearch refuses to embed, a text that cannot be cut, or one for a field that
            cannot be filled.
    """
    filling = Filling(source, plan, is_partial, marker or Marker.read(source.document))
    for unfillable in plan.unfillable:
        if _would_leave_empty(source.document, unfillable, is_partial=is_partial):
            raise unfillable.error
    brought = source.document.get(INFERENCE_FIELDS, {})
    if isinstance(brought, dict):
        for field_without in plan.missing:
            if field_without.name not in brought:
                _refuse_without_endpoint(source, field_without)
        for semantic in plan.semantic:
            if semantic.name not in brought:
                _examine_semantic(filling, semantic)
    for target in plan.vectors:
        _examine_vector(filling, target, whole)
    if whole is not None:
        return filling
    touched = len({work.target.name for work in filling.vectors})
    if is_partial and touched and touched < len(plan.vectors) and plan.has_marker:
        filling.needs_stored = True  # the marker is replaced whole, and holds the other fields' entries as well
    return filling


async def examined(
    source: SourceText,
    plan: WritePlan,
    *,
    is_partial: bool = False,
    whole: SourceText | None = None,
    marker: Marker | None = None,
) -> Filling:
    """As :func:`examine`, beside the event loop where tokens are counted."""
    look = partial(examine, source, plan, is_partial=is_partial, whole=whole, marker=marker)
    return await asyncio.to_thread(look) if plan.counts_tokens else look()


def _would_leave_empty(document: Mapping[str, Any], unfillable: Unfillable, *, is_partial: bool) -> bool:
    """Whether a field that cannot be filled would be without the vector of its text, or with that of an older one."""
    if unfillable.place is None or not unfillable.sources:
        return True
    is_brought = any(value is not None for value in values_at(document, unfillable.place))
    if is_brought and not unfillable.overwrite:
        return False
    if is_partial:
        return any(True for path in unfillable.sources for _ in values_at(document, path))
    return any(text_at(document, path) is not None for path in unfillable.sources)


def _refuse_without_endpoint(source: SourceText, mapped: SemanticText) -> None:
    for path in dict.fromkeys((mapped.path, *mapped.sources)):
        if any(text.strip() for text in texts_of(mapped.name, value_at(source.document, path))):
            raise ResourceNotFoundError(f"Inference id [{mapped.inference_id}] not found for field [{mapped.name}]")


def _examine_semantic(filling: Filling, target: SemanticTarget) -> None:
    found: list[_SourcePieces] = []
    for path in target.sources:
        value = value_at(filling.source.document, path)
        if value is ABSENT:
            continue
        pieces = stretches(target.name, path, value, target.splitter)
        if pieces or filling.is_partial or (filling.plan.fills_blanks and value is not NULL):
            found.append(_SourcePieces(path, tuple(pieces)))
    if found:
        filling.semantic.append((target, found))


def _examine_vector(filling: Filling, target: VectorTarget, whole: SourceText | None) -> None:
    document, binding = filling.source.document, target.binding
    if filling.is_partial:
        present = [any(True for _ in values_at(document, path)) for path in binding.sources]
        if not any(present):
            return
        if not all(present) and whole is None:
            filling.needs_stored = True
    read = document if whole is None else whole.document
    texts = [text for path in binding.sources if (text := text_at(read, path)) is not None]
    text = well_formed(SEPARATOR.join(texts)) if texts else None
    stamp = filling.marker.stamps.get(target.name)
    made = None
    if text is not None and (stamp is not None or filling.plan.has_marker):
        origin = target.origin if filling.plan.marks_source else None
        made = Stamp(target.model, input_hash(text, *target.circumstances), origin)
    if any(value is not None for value in values_at(document, target.place)):
        if stamp is None and not binding.overwrite:
            filling.notes.add(
                f"field [{target.name}] was kept as the document brought it, without a marker that says of which text"
            )
            return
        if stamp is not None and made is not None and stamp.fits(made):
            return
    elif text is None and not filling.is_partial and stamp is None:
        return
    pieces = () if text is None else tuple(target.splitter(text))
    filling.vectors.append(_VectorWork(target, pieces, made))


def split_cut_texts(filling: Filling, vectors: Vectors) -> bool:
    """Halves every text that its endpoint had to cut, where the binding wants all of it; whether there was any."""
    if not vectors.truncated:
        return False
    found = False
    for position, work in enumerate(filling.vectors):
        if work.target.binding.long_texts is not LongTexts.CHUNK:
            continue
        is_cut = partial(vectors.is_cut, work.target.profile.inference_id)
        found |= any(is_cut(text) for piece in work.pieces for text in piece.chunks)
        pieces = tuple(halved(piece, is_cut) for piece in work.pieces)
        filling.vectors[position] = replace(work, pieces=pieces)
    return found


def complete(filling: Filling, vectors: Vectors, into: SourceText | None = None) -> bytes:
    """The document's source with the vectors; what it does not want changed stays byte for byte.

    ``into`` is the source to be written where another one was examined: that behind the pipelines to come.

    Raises:
        SidecarError: the inference of a field failed and the binding does not say what to do then.
    """
    tree: Tree = {}
    for target, sources in filling.semantic:
        entry = _inference_results(filling, target, sources, vectors)
        tree.setdefault(INFERENCE_FIELDS, {})[target.name] = _dumps(entry)
    if filling.vectors:
        _put_vectors(filling, vectors, tree)
    return with_values(into or filling.source, tree)


def with_values(source: SourceText, tree: Tree) -> bytes:
    """The source with the JSON values of ``tree``, which lie under nested names; ``None`` takes one away."""
    changes = _changes(source.document, tree)
    if source.is_alone and changes.keys().isdisjoint(source.document):
        return appended(source.raw, changes, is_empty=not source.document)
    return changed(source.raw, changes)


def _inference_results(
    filling: Filling, target: SemanticTarget, sources: Sequence[_SourcePieces], vectors: Vectors
) -> Mapping[str, Any]:
    held = [stretch for source in sources for stretch in source.stretches]
    if cut := _cut_texts(target.profile, [stretch.piece for stretch in held], vectors):
        filling.cut[target.name] += len(cut)
    values = [_value(target.name, target.profile, stretch.piece, vectors) for stretch in held]
    # In a partial document objects are merged: a source without chunks must say so.
    emptied: dict[str, list[Any]] = {source.source: [] for source in sources} if filling.is_partial else {}
    return inference_results(target.mapped.inference_id, target.model_settings, emptied | chunks_of(held, values))


def _value(name: str, profile: EndpointProfile, piece: Piece, vectors: Vectors) -> Any:
    made = [vectors.of(profile.inference_id, text) for text in piece.chunks]
    for value in made:
        if isinstance(value, SidecarError):
            raise inference_failure(profile.inference_id, name, value)
    try:
        return merged_value(made, profile)
    except UnusableVectorError as error:
        raise inference_failure(profile.inference_id, name, StatusError(str(error), status=500)) from error


def _put_vectors(filling: Filling, vectors: Vectors, tree: Tree) -> None:
    made: dict[str, Stamp] = {}
    cleared: list[str] = []
    failures: list[str] = []
    passages: dict[str, list[dict[str, Any]]] = {}
    for work in filling.vectors:
        target = work.target
        if not work.pieces and work.error is None:
            cleared.append(target.name)
            _take_away(filling, target, tree)
            continue
        try:
            value = _vector(work, vectors, filling)
        except SidecarError as error:
            if target.binding.on_failure is not OnFailure.INDEX_PENDING:
                raise
            cause = error.cause or error
            failures.append(f"{target.name}: endpoint [{target.profile.inference_id}]: {cause.reason}")
            cleared.append(target.name)
            _take_away(filling, target, tree)
            continue
        if work.stamp is not None:
            made[target.name] = work.stamp
        if target.binding.passages:
            _add_passages(passages.setdefault(target.place, []), target, work.pieces, value)
        else:
            put_value(tree, target.place, _dumps(value if filling.is_partial else _bare(value)))
    for place, held in passages.items():
        put_value(tree, place, _dumps(held))
    if filling.plan.has_marker:
        written = filling.marker.rewritten(made, cleared, "; ".join(failures) or None, vectors.at)
        if failures:
            written["pending"] = True
        if not filling.is_partial:
            written = {name: value for name, value in written.items() if value is not None}
        tree[MARKER_FIELD] = _dumps(written)


def _take_away(filling: Filling, target: VectorTarget, tree: Tree) -> None:
    if filling.is_partial:
        put_value(tree, target.place, _dumps(_emptied(target)))
    elif any(True for _ in values_at(filling.source.document, target.place)):
        put_value(tree, target.place, None)


def _vector(work: _VectorWork, vectors: Vectors, filling: Filling) -> Any:
    if work.error is not None:
        raise work.error
    target = work.target
    cut = _cut_texts(target.profile, work.pieces, vectors)
    if cut and target.binding.long_texts is LongTexts.FAIL:
        reason = f"a text of [{len(cut[0])}] characters is longer than the model reads"
        raise inference_failure(target.profile.inference_id, target.name, StatusError(reason))
    if cut:
        filling.cut[target.name] += len(cut)
    if target.binding.passages:
        return [_value(target.name, target.profile, piece, vectors) for piece in work.pieces]
    whole = work.pieces[0]
    if len(work.pieces) > 1:
        whole = Piece("", 0, tuple(text for piece in work.pieces for text in piece.chunks))
    return _value(target.name, target.profile, whole, vectors)


def _cut_texts(profile: EndpointProfile, pieces: Sequence[Piece], vectors: Vectors) -> list[str]:
    """Those of the embedded texts of which the model did not read the end."""
    if not vectors.truncated:
        return []
    texts = [text for piece in pieces for text in piece.chunks]
    return [text for text in texts if vectors.is_cut(profile.inference_id, text)]


def _add_passages(
    held: list[dict[str, Any]], target: VectorTarget, pieces: Sequence[Piece], values: Sequence[Any]
) -> None:
    leaf = target.name.rpartition(".")[2]
    if not held:
        held.extend({"text": piece.text, "start": piece.start} for piece in pieces)
    for passage, value in zip(held, values, strict=False):
        passage[leaf] = _bare(value)


def _emptied(target: VectorTarget) -> Any:
    """What empties the field in a partial update: ``null`` is refused by ``sparse_vector``."""
    return [] if target.profile.is_sparse or target.binding.passages else None


def _bare(value: Any) -> Any:
    """Token weights without the array around them, which only partial updates need."""
    return value[0] if isinstance(value, list) else value


# --- where it goes


def put_value(tree: Tree, path: str, value: bytes | None) -> None:
    """Sets what is to stand at a dotted ``path``, JSON or ``None``."""
    *above, leaf = path.split(".")
    for name in above:
        tree = tree.setdefault(name, {})
    tree[leaf] = value


def _changes(document: Mapping[str, Any], tree: Tree) -> dict[str, Change]:
    """``tree``, by nested names, as changes of ``document``, whose names may be dotted."""
    changes: dict[str, Change] = {}
    for name, value in tree.items():
        if not isinstance(value, dict):
            changes[name] = value
            continue
        held = document.get(name)
        if isinstance(held, dict):
            changes[name] = Into(_changes(held, value))
        elif name in document or any(other.startswith(f"{name}.") for other in document):
            changes |= {f"{name}.{rest}": change for rest, change in _flat(value)}
        else:
            changes[name] = Into(_changes({}, value))
    return changes


def _flat(tree: Tree) -> Iterator[tuple[str, bytes | None]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{rest}", inner) for rest, inner in _flat(value))
        else:
            yield name, value


def _dumps(value: Any) -> bytes:
    # orjson writes a float32 with its shortest digits, half the bytes of the same number as a double.
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
