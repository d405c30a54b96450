"""Endpoints on models of the operator's own: what their folders say, and what one bad folder does to the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Client, StartApi
from tests.runtime.tiny import TinyModel

SETTINGS: dict[str, Any] = {"num_threads": 1, "num_allocations": 1}


async def create(api: Client, task: str, model: str, inference_id: str | None = None) -> tuple[int, dict[str, Any]]:
    body = {"service": "elasticsearch", "service_settings": {**SETTINGS, "model_id": model}}
    async with api.put(f"/_inference/{task}/{inference_id or f'e-{model}'}", json=body) as response:
        return response.status, await response.json()


async def get(api: Client, path: str) -> tuple[int, dict[str, Any]]:
    async with api.get(path) as response:
        return response.status, await response.json()


async def ids(api: Client, path: str) -> set[str]:
    status, body = await get(api, path)
    assert status == 200, body
    return {endpoint["inference_id"] for endpoint in body["endpoints"]}


@pytest.mark.parametrize("broken", ["pointer", "gone", "odd", "closed"])
async def test_an_endpoint_whose_model_became_unusable_is_listed_and_deleted(
    start_api: StartApi, tmp_path: Path, broken: str
) -> None:
    models = tmp_path / "models"
    mine = TinyModel(models / "mine")
    mine.encoder()
    TinyModel(models / "other").encoder()
    api = await start_api(models_dir=models)
    for model in ("mine", "other"):
        assert (await create(api, "text_embedding", model))[0] == 200
    await api.close()
    match broken:
        case "pointer":
            (mine.path / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
        case "gone":
            mine.path.rename(tmp_path / "away")
        case "odd":
            mine.json("config.json", {"hidden_size": 4, "pad_token_id": "<pad>"})
        case "closed":
            (mine.path / "tokenizer.json").unlink()
            (mine.path / "tokenizer.json").mkdir()
    api = await start_api(models_dir=models)
    for path in ("/_inference/_all", "/_inference", "/_inference/text_embedding/_all", "/_inference/e-mine"):
        assert "e-mine" in await ids(api, path)
    assert (await get(api, "/_sidecar/health/ready"))[1]["status"] == "ready"
    async with api.post("/_inference/text_embedding/e-other", json={"input": "red"}) as response:
        assert response.status == 200
    async with api.post("/_inference/text_embedding/e-mine", json={"input": "red"}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["reason"]
    async with api.delete("/_inference/e-mine") as response:
        assert response.status == 200
    assert "e-mine" not in await ids(api, "/_inference/_all")


async def test_queries_of_an_inference_free_model_come_by_the_search_lane(start_api: StartApi, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "models" / "doc")
    tiny.masked_language_model()
    tiny.json("idf.json", {"red": 2.1, "green": 3.95})
    api = await start_api(models_dir=tmp_path / "models")
    assert (await create(api, "sparse_embedding", "doc"))[0] == 200
    async with api.post("/compat/hf/e-doc/sparse/search", json={"inputs": ["red green"]}) as response:
        (tokens,) = await response.json()
        assert tokens == {"red": pytest.approx(2.1), "green": pytest.approx(3.95)}
    # the native route has no input type for sparse embeddings, as in Elasticsearch: what it gets are documents
    async with api.post("/_inference/sparse_embedding/e-doc", json={"input": "red green"}) as response:
        (document,) = (await response.json())["sparse_embedding"]
    assert set(document["embedding"]) - {"red", "green"}


async def test_the_wrong_task_is_named_as_elasticsearch_names_it(start_api: StartApi, tmp_path: Path) -> None:
    TinyModel(tmp_path / "models" / "mine").encoder()
    api = await start_api(models_dir=tmp_path / "models")
    status, body = await create(api, "sparse_embedding", "mine")
    assert (status, body["error"]["reason"]) == (
        400,
        "Deployed model [mine] with type [text_embedding] does not match the requested task type [sparse_embedding]",
    )


async def test_a_refusal_reaches_the_user(start_api: StartApi, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "models" / "mine")
    tiny.encoder()
    tiny.modules(("Transformer", ""), ("Pooling", "1_Pooling"), ("Foo", "2_Foo"))
    api = await start_api(models_dir=tmp_path / "models")
    status, body = await create(api, "text_embedding", "mine")
    assert (status, body["error"]["reason"]) == (
        400,
        f"[modules.json] of model directory [{tiny.path}] has the module [Foo], which is not supported",
    )


async def test_vectors_of_a_matryoshka_model_are_as_long_as_set(start_api: StartApi, tmp_path: Path) -> None:
    TinyModel(tmp_path / "models" / "mine").encoder()
    api = await start_api(models_dir=tmp_path / "models", model_dimensions={"mine": 3})
    status, body = await create(api, "text_embedding", "mine")
    assert (status, body["service_settings"]["dimensions"]) == (200, 3)
    async with api.post("/_inference/text_embedding/e-mine", json={"input": "red"}) as response:
        (item,) = (await response.json())["text_embedding"]
    assert len(item["embedding"]) == 3
