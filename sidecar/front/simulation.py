"""What ingest pipelines make of documents, asked of the cluster before the documents are written.

The vectors belong to the text that is stored, and pipelines may change it; and ``inference`` processors of the
sidecar's want their results along. Only the texts are taken from here: the document itself goes through the pipelines
when it is written, in the cluster as ever.
Source: Elasticsearch API reference, "Simulate data ingestion" (from 8.12 on).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import structlog

from sidecar.core.errors import OtherError, SidecarError
from sidecar.front.inference_processors import CARRIER, SEPARATOR, WANTS, called_pipelines, is_stand_in
from sidecar.front.json_members import changed
from sidecar.front.pipeline_fates import Fate
from sidecar.front.source_text import SourceText
from sidecar.front.targets import WritePlan
from sidecar.front.write_context import WriteContext

_log = structlog.stdlib.get_logger(__name__)
_WANTED = "docs.doc._index,docs.doc._source,docs.doc.result,docs.doc.error"
_MOST_ROUNDS = 64
_NEVER_USED_UP = 1_000_000
# What the stand-ins say themselves; Elasticsearch says it without a script around it.
_OWN_REFUSALS = re.compile(
    r"field \[.*\] not present as part of path|.* cannot be processed because it is not a text field"
    r"|\[.*\] is configured for the _inference API"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document on its way into ``index``; ``operation`` is that of an action, ``plan`` what is filled there."""

    index: str
    id: str | None
    source: SourceText
    plan: WritePlan
    operation: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pipelines made of a draft: ``source`` is ``None`` where they drop or refuse it.

    ``plan`` is that of ``index``, into which they send it. ``carrier`` is what the document must carry through the
    pipelines, ``errors`` what became of texts, by its reason, ``fates`` what becomes of fields that they do not leave
    as they are. Without ``is_seen`` the cluster did not say what they do.
    """

    index: str
    source: SourceText | None
    plan: WritePlan
    carrier: bytes | None = None
    errors: Mapping[str, SidecarError] = field(default_factory=dict)
    fates: Mapping[str, Fate] = field(default_factory=dict)
    is_seen: bool = True


class Pipelines:
    """The pipelines of the cluster, and which of them lead to inference of ours."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self._inferring = {name for name, definition in definitions.items() if is_stand_in(definition)}
        calls = {name: set(called_pipelines(definition)) for name, definition in definitions.items()}
        found = bool(self._inferring)
        while found:
            more = {name for name, called in calls.items() if any(map(self.infers, called))} - self._inferring
            self._inferring |= more
            found = bool(more)

    def __bool__(self) -> bool:
        return bool(self._inferring)

    def infers(self, name: str | None) -> bool:
        """Whether a pipeline, or one that it calls, has an ``inference`` processor of ours; templates may name any."""
        return name is not None and (name in self._inferring or ("{{" in name and bool(self._inferring)))

    def leads_to_inference(self, definition: Mapping[str, Any]) -> bool:
        """Whether a pipeline that is not stored calls one with inference of ours."""
        return any(map(self.infers, called_pipelines(definition)))


@dataclass(slots=True)
class _Run:
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, SidecarError] = field(default_factory=dict)
    outcome: Outcome | None = None

    def carried(self, *, uses: int, probing: bool) -> dict[str, Any]:
        return {"made": self.made, "ran": 0, "uses": uses, "probing": probing, "wanted": []}

    def carrier(self, *, uses: int, probing: bool) -> bytes:
        return orjson.dumps(self.carried(uses=uses, probing=probing))


async def simulate(context: WriteContext, drafts: Sequence[Draft], pipeline: str | None) -> list[Outcome]:
    """The drafts behind the pipeline named by the request (``None``: the index's default) and the final one.

    Documents that a cluster will not simulate come back as they are, and the caller is told.
    """
    bodies = [draft.source.raw.strip() for draft in drafts]
    made = await _simulated(context, drafts, bodies, pipeline)
    if made is None:
        return [Outcome(draft.index, draft.source, draft.plan, is_seen=False) for draft in drafts]
    return [_outcome(draft, doc) for draft, doc in zip(drafts, made, strict=True)]


async def infer(context: WriteContext, drafts: Sequence[Draft], pipeline: str | None) -> list[Outcome]:
    """The same through pipelines with inference: again and again, until every text that is asked for is known."""
    runs = [(draft, _Run()) for draft in drafts]
    for _ in range(_MOST_ROUNDS):
        waiting = [(draft, run) for draft, run in runs if run.outcome is None]
        if not waiting:
            break
        bodies = [
            changed(draft.source.raw.strip(), {CARRIER: run.carrier(uses=0, probing=True)}) for draft, run in waiting
        ]
        made = await _simulated(context, [draft for draft, _ in waiting], bodies, pipeline)
        if made is None:
            break
        wanted: list[tuple[_Run, str, list[str]]] = []
        for (draft, run), doc in zip(waiting, made, strict=True):
            asked = list(wants_of(doc))
            if asked:
                wanted += [(run, model, texts) for model, texts in asked]
            else:
                run.outcome = _finished(draft, run, doc)
        await _embed(context, wanted)
    return [
        run.outcome or Outcome(draft.index, draft.source, draft.plan, None, run.errors, is_seen=False)
        for draft, run in runs
    ]


Simulation = Callable[[Sequence[Mapping[str, Any]]], Awaitable[list[Mapping[str, Any]] | None]]
"""Runs sources through pipelines, without effect; ``None`` where that cannot be done."""


