"""A few rounds of what ``tests.front.kills`` does a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.front.kills import DOCUMENTS, Victim, stage


@pytest.mark.parametrize("victim", ["sidecar", "provider"])
async def test_what_was_acknowledged_is_there_with_its_vector_and_nothing_is_half_there(
    victim: Victim, elasticsearch_basic: str, tmp_path: Path
) -> None:
    async with stage(elasticsearch_basic, tmp_path) as everything:
        for number in range(3):
            outcome = await everything.round(victim, number)
            assert not outcome.wrong
            assert outcome.acknowledged + outcome.refused + outcome.unanswered == DOCUMENTS
