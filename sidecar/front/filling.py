"""One document of a write: which texts it wants embedded.

Rules: what the document brings, a vector or a field's ``_inference_fields``, is kept where its own marker says that it
fits the text, or where there is none (it is the user's own); fields without text lose theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sidecar.core.errors import ResourceNotFoundError, SidecarError
from sidecar.elastic.bindings import LongTexts, OnFailure, SemanticText
from sidecar.elastic.source import SEPARATOR, is_present, stands_at, text_at, well_formed
from sidecar.front.embedding import Vectors
from sidecar.front.refusals import ConflictingSettingsError, MixedEndpointsError
from sidecar.front.source_text import SourceText
from sidecar.front.targets import SemanticTarget, Unfillable, VectorTarget, WritePlan
from sidecar.front.value_places import Touch, has_null_above, touch_of
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.brought_results import Brought, judge_brought, reach_beyond
from sidecar.ingest.marker import Marker, Stamp, input_hash
from sidecar.ingest.pieces import Piece, halved
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, Stretch, input_texts, stretches, texts_hash
from sidecar.ingest.semantic_values import ABSENT, NULL, texts_of, value_at


@dataclass(frozen=True, slots=True)
class SourcePieces:
    """The pieces of one source field with their offsets."""

    source: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class SemanticWork:
    """A field's chunks to be made, from some of its sources; ``stamp`` is of all of them, ``None`` without a marker."""

    target: SemanticTarget
    sources: tuple[SourcePieces, ...]
    stamp: Stamp | None


@dataclass(slots=True)  # one a document: freezing it would cost as much as all the rest of it
class VectorWork:
    """A vector to be made, or (without pieces) to be taken away; with an ``error`` it cannot be made."""

    target: VectorTarget
    pieces: tuple[Piece, ...]
    stamp: Stamp | None
    error: SidecarError | None = None


@dataclass(slots=True)
class Filling:
    """What a document wants. ``needs_stored`` says that the stored document must be read to know it.

    ``marker`` is that of the document that will be left, ``whole`` this document, where the stored one was read.
    ``dropped`` are fields whose ``_inference_fields`` go, ``cleared`` those of which the marker says what
    holds no more. ``notes`` are for the caller, as warnings; so is ``cut``, how many texts of each field the model did
    not read whole.
    """

    source: SourceText
    plan: WritePlan
    is_partial: bool
    marker: Marker
    semantic: list[SemanticWork] = field(default_factory=list)
    vectors: list[VectorWork] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    cleared: set[str] = field(default_factory=set)
    needs_stored: bool = False
    notes: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    whole: SourceText | None = None

    def texts(self) -> Iterator[tuple[EndpointProfile, str]]:
        """Every text to be embedded, with its endpoint."""
        for semantic in self.semantic:
            for pieces in semantic.sources:
                for stretch in pieces.stretches:
                    for text in stretch.piece.chunks:
                        yield semantic.target.profile, text
        for work in self.vectors:
            for piece in work.pieces:
                for text in piece.chunks:
                    yield work.target.profile, text

    @property
    def is_idle(self) -> bool:
        """Whether the document goes on as it came."""
        return not (self.semantic or self.vectors or self.dropped or self.cleared)

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
    before: Mapping[str, Any] | None = None,
    marker: Marker | None = None,
    unclaimed: Collection[str] = (),
    lost: Collection[str] = (),
) -> Filling:
    """What the document wants; ``is_partial`` for the ``doc`` of an update, which holds changed fields only.

    ``whole`` and ``marker`` are those of the document that the update will leave, where the one ``before`` was read.
    ``unclaimed`` are fields of which the marker of an updated document says nothing any more, see :func:`unclaimed_in`;
    ``lost`` ``semantic_text`` fields whose chunks the cluster would leave behind, see ``stored_documents``.

    Raises:
        SidecarError: a value that Elasticsearch refuses to embed, a text that cannot be cut, or one for a field that
            cannot be filled.
    """
    filling = Filling(source, plan, is_partial, marker or Marker.read(source.document), whole=whole)
    for unfillable in plan.unfillable:
        if _would_leave_empty(source.document, unfillable, is_partial=is_partial):
            raise unfillable.error
    if is_partial and whole is not None:
        unclaimed = unclaimed_in(source.document, plan)
    brought = source.document.get(INFERENCE_FIELDS, {})
    if isinstance(brought, dict):
        for field_without in plan.missing:
            if field_without.name not in brought:
                _refuse_without_endpoint(source, field_without)
        for semantic in plan.semantic:
            _examine_semantic(filling, semantic, brought, before, unclaimed, is_lost=semantic.name in lost)
        if not is_partial and (filling.semantic or INFERENCE_FIELDS in source.document):
            _fill_blanks(filling, brought)
        if plan.mixed:
            _refuse_mixed(filling, brought)
    for target in plan.vectors:
        _examine_vector(filling, target, before, unclaimed)
    if not is_partial or whole is not None:
        return filling
    filling.needs_stored |= bool(plan.semantic)  # whether chunks will be lost is to be seen there
    if plan.has_marker:
        # The marker is replaced whole, and holds the other fields' entries as well.
        touched = {work.target.name for work in filling.semantic} | {work.target.name for work in filling.vectors}
        among_others = bool(touched) and len(touched) < len(plan.semantic) + len(plan.vectors)
        filling.needs_stored |= among_others or bool(unclaimed_in(source.document, plan))
    return filling


