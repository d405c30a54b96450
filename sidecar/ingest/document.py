"""Documents on their way through a backfill: what was read, what is to be made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sidecar.core.errors import IllegalArgumentError, SidecarError
from sidecar.elastic.bindings import LongTexts
from sidecar.elastic.source import (
    SEPARATOR,
    forms_of,
    in_the_way,
    kind_of,
    text_at,
    value_along,
    values_at,
    well_formed,
)
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.brought_results import Brought, judge_brought
from sidecar.ingest.cutting import Cutting
from sidecar.ingest.fieldmap import FieldMap
from sidecar.ingest.marker import MARKER_FIELD, Marker, Stamp, attempt_hash, input_hash, is_marker
from sidecar.ingest.pieces import Piece, Splitter, whole
from sidecar.ingest.semantic_field import (
    INFERENCE_FIELDS,
    SemanticField,
    Stretch,
    input_texts,
    stretches,
    texts_hash,
)
from sidecar.ingest.semantic_values import value_at


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a document lives and in which state it was read; without ``seq_no`` it did not exist."""

    index: str
    id: str
    routing: str | None = None
    seq_no: int | None = None
    primary_term: int | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What names the document whatever its state; routed documents may share an id."""
        return self.index, self.id, self.routing


@dataclass(frozen=True, slots=True)
class Target:
    """One field to be kept up to date: of vectors, or ``semantic`` text with the vectors of its chunks.

    A semantic field with sources of its own is bound by its mapping: its texts stand in the document already.
    ``each`` is the nested field of the user's whose objects hold source and target: each object gets its own vector.
    ``overwrite`` is :attr:`Plan.overwrite` for this field alone. With ``passages`` the target lives in nested passages,
    one for each piece of the text that ``cutting`` makes; without, ``cutting`` makes one piece, whose chunks' vectors
    are merged. ``long_texts`` says what becomes of a text that is longer than the model reads.
    """

    map: FieldMap
    profile: EndpointProfile
    semantic: SemanticField | None = None
    each: str | None = None
    overwrite: bool = False
    passages: bool = False
    cutting: Cutting | None = None
    long_texts: LongTexts = LongTexts.TRUNCATE

    @property
    def name(self) -> str:
        return self.map.target

    @property
    def parent(self) -> str:
        """The nested field that holds the passages: everything but the last part of the target's name."""
        return self.map.target.rpartition(".")[0]

    @property
    def is_bound_by_mapping(self) -> bool:
        """Whether it is a ``semantic_text`` field that is filled for the texts that it holds by itself."""
        return self.semantic is not None and bool(self.semantic.sources)

    @property
    def inner_source(self) -> str:
        """The source's name within an object of ``each``."""
        return self.map.source[len(self.each or "") + 1 :]

    @property
    def inner_name(self) -> str:
        """The target's name within an object of ``each``."""
        return self.map.target[len(self.each or "") + 1 :]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run keeps up to date.

    ``others`` are vector fields beside targets in their passages. ``overwrite`` replaces vectors that no marker
    claims, and clears those of an unknown source; ``retry_failed`` tries again what failed for good.
    """

    targets: tuple[Target, ...]
    others: tuple[str, ...] = ()
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """Every field that holds texts."""
        return tuple(dict.fromkeys(path for target in self.targets for path in target.map.sources))

    @property
    def cuts_texts(self) -> bool:
        """Whether texts are cut, with a user's regular expressions perhaps."""
        return any(target.semantic or target.cutting for target in self.targets)

    def splitter_of(self, target: Target) -> Splitter:
        """How the texts for a target are cut."""
        if target.cutting is not None:
            return target.cutting.splitter
        return target.semantic.splitter if target.semantic else whole

    def circumstances_of(self, target: Target) -> tuple[str, ...]:
        """What goes into a target's hash beside the text: a new way to cut makes new vectors."""
        if target.cutting is not None:
            return target.cutting.circumstances
        return (target.semantic.circumstances,) if target.semantic else ()

    def fellows(self, target: Target) -> frozenset[str]:
        """The targets that are made together with this one: all of one passage, else it alone."""
        if not target.passages:
            return frozenset((target.name,))
        return frozenset(other.name for other in self.targets if other.passages and other.parent == target.parent)


