"""Indexes documents of a file together with their vectors.

    lines -> what does the index hold under these ids? -> new or changed: embed -> create, or index guarded by state

A line whose document is there already, with the vectors of the present models, costs one look. So an interrupted run
is simply started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice

from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, NotFoundError, TransportError

from sidecar.elastic.version import ServerVersion, server_version
from sidecar.inference.embedder import Embedder
from sidecar.ingest.document import Candidate, Plan, Ref, Verdict, examine_whole
from sidecar.ingest.json_lines import BadLine, Line, read_lines
from sidecar.ingest.line import Decision, Pace, Round
from sidecar.ingest.line import Line as AssemblyLine
from sidecar.ingest.marker import MARKER_FIELD, Marker, Stamp
from sidecar.ingest.reader import reread
from sidecar.ingest.run import examined, recorded, settle
from sidecar.ingest.stop import stopped_by
from sidecar.ingest.summary import Summary
from sidecar.ingest.target_fields import MappingChange, prepare_indices

WHOLE = "*"
"""The marker's entry for the document as it stood in the file."""

_WHOLE_MODEL = "document"


class Existing(StrEnum):
    """What happens to documents that are in the index already and differ."""

    REPLACE = "index"
    KEEP = "create"


@dataclass(frozen=True, slots=True)
class IndexJob:
    """Which index gets which vectors; ``page_size`` lines are looked up at a time."""

    index: str
    plan: Plan
    id_field: str | None = None
    existing: Existing = Existing.REPLACE
    page_size: int = 200
    pace: Pace = field(default_factory=Pace)


def examine_line(line: Line, job: IndexJob, ref: Ref, marker: Marker) -> Candidate | Verdict:
    """The work a line needs, given the marker of the document that is there (an empty one where there is none)."""
    whole = Stamp(_WHOLE_MODEL, line.hash)
    if ref.seq_no is not None and job.existing is Existing.KEEP:
        return Verdict.UP_TO_DATE
    decision = examine_whole(ref, line.document, marker, job.plan)
    if isinstance(decision, Verdict):
        return decision
    is_same = ref.seq_no is not None and marker.stamps.get(WHOLE) == whole
    if is_same and all(marker.stamps.get(name) == stamp for name, stamp in decision.stamps.items()):
        return Verdict.UP_TO_DATE
    own = {target.name for target in job.plan.targets}
    kept = Marker({WHOLE: whole}, None, False, (), ())
    # Only what this run makes is stamped: other fields' vectors go with the old document.
    return replace(
        decision,
        marker=kept,
        stamps={name: stamp for name, stamp in decision.stamps.items() if name in own},
        label=f"line {line.number}",
        weight=line.size,
    )


class Indexing:
    """One run over one file. ``summary`` is live."""

    def __init__(self, client: AsyncElasticsearch, embedder: Embedder, job: IndexJob) -> None:
        self._client = client
        self._embedder = embedder
        self._job = job
        self.summary = Summary()
        self.changes: tuple[MappingChange, ...] = ()

    async def run(self, lines: Iterable[bytes]) -> Summary:
        """Reads ``lines`` to the end; what stops it early is in the summary."""
        with recorded("indexing", self._job.index, self._job.plan, self.summary):
            await self._run(lines)
        return self.summary

    async def _run(self, lines: Iterable[bytes]) -> None:
        version = await self._prepare()
        line = AssemblyLine(
            self._client, self._embedder, self._job.plan, version=version, summary=self.summary, pace=self._job.pace
        )
        conflicts = await line.run([self._examine(lines)], Round.FIRST)
        self.summary.passes = 1
        self.summary.unsettled = len(await settle(line, conflicts, self._again))

    async def _prepare(self) -> ServerVersion:
        index = self._job.index
        try:
            version = await server_version(self._client)
            try:
                await self._client.indices.get(index=index, features="aliases")
            except NotFoundError:
                await self._create()
            prepared = await prepare_indices(self._client, index, self._job.plan, version)
            self.changes = prepared.changes
            self._job = replace(self._job, plan=prepared.plan)
        except (ApiError, TransportError) as error:
            raise stopped_by(error, f"preparing index [{index}]") from error
        return version

    async def _create(self) -> None:
        try:
            await self._client.indices.create(index=self._job.index)
        except BadRequestError as error:
            if "resource_already_exists_exception" not in str(error.body):
                raise

    async def _examine(self, lines: Iterable[bytes]) -> AsyncIterator[Sequence[Decision]]:
        parsed = read_lines(lines, self._job.id_field)
        while page := await asyncio.to_thread(_take, parsed, self._job.page_size):
            good = []
            for line in page:
                if isinstance(line, BadLine):
                    self.summary.read += 1
                    self.summary.fail(f"line {line.number}", line.reason)
                else:
                    good.append(line)
            if good:
                yield await self._look_up(good)

    async def _again(self, conflicts: Sequence[Candidate]) -> AsyncIterator[Sequence[Decision]]:
        for start in range(0, len(conflicts), self._job.page_size):
            part = conflicts[start : start + self._job.page_size]
            lines = [
                Line(
                    int((candidate.label or "line 0").rpartition(" ")[2]),
                    candidate.ref.id,
                    candidate.document or {},
                    candidate.marker.stamps[WHOLE].hash,
                    candidate.weight,
                )
                for candidate in part
            ]
            yield await self._look_up(lines)

    async def _look_up(self, lines: Sequence[Line]) -> Sequence[Decision]:
        refs = [Ref(self._job.index, line.id) for line in lines]
        found, _ = await reread(self._client, list(dict.fromkeys(refs)), [MARKER_FIELD])
        by_id = {hit.ref.id: hit for hit in found.values()}
        decisions: list[Decision] = []
        for line, ref in zip(lines, refs, strict=True):
            hit = by_id.get(line.id)
            state = ref if hit is None else hit.ref
            marker = Marker() if hit is None else Marker.read(hit.source)
            decisions.append((state, await examined(self._job.plan, examine_line, line, self._job, state, marker)))
        return decisions


def _take(lines: Iterator[Line | BadLine], most: int) -> list[Line | BadLine]:
    return list(islice(lines, most))
