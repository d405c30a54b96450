"""Vectors of bulks in base64, where the cluster reads them so: nobody who reads the documents can tell."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.tasks import TaskType
from sidecar.elastic.bindings import Binding
from sidecar.front.completion import complete
from sidecar.front.embedding import Vectors
from sidecar.front.filling import examine
from sidecar.front.source_text import SourceText
from sidecar.front.targets import VectorTarget, WritePlan
from sidecar.inference.embedder import EndpointProfile
from tests.front.conftest import FilledFront
from tests.front.provider import DIMENSIONS, vector_of

TEXTS = [f"boat {n}" for n in range(12)]
DENSE: dict[str, Any] = {"type": "dense_vector", "dims": DIMENSIONS, "index": True, "similarity": "l2_norm"}
FIELDS: dict[str, dict[str, Any]] = {
    "indexed": DENSE,
    "not indexed": {"type": "dense_vector", "dims": DIMENSIONS, "index": False},
    "of any size": {"type": "dense_vector"},
}


def float32(values: object) -> list[float]:
    return [float(np.float32(value)) for value in np.asarray(values, dtype=np.float64)]


def write(front: FilledFront, mapped: dict[str, Any], settings: dict[str, Any], field: str = "vector") -> None:
    properties: dict[str, Any] = {"text": {"type": "text"}}
    inner = properties
    *parents, leaf = field.split(".")
    for name in parents:
        inner = inner.setdefault(name, {"properties": {}})["properties"]
    inner[leaf] = mapped
    front.send("DELETE", "/packed?ignore_unavailable=true")
    meta = {"sidecar": {"maps": [f"text:{field}=dense"]}}
    body = {"settings": settings, "mappings": {"_meta": meta, "properties": properties}}
    assert front.send("PUT", "/packed", body)[0] == 200
    lines: list[object] = []
    for n, text in enumerate(TEXTS):
        lines += [{"create" if n % 2 else "index": {"_id": str(n)}}, {"text": text}]
    status, answer = front.send("POST", "/packed/_bulk", "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert (status, answer["errors"]) == (200, False), answer


def check(front: FilledFront, *path: str) -> None:
    for n, text in enumerate(TEXTS):
        value: Any = front.source("packed", str(n))
        for name in path:
            value = value[name]
        assert isinstance(value, list)
        assert value == pytest.approx(vector_of(text), rel=1e-6)  # for cosine they are stored with the length 1


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("field", ["vector", "part.vector"])
def test_documents_show_numbers(filled_front: FilledFront, kind: str, field: str) -> None:
    write(filled_front, FIELDS[kind], {"number_of_replicas": 0, "refresh_interval": -1}, field)
    path = field.split(".")
    check(filled_front, *path)  # no refresh has seen them
    script = {"source": f"ctx._source.size = ctx._source.{field.replace('.', '?.')}.size()"}
    assert filled_front.send("POST", "/packed/_update/0", {"script": script})[0] == 200
    assert filled_front.source("packed", "0")["size"] == DIMENSIONS
    assert filled_front.send("POST", "/packed/_update/1", {"doc": {"n": 1}})[0] == 200
    check(filled_front, *path)
    filled_front.send("POST", "/packed/_refresh")
    check(filled_front, *path)


def test_documents_show_numbers_where_they_keep_their_vectors(filled_front: FilledFront) -> None:
    if filled_front.send("GET", "/")[1]["version"]["number"].startswith("8."):
        pytest.skip("documents of 8.x always keep them")
    write(filled_front, DENSE, {"index.mapping.exclude_source_vectors": False})
    check(filled_front, "vector")


def test_pipelines_of_the_cluster_see_numbers(filled_front: FilledFront) -> None:
    processor = {"script": {"source": "ctx.size = ctx.vector.size()"}}
    assert filled_front.send("PUT", "/_ingest/pipeline/sizes", {"processors": [processor]})[0] == 200
    for setting in ("default_pipeline", "final_pipeline"):
        write(filled_front, DENSE, {setting: "sizes"})
        assert {filled_front.source("packed", str(n))["size"] for n in range(len(TEXTS))} == {DIMENSIONS}
        check(filled_front, "vector")
    filled_front.send("DELETE", "/packed")
    filled_front.send("DELETE", "/_ingest/pipeline/sizes")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_base64_holds_the_same_numbers(values: list[float]) -> None:
    profile = EndpointProfile("dense", TaskType.TEXT_EMBEDDING, "1", dimensions=len(values))
    target = VectorTarget(Binding(("text",), "vector", "dense"), profile, takes_packed=True)
    source = SourceText(b'{"text":"boat"}', {"text": "boat"}, is_alone=True)
    filling = examine(source, WritePlan("packed", vectors=(target,)))
    vectors = Vectors({"dense": {"boat": np.array(values, dtype=np.float32)}})
    packed = json.loads(complete(filling, vectors, may_pack=True))
    assert packed == {"text": "boat", "vector": packed["vector"]}
    assert np.frombuffer(base64.b64decode(packed["vector"], validate=True), dtype=">f4").tolist() == values
    assert float32(json.loads(complete(filling, vectors))["vector"]) == values
