"""One document of a write: its source with the vectors and the marker; what is not wanted changed keeps its bytes."""

from __future__ import annotations

import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from sidecar.core.errors import SidecarError, StatusError
from sidecar.elastic.bindings import LongTexts, OnFailure
from sidecar.elastic.source import cuts, forms_of, in_the_way, put_along
from sidecar.front.embedding import Vectors, inference_failure
from sidecar.front.filling import Filling, SemanticWork, VectorWork
from sidecar.front.json_members import Change, Into, appended, changed
from sidecar.front.source_text import SourceText
from sidecar.front.targets import VectorTarget
from sidecar.front.value_places import arrays_with, keys_for, without
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.marker import MARKER_FIELD, Stamp, is_marker
from sidecar.ingest.pieces import Piece
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, chunks_of, inference_results
from sidecar.ingest.vector import UnusableVectorError, merged_value

Tree = dict[str, Any]
_BIG_ENDIAN = np.dtype(">f4")


def complete(filling: Filling, vectors: Vectors, into: SourceText | None = None, *, may_pack: bool = False) -> bytes:
    """The document's source with the vectors; what it does not want changed stays byte for byte.

    ``into`` is the source to be written where another one was examined: that behind the pipelines to come. With
    ``may_pack`` nobody looks at the source before it is stored, so that vectors may be in base64 where fields take it.

    Raises:
        SidecarError: the inference of a field failed and the binding does not say what to do then.
    """
    tree: Tree = {}
    made = _put_results(filling, vectors, tree) if filling.semantic or filling.dropped else {}
    cleared = set(filling.cleared)
    written = (into or filling.source).document
    failures = _put_vectors(filling, vectors, tree, made, cleared, written, may_pack=may_pack)
    _put_marker(filling, tree, made, cleared, failures, vectors.at)
    return with_values(into or filling.source, tree, is_partial=filling.is_partial)


def with_values(source: SourceText, tree: Tree, *, is_partial: bool = False) -> bytes:
    """The source with the JSON values of ``tree``, which lie under its names; ``None`` takes one away."""
    changes = _changes(source.document, tree, is_partial=is_partial)
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
    filling: Filling,
    vectors: Vectors,
    tree: Tree,
    made: dict[str, Stamp],
    cleared: set[str],
    written: Mapping[str, Any],
    *,
    may_pack: bool,
) -> list[str]:
    """Puts vectors into ``tree``, and what the marker will say of them into ``made`` and ``cleared``; what failed.

    ``written`` is the source that goes to the cluster.
    """
    whole = written if filling.whole is None else filling.whole.document
    place = _Place(tree, whole, written, is_partial=filling.is_partial)
    failures: list[str] = []
    passages: dict[str, list[dict[str, Any]]] = {}
    for work in filling.vectors:
        target = work.target
        if not work.pieces and work.error is None:
            cleared.add(target.name)
            _take_away(filling, target, place)
            continue
        try:
            value = _vector(work, vectors, filling)
        except SidecarError as error:
            if target.binding.on_failure is not OnFailure.INDEX_PENDING:
                raise
            cause = error.cause or error
            failures.append(f"{target.name}: endpoint [{target.profile.inference_id}]: {cause.reason}")
            cleared.add(target.name)
            _take_away(filling, target, place)
            continue
        if work.stamp is not None:
            made[target.name] = work.stamp
        if target.binding.passages:
            _add_passages(passages.setdefault(target.place, []), target, work.pieces, value)
        elif may_pack and target.takes_packed:
            place.put(target.place, _packed(value), b"null", into_arrays=target.is_kept_apart)
        else:
            made_of = _dumps(value if filling.is_partial else _bare(value))
            place.put(target.place, made_of, _dumps(_emptied(target)), into_arrays=target.is_kept_apart)
    for path, held in passages.items():
        place.put(path, _dumps(held), b"[]")
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
    if not filling.is_partial and None in written.values():
        written = {name: value for name, value in written.items() if value is not None}
    tree[MARKER_FIELD] = _dumps(written)


def _take_away(filling: Filling, target: VectorTarget, place: _Place) -> None:
    if not filling.is_partial or (filling.whole is not None and "." in target.place):
        place.clear(target.place, _dumps(_emptied(target)))
    else:
        place.put(target.place, _dumps(_emptied(target)), b"")


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


