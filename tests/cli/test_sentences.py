"""Sentences: whole where they are piped, folded between words on a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sidecar.cli.search import origin
from sidecar.cli.sentences import print_sentence

SENTENCE = "source [a.rather.long.name] is in no mapping of [an-index-of-mine]"


@pytest.mark.parametrize(("is_terminal", "lines"), [(False, 1), (True, 3)])
def test_a_sentence_is_whole_in_a_pipe_and_folded_on_a_terminal(is_terminal: bool, lines: int) -> None:
    console = Console(file=io.StringIO(), width=30, force_terminal=is_terminal, color_system=None)
    print_sentence(SENTENCE, console)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(said) == lines
    assert " ".join(line.strip() for line in said) == SENTENCE


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["bind", "docs", "--map", "text"],
            "is not of the form SOURCE_FIELD[,SOURCE_FIELD...]:TARGET_FIELD=INFERENCE_ID",
        ),
        (["search", "docs", "q"], "to the address of an Elasticsearch, such as http://localhost:9200."),
        (["bind", "docs"], "Error: Missing option '--map' / '-m'."),
        (["backfil"], "Error: No such command 'backfil'. Did you mean 'backfill'?"),
    ],
)
def test_what_is_wrong_is_one_line_in_a_log(tmp_path: Path, arguments: list[str], said: str) -> None:
    environment = os.environ | {"SIDECAR_DATA_DIR": str(tmp_path), "SIDECAR_ELASTICSEARCH_URL": "", "COLUMNS": "30"}
    command = [sys.executable, "-m", "sidecar", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    assert any(line.endswith(said) for line in ended.stderr.splitlines())


def test_a_rerankers_score_has_as_many_digits_as_the_others() -> None:
    assert origin({"relevance": 0.6512297093868256, "place_before": 2}) == "reranked 0.6512, before #2"
