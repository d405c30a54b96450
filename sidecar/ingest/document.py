"""Documents on their way through a backfill: what was read, what is to be made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.source import text_at
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.fieldmap import FieldMap
from sidecar.ingest.marker import Marker, Stamp, input_hash
from sidecar.ingest.pieces import Piece, Splitter, whole
from sidecar.ingest.semantic_field import SemanticField


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
    """One field to be kept up to date: of vectors, or ``semantic`` text with the vectors of its chunks."""

    map: FieldMap
    profile: EndpointProfile
    semantic: SemanticField | None = None

    @property
    def name(self) -> str:
        return self.map.target

    @property
    def parent(self) -> str:
        """The nested field that holds the passages: everything but the last part of the target's name."""
        return self.map.target.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run keeps up to date. With a ``splitter`` the targets live in nested passages, one per piece of text.

    ``circumstances`` goes into the hash of the input: a new way to cut makes new passages.
    """

    targets: tuple[Target, ...]
    splitter: Splitter | None = None
    circumstances: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(target.map.source for target in self.targets))

    @property
    def cuts_texts(self) -> bool:
        """Whether texts are cut, with a user's regular expressions perhaps."""
        return self.splitter is not None or any(target.semantic for target in self.targets)

    def splitter_of(self, target: Target) -> Splitter:
        """How the texts for a target are cut."""
        return target.semantic.splitter if target.semantic else self.splitter or whole

    def circumstances_of(self, target: Target) -> tuple[str, ...]:
        """What goes into a target's hash beside the text."""
        return (target.semantic.circumstances,) if target.semantic else self.circumstances


class Verdict(Enum):
    """What one field of one document needs."""

    EMBED = "embed"
    UP_TO_DATE = "up to date"
    NO_TEXT = "no text"
    CLEAR = "clear"


def judge(hash: str | None, stamp: Stamp | None, model: str) -> Verdict:
    """``hash`` is that of the current text, ``None`` without text; ``stamp`` what the marker says of the field.

    A vector whose text is gone is cleared: a search would find the document for what it no longer says.
    """
    if hash is None:
        return Verdict.NO_TEXT if stamp is None else Verdict.CLEAR
    if stamp is not None and stamp.model == model and stamp.hash == hash:
        return Verdict.UP_TO_DATE
    return Verdict.EMBED


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that needs work: ``pieces`` to embed per target field, ``stamps`` they will get, ``clears``.

    ``stored_texts`` are what ``semantic`` targets hold beside the vectors. ``failure`` says why texts could not be cut
    into pieces. ``document`` is the whole document where it is to be indexed, ``None`` where it is to be updated.
    ``label`` names it in the summary where its id says little (a line number).
    """

    ref: Ref
    marker: Marker
    pieces: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    clears: tuple[str, ...] = ()
    document: Mapping[str, Any] | None = None
    stored_texts: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    label: str | None = None
    weight: int = 200

    @property
    def texts(self) -> int:
        """How many texts are to be embedded for the field that needs most; at least one, so that it counts."""
        return max((1, *(sum(len(piece.chunks) for piece in pieces) for pieces in self.pieces.values())))

    @property
    def size(self) -> int:
        """Characters held, near enough to bytes to bound a queue; ``weight`` is that of the document itself."""
        texts = (text for pieces in self.pieces.values() for piece in pieces for text in piece.chunks)
        return self.weight + sum(len(text) for text in texts)


def examine(ref: Ref, source: Mapping[str, Any], plan: Plan) -> Candidate | Verdict:
    """The work a document read from an index needs, or why it needs none.

    A pending or failed marker does not matter here: what counts is whether the vectors fit text and model.
    """
    marker = Marker.read(source)
    return _decide(ref, source, marker, plan, document=None)


def examine_whole(ref: Ref, document: Mapping[str, Any], marker: Marker, plan: Plan) -> Candidate | Verdict:
    """The work a document about to be indexed needs: all of its vectors, unless the same document is there already.

    Vectors are not read back (from 9.2 on they are not returned, and they come back rounded), so a changed document
    is embedded whole.
    """
    return _decide(ref, document, marker, plan, document=document)


def _decide(
    ref: Ref, source: Mapping[str, Any], marker: Marker, plan: Plan, document: Mapping[str, Any] | None
) -> Candidate | Verdict:
    texts = {path: text_at(source, path) for path in plan.sources}
    verdicts: dict[str, Verdict] = {}
    stamps: dict[str, Stamp] = {}
    for target in plan.targets:
        text = texts[target.map.source]
        digest = None if text is None else input_hash(text, *plan.circumstances_of(target))
        stamp = marker.stamps.get(target.name)
        verdicts[target.name] = judge(digest, stamp, target.profile.model)
        if digest is not None:
            stamps[target.name] = Stamp(target.profile.model, digest)
    if document is not None:
        wanted = {target.name for target in plan.targets if texts[target.map.source] is not None}
        clears: tuple[str, ...] = ()
    else:
        wanted = {name for name, verdict in verdicts.items() if verdict is Verdict.EMBED}
        clears = tuple(name for name, verdict in verdicts.items() if verdict is Verdict.CLEAR)
        if plan.splitter is not None:
            # Nested passages are replaced whole, so the fields of one nested parent are made together.
            parents = {target.parent for target in plan.targets if target.name in wanted}
            wanted = {target.name for target in plan.targets if target.parent in parents}
        if not wanted and not clears:
            return Verdict.UP_TO_DATE if Verdict.UP_TO_DATE in verdicts.values() else Verdict.NO_TEXT
    try:
        pieces = {
            target.name: tuple(plan.splitter_of(target)(texts[target.map.source] or ""))
            for target in plan.targets
            if target.name in wanted
        }
    except IllegalArgumentError as error:
        return Candidate(ref, marker, clears=clears, document=document, failure=error.reason)
    made = {name: stamp for name, stamp in stamps.items() if name in wanted}
    held = {target.name: texts[target.map.source] or "" for target in plan.targets if target.semantic}
    held = {name: text for name, text in held.items() if name in wanted}
    return Candidate(ref, marker, pieces, made, clears, document, held)
