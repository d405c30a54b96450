"""Indexes documents of a file together with their vectors.

    lines -> what does the index hold under these ids? -> new or changed: embed -> create, or index guarded by state

A line whose document is there already, with the vectors of the present models, costs one look. So an interrupted run
is simply started again. Of several lines with one id the last is indexed, whatever is there already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, NotFoundError, TransportError

from sidecar.elastic.source import stands_at
from sidecar.elastic.version import ServerVersion, server_version
from sidecar.inference.embedder import Embedder
from sidecar.ingest.document import Candidate, Examined, Plan, Ref, Refusal, Verdict, examine_whole
from sidecar.ingest.json_lines import BadLine, Line, read_lines
from sidecar.ingest.line import Decision, Pace, Round
from sidecar.ingest.line import Line as AssemblyLine
from sidecar.ingest.marker import MARKER_FIELD, Marker, Stamp, attempt_hash
from sidecar.ingest.presence import telling_presence
from sidecar.ingest.reader import Fields, Hit, patiently, read_hit, require_all_shards, reread
from sidecar.ingest.repeats import Place, Repeats
from sidecar.ingest.run import examined, recorded, settle
from sidecar.ingest.source_rules import is_known
from sidecar.ingest.stop import RunStoppedError, stopped_by
from sidecar.ingest.summary import Summary
from sidecar.ingest.target_fields import MappingChange, prepare_indices

log = structlog.get_logger(__name__)

WHOLE = "*"
"""The marker's entry for the document as it stood in the file."""

_WHOLE_MODEL = "document"


class Existing(StrEnum):
    """What happens to documents that are in the index already and differ."""

    REPLACE = "index"
    KEEP = "create"


@dataclass(frozen=True, slots=True)
class IndexJob:
    """Which index gets which vectors; ``page_size`` lines are looked up at a time.

    ``id_field`` and ``routing_field`` are the dotted paths of a document's id and of its routing value.
    """

    index: str
    plan: Plan
    id_field: str | None = None
    routing_field: str | None = None
    existing: Existing = Existing.REPLACE
    page_size: int = 200
    pace: Pace = field(default_factory=Pace)


def examine_line(line: Line, job: IndexJob, hit: Hit | None, ref: Ref) -> Examined:
    """The work a line needs, given the document that is there under its id, if any."""
    label = f"line {line.number}"
    if hit is not None and (job.existing is Existing.KEEP or line.keeps):
        return Verdict.UP_TO_DATE
    marker = Marker() if hit is None else Marker.read(hit.source)
    decision = examine_whole(ref if hit is None else hit.ref, line.document, job.plan)
    if isinstance(decision, Refusal):
        return replace(decision, label=label)
    whole = Stamp(_WHOLE_MODEL, line.hash)
    if hit is not None and (whole_there := marker.stamps.get(WHOLE)) is not None and whole_there.fits(whole):
        lacking = {name for name, stamp in decision.stamps.items() if not _holds(name, stamp, marker, hit)}
        if not lacking:
            return Verdict.UP_TO_DATE
        again = {marker.failed.get(name) == _attempt(decision.stamps[name]) for name in lacking}
        if again == {True} and not job.plan.retry_failed:
            return Verdict.FAILED_BEFORE
    # Only what this run makes or the line brings is stamped: other fields' vectors go with the old document.
    kept = Marker({**decision.marker.stamps, WHOLE: whole})
    return replace(decision, marker=kept, label=label, weight=line.size, keeps=line.keeps)


def _holds(name: str, stamp: Stamp, marker: Marker, hit: Hit) -> bool:
    """Whether a document has a vector as a line asks for it: its marker says so, and the index holds one."""
    claimed = marker.stamps.get(name)
    return claimed is not None and claimed.fits(stamp) and (hit.present is None or name in hit.present)


def _attempt(stamp: Stamp) -> str:
    return attempt_hash(stamp.hash, stamp.model)


