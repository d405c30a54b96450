"""Texts longer than a model reads: told, refused or cut, and alike through the front, by a backfill and from a file."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.runtime.config import RuntimeConfig
from sidecar.runtime.model_tokens import ModelTokens
from sidecar.runtime.models import LocalModels
from tests.front.conftest import FilledFront
from tests.front.provider import tokens_of, vector_of
from tests.front.test_bound_writes import DENSE, SPARSE, mapping, ndjson, tokens
from tests.ingest.command import run_command

INDEX = "longtexts"
ELSER, E5 = ".elser-2-elasticsearch", ".multilingual-e5-small-elasticsearch"
LONG = " ".join(f"Note {n} tells of the tide, the reef and the lighthouse behind it." for n in range(20))


def sidecar(front: FilledFront, data: Path, *arguments: str) -> str:
    """A command that ends well, and what it says."""
    result = run_command(data, *arguments, "--elasticsearch-url", front.node)
    assert result.exit_code == 0, result.output
    return result.output


def likeness(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors: those of a quantised model depend a little on the texts beside theirs."""
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def warnings(front: FilledFront, path: str, body: bytes) -> list[str]:
    request = urllib.request.Request(front.url + path, body, {"Content-Type": "application/x-ndjson"}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return list(answer.headers.get_all("Warning", []))


def test_front_backfill_and_files_cut_by_tokens_alike(filled_front: FilledFront, tmp_path: Path) -> None:
    front = filled_front
    front.index(INDEX, mappings={"properties": {"text": {"type": "text"}}})
    maps = ("--map", f"text:p.sparse={ELSER}", "--map", f"text:p.dense={E5}")
    sidecar(front, tmp_path, "bind", INDEX, *maps, "--passages", "--chunk-tokens", "40")
    sidecar(front, tmp_path, "bind", INDEX, "--map", f"text:one={E5}", "--long-texts", "chunk")
    assert front.send("PUT", f"/{INDEX}/_doc/1", {"text": LONG})[0] == 201
    assert front.send("PUT", f"/{INDEX}/_doc/2?refresh=true", {"text": LONG}, base=front.node)[0] == 201
    lines = tmp_path / "lines"
    lines.write_text(json.dumps({"id": "3", "text": LONG}))
    sidecar(front, tmp_path, "index", INDEX, str(lines), "--id-field", "id")
    said = sidecar(front, tmp_path, "backfill", INDEX)
    assert "Done." in said
    assert [line.split()[3] for line in said.splitlines() if " written " in line or "up to date" in line] == ["1", "2"]
    found = [front.source(INDEX, identity) for identity in "123"]
    for passage in found[0]["p"]:
        assert LONG.startswith(passage["text"], passage["start"])
    counter = LocalModels(RuntimeConfig()).token_counter("splade-tiny")
    counts = counter.count([passage["text"] for passage in found[0]["p"]])
    assert len(counts) > 10
    assert 25 < max(counts) <= 40
    for other in found[1:]:
        assert [one["text"] for one in other["p"]] == [one["text"] for one in found[0]["p"]]
        for mine, theirs in zip(other["p"], found[0]["p"], strict=True):
            assert tokens(mine, "sparse") == pytest.approx(tokens(theirs, "sparse"), rel=1e-4)
            assert likeness(mine["dense"], theirs["dense"]) > 0.99
        assert likeness(other["one"], found[0]["one"]) > 0.99


def test_no_write_counts_tokens_on_the_event_loop(
    filled_front: FilledFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, counted = filled_front, ModelTokens.count
    on_a_loop: list[bool] = []

    def count(self: ModelTokens, texts: Sequence[str]) -> list[int]:
        on_a_loop.append(asyncio._get_running_loop() is not None)
        return counted(self, texts)

    monkeypatch.setattr(ModelTokens, "count", count)
    front.index(INDEX, mappings={"properties": {"title": {"type": "text"}, "text": {"type": "text"}}})
    maps = ("--map", f"title,text:p.sparse={ELSER}", "--map", f"title,text:p.dense={E5}")
    sidecar(front, tmp_path, "bind", INDEX, *maps, "--passages", "--chunk-tokens", "40")
    document = {"title": "Notes", "text": LONG}
    on_a_loop.clear()
    times: dict[str, int] = {}
    for method, path, body in (
        ("PUT", "_doc/1", document),
        ("PUT", "_create/2", document),
        ("POST", "_update/1", {"doc": document | {"title": "All notes"}}),
        ("POST", "_update/1", {"doc": {"title": "Some notes"}}),
        ("POST", "_bulk", ndjson({"index": {}}, document, {"update": {"_id": "1"}}, {"doc": {"title": "No notes"}})),
    ):
        before = len(on_a_loop)
        assert front.send(method, f"/{INDEX}/{path}", body)[0] in (200, 201)
        times[path] = len(on_a_loop) - before
        assert times[path] > 0
    assert not any(on_a_loop)
    assert times["_create/2"] == times["_doc/1"]  # looked at once, though asked first whether it is there


def test_sizes_in_tokens_need_a_local_model(filled_front: FilledFront, tmp_path: Path) -> None:
    chunking = {"strategy": "sentence", "max_chunk_size": 40, "unit": "tokens"}
    entry = {
        "source": "text",
        "target": "p.v",
        "inference_id": "dense",
        "passages": True,
        "chunking_settings": chunking,
    }
    filled_front.index(INDEX, **mapping(entry, p={"type": "nested", "properties": {"v": DENSE}}))
    (said,) = warnings(filled_front, f"/{INDEX}/_bulk", ndjson({"index": {"_id": "1"}}, {"text": "boat"}))
    assert "needs the tokenizer of the model, which is not known for endpoint [dense]" in said
    settings = {"service": "elasticsearch", "service_settings": {"model_id": ".elser_model_2", "num_threads": 1}}
    body = settings | {"chunking_settings": chunking}
    status, answer = filled_front.send("PUT", "/_inference/sparse_embedding/in-tokens", body)
    assert status == 400
    assert "can not have the following settings: [unit]" in json.dumps(answer)
    refused = run_command(
        tmp_path,
        "bind",
        INDEX,
        "--map",
        f"text:w={E5}",
        "--chunk-tokens",
        "40",
        "--elasticsearch-url",
        filled_front.node,
    )
    assert refused.exit_code == 2
    assert "--chunk-tokens says how texts are cut" in refused.output


def test_fields_of_one_nested_field_get_the_same_passages(filled_front: FilledFront) -> None:
    words = {"strategy": "word", "max_chunk_size": 10, "overlap": 1}
    cut = {"source": "text", "passages": True}
    maps = (
        cut | {"target": "p.a", "inference_id": "sparse"},
        cut | {"target": "p.b", "inference_id": "dense", "chunking_settings": words},
        cut | {"target": "p.c", "inference_id": "dense", "source": "title"},
    )
    fields = {"a": SPARSE, "b": DENSE, "c": DENSE}
    filled_front.index(INDEX, **mapping(*maps, p={"type": "nested", "properties": fields}))
    text = " ".join(f"word{n}" for n in range(25))
    lines = ndjson({"index": {"_id": "1"}}, {"text": text, "title": "a boat"})
    (said,) = warnings(filled_front, f"/{INDEX}/_bulk", lines)
    assert "field [p.c]" in said
    assert "would be cut from two fields, [text] and [title]" in said
    held = filled_front.source(INDEX, "1")["p"]
    assert len(held) == 3
    for passage in held:
        assert tokens(passage, "a") == tokens_of(passage["text"])
        assert passage["b"] == pytest.approx(vector_of(passage["text"]))
        assert "c" not in passage


@pytest.fixture
def short(filled_front: FilledFront) -> Iterator[FilledFront]:
    """A front with the endpoint ``short``, whose provider reads twenty tokens of a text."""
    settings = {"api_key": "k", "url": f"{filled_front.services}/dense", "max_input_tokens": 20}
    body = {"service": "hugging_face", "service_settings": settings}
    filled_front.send("DELETE", "/_inference/short?force=true")
    assert filled_front.send("PUT", "/_inference/text_embedding/short", body)[0] == 200
    yield filled_front
    filled_front.send("DELETE", "/_inference/short?force=true")


def test_what_a_provider_does_not_read_is_counted_refused_or_cut(short: FilledFront) -> None:
    lines = [line for n in range(3) for line in ({"index": {"_id": str(n)}}, {"text": f"{n} {LONG}"})]
    for policy in ("truncate", "fail", "chunk"):
        entry: dict[str, Any] = {"source": "text", "target": "v", "inference_id": "short", "long_texts": policy}
        short.index(INDEX, **mapping(entry, v=DENSE))
        short.asked.clear()
        said = warnings(short, f"/{INDEX}/_bulk", ndjson(*lines))
        held = short.source(INDEX, "1")
        if policy == "truncate":
            assert ["[3] texts of field [v] are longer than the model reads" in warning for warning in said] == [True]
            assert held["v"] == pytest.approx(vector_of(short.asked[1]))
            assert f"1 {LONG}".startswith(short.asked[1])
        elif policy == "fail":
            assert held == {}
        else:
            assert said == []
            assert set(LONG.split()) <= {word for text in short.asked for word in text.split()}


def test_semantic_text_tells_of_chunks_that_are_too_long(short: FilledFront) -> None:
    field = {"type": "semantic_text", "inference_id": "short"}
    short.index(INDEX, mappings={"properties": {"meaning": field}})
    (said,) = warnings(
        short, f"/{INDEX}/_bulk", ndjson({"index": {}}, {"meaning": LONG}, {"index": {}}, {"meaning": "a"})
    )
    assert "texts of field [meaning] are longer than the model reads" in said


def test_semantic_text_is_filled_and_searched_by_its_mapping_alone(filled_front: FilledFront, tmp_path: Path) -> None:
    front = filled_front
    front.index(INDEX, mappings={"properties": {"text": {"type": "text"}, "title": {"type": "text"}}})
    texts = {"1": "The ferry leaves the harbour at noon.", "2": "Bread needs flour, water and salt."}
    for identity, text in texts.items():
        front.send("PUT", f"/{INDEX}/_doc/{identity}?refresh=true", {"text": text, "title": text}, base=front.node)
    sparse = {"type": "semantic_text", "inference_id": ELSER}
    dense = {"type": "semantic_text", "inference_id": E5}
    changed: dict[str, Any] = {"properties": {"text": {"type": "text", "copy_to": "all"}, "all": dense}}
    changed["properties"]["title"] = {"type": "text", "fields": {"tokens": sparse}}
    assert front.send("PUT", f"/{INDEX}/_mapping", changed, base=front.node)[0] == 200
    assert "Done." in sidecar(front, tmp_path, "backfill", INDEX)
    for options in ((), ("--dense", "all"), ("--sparse", "title.tokens")):
        hits = json.loads(sidecar(front, tmp_path, "search", INDEX, "when does the boat go", "--json", *options))
        assert hits["hits"][0]["_id"] == "1"