class Verdict(Enum):
    """What one field of one document needs."""

    EMBED = "embed"
    UP_TO_DATE = "up to date"
    NO_TEXT = "no text"
    CLEAR = "clear"
    OWN = "a vector that no marker claims"
    KEPT = "no text, but the vector is not known to come from this field"
    FAILED_BEFORE = "failed before, and the text is the same"


_BY_URGENCY = (Verdict.FAILED_BEFORE, Verdict.OWN, Verdict.KEPT, Verdict.UP_TO_DATE, Verdict.NO_TEXT)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing can be written into a document without harm; it fails and stays as it is.

    ``label`` names it in the summary where its id says little (a line number).
    """

    reason: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a document holds in a target: ``complete`` where every text there is has its vector, ``None`` where nobody
    looked; ``occupied`` where there is any vector at all."""

    complete: bool | None = None
    occupied: bool = False


def judge(
    hash: str | None,
    stamp: Stamp | None,
    model: str,
    *,
    source: str | None = None,
    standing: Standing = Standing(),
    overwrite: bool = False,
) -> Verdict:
    """``hash`` is that of the current text, ``None`` without text; ``stamp`` what the marker says of the field.

    A vector whose text is gone is cleared, because a search would find the document for what it no longer says; but
    only where the marker says that it came from this ``source``. What no marker claims is the user's.
    """
    if hash is None:
        if stamp is None:
            return Verdict.NO_TEXT
        known = stamp.source == source or (stamp.source is None and overwrite)
        if known:
            return Verdict.CLEAR
        return Verdict.NO_TEXT if standing.complete is False and not standing.occupied else Verdict.KEPT
    if stamp is None:
        return Verdict.OWN if standing.occupied and not overwrite else Verdict.EMBED
    if stamp.model == model and stamp.hash == hash and standing.complete is not False:
        return Verdict.UP_TO_DATE
    return Verdict.EMBED


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that needs work: ``pieces`` to embed per target field, ``stamps`` they will get, ``clears``.

    ``stored_texts`` are what is written into ``semantic`` targets beside the vectors, ``stretches`` where the pieces of
    these lie in their texts, ``objects`` the user's nested objects that
    get a vector each, by their field: the keys that lead to them and what stands there. ``forms`` are the keys under
    which the document writes a target already, none where it has no value. ``failure`` says why some field cannot be
    made, ``failed`` for which of them that is for good. ``document`` is the whole document where it is to be indexed,
    ``None`` where it is to be updated. ``label`` names it in the summary where its id says little (a line number);
    with ``keeps`` a document that is there already stays.
    """

    ref: Ref
    marker: Marker
    pieces: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    clears: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None
    stored_texts: Mapping[str, str] = field(default_factory=dict)
    stretches: Mapping[str, Sequence[Stretch]] = field(default_factory=dict)
    objects: Mapping[str, tuple[tuple[str, ...], Any]] = field(default_factory=dict)
    forms: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)
    failure: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    weight: int = 200
    keeps: bool = False

    @property
    def replaces(self) -> bool:
        """Whether the document may hold a value already that this write replaces."""
        return any(self.forms.get(name) != () for name in (*self.pieces, *self.clears))

    @property
    def texts(self) -> int:
        """How many texts are to be embedded for the field that needs most; at least one, so that it counts."""
        return max((1, *(sum(len(piece.chunks) for piece in pieces) for pieces in self.pieces.values())))

    @property
    def size(self) -> int:
        """Characters held, near enough to bytes to bound a queue; ``weight`` is that of the document itself."""
        texts = (text for pieces in self.pieces.values() for piece in pieces for text in piece.chunks)
        return self.weight + sum(len(text) for text in texts)


Examined = Candidate | Verdict | Refusal


def examine(ref: Ref, source: Mapping[str, Any], plan: Plan, present: Collection[str] | None = None) -> Examined:
    """The work a document read from an index needs, or why it needs or gets none.

    ``present`` names the targets in which the index holds a vector, ``None`` where nobody asked. A pending marker does
    not matter here: what counts is whether the vectors are there and fit text and model.
    """
    if not is_marker(source.get(MARKER_FIELD)):
        return Refusal(
            f"the document's own field [{MARKER_FIELD}] is {kind_of(source[MARKER_FIELD])}: it is kept for the marker"
        )
    marker = Marker.read(source)
    try:
        digests = {target.name: digest_of(source, target, plan) for target in plan.targets}
    except SidecarError as error:
        return Refusal(error.reason or str(error))
    verdicts = {
        target.name: _judged(source, target, plan, marker, digests[target.name], present) for target in plan.targets
    }
    wanted = _made_together(plan, {name for name, verdict in verdicts.items() if verdict is Verdict.EMBED})
    clears = [
        target.name
        for target in plan.targets
        if verdicts[target.name] is Verdict.CLEAR
        and not any(verdicts[name] is Verdict.KEPT for name in plan.fellows(target))
    ]
    if not plan.retry_failed:
        wanted = _not_failed_before(plan, marker, digests, wanted, verdicts)
    for target in plan.targets:
        if target.name in wanted and any(verdicts[name] in _FINAL for name in plan.fellows(target)):
            wanted = wanted - plan.fellows(target)
    reasons = []
    for target in plan.targets:
        if target.name in wanted or target.name in clears:
            reason = _obstacle(source, target, plan, marker, present)
            if reason is not None:
                reasons.append(reason)
                wanted = wanted - plan.fellows(target)
                clears = [name for name in clears if name != target.name]
    failure = "; ".join(dict.fromkeys(reasons)) or None
    if not wanted and not clears:
        if failure is not None:
            return Refusal(failure)
        return next(verdict for verdict in _BY_URGENCY if verdict in (*verdicts.values(), Verdict.NO_TEXT))
    absent = {name: () for name in (*wanted, *clears) if present is not None and name not in present}
    return _candidate(ref, source, marker, plan, wanted, tuple(clears), digests, failure, absent=absent)


def _judged(
    source: Mapping[str, Any],
    target: Target,
    plan: Plan,
    marker: Marker,
    digest: str | None,
    present: Collection[str] | None,
) -> Verdict:
    """What one target needs."""
    verdict = judge(
        digest,
        marker.stamps.get(target.name),
        target.profile.model,
        source=target.map.source,
        standing=_standing(source, target, present),
        overwrite=plan.overwrite or target.overwrite,
    )
    # Whoever filled a semantic_text field: Elasticsearch takes no text there without the vectors of its chunks.
    return Verdict.UP_TO_DATE if verdict is Verdict.OWN and target.is_bound_by_mapping else verdict


def _not_failed_before(
    plan: Plan,
    marker: Marker,
    digests: Mapping[str, str | None],
    wanted: frozenset[str],
    verdicts: dict[str, Verdict],
) -> frozenset[str]:
    """What is ``wanted`` without texts that hold no token; ``verdicts`` are told of those that failed for good."""
    for target in plan.targets:
        digest = digests[target.name]
        if target.name in wanted and digest is not None and _failed_before(marker, target, digest, wanted):
            made = marker.stamps.get(target.name)
            # A stamp beside it says that there was nothing to store: a text without a single token.
            empty = made is not None and made.fits(Stamp(target.profile.model, digest))
            verdicts[target.name] = Verdict.UP_TO_DATE if empty else Verdict.FAILED_BEFORE
            if empty:
                wanted = wanted - {target.name}
    return wanted


_FINAL = (Verdict.FAILED_BEFORE, Verdict.OWN)


def examine_whole(ref: Ref, document: Mapping[str, Any], plan: Plan) -> Candidate | Refusal:
    """The work a document about to be indexed needs: all of its vectors.

    Vectors are not read back (from 9.2 on they are not returned, and they come back rounded), so a changed document
    is embedded whole. Inference results of ``semantic_text`` that it brings are kept, as Elasticsearch keeps them,
    unless its own marker says that they are of another text. The candidate's marker is of what is kept so.
    """
    if not is_marker(document.get(MARKER_FIELD)):
        return Refusal(f"the field [{MARKER_FIELD}] is kept for the marker, but the line has a value there")
    try:
        digests = {target.name: digest_of(document, target, plan) for target in plan.targets}
    except SidecarError as error:
        return Refusal(error.reason or str(error))
    wanted = {name for name, digest in digests.items() if digest is not None}
    verdicts = _judged_as_brought(document, plan)
    kept = {name for name, verdict in verdicts.items() if verdict is Brought.KEPT}
    marker = Marker({name: stamp for name, stamp in Marker.read(document).stamps.items() if name in kept})
    wanted -= kept
    stale = {name for name, verdict in verdicts.items() if verdict is not Brought.KEPT}
    if stale:
        results = {name: value for name, value in document[INFERENCE_FIELDS].items() if name not in stale}
        document = {name: value for name, value in document.items() if name != INFERENCE_FIELDS}
        document |= {INFERENCE_FIELDS: results} if results else {}
    for target in plan.targets:
        if target.name in wanted and (reason := _obstacle(document, target, plan, None, None)):
            return Refusal(reason)
    return _candidate(ref, document, marker, plan, wanted, (), digests, None, document=document)


def _judged_as_brought(document: Mapping[str, Any], plan: Plan) -> dict[str, Brought]:
    """What becomes of the results that a document brings, by field."""
    results = document.get(INFERENCE_FIELDS)
    targets = [target for target in plan.targets if isinstance(results, Mapping) and target.name in results]
    stamps = Marker.read(document).stamps
    return {
        target.name: judge_brought(
            target.name,
            stamps.get(target.name),
            target.profile.model,
            input_texts(target.name, target.map.sources, document),
            plan.circumstances_of(target),
        )
        for target in targets
        if target.is_bound_by_mapping
    }


def digest_of(source: Mapping[str, Any], target: Target, plan: Plan) -> str | None:
    """The hash of the text that ``target`` is made from, ``None`` when there is none."""
    if target.is_bound_by_mapping:
        return texts_hash(input_texts(target.name, target.map.sources, source), plan.circumstances_of(target))
    if target.each is None:
        text = _text(source, target)
        return None if text is None else input_hash(text, *plan.circumstances_of(target))
    texts = [text_at(item, target.inner_source) for item in objects_at(source, target.each)]
    return input_hash("each", *(well_formed(text or "") for text in texts)) if any(texts) else None


def _text(source: Mapping[str, Any], target: Target) -> str | None:
    """The text of a target, without half surrogates; several sources are joined as several values of one are."""
    texts = [text for path in target.map.sources if (text := text_at(source, path)) is not None]
    return well_formed(SEPARATOR.join(texts)) if texts else None


def objects_at(source: Mapping[str, Any], path: str) -> list[Mapping[str, Any]]:
    """The objects of a nested field, in order; what is no object is passed over."""
    return [item for item in values_at(source, path) if isinstance(item, Mapping)]


def _standing(source: Mapping[str, Any], target: Target, present: Collection[str] | None) -> Standing:
    if target.each is None:
        there = None if present is None else target.name in present
        return Standing(there, bool(there))
    items = objects_at(source, target.each)
    filled = [any(value is not None for value in values_at(item, target.inner_name)) for item in items]
    wanting = [text_at(item, target.inner_source) is not None for item in items]
    complete = all(has for has, wants in zip(filled, wanting, strict=True) if wants)
    return Standing(complete, any(filled))


def _made_together(plan: Plan, wanted: set[str]) -> frozenset[str]:
    """Nested passages are replaced whole, so the fields of one nested parent are made together."""
    return frozenset().union(*(plan.fellows(target) for target in plan.targets if target.name in wanted))


def _failed_before(marker: Marker, target: Target, digest: str, wanted: Collection[str]) -> bool:
    model = target.profile.model
    return marker.failed.get(target.name) in (attempt_hash(digest, model), attempt_hash(digest, model, wanted))


def _obstacle(
    source: Mapping[str, Any], target: Target, plan: Plan, marker: Marker | None, present: Collection[str] | None
) -> str | None:
    """What stands where ``target`` is to be written and must not be replaced; ``marker`` is that of the index."""
    if target.is_bound_by_mapping:
        return None  # its results stand beside the document
    place = target.parent if target.passages else target.each or target.name
    if blocked := in_the_way(source, place):
        return f"[{blocked[0]}] is {kind_of(blocked[1])}, no object: [{target.name}] written into it would replace it"
    if target.passages:
        return _no_passages(source, target, plan, marker, present)
    if target.each and len(forms_of(source, target.each)) != 1:
        return f"[{target.each}] is written in two ways, as one name with dots and as objects"
    for item in objects_at(source, target.each) if target.each else ():
        if blocked := in_the_way(item, target.inner_name):
            return f"[{target.each}.{blocked[0]}] is {kind_of(blocked[1])}, no object: [{target.name}] would replace it"
    return None


def _no_passages(
    source: Mapping[str, Any], target: Target, plan: Plan, marker: Marker | None, present: Collection[str] | None
) -> str | None:
    """Why what stands in the passages' field is not the sidecar's to replace."""
    parent = target.parent
    claimed = {name for name in (marker.stamps if marker else ()) if name.rpartition(".")[0] == parent}
    own = {"text", "start"} | {name.rpartition(".")[2] for name in (*plan.fellows(target), *claimed)}
    if any(form != tuple(parent.split(".")) for form in forms_of(source, parent)):
        return f"[{parent}] is written with a dotted name, which passages cannot replace"
    standing = [item for item in values_at(source, parent) if item is not None]
    for item in standing:
        if not isinstance(item, Mapping):
            return f"[{parent}] holds {kind_of(item)}, which is no passage of the sidecar's"
        if foreign := sorted(set(item) - own):
            return f"[{parent}] holds [{foreign[0]}], which is no part of the sidecar's passages"
    unclaimed = next((name for name in plan.others if name in (present or ()) and name not in claimed), None)
    if unclaimed is not None and unclaimed.rpartition(".")[0] == parent:
        return f"[{parent}] holds [{unclaimed}], which no marker claims"
    if marker is not None and standing and not claimed and not plan.overwrite:
        return f"[{parent}] holds objects that no marker claims as the sidecar's passages"
    return None


def _candidate(
    ref: Ref,
    source: Mapping[str, Any],
    marker: Marker,
    plan: Plan,
    wanted: Collection[str],
    clears: tuple[str, ...],
    digests: Mapping[str, str | None],
    failure: str | None,
    document: Mapping[str, Any] | None = None,
    absent: Mapping[str, Sequence[tuple[str, ...]]] | None = None,
) -> Candidate:
    targets = [target for target in plan.targets if target.name in wanted]
    stamps = {
        target.name: Stamp(target.profile.model, digest, target.map.source)
        for target in targets
        if (digest := digests[target.name]) is not None
    }
    each = {target.each for target in plan.targets if target.each and target.name in {*wanted, *clears}}
    objects = {path: (form, value_along(source, form)) for path in each for form in forms_of(source, path)[:1]}
    try:
        found = {target.name: _stretches(source, target) for target in targets if target.semantic}
        pieces = {
            target.name: tuple(stretch.piece for stretch in found[target.name])
            if target.name in found
            else tuple(_pieces(source, target, plan))
            for target in targets
        }
    except IllegalArgumentError as error:
        failed = {name: attempt_hash(stamp.hash, stamp.model) for name, stamp in stamps.items()}
        return Candidate(
            ref, marker, clears=clears, document=document, objects=objects, failure=error.reason, failed=failed
        )
    held = {t.name: _text(source, t) or "" for t in targets if t.semantic and not t.is_bound_by_mapping}
    return Candidate(ref, marker, pieces, stamps, clears, document, held, found, objects, absent or {}, failure)


def _stretches(source: Mapping[str, Any], target: Target) -> Sequence[Stretch]:
    assert target.semantic is not None  # noqa: S101
    cut = target.semantic.splitter
    if not target.is_bound_by_mapping:
        return stretches(target.name, target.name, _text(source, target) or "", cut)
    return [
        stretch for path in target.map.sources for stretch in stretches(target.name, path, value_at(source, path), cut)
    ]


def _pieces(source: Mapping[str, Any], target: Target, plan: Plan) -> Sequence[Piece]:
    if target.each is None:
        return plan.splitter_of(target)(_text(source, target) or "")
    texts = [text_at(item, target.inner_source) for item in objects_at(source, target.each)]
    return [
        Piece(sound, position, (sound,))
        for position, text in enumerate(texts)
        if text is not None and (sound := well_formed(text))
    ]
