"""One document's write, serialised: the action line and the source line of a bulk request.

Source: Elasticsearch API reference, "Bulk index or delete documents".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from sidecar.elastic.source import drop_at, put_at
from sidecar.ingest.document import Candidate, Plan
from sidecar.ingest.marker import MARKER_FIELD
from sidecar.ingest.semantic_field import INFERENCE_FIELDS, inference_results

Values = Mapping[str, Sequence[Any]]
"""Per target field one stored value for each of its pieces."""


@dataclass(frozen=True, slots=True)
class Action:
    """The two lines of one write, with the document they come from. ``failure`` is recorded by the write, if any."""

    candidate: Candidate
    head: bytes
    body: bytes
    failure: str | None = None

    @property
    def size(self) -> int:
        """Bytes on the wire with both line ends."""
        return len(self.head) + len(self.body) + 2


def build_action(candidate: Candidate, plan: Plan, values: Values, failure: str | None, at: datetime) -> Action:
    """All fields of one document and its marker in one write, guarded by the state in which it was read.

    Fields without values keep what they have; ``failure`` says why and goes into the marker.
    """
    made = {name: stamp for name, stamp in candidate.stamps.items() if name in values}
    marker = candidate.marker.rewritten(made, candidate.clears, failure, at)
    if candidate.document is None:
        fields: dict[str, Any] = {}
        _fill(fields, candidate, plan, values)
        fields[MARKER_FIELD] = marker
        return Action(candidate, _head("update", candidate), _dumps({"doc": fields}), failure)
    document = orjson.loads(_dumps(candidate.document))
    for target in plan.targets:
        drop_at(document, target.name if plan.splitter is None else target.parent)
    _fill(document, candidate, plan, values)
    document[MARKER_FIELD] = {key: value for key, value in marker.items() if value is not None}
    operation = "create" if candidate.ref.seq_no is None else "index"
    return Action(candidate, _head(operation, candidate), _dumps(document), failure)


def _fill(fields: dict[str, Any], candidate: Candidate, plan: Plan, values: Values) -> None:
    for target in plan.targets:
        if target.name in candidate.clears:
            # null is refused by sparse_vector, an empty array empties it.
            takes_null = target.semantic is not None or not target.profile.is_sparse
            empty: Any = None if takes_null and plan.splitter is None else []
            put_at(fields, target.name if plan.splitter is None else target.parent, empty)
        elif target.name in values:
            if target.semantic is not None:
                text, pieces = candidate.stored_texts[target.name], candidate.pieces[target.name]
                put_at(fields, target.name, text)
                results = inference_results(target.semantic, target.name, text, pieces, values[target.name])
                fields.setdefault(INFERENCE_FIELDS, {})[target.name] = results
            elif plan.splitter is None:
                put_at(fields, target.name, values[target.name][0])
            else:
                put_at(fields, target.parent, _passages(target.parent, candidate, plan, values))


def _passages(parent: str, candidate: Candidate, plan: Plan, values: Values) -> list[dict[str, Any]]:
    names = [target.name for target in plan.targets if target.parent == parent and target.name in values]
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
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