async def examined(
    source: SourceText,
    plan: WritePlan,
    *,
    is_partial: bool = False,
    whole: SourceText | None = None,
    before: Mapping[str, Any] | None = None,
    marker: Marker | None = None,
    unclaimed: Collection[str] = (),
    lost: Collection[str] = (),
) -> Filling:
    """As :func:`examine`, beside the event loop where tokens are counted."""
    look = partial(
        examine,
        source,
        plan,
        is_partial=is_partial,
        whole=whole,
        before=before,
        marker=marker,
        unclaimed=unclaimed,
        lost=lost,
    )
    return await asyncio.to_thread(look) if plan.counts_tokens else look()


def unclaimed_in(doc: Mapping[str, Any], plan: WritePlan) -> frozenset[str]:
    """The fields for which the ``doc`` of an update brings results of its own, and no marker that says of which text.

    The marker of the stored document is of those that they replace.
    """
    claimed = Marker.read(doc).stamps
    results = doc.get(INFERENCE_FIELDS)
    brought = {target.name for target in plan.semantic if isinstance(results, dict) and target.name in results}
    brought |= {target.name for target in plan.vectors if is_present(doc, target.place)}
    return frozenset(brought - claimed.keys())


def _would_leave_empty(document: Mapping[str, Any], unfillable: Unfillable, *, is_partial: bool) -> bool:
    """Whether a field that cannot be filled would be without the vector of its text, or with that of an older one."""
    if unfillable.place is None or not unfillable.sources:
        return True
    if is_present(document, unfillable.place) and not unfillable.overwrite:
        return False
    if is_partial:
        return any(touch_of(document, path) is Touch.VALUE for path in unfillable.sources)
    return any(text_at(document, path) is not None for path in unfillable.sources)


def _refuse_without_endpoint(source: SourceText, mapped: SemanticText) -> None:
    for path in dict.fromkeys((mapped.path, *mapped.sources)):
        if any(text.strip() for text in texts_of(mapped.name, value_at(source.document, path))):
            raise ResourceNotFoundError(f"Inference id [{mapped.inference_id}] not found for field [{mapped.name}]")


def _refuse_mixed(filling: Filling, brought: Mapping[str, Any]) -> None:
    """The cluster adds its results to those that a document has as a second member of the same name."""
    ours = [*(work.target.name for work in filling.semantic), *(brought.keys() - filling.dropped)]
    for mapped in filling.plan.mixed if ours else ():
        values = [value_at(filling.source.document, path) for path in dict.fromkeys((mapped.path, *mapped.sources))]
        if mapped.name not in brought and any(value not in (ABSENT, NULL, []) for value in values):
            raise MixedEndpointsError(ours[0], mapped.name, mapped.inference_id)


def _examine_semantic(
    filling: Filling,
    target: SemanticTarget,
    results: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    unclaimed: Collection[str],
    *,
    is_lost: bool,
) -> None:
    name, document, whole = target.name, filling.source.document, filling.whole
    present = [value_at(document, path) is not ABSENT for path in target.sources]
    if whole is not None and before is not None and not all(present):
        # A parent that the update replaces takes its texts with it.
        is_lost |= any(value_at(before, path) != value_at(whole.document, path) for path in target.sources)
    is_brought = name in results
    claimed = filling.marker.stamps.get(name)
    stamp = None if is_brought and name in unclaimed else claimed
    if stamp is not claimed:
        filling.cleared.add(name)
    if filling.is_partial and not any(present) and not is_lost:
        return
    read = document if whole is None else whole.document
    is_marked = stamp is not None or filling.plan.has_marker
    if filling.is_partial and whole is None and is_marked and not all(present):
        filling.needs_stored = True
    if is_brought and stamp is None:
        _note_unfitting(filling, target, results[name], read)
        return
    texts = input_texts(name, target.sources, read) if is_marked else []
    verdict = judge_brought(name, stamp, target.model, texts, target.circumstances) if is_brought else None
    if verdict is Brought.KEPT:
        return
    is_whole = is_brought or is_lost
    found = _pieces_of(filling, target, read if is_whole else document, all_sources=is_whole)
    hashed = texts_hash(texts, target.circumstances)
    made = None if hashed is None else Stamp(target.model, hashed, _origin(filling, target))
    if found:
        if target.conflicts and any(pieces.stretches for pieces in found):
            raise ConflictingSettingsError(name)
        filling.semantic.append(SemanticWork(target, found, made))
    elif is_brought:
        filling.dropped.add(name)
    if made is None and (stamp is not None or (filling.is_partial and filling.plan.has_marker)):
        filling.cleared.add(name)


