"""`sidecar backfill` as people start it, kill it and start it again; no server runs."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson
import pytest
from elasticsearch import AsyncElasticsearch

from sidecar.core.results import SparseEmbeddings
from sidecar.core.tasks import InputType
from sidecar.ingest.marker import Marker, input_hash
from tests.ingest.command import run_command
from tests.ingest.library import fill, sentence, sources, tokens
from tests.ingest.local_embedder import SPARSE, LocalEmbedder

ENDPOINT = ".elser-2-elasticsearch"
FIELD = "text_sparse"
COUNT = 400


@pytest.fixture
def environment(tmp_path: Path, elasticsearch: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")}
    return own | {"SIDECAR_ELASTICSEARCH_URL": elasticsearch, "SIDECAR_DATA_DIR": str(tmp_path)}


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sidecar",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def backfill_arguments(index: str, *more: str) -> tuple[str, ...]:
    return ("backfill", index, "--map", f"text:{FIELD}={ENDPOINT}", "--batch-size", "8", *more)


async def filled(client: AsyncElasticsearch, index: str) -> int:
    await client.indices.refresh(index=index)
    found: int = (await client.count(index=index, query={"exists": {"field": "sidecar.model"}}))["count"]
    return found


async def wait_for_progress(client: AsyncElasticsearch, index: str, process: asyncio.subprocess.Process) -> int:
    while process.returncode is None:
        if done := await filled(client, index):
            return done
        await asyncio.sleep(0.02)
    pytest.fail(f"ended before it wrote anything: {(await process.communicate())[1].decode()}")


async def assert_every_document_is_right(client: AsyncElasticsearch, index: str, embedder: LocalEmbedder) -> None:
    """Marker and vector of every document belong to its present text; the weights of some are made anew to compare."""
    found = await sources(client, index)
    assert len(found) == COUNT
    revision = (await embedder.profile(SPARSE)).revision
    for source in found.values():
        stamp = Marker.read(source).stamps[FIELD]
        assert stamp.model == f"{ENDPOINT}@{revision}"
        assert stamp.hash == input_hash(source["text"])
        assert tokens(source)
    compared = [found[str(n)] for n in (*range(0, COUNT, 20), COUNT - 1)]
    made = await embedder.embed(SPARSE, [source["text"] for source in compared], InputType.INGEST)
    assert isinstance(made, SparseEmbeddings)
    for source, expected in zip(compared, made.items, strict=True):
        heavy = {token: weight for token, weight in expected.tokens.items() if weight > 0.1}
        stored = tokens(source)
        assert {token: stored.get(token) for token in heavy} == pytest.approx(heavy, rel=0.02)


async def test_killed_in_the_middle_and_started_again_every_document_is_right(
    client: AsyncElasticsearch, embedder: LocalEmbedder, index: str, environment: dict[str, str]
) -> None:
    await fill(client, index, {str(n): {"text": sentence(n), "n": n} for n in range(COUNT)}, number_of_shards=2)
    process = await start(environment, *backfill_arguments(index))
    await wait_for_progress(client, index, process)
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    done = await filled(client, index)
    assert 0 < done < COUNT
    # meanwhile the world goes on: one done and one open document change
    await client.update(index=index, id="0", doc={"text": "Now it is about the seal."})
    await client.update(index=index, id=str(COUNT - 1), doc={"text": "Now it is about the squid."})

    again = await start(environment, *backfill_arguments(index))
    output, errors = await again.communicate()
    assert again.returncode == 0, errors.decode()
    assert "Done." in output.decode()
    await assert_every_document_is_right(client, index, embedder)

    nothing = await start(environment, *backfill_arguments(index))
    output, _ = await nothing.communicate()
    assert nothing.returncode == 0
    rows = {row.split("│")[1].strip(): row.split("│")[2].strip() for row in output.decode().splitlines() if "│" in row}
    assert (rows["read"], rows["written"]) == (str(COUNT), "0")


async def test_interrupted_it_says_what_it_did_so_far(
    client: AsyncElasticsearch, index: str, environment: dict[str, str]
) -> None:
    await fill(client, index, {str(n): {"text": sentence(n), "n": n} for n in range(COUNT)})
    process = await start(environment, *backfill_arguments(index))
    await wait_for_progress(client, index, process)
    process.send_signal(signal.SIGINT)
    output, errors = await process.communicate()
    assert process.returncode == 130, errors.decode()
    assert "Interrupted." in output.decode()
    rows = [row.split("│") for row in output.decode().splitlines() if "│" in row]
    written = next(int(row[2]) for row in rows if row[1].strip() == "written")
    assert written == await filled(client, index) > 0


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("backfill", "nowhere", "--map", f"text:v={ENDPOINT}"), 1, "index [nowhere] does not exist"),
        (("backfill", "nowhere", "--map", "text:v=unknown-endpoint"), 2, "unknown-endpoint"),
        (("backfill", "[/x]", "--map", f"text:v={ENDPOINT}"), 1, "index [[/x]] does not exist"),
        (("backfill", "nowhere", "--map", "nonsense"), 2, "TARGET_FIELD=INFERENCE_ID"),
        (("backfill", "nowhere", "--map", f"text:v={ENDPOINT}", "--query", "{"), 2, "--query is not JSON"),
        (("index", "nowhere", "no-such-file", "--map", f"text:v={ENDPOINT}"), 2, "no-such-file cannot be read"),
    ],
)
def test_mistakes_end_with_a_sentence(
    elasticsearch_9: str, tmp_path: Path, *, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    ended = run_command(tmp_path, *arguments, "--elasticsearch-url", elasticsearch_9)
    shown = " ".join((ended.output + str(ended.exception or "")).split())
    assert sentence in shown
    assert ended.exit_code == status
    assert "Traceback" not in shown


async def test_lines_that_are_refused_are_one_group_and_all_in_the_list(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"n": {"type": "integer"}}})
    lines = [{"id": f"[a]{n}", "text": "Tide.", "n": f"none {n}"} for n in range(120)] + [{"id": "ok", "text": "Moon."}]
    file, listed = tmp_path / "lines.jsonl", tmp_path / "failed.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    arguments = ("index", index, str(file), "--id-field", "id", "--map", f"text:{FIELD}={ENDPOINT}")
    ended = await asyncio.to_thread(
        run_command, tmp_path, *arguments, "--failures", str(listed), "--elasticsearch-url", elasticsearch
    )
    assert ended.exit_code == 1
    assert len(ended.output.splitlines()) < 30
    assert "Some documents were left out, and would be again: the table says why." in ended.output
    failures = [orjson.loads(line) for line in listed.read_bytes().splitlines()]
    assert [failure["document"] for failure in failures] == [f"line {n}" for n in range(1, 121)]
    assert all(failure["index"] == index and failure["for_good"] for failure in failures)
    assert "in document with id '[a]7'" in failures[7]["reason"]


@pytest.mark.parametrize(
    ("content", "last", "status"),
    [
        (b"", "holds no documents.", 0),
        (b"A text.\nOf two lines.\n", "None of the documents could be written: the table says why.", 1),
        (b'{"text": "Tide."}\n', "Done.", 0),
    ],
)
async def test_the_last_line_says_what_became_of_the_file(
    client: AsyncElasticsearch, index: str, elasticsearch_9: str, tmp_path: Path, content: bytes, last: str, status: int
) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(content)
    arguments = ("index", index, str(file), "--map", f"text:{FIELD}={ENDPOINT}", "--elasticsearch-url", elasticsearch_9)
    ended = await asyncio.to_thread(run_command, tmp_path, *arguments)
    assert " ".join(ended.stdout.split()).endswith(last)
    assert ended.exit_code == status


async def test_a_run_that_is_refused_counts_nothing(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}}})
    arguments = ("backfill", index, "--map", f"txet:{FIELD}={ENDPOINT}", "--elasticsearch-url", elasticsearch)
    ended = await asyncio.to_thread(run_command, tmp_path, *arguments)
    assert ended.exit_code == 1
    (line,) = ended.stdout.splitlines()
    assert line.startswith(f"Stopped: source [txet] is in no mapping of [{index}]")


async def test_unbinding_what_is_not_bound_is_said(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}}})

    async def said(*arguments: str) -> str:
        at = ("--elasticsearch-url", elasticsearch)
        ended = await asyncio.to_thread(run_command, tmp_path, *arguments, *at)
        assert ended.exit_code == 0, ended.output
        return ended.stderr

    await said("bind", index, "--map", f"text:{FIELD}={ENDPOINT}")
    assert await said("unbind", index, "-t", FIELD, "-t", "zzz") == f"Nothing was bound to [zzz] in [{index}].\n"
    assert await said("unbind", index) == f"Nothing was bound to any field in [{index}].\n"


async def test_a_listing_tells_indices_that_are_not_bound_from_those_that_are_not_there(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"properties": {"text": {"type": "text"}}})

    async def said(name: str) -> tuple[str, str, int]:
        arguments = ("bindings", name, "--elasticsearch-url", elasticsearch)
        ended = await asyncio.to_thread(run_command, tmp_path, *arguments)
        return ended.stdout, ended.stderr, ended.exit_code

    assert await said(index) == ("", f"Nothing is bound in [{index}].\n", 0)
    assert await said(f"{index}-x*") == ("", f"Nothing is bound in [{index}-x*].\n", 0)
    for name in (f"{index}x", f"{index},{index}x"):
        assert await said(name) == ("", f"There is no such index: [{index}x].\n", 2)


async def test_a_field_is_not_mapped_where_documents_hold_something_else(
    client: AsyncElasticsearch, index: str, elasticsearch: str, tmp_path: Path
) -> None:
    await client.indices.create(index=index, mappings={"dynamic": "false"})
    await client.index(index=index, id="1", document={"d": "mine", "free": None}, refresh=True)
    apply = ("mappings", "apply", "--elasticsearch-url", elasticsearch, "--index")
    ended = await asyncio.to_thread(run_command, tmp_path, *apply, index, "--dense", "d:4")
    assert "document [1] of index" in " ".join(ended.output.split())
    assert ended.exit_code == 2
    ended = await asyncio.to_thread(run_command, tmp_path, *apply, index, "--dense", "free:4")
    assert ended.exit_code == 0, ended.output
    assert (await asyncio.to_thread(run_command, tmp_path, *apply, f"{index}-new", "--sparse", "s")).exit_code == 0
    await client.update(index=index, id="1", doc={"text": "it can be written still"})
