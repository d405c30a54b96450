"""Pulling a model from a hub: a local server plays the hub, the real client talks to it."""

import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.runtime.config import Lane, RuntimeConfig
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.hub import HubUnavailableError, pull
from sidecar.runtime.models import LocalModels
from sidecar.runtime.recognition import ModelKind
from tests.runtime.tiny import HIDDEN, TinyModel

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A hub with whatever lies under the returned directory; the client is pointed at it."""
    pytest.importorskip("huggingface_hub", reason="the optional extra [hub] is not installed")
    root = tmp_path / "hub"

    async def info(request: web.Request) -> web.Response:
        model = root / request.match_info["name"]
        if not model.is_dir():
            return web.json_response(
                {"error": "Repository not found"}, status=404, headers={"X-Error-Code": "RepoNotFound"}
            )
        files = [str(file.relative_to(model)) for file in sorted(model.rglob("*")) if file.is_file()]
        siblings = [{"rfilename": file} for file in files]
        return web.json_response({"id": request.match_info["name"], "sha": COMMIT, "siblings": siblings})

    async def tree(request: web.Request) -> web.Response:
        model = root / request.match_info["name"]
        return web.json_response(
            [
                {"type": "file", "path": str(file.relative_to(model)), "size": file.stat().st_size, "oid": "0"}
                for file in sorted(model.rglob("*"))
                if file.is_file()
            ]
        )

    async def resolve(request: web.Request) -> web.StreamResponse:
        content = (root / request.match_info["name"] / request.match_info["file"]).read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        return web.Response(body=content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    app = web.Application()
    app.router.add_get("/api/models/{name:[^/]+/[^/]+}/tree/{revision}", tree)
    app.router.add_get("/api/models/{name:[^/]+/[^/]+}/revision/{revision}", info)
    app.router.add_get("/api/models/{name:[^/]+/[^/]+}", info)
    app.router.add_get("/{name:[^/]+/[^/]+}/resolve/{revision}/{file:.+}", resolve)
    server = TestServer(app)
    await server.start_server()
    import huggingface_hub.constants
    import huggingface_hub.hf_api

    endpoint = str(server.make_url("")).rstrip("/")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield root
    await server.close()


async def _pull(name: str, models_dir: Path) -> Path:
    import asyncio

    return await asyncio.to_thread(pull, name, models_dir)


async def test_a_pulled_model_answers_by_its_name(hub: Path, tmp_path: Path) -> None:
    TinyModel(hub / "acme" / "tiny").encoder("onnx/model.onnx")
    (hub / "acme" / "tiny" / "pytorch_model.bin").write_bytes(b"weights that are not needed")
    path = await _pull("acme/tiny", tmp_path / "models")
    assert path == tmp_path / "models" / "acme" / "tiny"
    assert not (path / "pytorch_model.bin").exists()
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["acme"]
    models = LocalModels(RuntimeConfig(models_dir=tmp_path / "models"))
    assert models.resolve("acme/tiny").kind is ModelKind.DENSE
    (vector,) = await models.dense("tiny", ["red"], lane=Lane.INGEST)
    assert vector.shape == (4,)
    await models.close()


async def test_all_that_a_vector_needs_is_fetched_and_no_more(hub: Path, tmp_path: Path) -> None:
    tiny = TinyModel(hub / "acme" / "dense")
    for name in ("onnx/model.onnx", "onnx/model_O3.onnx", "onnx/model_quantized.onnx"):
        tiny.encoder(name)
    graph = tiny.path / "onnx" / "model.onnx"
    onnx.save(onnx.load(graph), graph, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    tiny.modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"))
    tiny.json("1_Pooling/config.json", {"pooling_mode": "mean"})
    tiny.json("2_Dense/config.json", {"bias": False})
    tiny.tensors("2_Dense", linear__weight=np.ones((2, HIDDEN), np.float32))
    (tiny.path / "model.safetensors").write_bytes(b"weights that are in the graph")
    path = await _pull("acme/dense", tmp_path / "models")
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert {"onnx/model.onnx", "onnx/model.onnx_data", "2_Dense/model.safetensors", "2_Dense/config.json"} <= present
    assert not present & {"onnx/model_O3.onnx", "onnx/model_quantized.onnx", "model.safetensors"}
    models = LocalModels(RuntimeConfig(models_dir=tmp_path / "models"))
    assert models.resolve("acme/dense").dimensions == 2
    await models.close()


async def test_pulling_again_replaces(hub: Path, tmp_path: Path) -> None:
    TinyModel(hub / "acme" / "tiny").encoder()
    path = await _pull("acme/tiny", tmp_path)
    (path / "left-over.json").write_text("{}")
    await _pull("acme/tiny", tmp_path)
    assert not (path / "left-over.json").exists()


async def test_a_repository_without_a_graph_leaves_nothing_behind(hub: Path, tmp_path: Path) -> None:
    TinyModel(hub / "acme" / "empty")
    with pytest.raises(UnusableModelError, match="no ONNX graph"):
        await _pull("acme/empty", tmp_path / "models")
    TinyModel(hub / "acme" / "labels").classifier(labels=3)
    with pytest.raises(UnusableModelError, match="3 labels"):
        await _pull("acme/labels", tmp_path / "models")
    assert list((tmp_path / "models").rglob("*")) == []


async def test_an_unknown_repository(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(HubUnavailableError, match="acme/nothing"):
        await _pull("acme/nothing", tmp_path)


@pytest.mark.parametrize("name", ["", "../x", "a/b/c", "/etc", "a/..", "acme/ti ny"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnusableModelError, match="not the name of a model"):
        pull(name, tmp_path)


def test_without_the_client_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubUnavailableError, match=r"pip install .*\[hub\]"):
        pull("acme/tiny", tmp_path)