@dataclass(slots=True)  # one a document: freezing it would cost more than what it does for most
class _Place:
    """Puts values into ``tree``, where they stand or belong in ``document``; of an update, in what it will leave.

    ``written`` is the source that ``tree`` will change.
    """

    tree: Tree
    document: Mapping[str, Any]
    written: Mapping[str, Any]
    is_partial: bool

    def put(self, path: str, value: bytes, emptied: bytes, *, into_arrays: bool = False) -> None:
        """Sets the one value at ``path``; whatever else stands there goes, in an update by an ``emptied`` value.

        With ``into_arrays`` one that stands nowhere yet goes into the first object of an array on its way, where that
        is written. 9.x shows one that stands beside it, under a name with dots, twice before the next refresh, and to
        its own updates too, which fail then.
        """
        if "." not in path:
            self.tree[path] = value
            return
        if into_arrays and not forms_of(self.document, path) and (keys := self._first_of_array(path)) is not None:
            put_along(self.tree, keys, value)
            return
        free, forms = keys_for(self.document, path), forms_of(self.document, path)
        is_beside_null = free not in forms and free != (path,) and in_the_way(self.document, path) is not None
        if forms and is_beside_null:  # a null that empties this form would be a second value, behind another one
            self._open(free[:-1])
        first, *others = forms or [free]
        put_along(self.tree, first, value)
        for keys in others:
            put_along(self.tree, keys, emptied if self.is_partial else None)
        self._clear_arrays(path)

    def _first_of_array(self, path: str) -> tuple[str, ...] | None:
        """The keys to ``path`` in the first object of an array that is written whole and holds nothing else of it."""
        if any(True for _ in arrays_with(self.document, path)):
            return None
        keys = _into_first(self.written, self.document, path)
        place: Any = self.tree
        for name in (keys or ())[:-1]:
            place = place.get(name, {})
            if not isinstance(place, dict):
                return None  # it is rewritten already
        return keys

    def _open(self, parents: Sequence[str]) -> None:
        """Puts an object, with nothing in it unless something comes, in the place of a ``null``."""
        place = self.tree
        for name in parents:
            below = place.setdefault(name, {})
            if not isinstance(below, dict):
                return  # it is rewritten already
            place = below

    def clear(self, path: str, emptied: bytes) -> None:
        """Takes away what stands at ``path``."""
        for keys in forms_of(self.document, path):
            put_along(self.tree, keys, emptied if self.is_partial else None)
        self._clear_arrays(path)

    def _clear_arrays(self, path: str) -> None:
        for keys, rest, items in arrays_with(self.document, path) if "." in path else ():
            *above, leaf = keys
            parent = self.tree
            for name in above:
                parent = parent.setdefault(name, {})
            held = parent.get(leaf)
            cleared = _dumps(without(orjson.loads(held) if isinstance(held, bytes) else items, rest))
            # what another field has put there, or its values taken away
            parent[leaf] = changed(cleared, dict(held)) if isinstance(held, dict) else cleared


def _into_first(written: Mapping[str, Any], document: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
    """The keys to ``path`` through an array of ``written`` that is that of ``document``, and begins with an object."""
    for name, rest in cuts(path):
        items, there = written.get(name), document.get(name)
        if isinstance(items, dict) and isinstance(there, Mapping):
            keys = _into_first(items, there, rest)
            return None if keys is None else (name, *keys)
        if isinstance(items, list) and items and isinstance(items[0], dict) and items == there:
            is_plain = "." not in rest and not any(other.startswith(f"{name}.") for other in written)
            return (name, rest) if is_plain else None
    return None


def put_value(tree: Tree, document: Mapping[str, Any], path: str, value: bytes) -> None:
    """Sets what is to stand at a dotted ``path`` of ``document``, where nothing stands yet, in JSON."""
    put_along(tree, keys_for(document, path), value)


def _changes(document: Mapping[str, Any], tree: Tree, *, is_partial: bool) -> dict[str, Change]:
    """``tree``, under the names that the document has or will have, as changes of ``document``.

    In the place of a ``null`` in an update stands an array: an object would be merged into the stored one.
    """
    changes: dict[str, Change] = {}
    for name, value in tree.items():
        held = document.get(name)
        if not isinstance(value, dict):
            changes[name] = value
        elif isinstance(held, list) and held and isinstance(held[0], dict):
            changes[name] = Into(_changes(held[0], value, is_partial=is_partial))
        elif isinstance(held, dict) or name not in document:
            changes[name] = Into(_changes(held or {}, value, is_partial=is_partial))
        else:
            made = changed(b"{}", _changes({}, value, is_partial=is_partial))
            changes[name] = b"[%b]" % made if is_partial else made
    return changes


def _packed(vector: npt.NDArray[np.float32]) -> bytes:
    """The vector as Elasticsearch reads it in base64, big-endian: in fewer bytes than its digits, and much faster."""
    return b'"%b"' % binascii.b2a_base64(vector.astype(_BIG_ENDIAN).tobytes(), newline=False)


def _dumps(value: Any) -> bytes:
    # orjson writes a float32 with its shortest digits, half the bytes of the same number as a double.
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
