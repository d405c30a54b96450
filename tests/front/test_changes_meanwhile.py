"""Endpoints, bindings and indices that change while documents are on their way: no vector is of another endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.front.conftest import StartFront
from tests.front.test_bound_writes import mapping, ndjson, statuses

DENSE = {"type": "dense_vector", "dims": 4, "index": False}


def vector_by(model: str, text: str, dimensions: int = 4) -> list[float]:
    """What a model makes of a text."""
    return [(byte - 127.5) / 128 for byte in hashlib.sha256(f"{model} {text}".encode()).digest()[:dimensions]]


@dataclass
class Models:
    """A provider with a model for every path; texts that begin with ``slow`` it answers only when it is ``free``."""

    url: str = ""
    texts: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def embed(self, request: web.Request) -> web.Response:
        model, dimensions = request.match_info["model"], int(request.match_info["dimensions"])
        texts = (await request.json())["inputs"]
        async with self.heard:
            self.texts += texts
            self.heard.notify_all()
        if any(text.startswith("slow") for text in texts):
            self.asked.set()
            await self.free.wait()
        return web.json_response([vector_by(model, text, dimensions) for text in texts])

    def hold(self) -> None:
        self.asked.clear()
        self.free.clear()


@dataclass
class Stage:
    """A front with an endpoint ``changing`` of which ``models`` make the vectors."""

    url: str
    node: str
    models: Models
    session: aiohttp.ClientSession
    name: str = field(default_factory=lambda: f"meanwhile-{uuid.uuid4().hex[:8]}")

    async def send(self, method: str, path: str, body: Any = None, *, past: bool = False) -> tuple[int, Any, list[str]]:
        """Status, body and warnings of the answer, of the node itself where it goes ``past`` the front."""
        data = body if isinstance(body, (bytes, type(None))) or hasattr(body, "__aiter__") else json.dumps(body)
        url = (self.node if past else self.url) + path
        async with self.session.request(method, url, data=data, headers={"Content-Type": "application/json"}) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers.getall("Warning", [])

    async def endpoint(self, model: str, dimensions: int = 4, name: str | None = None) -> None:
        """Makes an endpoint, in place of the one that there is."""
        name = name or self.name
        await self.send("DELETE", f"/_inference/{name}?force=true")
        settings = {"api_key": "k", "url": f"{self.models.url}/{model}/{dimensions}"}
        body = {"service": "hugging_face", "service_settings": settings}
        status, told, _ = await self.send("PUT", f"/_inference/text_embedding/{name}", body)
        assert status == 200, told

    async def index(self, *maps: object, name: str | None = None, aliases: object = None, **fields: object) -> None:
        body = mapping(*(maps or (f"text:vector={self.name}",)), **({"vector": DENSE} | fields))
        body["aliases"] = aliases or {}
        body["settings"] = {"number_of_shards": 1, "number_of_replicas": 0}
        status, told, _ = await self.send("PUT", f"/{name or self.name}", body)
        assert status == 200, told

    async def sources(self, index: str | None = None) -> dict[str, dict[str, Any]]:
        """The stored documents by id."""
        await self.send("POST", f"/{index or self.name}/_refresh")
        version = (await self.send("GET", "/"))[1]["version"]["number"]
        query = {} if version.startswith("8.") else {"_source": {"exclude_vectors": False}}
        found = await self.send("POST", f"/{index or self.name}/_search", {"size": 5000, **query})
        return {hit["_id"]: hit["_source"] for hit in found[1]["hits"]["hits"]}


@pytest.fixture
async def stage(elasticsearch: str, start_front: StartFront) -> AsyncIterator[Stage]:
    async with served_models() as models, aiohttp.ClientSession() as session:
        url = await start_front(elasticsearch, allow_unreadable_secrets=True)
        made = Stage(url, elasticsearch, models, session)
        yield made
        models.free.set()
        await made.send("DELETE", f"/{made.name},{made.name}-1,{made.name}-2?ignore_unavailable=true")
        for name in (made.name, f"{made.name}-other"):
            await made.send("DELETE", f"/_inference/{name}?force=true")


@asynccontextmanager
async def served_models() -> AsyncIterator[Models]:
    served = Models()
    app = web.Application()
    app.router.add_post("/{model}/{dimensions}", served.embed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        yield served
    finally:
        served.free.set()
        await runner.cleanup()


def maker(vector: list[float] | None, text: str) -> str | None:
    """Which model made a vector."""
    if vector is None:
        return None
    return next((m for m in "ab" if vector == pytest.approx(vector_by(m, text, len(vector)))), "?")


def streamed(goes_on: asyncio.Event, at: int = 1000) -> AsyncIterator[bytes]:
    """Two thousand actions, of which those from ``at`` on come when they may."""

    async def body() -> AsyncIterator[bytes]:
        for n in range(2000):
            if n == at:
                await goes_on.wait()
            yield ndjson({"index": {"_id": str(n)}}, {"text": f"text {n}"})

    return body()


async def until_asked(models: Models, text: str) -> None:
    async with models.heard:
        await models.heard.wait_for(lambda: text in models.texts)


async def test_an_endpoint_that_becomes_another_in_the_middle_of_a_bulk(stage: Stage) -> None:
    await stage.endpoint("a")
    await stage.index()
    await stage.send("PUT", f"/{stage.name}/_doc/first", {"text": "of a"})
    goes_on = asyncio.Event()
    sending = asyncio.create_task(stage.send("POST", f"/{stage.name}/_bulk", streamed(goes_on)))
    await until_asked(stage.models, "text 700")
    await stage.endpoint("b")
    goes_on.set()
    _, told, _ = await sending
    await stage.send("PUT", f"/{stage.name}/_doc/last", {"text": "of b"})
    sources = await stage.sources()
    marked = {maker(one["vector"], one["text"]): one["sidecar"]["model"] for one in (sources["first"], sources["last"])}
    assert marked.keys() == {"a", "b"} and marked["a"] != marked["b"]
    assert statuses(told) == [201] * 2000
    made: Counter[str | None] = Counter()
    for n in range(2000):
        source = sources[str(n)]
        model = maker(source["vector"], source["text"])
        assert source["sidecar"]["model"] == marked[model]
        made[model] += 1
    assert made["b"] >= 1000


@pytest.mark.parametrize("kind", ["vector", "semantic"])
async def test_an_endpoint_that_goes_in_the_middle_of_a_bulk(stage: Stage, kind: str) -> None:
    await stage.endpoint("a")
    field = {"type": "semantic_text", "inference_id": stage.name}
    await (stage.index() if kind == "vector" else stage.index("x:y=z", text=field))
    goes_on = asyncio.Event()
    sending = asyncio.create_task(stage.send("POST", f"/{stage.name}/_bulk", streamed(goes_on)))
    await until_asked(stage.models, "text 700")
    await stage.send("DELETE", f"/_inference/{stage.name}?force=true")
    goes_on.set()
    _, told, _ = await sending
    sources = await stage.sources()
    errors = [about["error"] for item in told["items"] for about in item.values() if "error" in about]
    assert len(errors) + len(sources) == 2000 and len(errors) >= 1000
    for source in sources.values():
        if kind == "vector":
            assert maker(source["vector"], source["text"]) == "a"
        else:
            assert source["_inference_fields"]["text"]["inference"]["chunks"]
    for error in errors:
        assert f"[{stage.name}]" in error["reason"]


def writes(stage: Stage) -> dict[str, tuple[str, str, object]]:
    """Writes of one document, for which the provider is slow."""
    name = stage.name
    return {
        "doc": ("PUT", f"/{name}/_doc/1", {"text": "slow doc"}),
        "create": ("PUT", f"/{name}/_create/1", {"text": "slow create"}),
        "new": ("POST", f"/{name}/_doc", {"text": "slow new"}),
        "update": ("POST", f"/{name}/_update/1", {"doc": {"text": "slow update"}, "doc_as_upsert": True}),
        "bulk": ("POST", f"/{name}/_bulk", ndjson({"index": {"_id": "1"}}, {"text": "slow bulk"})),
        "bulk update": (
            "POST",
            f"/{name}/_bulk",
            ndjson({"update": {"_id": "1"}}, {"doc": {"text": "slow bulk update"}, "doc_as_upsert": True}),
        ),
    }


WRITES = ["doc", "create", "new", "update", "bulk", "bulk update"]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("change", ["endpoint", "index", "alias", "mapping", "unbound"])
async def test_what_changes_while_texts_are_embedded(stage: Stage, change: str, write: str) -> None:
    name = stage.name
    await stage.endpoint("a")
    await stage.endpoint("b", name=f"{name}-other")
    aliases: dict[str, Any] = {"aliases": {name: {}}} if change == "alias" else {}
    await stage.index(name=f"{name}-1" if aliases else name, **aliases)
    stage.models.hold()
    sending = asyncio.create_task(stage.send(*writes(stage)[write]))
    await stage.models.asked.wait()
    if change == "endpoint":
        await stage.endpoint("b")
    elif change == "index":
        await stage.send("DELETE", f"/{name}")
        await stage.index(f"text:vector={name}-other")
    elif change == "alias":
        await stage.index(f"text:vector={name}-other", name=f"{name}-2")
        actions = [{"remove": {"index": f"{name}-1", "alias": name}}, {"add": {"index": f"{name}-2", "alias": name}}]
        assert (await stage.send("POST", "/_aliases", {"actions": actions}))[0] == 200
    else:
        maps = [f"text:vector={name}-other"] if change == "mapping" else []
        meta = {"_meta": {"sidecar": {"maps": maps}}}
        assert (await stage.send("PUT", f"/{name}/_mapping", meta))[0] == 200
    stage.models.free.set()
    status, told, _ = await sending
    assert (statuses(told)[0] if "bulk" in write else status) == 201
    ((_, source),) = (await stage.sources()).items()
    assert maker(source.get("vector"), source["text"]) == (None if change == "unbound" else "b")
    if change != "unbound":
        (model,) = source["sidecar"]["model"]
        assert model.startswith(f"vector={name}@" if change == "endpoint" else f"vector={name}-other@")


@pytest.mark.parametrize("binding", ["other", "none", "same"])
@pytest.mark.parametrize("write", [*WRITES, "long bulk"])
async def test_an_alias_that_was_led_elsewhere_past_the_front_is_told(stage: Stage, write: str, binding: str) -> None:
    name = stage.name
    await stage.endpoint("a")
    await stage.endpoint("b", name=f"{name}-other")
    maps = {"other": [f"text:vector={name}-other"], "none": ["x:y=z"], "same": []}[binding]
    await stage.index(name=f"{name}-1", aliases={name: {}})
    await stage.index(*maps, name=f"{name}-2")
    assert (await stage.send("PUT", f"/{name}/_doc/0", {"text": "before"}))[0] == 201  # now it is remembered
    actions = [{"remove": {"index": f"{name}-1", "alias": name}}, {"add": {"index": f"{name}-2", "alias": name}}]
    assert (await stage.send("POST", "/_aliases", {"actions": actions}, past=True))[0] == 200
    stage.models.free.set()
    many = b"".join(ndjson({"index": {}}, {"text": f"text {n}", "more": "x" * 1000}) for n in range(2000))
    method, path, body = writes(stage).get(write, ("POST", f"/{name}/_bulk", many))
    status, told, warnings = await stage.send(method, path, body)
    assert status in (200, 201) and not (told or {}).get("errors")
    said = [text for text in warnings if f"written to index [{name}-2]" in text]
    assert len(said) == (0 if binding == "same" else 1)
    status, _, warnings = await stage.send("PUT", f"/{name}/_doc/after", {"text": "after"})
    assert status == 201 and not [text for text in warnings if "written to index" in text]
    source = (await stage.sources(f"{name}-2"))["after"]
    assert maker(source.get("vector"), "after") == {"other": "b", "none": None, "same": "a"}[binding]


@pytest.mark.parametrize("way", ["through", "past"])
@pytest.mark.parametrize("binding", ["other", "none", "same"])
async def test_an_alias_that_is_led_elsewhere_in_the_middle_of_a_bulk_is_told(
    stage: Stage, binding: str, way: str
) -> None:
    """The cluster writes all of a bulk where the alias leads when it has come whole."""
    name = stage.name
    await stage.endpoint("a")
    await stage.endpoint("b", name=f"{name}-other")
    maps = {"other": [f"text:vector={name}-other"], "none": ["x:y=z"], "same": []}[binding]
    await stage.index(name=f"{name}-1", aliases={name: {}})
    await stage.index(*maps, name=f"{name}-2")
    goes_on = asyncio.Event()
    sending = asyncio.create_task(stage.send("POST", f"/{name}/_bulk", streamed(goes_on, at=1500)))
    await until_asked(stage.models, "text 1100")  # which is prepared when the first batch is on its way
    actions = [{"remove": {"index": f"{name}-1", "alias": name}}, {"add": {"index": f"{name}-2", "alias": name}}]
    assert (await stage.send("POST", "/_aliases", {"actions": actions}, past=way == "past"))[0] == 200
    goes_on.set()
    status, told, warnings = await sending
    assert (status, statuses(told)) == (200, [201] * 2000)
    said = [text for text in warnings if f"written to index [{name}-2]" in text and f"than index [{name}-1]" in text]
    assert len(said) == (0 if binding == "same" else 1)
    made = Counter(maker(one.get("vector"), one["text"]) for one in (await stage.sources(f"{name}-2")).values())
    assert made["a"] > 0 and made.total() == 2000
    if way == "through" and binding != "same":
        assert made["b" if binding == "other" else None] == 2000 - made["a"] >= 500


@pytest.mark.parametrize("past", [False, True])
async def test_a_reindex_ends_where_a_source_goes_meanwhile(stage: Stage, past: bool) -> None:
    """What was written before is told, and so is the shard that could not be read on."""
    name = stage.name
    await stage.endpoint("a")
    await stage.index(text={"type": "semantic_text", "inference_id": name})
    for part in ("1", "2"):
        await stage.index("x:y=z", name=f"{name}-{part}")
        lines = [line for n in range(4) for line in ({"index": {"_id": f"{part}{n}"}}, {"text": f"slow {part}{n}"})]
        await stage.send("POST", f"/{name}-{part}/_bulk?refresh=true", ndjson(*lines), past=True)
    stage.models.hold()
    body = {"source": {"index": [f"{name}-1", f"{name}-2"], "size": 2}, "dest": {"index": name}}
    sending = asyncio.create_task(stage.send("POST", "/_reindex", body))
    await stage.models.asked.wait()
    await stage.send("DELETE", f"/{name}-2", past=past)
    stage.models.free.set()
    status, told, _ = await sending
    assert (status, told["created"], told["batches"]) == (404, 2, 1)
    assert [(one["index"], one["reason"]["type"], one["status"]) for one in told["failures"]] == [
        (None, "search_context_missing_exception", 404)
    ]
    assert len(await stage.sources()) == 2


@pytest.mark.parametrize("came", [True, False])
async def test_a_document_that_came_meanwhile_and_could_not_be_read_is_told(stage: Stage, came: bool) -> None:
    """An update that shows the document cannot be sent as a creation."""
    name = stage.name
    await stage.endpoint("a")
    await stage.index(f"title,text:vector={name}")
    stage.models.hold()
    body = ndjson({"update": {"_id": "1", "_source": True}}, {"doc": {"text": "slow"}, "doc_as_upsert": True})
    sending = asyncio.create_task(stage.send("POST", f"/{name}/_bulk", body))
    await stage.models.asked.wait()
    if came:
        await stage.send("PUT", f"/{name}/_doc/1", {"title": "quick"})
    stage.models.free.set()
    _, told, warnings = await sending
    assert statuses(told) == [200 if came else 201]
    assert ["may have vectors of a part of their texts" in text for text in warnings] == [True] * came
    source = (await stage.sources())["1"]
    assert (maker(source["vector"], "slow"), "title" in source) == ("a", came)