def _pieces_of(
    filling: Filling, target: SemanticTarget, document: Mapping[str, Any], *, all_sources: bool
) -> tuple[SourcePieces, ...]:
    """The pieces by source; in a partial document empty ones too, of ``all_sources`` or of those that it holds."""
    found: list[SourcePieces] = []
    for path in target.sources:
        value = value_at(document, path)
        if value is ABSENT and not (filling.is_partial and all_sources):
            continue
        pieces = stretches(target.name, path, value, target.splitter)
        if pieces or filling.is_partial or (filling.plan.fills_blanks and value is not NULL):
            found.append(SourcePieces(path, tuple(pieces)))
    return tuple(found)


def _fill_blanks(filling: Filling, results: Mapping[str, Any]) -> None:
    """Results without chunks for blank texts beside other fields' results: the cluster adds none to those."""
    filled = {work.target.name for work in filling.semantic} | (results.keys() - filling.dropped)
    for target in filling.plan.semantic:
        values = {path: value_at(filling.source.document, path) for path in target.sources}
        blank = tuple(SourcePieces(path, ()) for path, value in values.items() if value not in (ABSENT, NULL))
        if blank and target.name not in filled:
            filling.semantic.append(SemanticWork(target, blank, None))
            filling.dropped.discard(target.name)


def _note_unfitting(filling: Filling, target: SemanticTarget, results: Any, read: Mapping[str, Any]) -> None:
    if not filling.is_partial and reach_beyond(target.name, results, target.sources, read):
        filling.notes.add(
            f"field [{target.name}] was kept as the document brought it, with chunks that reach beyond its text"
        )


def _origin(filling: Filling, target: SemanticTarget | VectorTarget) -> str | None:
    return target.origin if filling.plan.marks_source else None


def _examine_vector(
    filling: Filling, target: VectorTarget, before: Mapping[str, Any] | None, unclaimed: Collection[str]
) -> None:
    document, binding, whole = filling.source.document, target.binding, filling.whole
    is_brought = is_present(document, target.place)
    claimed = filling.marker.stamps.get(target.name)
    stamp = None if is_brought and target.name in unclaimed else claimed
    if stamp is not claimed:
        filling.cleared.add(target.name)
    if filling.is_partial:
        touched = _touched(document, target, None if whole is None else whole.document, before)
        if touched is Touch.NONE:
            return
        if whole is None and touched is Touch.PARENT:
            filling.needs_stored = True
    text = _text_of(document if whole is None else whole.document, binding.sources)
    made = None
    if text is not None and (stamp is not None or filling.plan.has_marker):
        made = Stamp(target.model, input_hash(text, *target.circumstances), _origin(filling, target))
    if is_brought:
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
    filling.vectors.append(VectorWork(target, pieces, made))


def _touched(
    document: Mapping[str, Any],
    target: VectorTarget,
    whole: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
) -> Touch:
    """Whether the ``doc`` of an update changes what a vector is of; ``PARENT`` where that is for the stored one to say.

    So it is with names that have dots, which the stored document may write in another way.
    """
    sources = target.binding.sources
    of_sources = [touch_of(document, path) for path in sources]
    of_place = touch_of(document, target.place) if "." in target.place else Touch.NONE
    if not any(of_sources) and not of_place:
        return Touch.NONE
    if whole is None or before is None:
        is_known = all(of_sources) and not any("." in path for path in (*sources, target.place))
        return Touch.VALUE if is_known else Touch.PARENT
    if Touch.VALUE in of_sources or _text_of(before, sources) != _text_of(whole, sources):
        return Touch.VALUE
    if stands_at(document, target.place) or not is_present(before, target.place):
        return Touch.NONE
    # 9.x cannot read a sparse vector beside a null.
    is_lost = not is_present(whole, target.place) or has_null_above(whole, target.place)
    return Touch.VALUE if is_lost else Touch.NONE


def _text_of(document: Mapping[str, Any], sources: Sequence[str]) -> str | None:
    """The text that a vector is of, ``None`` where there is none."""
    texts = [text for path in sources if (text := text_at(document, path)) is not None]
    return well_formed(SEPARATOR.join(texts)) if texts else None


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
