"""What every run shares, without an index: how it ends."""

import asyncio

import pytest

from sidecar.core.errors import IllegalArgumentError
from sidecar.ingest.document import Plan
from sidecar.ingest.run import recorded
from sidecar.ingest.stop import RunStoppedError, WrongFieldError
from sidecar.ingest.summary import Summary


@pytest.mark.parametrize(
    "error", [RunStoppedError("why it ends"), WrongFieldError("why it ends"), IllegalArgumentError("why it ends")]
)
def test_what_ends_a_run_early_is_a_sentence_in_its_summary(error: Exception) -> None:
    summary = Summary()
    with recorded("test", "notes", Plan(()), summary):
        summary.written = 3
        raise error
    assert (summary.written, summary.stopped, summary.interrupted) == (3, "why it ends", False)
    assert summary.seconds > 0


def test_cancelling_goes_on_and_is_noted() -> None:
    summary = Summary()
    with pytest.raises(asyncio.CancelledError), recorded("test", "notes", Plan(()), summary):
        raise asyncio.CancelledError
    assert (summary.stopped, summary.interrupted) == (None, True)


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    summary = Summary()
    with pytest.raises(KeyError), recorded("test", "notes", Plan(()), summary):
        raise KeyError("nobody's fault")
    assert summary.seconds > 0
