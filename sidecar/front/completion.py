"""One document of a write: its source with the vectors and the marker; what is not wanted changed keeps its bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from sidecar.core.errors import SidecarError, StatusError
from sidecar.elastic.bindings import LongTexts, OnFailure
from sidecar.elastic.source import values_at
from sidecar.front.embedding import Vectors, inference_failure
from sidecar.front.filling import Filling, SemanticWork, VectorWork
from sidecar.front.json_members import Change, Into, appended, changed
from sidecar.front.source_text import SourceText
from sidecar.front.targets import VectorTarget
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.marker import MARKER_FIELD, Stamp, is_marker
from sidecar.ingest.pieces import Piece
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, chunks_of, inference_results
from sidecar.ingest.vector import UnusableVectorError, merged_value

Tree = dict[str, Any]


def complete(filling: Filling, vectors: Vectors, into: SourceText | None = None) -> bytes:
    """The document's source with the vectors; what it does not want changed stays byte for byte.

    ``into`` is the source to be written where another one was examined: that behind the pipelines to come.

    Raises:
        SidecarError: the inference of a field failed and the binding does not say what to do then.
    """
    tree: Tree = {}
    made = _put_results(filling, vectors, tree) if filling.semantic or filling.dropped else {}
    cleared = set(filling.cleared)
    failures = _put_vectors(filling, vectors, tree, made, cleared)
    _put_marker(filling, tree, made, cleared, failures, vectors.at)
    return with_values(into or filling.source, tree)


def with_values(source: SourceText, tree: Tree) -> bytes:
    """The source with the JSON values of ``tree``, which lie under nested names; ``None`` takes one away."""
    changes = _changes(source.document, tree)
    if source.is_alone and changes.keys().isdisjoint(source.document):
        return appended(source.raw, changes, is_empty=not source.document)
    return changed(source.raw, changes)


def _put_results(filling: Filling, vectors: Vectors, tree: Tree) -> dict[str, Stamp]:
    """Puts the results of ``semantic_text`` fields into ``tree``; what the marker will say of them."""
    brought = filling.source.document.get(INFERENCE_FIELDS, {})
    if filling.dropped and not filling.semantic and filling.dropped.issuperset(brought):
        tree[INFERENCE_FIELDS] = None
        return {}
    results: Tree = dict.fromkeys(filling.dropped)
    results |= {work.target.name: _dumps(_inference_results(filling, work, vectors)) for work in filling.semantic}
    if results:
        tree[INFERENCE_FIELDS] = results
    return {work.target.name: work.stamp for work in filling.semantic if work.stamp is not None}


def _inference_results(filling: Filling, work: SemanticWork, vectors: Vectors) -> Mapping[str, Any]:
    target, sources = work.target, work.sources
    held = [stretch for source in sources for stretch in source.stretches]
    if cut := _cut_texts(target.profile, [stretch.piece for stretch in held], vectors):
        filling.cut[target.name] = filling.cut.get(target.name, 0) + len(cut)
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


def _put_vectors(
    filling: Filling, vectors: Vectors, tree: Tree, made: dict[str, Stamp], cleared: set[str]
) -> list[str]:
    """Puts vectors into ``tree``, and what the marker will say of them into ``made`` and ``cleared``; what failed."""
    failures: list[str] = []
    passages: dict[str, list[dict[str, Any]]] = {}
    for work in filling.vectors:
        target = work.target
        if not work.pieces and work.error is None:
            cleared.add(target.name)
            _take_away(filling, target, tree)
            continue
        try:
            value = _vector(work, vectors, filling)
        except SidecarError as error:
            if target.binding.on_failure is not OnFailure.INDEX_PENDING:
                raise
            cause = error.cause or error
            failures.append(f"{target.name}: endpoint [{target.profile.inference_id}]: {cause.reason}")
            cleared.add(target.name)
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
    return failures


def _put_marker(
    filling: Filling,
    tree: Tree,
    made: Mapping[str, Stamp],
    cleared: Collection[str],
    failures: Sequence[str],
    at: datetime,
) -> None:
    """The marker anew, where the index has one or the document brings one that would not hold any more."""
    if not filling.plan.has_marker:
        if not filling.marker.stamps:
            return
        says = filling.marker.stamps.keys() & {*made, *cleared}
        if not says or not is_marker(filling.source.document.get(MARKER_FIELD)):
            return
    if not made and not cleared:
        return
    written = filling.marker.rewritten(made, cleared, "; ".join(failures) or None, at)
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


def _vector(work: VectorWork, vectors: Vectors, filling: Filling) -> Any:
    if work.error is not None:
        raise work.error
    target = work.target
    cut = _cut_texts(target.profile, work.pieces, vectors)
    if cut and target.binding.long_texts is LongTexts.FAIL:
        reason = f"a text of [{len(cut[0])}] characters is longer than the model reads"
        raise inference_failure(target.profile.inference_id, target.name, StatusError(reason))
    if cut:
        filling.cut[target.name] = filling.cut.get(target.name, 0) + len(cut)
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
