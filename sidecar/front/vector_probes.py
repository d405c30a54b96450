"""What pipelines do with the vectors of the documents that go through them, seen before a vector is made.

The front puts vectors into a document before the cluster runs its pipelines. A ``remove``, a ``rename`` or a script in
one may take them out again, under whatever condition, and nobody would notice. So a simulated document carries a probe
in the place of each vector that may come, and what has become of the probe is what would become of the vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.source import drop_at, put_at, values_at
from sidecar.front.completion import Tree, put_value, with_values
from sidecar.front.filling import Filling
from sidecar.front.pipeline_fates import Fate
from sidecar.front.simulation import Draft, Outcome, infer, simulate
from sidecar.front.source_text import SourceText
from sidecar.front.targets import VectorTarget, WritePlan
from sidecar.front.write_context import WriteContext
from sidecar.ingest.marker import MARKER_FIELD

# The same in binary and in digits, and no vector of length 1, which a script that normalizes would leave as it is.
_NUMBER = 0.59765625
_MARKER = {"model": ["probe"], "hash": ["probe"]}


@dataclass(frozen=True, slots=True)
class _Probed:
    """A draft with probes in it at ``places``; ``sent`` says by field what stands there, the document's own too."""

    draft: Draft
    source: SourceText
    places: tuple[str, ...] = ()
    sent: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def sent_draft(self) -> Draft:
        """What the pipelines are tried with."""
        return replace(self.draft, source=self.source)


async def through_pipelines(
    context: WriteContext, drafts: Sequence[Draft], pipeline: str | None, *, infers: bool
) -> list[Outcome]:
    """What the pipelines of a write make of the drafts, and of the vectors that these will carry.

    ``pipeline`` is the one that the request names, ``None`` for the index's own; with ``infers`` some processor of them
    does inference of ours. Each outcome has the plan of the index that the document goes to in the end.
    """
    run = infer if infers else simulate
    probed = [_probed(draft, draft.plan) for draft in drafts]
    made = await run(context, [one.sent_draft for one in probed], pipeline)
    outcomes = [await _read(context, one, outcome) for one, outcome in zip(probed, made, strict=True)]
    again: dict[int, _Probed] = {}
    for position, (draft, one, outcome) in enumerate(zip(drafts, probed, outcomes, strict=True)):
        if one.places and _is_stopped_or_replaced(one, outcome):
            again[position] = _Probed(draft, draft.source)
        elif any(target.name not in one.sent for target in outcome.plan.vectors):
            again[position] = _probed(draft, outcome.plan)
    if not again:
        return outcomes
    made = await run(context, [one.sent_draft for one in again.values()], pipeline)
    for (position, one), outcome in zip(again.items(), made, strict=True):
        read, before = await _read(context, one, outcome), outcomes[position]
        if one.places:
            outcomes[position] = read
        elif before.source is None:
            outcomes[position] = replace(read, fates=dict.fromkeys(probed[position].sent, Fate.UNKNOWN))
        elif read.source is not None:  # else they need a vector to work on, as the probe was one
            outcomes[position] = replace(read, fates=before.fates)
    return outcomes


def _is_stopped_or_replaced(probed: _Probed, outcome: Outcome) -> bool:
    """Whether the pipelines stopped, maybe at a probe, or something else stands in its place, maybe made of it."""
    return outcome.source is None or Fate.CHANGED in outcome.fates.values()


def _probed(draft: Draft, plan: WritePlan) -> _Probed:
    document = draft.source.document
    probes: dict[str, Any] = {}
    for target in plan.vectors:
        if not _present(document, target.place):
            _add_probe(probes, target)
    fields = [target.name for target in plan.vectors]
    if fields and plan.has_marker:
        fields.append(MARKER_FIELD)
        if not _present(document, MARKER_FIELD):
            probes[MARKER_FIELD] = _MARKER
    there: dict[str, Any] = {}
    tree: Tree = {}
    for place, probe in probes.items():
        put_at(there, place, probe)
        put_value(tree, document, place, orjson.dumps(probe))
    sent = {name: _present(document, name) or _present(there, name) for name in fields}
    if not probes:
        return _Probed(draft, draft.source, (), sent)
    return _Probed(draft, SourceText(with_values(draft.source, tree), document), tuple(probes), sent)


def _add_probe(probes: dict[str, Any], target: VectorTarget) -> None:
    probe: Any = {"probe": _NUMBER} if target.profile.is_sparse else [_NUMBER]
    if not target.binding.passages:
        probes[target.place] = probe
        return
    (passage,) = probes.setdefault(target.place, [{"text": "probe", "start": 0}])
    passage[target.name.rpartition(".")[2]] = probe


def _present(document: Mapping[str, Any], path: str) -> list[Any]:
    return [value for value in values_at(document, path) if value is not None]


async def _read(context: WriteContext, probed: _Probed, outcome: Outcome) -> Outcome:
    """The outcome without the probes, and with the fates of what was sent and did not stay as it was."""
    draft = probed.draft
    if outcome.index not in (draft.index, draft.plan.index):
        outcome = replace(outcome, plan=await context.plan(outcome.index, draft.operation))
    if not outcome.is_seen:
        return replace(outcome, source=draft.source, fates=dict.fromkeys(probed.sent, Fate.UNKNOWN))
    if outcome.source is None:
        return outcome
    document = outcome.source.document
    fates = {}
    for name, values in probed.sent.items():
        found = _present(document, name)
        if found != values:
            fates[name] = Fate.CHANGED if found else Fate.DROPPED
    for place in probed.places:
        drop_at(document, place)
    source = SourceText(orjson.dumps(document), document) if probed.places else outcome.source
    return replace(outcome, source=source, fates=fates)


def heed(context: WriteContext, filling: Filling, outcome: Outcome) -> None:
    """Makes no vector that would not be stored, and tells what pipelines do with those that will be made.

    Raises:
        IllegalArgumentError: a field would be left empty, and its binding does not say that such documents are stored.
    """
    for name, fate in outcome.fates.items():
        if name != MARKER_FIELD and fate is not Fate.CHANGED and name not in filling.wanted_vectors:
            continue
        if name == MARKER_FIELD and not filling.wanted_vectors:
            continue
        context.tell_of_pipelines(outcome.plan.index, name, fate)
        if fate is Fate.DROPPED and name != MARKER_FIELD:
            reason = (
                f"field [{name}] would be left empty: the pipelines that the document goes through drop it. Let them"
                " keep it, or bind it with [on_failure: index_pending], and such documents are stored without it"
            )
            filling.give_up(name, IllegalArgumentError(reason))
