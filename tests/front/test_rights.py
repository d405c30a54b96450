"""Who may do what through the front: a real node with security is the judge, and nobody pays for what is refused."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from sidecar.app import create_app
from sidecar.settings import load_settings
from tests.elastic.test_privileges import privileges
from tests.front.conftest import SHARED
from tests.front.provider import provider, tokens_of
from tests.front.test_bound_writes import SPARSE, mapping, ndjson, statuses, tokens

BOUND = mapping("text,title:tokens=sparse", "text:more=sparse", tokens=SPARSE, more=SPARSE)
SEMANTIC = {"mappings": {"properties": {"words": {"type": "semantic_text", "inference_id": "sparse"}}}}
INDICES: dict[str, Any] = {"rights-bound": BOUND, "rights-semantic": SEMANTIC, "rights-other": BOUND}
ALL = ["rights-*"]
USERS = {
    "reader": privileges([], (ALL, ["read"])),
    "writer": privileges([], (ALL, ["write"])),
    "creator": privileges([], (ALL, ["create_doc"])),
    "updater": privileges([], (ALL, ["index", "create"])),
    "by_alias": privileges([], (["rights-alias"], ["read", "write"])),
    "of_one": privileges([], (["rights-bound"], ["read"])),
}


@dataclass(frozen=True)
class Caller:
    """Sends as one of the users; ``asked`` are the texts that anybody's requests were paid for."""

    client: TestClient[Any, Any]
    asked: list[str]
    keys: dict[str, str]
    user: str = ""

    def __getitem__(self, user: str) -> Caller:
        return replace(self, user=user)

    async def send(self, method: str, path: str, body: Any = None, *, base: str = "") -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if self.user:
            headers["Authorization"] = f"ApiKey {self.keys[self.user]}"
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        if not base:
            async with self.client.request(method, path, headers=headers, **data) as answer:
                return answer.status, await answer.json()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, base + path, headers=headers, **data) as a,
        ):
            return a.status, await a.json()


@pytest.fixture
async def caller(elasticsearch_secured: str, tmp_path: Path) -> AsyncIterator[Caller]:
    app, asked = provider()
    settings = {
        **SHARED,
        "elasticsearch_url": elasticsearch_secured,
        "data_dir": str(tmp_path),
        "allow_unreadable_secrets": True,
    }
    async with TestServer(app) as services, TestClient(TestServer(create_app(load_settings(settings)))) as client:
        admin = Caller(client, asked, {})
        await admin.send("PUT", "/_security/user/maker", {"password": "nobody-may-see-this", "roles": ["superuser"]})
        maker = {"Authorization": aiohttp.encode_basic_auth("maker", "nobody-may-see-this")}
        for user, role in USERS.items():
            body = {"name": user, "role_descriptors": {user: role}}
            async with (
                aiohttp.ClientSession(headers=maker) as session,
                session.post(f"{elasticsearch_secured}/_security/api_key", json=body) as made,
            ):
                admin.keys[user] = (await made.json())["encoded"]
        await admin.send("DELETE", "/_inference/sparse?force=true")
        endpoint = {"service_settings": {"api_key": "k", "url": str(services.make_url("/sparse"))}}
        body = {"service": "hugging_face", **endpoint}
        assert (await admin.send("PUT", "/_inference/sparse_embedding/sparse", body))[0] == 200
        for name, made_of in INDICES.items():
            await admin.send("DELETE", f"/{name}?ignore_unavailable=true")
            assert (await admin.send("PUT", f"/{name}", {**made_of, "settings": {"number_of_replicas": 0}}))[0] == 200
        await admin.send("DELETE", "/rights-new?ignore_unavailable=true")
        await admin.send(
            "POST", "/_aliases", {"actions": [{"add": {"index": "rights-bound", "alias": "rights-alias"}}]}
        )
        document = {"text": "boat", "title": "red", "n": 1}
        assert (await admin.send("PUT", "/rights-bound/_doc/1?refresh=true", document))[0] == 201
        assert (await admin.send("PUT", "/rights-semantic/_doc/1?refresh=true", {"words": "boat", "n": 1}))[0] == 201
        asked.clear()
        yield admin


def fresh() -> dict[str, str]:
    return {"text": f"ship {uuid.uuid4().hex}"}


def question(text: str | None = None) -> dict[str, Any]:
    clause = {"field": "tokens", "inference_id": "sparse", "query": text or fresh()["text"]}
    return {"query": {"sparse_vector": clause}}


async def stored(caller: Caller, index: str, identity: str) -> dict[str, Any]:
    answer = await caller[""].send("GET", f"/{index}/_doc/{identity}?_source_exclude_vectors=false")
    return dict(answer[1].get("_source") or {})


async def test_who_may_not_write_pays_nothing_and_hears_the_cluster(caller: Caller, elasticsearch_secured: str) -> None:
    requests: list[tuple[str, str, str, Any]] = [
        ("reader", "PUT", "/rights-bound/_doc/5", fresh()),
        ("reader", "POST", "/rights-bound/_update/1", {"doc": fresh()}),
        ("reader", "POST", "/rights-bound/_delete_by_query", question()),
        ("reader", "POST", "/rights-*/_delete_by_query", question()),
        ("reader", "POST", "/rights-bound/_update_by_query", question()),
        ("creator", "PUT", "/rights-bound/_doc/5", fresh()),
        ("creator", "POST", "/rights-bound/_update/1", {"doc": fresh()}),
        ("by_alias", "PUT", "/rights-bound/_doc/5", fresh()),
        ("by_alias", "POST", "/rights-bound/_search", question()),
        ("writer", "POST", "/rights-bound/_search", question()),
        ("of_one", "POST", "/rights-other/_search", question()),
    ]
    for user, method, path, body in requests:
        through = await caller[user].send(method, path, body)
        assert through[0] in (403, 404), (user, path, through)
        assert through == await caller[user].send(method, path, body, base=elasticsearch_secured)
    assert caller.asked == []


