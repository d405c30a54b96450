"""`sidecar search` with the endpoints that are always there; no server runs."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.ingest.command import run_command


@pytest.fixture
def environment(tmp_path: Path, elasticsearch: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return own | {"SIDECAR_ELASTICSEARCH_URL": elasticsearch, "SIDECAR_DATA_DIR": str(tmp_path), "COLUMNS": "140"}


async def search(environment: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sidecar", "search", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


QUESTION = "Who looks after the light?"
LISTS = ("--bm25", "text", "--sparse", "text_sparse=.elser-2-elasticsearch")
RERANKED = ("--rerank", ".rerank-v1-elasticsearch", "--size", "3", "--explain")


async def test_as_json_it_gives_hits_with_all_scores(environment: dict[str, str], library: str) -> None:
    status, output, errors = await search(environment, library, QUESTION, *LISTS, *RERANKED, "--json")
    assert status == 0, errors
    answer = json.loads(output)
    assert answer["hits"][0]["_id"] == "lamp"
    assert len(answer["hits"]) == 3
    assert set(answer["hits"][0]["_ranks"]) <= {"bm25:text", "sparse:text_sparse"}
    assert answer["hits"][0]["_rerank_score"] > answer["hits"][1]["_rerank_score"]
    assert answer["tokens"]["sparse:text_sparse"]["light"] > 0


async def test_for_people_it_gives_a_table_and_the_tokens(environment: dict[str, str], library: str) -> None:
    status, output, errors = await search(environment, library, QUESTION, *LISTS, *RERANKED)
    assert status == 0, errors
    assert "The keeper of the lighthouse" in output
    assert "rerank 0." in output
    assert "light " in output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere", "sea"), "no such index [nowhere]"),
        (("i", "sea", "--sparse", "text"), "write FIELD=ENDPOINT"),
        (("i", "sea", "--weight", "dense:v=2"), "no list of that name"),
    ],
)
def test_mistakes_end_with_a_sentence(
    elasticsearch_9: str, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run_command(tmp_path, "search", *arguments, "--elasticsearch-url", elasticsearch_9)
    assert sentence in " ".join(ended.output.split())
    assert ended.exit_code == 2
    assert isinstance(ended.exception, SystemExit)