async def infer_in(
    context: WriteContext, sources: Sequence[Mapping[str, Any]], once: Simulation
) -> list[tuple[Mapping[str, Any], Mapping[str, SidecarError]]] | None:
    """The sources with what they must carry, and what became of their texts; ``once`` runs all of them."""
    runs = [_Run() for _ in sources]
    ran = [0] * len(runs)
    for _ in range(_MOST_ROUNDS):
        carried: list[Mapping[str, Any]] = [
            {**source, CARRIER: run.carried(uses=0, probing=True)} for run, source in zip(runs, sources, strict=True)
        ]
        made = await once(carried)
        if made is None:
            return None
        wanted = [(run, model, texts) for run, doc in zip(runs, made, strict=True) for model, texts in wants_of(doc)]
        if not wanted:
            for position, doc in enumerate(made):
                left = (doc.get("_source") or {}).get(CARRIER)
                ran[position] = left["ran"] if isinstance(left, dict) else _NEVER_USED_UP
            break
        await _embed(context, wanted)
    return [
        ({**source, CARRIER: run.carried(uses=uses, probing=False)} if uses else source, run.errors)
        for run, source, uses in zip(runs, sources, ran, strict=True)
    ]


def _finished(draft: Draft, run: _Run, doc: Mapping[str, Any]) -> Outcome:
    outcome = _outcome(draft, doc)
    if outcome.source is None:
        carrier = run.carrier(uses=_NEVER_USED_UP, probing=False) if run.made else None
        return replace(outcome, carrier=carrier, errors=run.errors)
    document = dict(outcome.source.document)
    carried = document.pop(CARRIER, None)
    ran = carried.get("ran", 0) if isinstance(carried, dict) else 0
    source = SourceText(orjson.dumps(document), document)
    carrier = run.carrier(uses=ran, probing=False) if ran else None
    return replace(outcome, source=source, carrier=carrier, errors=run.errors)


async def _simulated(
    context: WriteContext, drafts: Sequence[Draft], bodies: Sequence[bytes], pipeline: str | None
) -> list[Mapping[str, Any]] | None:
    docs = []
    for draft, body in zip(drafts, bodies, strict=True):
        named = {"_index": draft.index} | ({} if draft.id is None else {"_id": draft.id})
        docs.append(orjson.dumps(named)[:-1] + b',"_source":' + body + b"}")
    chosen = "" if pipeline is None else f"&pipeline={quote(pipeline, safe='')}"
    target = f"/_ingest/_simulate?filter_path={_WANTED}{chosen}"
    answer = await context.exchange.call("POST", target, b'{"docs":[' + b",".join(docs) + b"]}")
    made = (answer.json() if answer.status == 200 else {}).get("docs") or []
    if len(made) != len(drafts):
        _log.warning("pipelines_not_simulated", status=answer.status, pipeline=pipeline)
        return None
    return [one.get("doc") or {} for one in made]


def _outcome(draft: Draft, doc: Mapping[str, Any]) -> Outcome:
    index = str(doc.get("_index", draft.index))
    source = doc.get("_source")
    if (doc.get("error") and source is None) or doc.get("result") == "noop":
        return Outcome(index, None, draft.plan)
    value = source if isinstance(source, dict) else {}
    return Outcome(index, SourceText(orjson.dumps(value), value), draft.plan)


def wants_of(doc: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The model and the texts that a simulated document stopped for, if it did."""
    carried = (doc.get("_source") or {}).get(CARRIER)
    said = list(carried.get("wanted") or ()) if isinstance(carried, dict) else []
    error = doc.get("error")
    while isinstance(error, dict):
        said.append(error.get("reason"))
        error = error.get("caused_by")
    for text in dict.fromkeys(said):
        if isinstance(text, str) and text.startswith(WANTS + SEPARATOR):
            _, model, *texts = text.split(SEPARATOR)
            yield model, texts


async def _embed(context: WriteContext, wanted: Sequence[tuple[_Run, str, list[str]]]) -> None:
    texts: dict[str, list[str]] = {}
    for _, model, asked in wanted:
        texts.setdefault(model, []).extend(asked)
    results = await results_of(context, texts)
    for run, model, asked in wanted:
        known = run.made.setdefault(model, {})
        for text in asked:
            known[text], error = results[model, text]
            if error is not None:
                run.errors[str(error.reason)] = error


async def results_of(
    context: WriteContext, texts: Mapping[str, Iterable[str]]
) -> dict[tuple[str, str], tuple[dict[str, Any], SidecarError | None]]:
    """What the stand-in of an ``inference`` processor is given for each model and text."""
    vectors, missing = await context.embed_texts(texts)
    results: dict[tuple[str, str], tuple[dict[str, Any], SidecarError | None]] = {}
    for model, asked in texts.items():
        for text in asked:
            value = missing[model] if model in missing else vectors.of(model, text)
            if isinstance(value, SidecarError):
                results[model, text] = {"error": str(value.reason)}, value
                continue
            bare = value[0] if isinstance(value, list) else value
            result: dict[str, Any] = {"value": bare.tolist() if isinstance(bare, np.ndarray) else bare}
            if (model, text) in vectors.truncated:
                result["truncated"] = True
            results[model, text] = result, None
    return results


def explained(error: Mapping[str, Any], errors: Mapping[str, SidecarError]) -> SidecarError | None:
    """What really befell a document that failed in the stand-in of an ``inference`` processor; ``None`` otherwise."""
    if error.get("type") != "script_exception":
        return None
    cause = error.get("caused_by") or {}
    reason = str(cause.get("reason", ""))
    if reason in errors:
        return errors[reason]
    if cause.get("type") == "illegal_argument_exception" and _OWN_REFUSALS.match(reason):
        return OtherError("illegal_argument_exception", reason)
    return None