class Indexing:
    """One run over one file. ``summary`` is live."""

    def __init__(self, client: AsyncElasticsearch, embedder: Embedder, job: IndexJob) -> None:
        self._client = client
        self._embedder = embedder
        self._job = job
        self.summary = Summary()
        self.changes: tuple[MappingChange, ...] = ()
        self._repeats = Repeats()
        self._alias_routing: str | None = None
        self._unseen = {
            path for target in job.plan.targets if not target.is_bound_by_mapping for path in target.map.sources
        }
        self._has_lines = False

    async def run(self, lines: Iterable[bytes]) -> Summary:
        """Reads ``lines`` to the end; what stops it early is in the summary.

        Lines that can be read twice are: so the last of an id is known before the first is written.
        """
        with recorded("indexing", self._job.index, self._job.plan, self.summary):
            await self._run(lines)
        return self.summary

    async def _run(self, lines: Iterable[bytes]) -> None:
        version = await self._prepare()
        if not isinstance(lines, Iterator):
            await asyncio.to_thread(self._repeats.scan, self._parsed(lines))
            await self._require_sources()
        line = AssemblyLine(
            self._client, self._embedder, self._job.plan, version=version, summary=self.summary, pace=self._job.pace
        )
        conflicts = await line.run([self._examine(lines)], Round.FIRST)
        self.summary.passes = 1
        while later := self._repeats.take_later():
            conflicts += await line.run([self._later(later)], Round.FIRST)
        await self._require_sources()
        self.summary.unsettled = len(await settle(line, conflicts, self._again))

    async def _prepare(self) -> ServerVersion:
        index = self._job.index
        if any(character in index for character in "*,"):
            raise RunStoppedError(f"[{index}] is a pattern; documents are indexed into one index or alias")
        try:
            version = await server_version(self._client)
            target = await self._write_index(index)
            prepared = await patiently(
                lambda: prepare_indices(self._client, target, self._job.plan, version, updates=False)
            )
            self.changes = prepared.changes
            self._job = replace(self._job, plan=prepared.plan, index=target)
            await self._refresh()
        except (ApiError, TransportError) as error:
            raise stopped_by(error, f"preparing index [{index}]") from error
        return version

    async def _write_index(self, name: str) -> str:
        """The index that Elasticsearch writes into under this name; made when there is none.

        What an alias says of routing is kept: the index by itself would not know it.
        """
        try:
            found = (await self._client.indices.get(index=name, features="aliases")).body
        except NotFoundError:
            await self._create()
            return name
        aliased: dict[str, dict[str, Any]] = {
            index: value["aliases"][name] for index, value in found.items() if name in value.get("aliases", {})
        }
        if name in found:
            return name  # the index itself
        if not aliased:
            index, value = next(iter(found.items()))
            if "data_stream" in value:
                raise RunStoppedError(
                    f"[{name}] is the data stream [{value['data_stream']}], to which documents are only added and in"
                    " which none is found by its id: write into it as before, then let sidecar backfill add the vectors"
                )
            return str(index)  # named by a date, say
        only = len(aliased) == 1
        writable = [index for index, alias in aliased.items() if alias.get("is_write_index", only)]
        if len(writable) != 1:
            raise RunStoppedError(
                f"alias [{name}] has no write index among [{', '.join(sorted(aliased))}]: name one of them"
            )
        routing = aliased[writable[0]].get("index_routing")
        self._alias_routing = None if routing is None else str(routing)
        return writable[0]

    async def _create(self) -> None:
        try:
            await self._client.indices.create(index=self._job.index)
        except BadRequestError as error:
            if "resource_already_exists_exception" not in str(error.body):
                raise

    async def _refresh(self) -> None:
        """Lets the look at vectors see the latest writes; without the privilege it sees them a second later."""
        try:
            await self._client.indices.refresh(index=self._job.index)
        except (ApiError, TransportError) as error:
            log.debug("index_not_refreshed", index=self._job.index, cause=type(error).__name__)

    async def _require_sources(self) -> None:
        """Raises :class:`RunStoppedError` for a source that stands in none of the lines read, nor in the mapping.

        Of a file that is known before its first document is written, of a stream at its end.
        """
        if not self._unseen or not self._has_lines:
            return
        answer = await self._client.indices.get_mapping(index=self._job.index)
        mappings = [value["mappings"] for value in answer.values()]
        for path in sorted(self._unseen):
            if not any(is_known(mapping, path) for mapping in mappings):
                raise RunStoppedError(
                    f"source [{path}] is in no line and in no mapping of [{self._job.index}]: no document would get a"
                    " vector from it; name the field that holds the text"
                )

    def _parsed(self, lines: Iterable[bytes]) -> Iterator[Line | BadLine]:
        for line in map(self._routed, read_lines(lines, self._job.id_field, self._job.routing_field)):
            if isinstance(line, Line):
                self._has_lines = True
                if self._unseen:
                    self._unseen -= {path for path in self._unseen if stands_at(line.document, path)}
            yield line

    def _routed(self, line: Line | BadLine) -> Line | BadLine:
        """The line as the alias routes it, which has a say as in Elasticsearch."""
        routing = self._alias_routing
        if routing is None or isinstance(line, BadLine) or line.routing == routing:
            return line
        if line.routing is not None:
            return BadLine(line.number, f"the alias has the routing [{routing}], the line [{line.routing}]")
        return replace(line, routing=routing)

    async def _examine(self, lines: Iterable[bytes]) -> AsyncIterator[Sequence[Decision]]:
        parsed = self._parsed(lines)
        while page := await asyncio.to_thread(_take, parsed, self._job.page_size):
            good = []
            for line in page:
                if isinstance(line, BadLine):
                    self.summary.read += 1
                    self.summary.fail(f"line {line.number}", line.reason, for_good=True)
                    continue
                place = self._repeats.place_of(line)
                if place is Place.NOW:
                    good.append(line)
                elif place is Place.NEVER:
                    self.summary.read += 1
                    self.summary.repeated += 1
            if good:
                yield self._noted(await self._look_up(good))

    async def _later(self, lines: Sequence[Line]) -> AsyncIterator[Sequence[Decision]]:
        """Lines whose id came before, page by page, now that what came before is written."""
        for start in range(0, len(lines), self._job.page_size):
            yield self._noted(await self._look_up(lines[start : start + self._job.page_size]))

    def _noted(self, decisions: Sequence[Decision]) -> Sequence[Decision]:
        """The decisions, with a note of documents that are indexed without a vector because they have no text."""
        targets = [target for target in self._job.plan.targets if not target.is_bound_by_mapping]
        for _, decision in decisions:
            if not isinstance(decision, Candidate) or decision.failure is not None:
                continue
            for target in targets:
                if target.name not in decision.pieces:
                    self.summary.notes[f"no text in [{target.map.source}], so no vector in [{target.name}]"] += 1
        return decisions

    async def _again(self, conflicts: Sequence[Candidate]) -> AsyncIterator[Sequence[Decision]]:
        lines = [
            Line(
                int((candidate.label or "line 0").rpartition(" ")[2]),
                candidate.ref.id,
                candidate.document or {},
                candidate.marker.stamps[WHOLE].hash,
                candidate.weight,
                candidate.ref.routing,
                candidate.keeps,
            )
            for candidate in conflicts
        ]
        for start in range(0, len(lines), self._job.page_size):
            yield await self._look_up(lines[start : start + self._job.page_size])

    async def _look_up(self, lines: Sequence[Line]) -> Sequence[Decision]:
        refs = [Ref(self._job.index, line.id, line.routing) for line in lines]
        there = await reread(self._client, list(dict.fromkeys(refs)), Fields((MARKER_FIELD,)))
        by_key = {ref_key(hit.ref): hit for hit in await self._with_presence(list(there.found.values()))}
        decisions: list[Decision] = []
        for line, ref in zip(lines, refs, strict=True):
            if (reason := there.unreadable.get(ref.key)) is not None:
                hint = "; say --routing-field FIELD" if "routing is required" in reason else ""
                decisions.append((ref, Refusal(reason + hint, f"line {line.number}")))
                continue
            hit = by_key.get(line.key)
            decision = await examined(self._job.plan, ref, examine_line, line, self._job, hit, ref)
            if isinstance(decision, Refusal) and decision.label is None:
                decision = replace(decision, label=f"line {line.number}")
            decisions.append((ref if hit is None else hit.ref, decision))
        return decisions

    async def _with_presence(self, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Documents with a marker, with what vectors the index holds of them, as far as the index shows that state."""
        marked = [hit.ref for hit in hits if Marker.read(hit.source).stamps]
        if not marked:
            return hits
        query = telling_presence({"ids": {"values": [ref.id for ref in marked]}}, self._job.plan)
        client = self._client.options(max_retries=0)

        async def ask() -> dict[str, Any]:
            answer = await client.search(
                index=self._job.index,
                query=query,
                size=min(10_000, 10 * len(marked)),  # routed documents may share an id
                source=False,
                seq_no_primary_term=True,
                allow_partial_search_results=False,
            )
            return dict(answer.body)

        answer = await patiently(ask)
        require_all_shards(answer)
        shown = {hit.ref: hit.present for hit in (read_hit(hit, asked=True) for hit in answer["hits"]["hits"])}
        return [replace(hit, present=shown.get(hit.ref)) for hit in hits]


def ref_key(ref: Ref) -> tuple[str, str | None]:
    """As :attr:`Line.key`."""
    return ref.id, ref.routing


def _take(lines: Iterator[Line | BadLine], most: int) -> list[Line | BadLine]:
    return list(islice(lines, most))
