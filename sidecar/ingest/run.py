"""What every run of ingestion shares: how it begins and ends, and what becomes of documents that keep changing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec

import structlog

from sidecar.core.errors import SidecarError
from sidecar.ingest.document import Candidate, Examined, Plan, Ref, Refusal
from sidecar.ingest.line import Decisions, Line, Round
from sidecar.ingest.stop import RunStoppedError, WrongFieldError
from sidecar.ingest.summary import Summary

log = structlog.get_logger(__name__)

CONFLICT_ROUNDS = 8

Inputs = ParamSpec("Inputs")


@contextmanager
def recorded(name: str, index: str, plan: Plan, summary: Summary) -> Iterator[None]:
    """Times and logs the work inside; what stops it early becomes a sentence in ``summary``.

    Raises :class:`asyncio.CancelledError` when cancelled, with a summary that is right so far; nothing else that a
    person could cause.
    """
    began = time.monotonic()
    log.info(f"{name} starts", index=index, targets=[target.name for target in plan.targets])
    try:
        yield
    except (RunStoppedError, WrongFieldError) as stopped:
        summary.stopped = str(stopped)
    except SidecarError as error:
        summary.stopped = error.reason or str(error)
    except asyncio.CancelledError:
        summary.interrupted = True
        raise
    finally:
        summary.seconds = time.monotonic() - began
        log.info(
            f"{name} ends",
            index=index,
            written=summary.written,
            failed=summary.failed,
            stopped=summary.stopped,
            seconds=round(summary.seconds, 1),
        )


async def settle(
    line: Line, conflicts: list[Candidate], again: Callable[[Sequence[Candidate]], Decisions]
) -> list[Candidate]:
    """Reads changed documents ``again`` and does them anew; returns those that keep changing."""
    for number in range(CONFLICT_ROUNDS):
        if not conflicts:
            break
        if number:
            await asyncio.sleep(0.1 * 2**number)
        conflicts = await line.run([again(conflicts)], Round.CONFLICTS)
    return conflicts


async def examined(
    plan: Plan, ref: Ref, examine: Callable[Inputs, Examined], *args: Inputs.args, **kwargs: Inputs.kwargs
) -> Examined:
    """What ``examine`` says of a document; beside the loop where it cuts texts.

    A separator is a user's regular expression, which may run for seconds. Each document is a call of its own, so that
    a run that is cancelled waits for one of them only. What goes wrong with one document fails it alone.
    """
    try:
        if not plan.cuts_texts:
            return examine(*args, **kwargs)
        return await asyncio.to_thread(examine, *args, **kwargs)
    except Exception as error:
        log.warning("document_not_examined", index=ref.index, id=ref.id, exc_info=error)
        return Refusal(f"{type(error).__name__}: {error}")