async def test_who_may_write_and_make_no_index(caller: Caller, elasticsearch_secured: str) -> None:
    template = {"index_patterns": ["rights-new"], "template": BOUND}
    await caller.send("PUT", "/_index_template/rights-new", template)
    try:
        for method, path, body in (
            ("PUT", "/rights-new/_doc/1", fresh()),
            ("POST", "/_bulk", ndjson({"index": {"_index": "rights-new", "_id": "1"}}, fresh())),
        ):
            through = await caller["writer"].send(method, path, body)
            straight = await caller["writer"].send(method, path, body, base=elasticsearch_secured)
            for _, answer in (through, straight):
                answer.pop("took", None)
            assert through == straight
        assert caller.asked == []
    finally:
        await caller.send("DELETE", "/_index_template/rights-new")


async def test_who_may_create_alone_creates(caller: Caller) -> None:
    creator = caller["creator"]
    one, two = fresh(), fresh()
    assert (await creator.send("PUT", "/rights-bound/_create/7", one))[0] == 201
    assert (await creator.send("POST", "/rights-bound/_doc", fresh()))[0] == 201
    lines = [
        {"create": {"_id": "8"}},
        two,
        {"index": {"_id": "9"}},
        fresh(),
        {"update": {"_id": "1"}},
        {"doc": fresh()},
    ]
    assert statuses((await creator.send("POST", "/rights-bound/_bulk", ndjson(*lines)))[1]) == [201, 403, 403]
    for identity, document in (("7", one), ("8", two)):
        assert tokens(await stored(caller, "rights-bound", identity), "more") == tokens_of(document["text"])
    assert (await creator.send("PUT", "/rights-bound/_create/7", {"text": "boat"}))[0] == 409


async def test_rights_go_by_the_name_that_is_used(caller: Caller) -> None:
    user = caller["by_alias"]
    document = fresh()
    assert (await user.send("PUT", "/rights-alias/_doc/7", document))[0] == 201
    assert tokens(await stored(caller, "rights-bound", "7"), "more") == tokens_of(document["text"])
    for index in ("rights-alias", "rights-al*"):
        status, answer = await user.send("POST", f"/{index}/_search", question("boat"))
        assert (status, answer["hits"]["hits"][0]["_id"]) == (200, "1")


@pytest.mark.parametrize("index", ["rights-other", "rights-none", "rights-bound,rights-other"])
async def test_who_may_not_search_hears_that_whatever_the_retriever(
    caller: Caller, elasticsearch_secured: str, index: str
) -> None:
    legs = [{"standard": question()}, {"standard": question()}]
    user = caller["of_one"]
    straight = await user.send("POST", f"/{index}/_search", {"size": 0}, base=elasticsearch_secured)
    assert straight[0] == 403
    for tree in ({"auto": {"query": "boat"}}, {"rrf": {"retrievers": legs}}):
        assert await user.send("POST", f"/{index}/_search", {"retriever": tree}) == straight
        status, answer = await user.send("POST", f"/{index}/_async_search", {"retriever": tree})
        assert (status, answer["error"]["type"]) == (403, "security_exception")
    assert caller.asked == []


async def test_one_refused_search_of_several_spoils_no_other(caller: Caller) -> None:
    tree = {"retriever": {"rrf": {"retrievers": [{"standard": question("boat")}, {"standard": question("boat")}]}}}
    lines = [
        {"index": "rights-bound"},
        question("boat"),
        {"index": "rights-other"},
        tree,
        {"index": "rights-bound"},
        tree,
    ]
    status, answer = await caller["of_one"].send("POST", "/_msearch", ndjson(*lines))
    assert (status, [one["status"] for one in answer["responses"]]) == (200, [200, 403, 200])
    assert answer["responses"][1]["error"]["type"] == "security_exception"
    assert [len(answer["responses"][place]["hits"]["hits"]) for place in (0, 2)] == [1, 1]


async def test_who_may_update_and_not_read_updates(caller: Caller) -> None:
    for user in ("writer", "updater"):
        text = fresh()["text"]
        status, answer = await caller[user].send(
            "POST", "/rights-semantic/_update/1?_source=n", {"doc": {"words": text}}
        )
        assert (status, answer["result"], answer["get"]["_source"]) == (200, "updated", {"n": 1})
        await caller.send("POST", "/rights-semantic/_refresh")  # until then, a get does not show [_inference_fields]
        shown = await caller.send("GET", "/rights-semantic/_doc/1?_source_exclude_vectors=false")
        (chunk,) = shown[1]["_source"]["_inference_fields"]["words"]["inference"]["chunks"]["words"]
        embeddings = chunk["embeddings"]
        assert (embeddings[0] if isinstance(embeddings, list) else embeddings) == tokens_of(text)
        for path, body in (
            ("/rights-bound/_update/1", {"doc": {"title": user}}),
            ("/rights-bound/_bulk", ndjson({"update": {"_id": "1"}}, {"doc": {"title": f"{user} again"}})),
        ):
            assert (await caller[user].send("POST", path, body))[0] == 200
            source = await stored(caller, "rights-bound", "1")
            assert tokens(source, "tokens") == tokens_of(f"boat\n{source['title']}")
    assert (await caller["writer"].send("POST", "/rights-semantic/_update/2", {"doc": {"words": "x"}}))[0] == 404
    script = {"script": "ctx._source.n = 2"}
    status, answer = await caller["writer"].send("POST", "/rights-semantic/_update/1", script)
    assert (status, answer["error"]["type"]) == (403, "security_exception")
