"""The bulk helpers of both official clients: every item is answered, every stored document has its vector."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.front import bulk_helpers
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of
from tests.front.test_bound_writes import SPARSE, mapping, tokens

CLIENT_9 = Path(sys.prefix) / "clients" / "9"
INDEX = "helped"
NAMES = {"streaming_bulk": "streaming", "parallel_bulk": "parallel", "bulk": "bulk", "async_bulk": "async"}


def check(front: FilledFront, said: dict[str, Any]) -> None:
    for helper, name in NAMES.items():
        outcomes = [ok for ok, _ in said[helper]]
        assert (outcomes.count(True), outcomes.count(False)) == (7, 1), helper
        assert [identity for ok, identity in said[helper] if not ok] == [f"{name}-bad"]
        for identity, text in {
            "0": f"changed by {name}",
            "4": f"text 4 of {name}",
            "new": f"a new text of {name}",
        }.items():
            source = front.source(INDEX, f"{name}-{identity}")
            assert source["text"] == text
            assert tokens(source, "tokens") == tokens_of(text)
        assert front.source(INDEX, f"{name}-bad") == {}


@pytest.fixture
def helped(filled_front: FilledFront) -> FilledFront:
    filled_front.index(INDEX, **mapping("text:tokens=sparse", tokens=SPARSE))
    return filled_front


def test_helpers_of_line_8(helped: FilledFront) -> None:
    check(helped, bulk_helpers.drive(helped.url, INDEX))


def test_helpers_of_line_9(helped: FilledFront) -> None:
    if helped.send("GET", "/")[1]["version"]["number"].startswith("8."):
        pytest.skip("the 9.x client does not talk to 8.x clusters")
    run = subprocess.run(
        [sys.executable, bulk_helpers.__file__, helped.url, INDEX],
        env={"PYTHONPATH": str(CLIENT_9)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    check(helped, json.loads(run.stdout))
