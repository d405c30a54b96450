"""Writes actions with the client's bulk, again and again where that helps.

actions -> cut by count and bytes -> bulk -> per item: written | conflict | gone | retry | failed | stop
                ^                                                          |
                '--------------- smaller, after a wait with jitter --------'
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, TransportError

from sidecar.ingest.action import Action
from sidecar.ingest.backoff import Backoff
from sidecar.ingest.bulk import BulkLimits, ItemAnswer, Outcome, cut, describe_error, read_item
from sidecar.ingest.stop import RunStoppedError, stopped_by

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT = 120.0
"""Seconds; the client's own 10 would give up on bulks that the server finishes."""

_ANSWER_FIELDS = "errors,items.*.status,items.*.error"


@dataclass(slots=True)
class WriteReport:
    """What became of a list of actions; each action is in exactly one place."""

    written: list[Action] = field(default_factory=list)
    conflicts: list[Action] = field(default_factory=list)
    gone: list[Action] = field(default_factory=list)
    failed: list[tuple[Action, str]] = field(default_factory=list)
    bulks: int = 0
    retries: int = 0


class BulkWriter:
    """Writes until every action is settled; the size of bulks follows what the cluster bears.

    Repeating a bulk of which nothing is known (a timeout) is safe: every action carries the state in which its
    document was read, so that what was written already comes back as a conflict.
    """

    def __init__(self, client: AsyncElasticsearch, limits: BulkLimits | None = None, backoff: Backoff | None = None):
        self._client = client.options(request_timeout=REQUEST_TIMEOUT, max_retries=0)
        self._limits = limits or BulkLimits()
        self._backoff = backoff or Backoff()

    async def write(self, actions: Sequence[Action]) -> WriteReport:
        """Settles all ``actions``; raises :class:`RunStoppedError` when going on makes no sense."""
        report = WriteReport()
        waiting = deque(actions)
        while waiting:
            bulk = next(cut(waiting, self._limits))
            for _ in bulk:
                waiting.popleft()
            again = await self._send(bulk, report)
            if again:
                waiting.extendleft(reversed(again))
        return report

    async def _send(self, bulk: list[Action], report: WriteReport) -> list[Action]:
        """Sends one bulk; the actions to be sent again, after the wait they need."""
        report.bulks += 1
        try:
            answer = await self._client.bulk(
                operations=[line for action in bulk for line in (action.head, action.body)],  # type: ignore[misc]
                filter_path=_ANSWER_FIELDS,
            )
        except ApiError as error:
            return await self._refused(bulk, error, report)
        except TransportError as error:
            if self._backoff.exhausted:
                raise stopped_by(error, "writing") from error
            log.warning("bulk_sent_again", actions=len(bulk), cause=type(error).__name__)
            return await self._pause(bulk, report)
        again, reason = self._sort(bulk, answer["items"], report)
        if not again:
            self._backoff.reset()
            self._limits = self._limits.grown()
            return []
        if self._backoff.exhausted:
            raise RunStoppedError(f"Elasticsearch refuses writes again and again: {reason}")
        if len(again) < len(bulk):
            self._backoff.reset()
        self._limits = self._limits.halved()
        log.info("bulks_made_smaller", refused=len(again), of=len(bulk), cause=reason)
        return await self._pause(again, report)

    def _sort(self, bulk: list[Action], items: Sequence[Any], report: WriteReport) -> tuple[list[Action], str]:
        again: list[Action] = []
        reason = ""
        for action, item in zip(bulk, items, strict=True):
            answer: ItemAnswer = read_item(item)
            match answer.outcome:
                case Outcome.WRITTEN:
                    report.written.append(action)
                case Outcome.CONFLICT:
                    report.conflicts.append(action)
                case Outcome.GONE:
                    report.gone.append(action)
                case Outcome.FAILED:
                    report.failed.append((action, answer.reason))
                case Outcome.RETRY:
                    again.append(action)
                    reason = answer.reason
                case Outcome.STOP:
                    raise RunStoppedError(f"index [{action.candidate.ref.index}] cannot be written: {answer.reason}")
        return again, reason

    async def _refused(self, bulk: list[Action], error: ApiError, report: WriteReport) -> list[Action]:
        """A bulk refused as a whole: too large, too many, or broken by one of its lines."""
        if error.status_code in (429, 502, 503, 504) and not self._backoff.exhausted:
            self._limits = self._limits.halved()
            return await self._pause(bulk, report)
        if error.status_code in (400, 413):
            self._limits = self._limits.halved()
            if len(bulk) > 1:
                self._limits = replace(self._limits, actions=max(1, len(bulk) // 2))
                return bulk
            body = error.body if isinstance(error.body, dict) else {}
            reason = describe_error(body["error"]) if "error" in body else f"status {error.status_code}"
            report.failed.append((bulk[0], reason))
            return []
        raise stopped_by(error, "writing") from error

    async def _pause(self, again: list[Action], report: WriteReport) -> list[Action]:
        report.retries += 1
        await asyncio.sleep(self._backoff.next_delay())
        return again
