"""What stands in a target before it is written, where the index does not tell.

An index tells which vectors it holds. It knows nothing of a value that was written before its field was mapped: that is
in the document all the same, and a partial update would replace it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sidecar.elastic.source import forms_of, kind_of, value_along, values_at
from sidecar.ingest.document import Candidate, Examined, Plan, Refusal, Target


def wants_look(decision: Examined, plan: Plan, targets: Sequence[Target]) -> bool:
    """Whether a document is to be written where something may stand that nobody has seen."""
    if not isinstance(decision, Candidate):
        return False
    dotted = any("." in target.name for target in targets)
    return (dotted and decision.replaces) or next(_unclaimed(decision, plan, targets), None) is not None


def seen(candidate: Candidate, source: Mapping[str, Any], plan: Plan, targets: Sequence[Target]) -> Candidate | Refusal:
    """The candidate without targets in which ``source`` holds what no marker claims, and with the forms of the others.

    A :class:`Refusal` where nothing is left to write.
    """
    forms = {target.name: keys for target in targets if (keys := tuple(forms_of(source, target.name)))}
    held = {name: _held(source, name) for name in _unclaimed(candidate, plan, targets)}
    foreign = {name: value for name, value in held.items() if value is not None}
    if not foreign:
        return replace(candidate, forms={**candidate.forms, **forms})
    reasons = [
        f"[{name}] holds {kind_of(value)} that no marker claims and no search finds: a vector written there would"
        " replace it (--overwrite does)"
        for name, value in foreign.items()
    ]
    failure = "; ".join([*([candidate.failure] if candidate.failure else []), *reasons])
    pieces = {name: value for name, value in candidate.pieces.items() if name not in foreign}
    if not pieces and not candidate.clears:
        return Refusal(failure)
    return replace(
        candidate,
        pieces=pieces,
        stamps={name: stamp for name, stamp in candidate.stamps.items() if name not in foreign},
        forms={**candidate.forms, **forms},
        failure=failure,
    )


def _unclaimed(candidate: Candidate, plan: Plan, targets: Sequence[Target]) -> Iterator[str]:
    """The targets that will be written though the marker says nothing of a vector there."""
    for target in targets:
        unclaimed = target.name in candidate.pieces and target.name not in candidate.marker.stamps
        if unclaimed and not (plan.overwrite or target.overwrite):
            yield target.name


def _held(source: Mapping[str, Any], path: str) -> Any:
    """What stands at ``path`` and would be lost; ``None`` for nothing, for nulls, for what is empty."""
    for keys in forms_of(source, path):
        if any(leaf is not None and leaf != {} for leaf in values_at(source, path)):
            return value_along(source, keys)
    return None
