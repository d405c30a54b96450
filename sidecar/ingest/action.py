"""One document's write, serialised: the action line and the source line of a bulk request.

Source: Elasticsearch API reference, "Bulk index or delete documents".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from sidecar.elastic.source import drop_at, forms_of, put_along, put_at
from sidecar.ingest.document import Candidate, Plan, Target, digest_of
from sidecar.ingest.literal import LiteralNumber
from sidecar.ingest.marker import MARKER_FIELD, Stamp, attempt_hash
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, chunks_of, inference_results
from sidecar.ingest.semantic_values import ABSENT, NULL, value_at

Values = Mapping[str, Sequence[Any]]
"""Per target field one stored value for each of its pieces."""


@dataclass(frozen=True, slots=True)
class Action:
    """The two lines of one write, with the document they come from.

    ``failure`` is recorded by the write, if any, and so is what ``failed`` for good. ``dropped`` are
    fields whose vectors go with the passages that they were in.
    """

    candidate: Candidate
    head: bytes
    body: bytes
    failure: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on the wire with both line ends."""
        return len(self.head) + len(self.body) + 2


def build_action(
    candidate: Candidate,
    plan: Plan,
    values: Values,
    failure: str | None,
    at: datetime,
    failed: Mapping[str, str] | None = None,
) -> Action:
    """All fields of one document and its marker in one write, guarded by the state in which it was read.

    Fields without values keep what they have; ``failure`` says why and goes into the marker, with what ``failed`` for
    good. Passages are replaced whole: what the marker said of other fields in them goes.
    """
    made = {name: stamp for name, stamp in candidate.stamps.items() if name in values}
    remembered = {**(failed or {}), **_without_a_token(made, plan, values)}
    dropped = _replaced_along(candidate, plan, values)
    marker = candidate.marker.rewritten(made, {*candidate.clears, *dropped}, failure, at, remembered)
    if candidate.document is None:
        fields: dict[str, Any] = {}
        _fill(fields, candidate, plan, values)
        fields[MARKER_FIELD] = marker
        return Action(
            candidate,
            _head("update", candidate),
            _dumps({"doc": fields}),
            failure,
            failed or {},
            tuple(sorted(dropped)),
        )
    document = _copied(candidate.document)
    for target in plan.targets:
        if target.each is None and not target.is_bound_by_mapping:
            drop_at(document, target.parent if target.passages else target.name)
    _fill(document, candidate, plan, values)
    document[MARKER_FIELD] = {key: value for key, value in marker.items() if value is not None}
    operation = "create" if candidate.ref.seq_no is None else "index"
    return Action(candidate, _head(operation, candidate), _dumps(document), failure, failed or {})


def _without_a_token(made: Mapping[str, Stamp], plan: Plan, values: Values) -> dict[str, str]:
    """``semantic_text`` fields whose chunks hold no token: no query finds anything there, and none ever will."""
    empty = [target.name for target in plan.targets if target.semantic and target.name in made]
    return {
        name: attempt_hash(made[name].hash, made[name].model)
        for name in empty
        if not any(len(value[0] if isinstance(value, list) else value) for value in values[name])
    }


def _replaced_along(candidate: Candidate, plan: Plan, values: Values) -> set[str]:
    """Fields that the marker claims in passages that are replaced, without being made anew."""
    known = {*values, *candidate.clears}
    parents = {target.parent for target in plan.targets if target.passages and target.name in known}
    return {name for name in candidate.marker.stamps if name.rpartition(".")[0] in parents} - known


