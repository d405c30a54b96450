"""Texts in calls as large as endpoints take, several at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from elasticsearch import AsyncElasticsearch
from pytest_aiohttp.plugin import AiohttpServer

from sidecar.core.results import DenseEmbeddings, Ranking
from sidecar.core.tasks import InputType, Similarity, TaskType
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.inference.endpoint_embedder import EndpointEmbedder
from sidecar.ingest.conveyor import Conveyor
from sidecar.ingest.document import Candidate, Plan, Ref, Target
from sidecar.ingest.embedding import (
    LOCAL_TEXTS,
    MOST_CHARACTERS,
    MOST_TEXTS,
    TextEmbedder,
    cut_into_calls,
    texts_per_call,
)
from sidecar.ingest.fieldmap import parse_field_maps
from sidecar.ingest.indexing import Indexing, IndexJob
from sidecar.ingest.line import PROVIDER_CALLS
from sidecar.ingest.marker import Marker
from sidecar.ingest.pieces import Piece
from sidecar.ingest.planning import make_plan
from sidecar.ingest.stop import RunStoppedError
from sidecar.resources import open_resources
from sidecar.settings import load_settings

PROFILE = EndpointProfile("dense", TaskType.TEXT_EMBEDDING, "1", 2, Similarity.COSINE)
VERSION = ServerVersion(9, 4, 3)


@dataclass
class CountingEmbedder:
    """A provider's endpoint: ``sizes`` are those of its calls, ``most`` how many ran at once."""

    batch_size: int | None = None
    sizes: list[int] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def profile(self, inference_id: str) -> EndpointProfile:
        return replace(PROFILE, batch_size=self.batch_size)

    async def embed(self, inference_id: str, texts: Sequence[str], input_type: InputType) -> DenseEmbeddings:
        self.sizes.append(len(texts))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return DenseEmbeddings(tuple([1.0, float(len(text))] for text in texts))

    async def rerank(self, inference_id: str, query: str, texts: Sequence[str]) -> Ranking:
        raise NotImplementedError


def candidate(number: int, texts: Sequence[str], field: str = "v") -> Candidate:
    pieces = tuple(Piece(text, 0, (text,)) for text in texts)
    return Candidate(Ref("i", str(number)), Marker(), {field: pieces})


@pytest.mark.parametrize(
    ("own", "wanted", "most"),
    [
        (None, None, LOCAL_TEXTS),
        (None, 500, 500),
        (7, None, 7),
        (7, 3, 3),
        (7, 64, 7),
        (2048, None, MOST_TEXTS),
        (2048, 1000, 1000),
        (96, 1000, 96),
    ],
)
def test_an_endpoint_and_a_person_both_bound_a_call(own: int | None, wanted: int | None, most: int) -> None:
    assert texts_per_call(replace(PROFILE, batch_size=own), wanted) == most


def test_long_texts_make_calls_shorter() -> None:
    half = "x" * (MOST_CHARACTERS // 2)
    assert [len(call) for call in cut_into_calls([half, half, half, "x"], 10)] == [2, 2]
    assert [len(call) for call in cut_into_calls([half * 3, "x", "x"], 10)] == [1, 2]
    assert [len(call) for call in cut_into_calls(["x"] * 25, 10)] == [10, 10, 5]
    assert list(cut_into_calls([], 10)) == []


async def test_every_endpoint_of_a_plan_has_its_own_calls() -> None:
    maps = parse_field_maps(["a:v=small", "a:w=large"])
    profiles = (replace(PROFILE, batch_size=2), replace(PROFILE, batch_size=96))
    plan = Plan(tuple(Target(*pair) for pair in zip(maps, profiles, strict=True)))
    embedder = CountingEmbedder()
    texts = [f"text {number}" for number in range(5)]
    pieces = {name: tuple(Piece(text, 0, (text,)) for text in texts) for name in ("v", "w")}
    (made,) = await TextEmbedder(embedder, plan, VERSION).embed([Candidate(Ref("i", "1"), Marker(), pieces)])
    assert embedder.sizes == [2, 2, 1, 5]
    assert {name: len(values) for name, values in made.values.items()} == {"v": 5, "w": 5}


async def test_a_run_ends_where_its_endpoint_became_another() -> None:
    (field_map,) = parse_field_maps(["a:v=dense"])
    plan = Plan((Target(field_map, replace(PROFILE, revision="0")),))
    embedder = CountingEmbedder()
    with pytest.raises(RunStoppedError, match=r"Inference endpoint \[dense\] was changed"):
        await TextEmbedder(embedder, plan, VERSION).embed([candidate(1, ["a text"])])
    assert embedder.sizes == []


async def test_documents_are_taken_by_their_texts() -> None:
    belt = Conveyor[Candidate](100, 10**6)
    for number, count in enumerate((2, 2, 9, 1, 0, 1)):
        await belt.put(candidate(number, ["t"] * count))
    taken = [await belt.get_batch(4, lambda item: item.texts) for _ in range(3)]
    assert [[item.ref.id for item in batch or ()] for batch in taken] == [["0", "1"], ["2"], ["3", "4", "5"]]


async def test_calls_of_a_provider_run_several_at_a_time(client: AsyncElasticsearch, index: str) -> None:
    embedder = CountingEmbedder(batch_size=20)
    plan = await make_plan(embedder, parse_field_maps(["text:v=dense"]))
    lines = [orjson.dumps({"text": f"note {number}"}) for number in range(500)]
    work = Indexing(client, embedder, IndexJob(index, plan))
    summary = await work.run(lines)
    assert (summary.written, summary.failed, summary.stopped) == (500, 0, None)
    assert (sum(embedder.sizes), max(embedder.sizes), embedder.most) == (500, 20, PROVIDER_CALLS)


@pytest.mark.parametrize(
    ("service", "settings", "batch_size", "sizes"),
    [
        ("openai", {"model_id": "m"}, 2048, [512, 512, 76]),
        ("hugging_face", {}, 20, [20] * 55),
        ("fireworksai", {"model_id": "m"}, 256, [256, 256, 256, 256, 76]),
    ],
)
async def test_requests_carry_what_the_service_declares(
    aiohttp_server: AiohttpServer,
    tmp_path: Path,
    service: str,
    settings: dict[str, Any],
    batch_size: int,
    sizes: list[int],
) -> None:
    received: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        texts = body.get("input") or body["inputs"]
        received.append(len(texts))
        vectors = [[1.0, float(len(text))] for text in texts]
        listed = {"data": [{"embedding": vector, "index": index} for index, vector in enumerate(vectors)]}
        return web.json_response(listed if "input" in body else vectors)

    app = web.Application()
    app.router.add_post("/", answer)
    url = str((await aiohttp_server(app)).make_url("/"))
    async with open_resources(load_settings({"data_dir": tmp_path})) as resources:
        given = {"api_key": "k", "url": url, "rate_limit": {"requests_per_minute": 1_000_000}, **settings}
        body = {"service": service, "service_settings": given}
        await resources.inference.create("mine", TaskType.TEXT_EMBEDDING, body)
        received.clear()
        embedder = EndpointEmbedder(resources.inference)
        plan = await make_plan(embedder, parse_field_maps(["text:v=mine"]))
        assert plan.targets[0].profile.batch_size == batch_size
        texts = [f"text {number}" for number in range(1100)]
        (made,) = await TextEmbedder(embedder, plan, VERSION).embed([candidate(1, texts)])
    assert received == sizes
    assert len(made.values["v"]) == 1100