def _copied(value: Any) -> Any:
    """Objects and arrays anew, so that the document that was read stays as it is."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _fill(fields: dict[str, Any], candidate: Candidate, plan: Plan, values: Values) -> None:
    for target in plan.targets:
        if target.each is not None:
            continue
        if target.is_bound_by_mapping:
            _fill_beside(fields, candidate, target, values.get(target.name))
        elif target.name in candidate.clears:
            if not candidate.forms.get(target.name, True) and not target.passages:
                continue  # there is nothing to clear
            _put(fields, candidate, target.parent if target.passages else target.name, _nothing(target))
        elif target.name in values:
            if target.semantic is not None:
                _put(fields, candidate, target.name, candidate.stored_texts[target.name])
                chunks = {target.name: [], **chunks_of(candidate.stretches[target.name], values[target.name])}
                results = inference_results(target.semantic.inference_id, target.semantic.model_settings, chunks)
                fields.setdefault(INFERENCE_FIELDS, {})[target.name] = results
            elif not target.passages:
                _put(fields, candidate, target.name, values[target.name][0])
            else:
                put_at(fields, target.parent, _passages(target.parent, candidate, plan, values))
    for path, (form, standing) in candidate.objects.items():
        targets = [target for target in plan.targets if target.each == path]
        put_along(fields, form, _each_filled(standing, targets, candidate, values))


def _fill_beside(fields: dict[str, Any], candidate: Candidate, target: Target, values: Sequence[Any] | None) -> None:
    """The results of a ``semantic_text`` field whose texts stand in the document; all of its sources are told.

    In an update a source without text gets an empty array: objects are merged, and its old chunks would stay.
    """
    semantic = target.semantic
    assert semantic is not None  # noqa: S101
    chunks: dict[str, list[dict[str, Any]]] = {}
    if candidate.document is None:
        if values is None and target.name not in candidate.clears:
            return
        chunks = {source: [] for source in semantic.sources}
    elif values is None and not _has_blanks(candidate.document, target):
        return
    if values is not None:
        chunks |= chunks_of(candidate.stretches[target.name], values)
    beside = fields.setdefault(INFERENCE_FIELDS, {})
    beside.setdefault(target.name, inference_results(semantic.inference_id, semantic.model_settings, chunks))


def lacks_results(candidate: Candidate, plan: Plan, values: Values) -> bool:
    """Whether a document to be indexed has a text in a ``semantic_text`` field without the vectors of its chunks.

    Elasticsearch would ask an endpoint of its own about it.
    """
    document = candidate.document
    if document is None:
        return False
    brought = document.get(INFERENCE_FIELDS)
    there = {*values, *(brought if isinstance(brought, Mapping) else ())}
    return any(
        target.is_bound_by_mapping and target.name not in there and digest_of(document, target, plan) is not None
        for target in plan.targets
    )


def _has_blanks(document: Mapping[str, Any], target: Target) -> bool:
    """Whether a field without text holds blanks, about which 8.x would ask an endpoint."""
    if target.semantic is None or not target.semantic.fills_blanks:
        return False
    return any(value_at(document, path) not in (ABSENT, NULL) for path in target.semantic.sources)


def _nothing(target: Target) -> Any:
    """What empties a field: ``null`` is refused by sparse_vector, an empty array empties it."""
    takes_null = target.semantic is not None or not target.profile.is_sparse
    return None if takes_null and not target.passages else []


def _put(fields: dict[str, Any], candidate: Candidate, path: str, value: Any) -> None:
    """Writes a field where the document has it already, under a name with dots perhaps; else in nested form.

    Both forms at once would be two values of one field: the others are emptied.
    """
    forms = candidate.forms.get(path) or [tuple(path.split("."))]
    put_along(fields, forms[0], value)
    for form in forms[1:]:
        put_along(fields, form, [])


def _each_filled(standing: Any, targets: Sequence[Target], candidate: Candidate, values: Values) -> Any:
    """The user's nested objects with their vectors: an array whole, a single object as what is merged into it."""
    position = -1

    def filled(item: Any) -> Any:
        nonlocal position
        if isinstance(item, list):
            return [filled(part) for part in item]
        if not isinstance(item, Mapping):
            return item
        position += 1
        return _object_filled(_copied(item), position, targets, candidate, values)

    if isinstance(standing, Mapping) and candidate.document is None:
        position = 0
        return _object_filled({}, 0, targets, candidate, values, like=standing)
    return filled(standing)


def _object_filled(
    item: dict[str, Any],
    position: int,
    targets: Sequence[Target],
    candidate: Candidate,
    values: Values,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One object with the values of its ``position``; with ``like``, what turns that object into it by merging."""
    for target in targets:
        cleared = target.name in candidate.clears
        if not cleared and target.name not in values:
            continue
        made = dict(
            zip(
                (piece.start for piece in candidate.pieces.get(target.name, ())),
                values.get(target.name, ()),
                strict=True,
            )
        )
        if like is None:
            drop_at(item, target.inner_name)
            if position in made and not cleared:
                put_at(item, target.inner_name, made[position])
            continue
        forms = forms_of(like, target.inner_name) or [tuple(target.inner_name.split("."))]
        put_along(item, forms[0], made[position] if position in made and not cleared else [])
        for form in forms[1:]:
            put_along(item, form, [])
    return item


def _passages(parent: str, candidate: Candidate, plan: Plan, values: Values) -> list[dict[str, Any]]:
    within = [target for target in plan.targets if target.passages and target.parent == parent]
    names = [target.name for target in within if target.name in values]
    passages = []
    for position, piece in enumerate(candidate.pieces[names[0]]):
        passage: dict[str, Any] = {"text": piece.text, "start": piece.start}
        for name in names:
            passage[name.rpartition(".")[2]] = values[name][position]
        passages.append(passage)
    return passages


def _head(operation: str, candidate: Candidate) -> bytes:
    ref = candidate.ref
    line: dict[str, Any] = {"_index": ref.index, "_id": ref.id}
    if ref.routing is not None:
        line["routing"] = ref.routing
    if ref.seq_no is not None:
        line |= {"if_seq_no": ref.seq_no, "if_primary_term": ref.primary_term}
    return orjson.dumps({operation: line})


def _dumps(value: Any) -> bytes:
    # orjson writes a float32 with its shortest digits, half the bytes of the same number as a double.
    try:
        return orjson.dumps(value, default=_literal, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # Half surrogates and whole numbers beyond 64 bits, which Elasticsearch takes and keeps.
        return json.dumps(value, default=np.ndarray.tolist, separators=(",", ":")).encode()


def _literal(value: Any) -> orjson.Fragment:
    """A number as it was written."""
    if isinstance(value, LiteralNumber):
        return orjson.Fragment(value.literal)
    raise TypeError(f"{type(value).__name__} is no value of a document")
