"""text-embeddings-inference's form: tokens, similarities, predictions, and what is cut on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from sidecar.runtime.catalog import BUILT_IN_DIR
from tests.api.conftest import Client, StartApi
from tests.api.test_client_forms import DENSE, RERANK, SPARSE, TEXTS, ask, native
from tests.runtime.tiny import TinyModel

LONG = "whales sing in the deep sea " * 200


async def answer(api: Client, path: str, body: Any) -> tuple[int, Any, str | None]:
    async with api.post(path, json=body) as response:
        return response.status, await response.json(), response.headers.get("X-Sidecar-Truncated")


@pytest.mark.parametrize("text", ["Whales SING", "a 😀 café", "  two  blanks ", "", "unwhalelike"])
async def test_tokens_are_those_of_the_models_tokenizer(api: Client, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(BUILT_IN_DIR / "bge-small-en-v1.5" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    status, (row,) = await ask(api, "POST", f"/compat/hf/{DENSE}/tokenize", {"inputs": text})
    right = tokenizer.encode(text)
    assert status == 200
    assert [token["id"] for token in row] == right.ids
    assert [token["special"] for token in row] == [bool(n) for n in right.special_tokens_mask]
    assert [token["text"] for token in row if token["special"]] == ["[CLS]", "[SEP]"]
    for token in (token for token in row if not token["special"]):
        assert token["text"] == text[token["start"] : token["stop"]] != ""
    _, (bare,) = await ask(api, "POST", f"/compat/hf/{DENSE}/tokenize", {"inputs": text, "add_special_tokens": False})
    assert bare == row[1:-1]
    _, decoded = await ask(api, "POST", f"/compat/hf/{DENSE}/decode", {"ids": right.ids})
    assert decoded == [tokenizer.decode(right.ids)]
    body = {"ids": [right.ids, [101]], "skip_special_tokens": False}
    _, decoded = await ask(api, "POST", f"/compat/hf/{DENSE}/decode", body)
    assert decoded == [tokenizer.decode(right.ids, skip_special_tokens=False), "[CLS]"]


async def test_long_texts_are_tokenised_whole_and_prompts_stand_before_them(api: Client) -> None:
    _, (row,) = await ask(api, "POST", f"/compat/hf/{DENSE}/tokenize", {"inputs": LONG})
    assert len(row) == 2 + 6 * 200
    _, (row,) = await ask(api, "POST", f"/compat/hf/{DENSE}/tokenize", {"inputs": "a", "prompt_name": "query"})
    assert [token["text"] for token in row][1:5] == ["Represent", "this", "sentence", "for"]


@pytest.mark.parametrize("ids", [None, "1", [-1], [1.5], [True], [[1], 2], [1 << 32]])
async def test_ids_that_are_none_are_refused(api: Client, ids: Any) -> None:
    status, refused, _ = await answer(api, f"/compat/hf/{DENSE}/decode", {"ids": ids})
    assert (status, refused["error_type"]) == (422, "Validation")


async def test_sparse_weights_have_the_ids_of_their_tokens(api: Client) -> None:
    tokenizer = Tokenizer.from_file(str(BUILT_IN_DIR / "splade-tiny" / "tokenizer.json"))
    texts = ["whales sing", "", "version 9.4"]
    _, by_name = await ask(api, "POST", f"/compat/hf/{SPARSE}/sparse", {"inputs": texts})
    for path in ("embed_sparse", "embed_sparse/ingest"):
        status, rows = await ask(api, "POST", f"/compat/hf/{SPARSE}/{path}", {"inputs": texts})
        assert status == 200
        assert all([entry["index"] for entry in row] == sorted(entry["index"] for entry in row) for row in rows)
        named = [{str(tokenizer.id_to_token(e["index"])).replace(".", "__"): e["value"] for e in row} for row in rows]
        assert named == by_name


async def test_similarities_are_cosines(api: Client) -> None:
    inputs = {"source_sentence": "animals of the sea", "sentences": TEXTS}
    vectors = [await native(api, text, "ingest") for text in ("animals of the sea", *TEXTS)]
    right = [float(vectors[0] @ v / np.linalg.norm(vectors[0]) / np.linalg.norm(v)) for v in vectors[1:]]
    for path in ("/similarity", ""):  # huggingface_hub's sentence_similarity sends it to the root
        status, found = await ask(api, "POST", f"/compat/hf/{DENSE}{path}", {"inputs": inputs, "parameters": {}})
        assert (status, found) == (200, pytest.approx(right, abs=1e-2))  # int8 rounds by the batch
    status, refused = await ask(api, "POST", f"/compat/hf/{DENSE}/similarity", {"inputs": "a"})
    assert (status, refused["error_type"]) == (422, "Validation")


async def test_predictions_of_a_cross_encoder(start_api: StartApi, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "models" / "pairs")
    tiny.classifier()
    api = await start_api(models_dir=tmp_path / "models")
    settings = {"model_id": "pairs", "num_threads": 1, "num_allocations": 1}
    await ask(api, "PUT", "/_inference/rerank/pairs", {"service": "elasticsearch", "service_settings": settings})
    pairs = [["red", "blue"], ["green", "fast"], ["red", "red blue"]]
    status, rows = await ask(api, "POST", "/compat/hf/pairs/predict", {"inputs": pairs, "raw_scores": True})
    right = []
    for query, text in pairs:
        found = await ask(api, "POST", "/_inference/rerank/pairs", {"query": query, "input": [text]})
        right.append(found[1]["rerank"][0]["relevance_score"])
    assert status == 200
    assert [row[0]["score"] for row in rows] == pytest.approx(right)
    assert {entry["label"] for row in rows for entry in row} == {"LABEL_0"}
    status, shaped = await ask(api, "POST", "/compat/hf/pairs/predict", {"inputs": pairs[0]})
    assert (status, shaped[0]["score"]) == (200, pytest.approx(1 / (1 + np.exp(-right[0]))))
    assert await ask(api, "POST", "/compat/hf/pairs", {"inputs": pairs[0]}) == (200, shaped)


@pytest.mark.parametrize("inputs", ["a text", ["one"], [["one"]], [["a", "b", "c"]], [[1, 2]], {}, []])
async def test_a_reranker_predicts_pairs_only(api: Client, inputs: Any) -> None:
    status, refused = await ask(api, "POST", f"/compat/hf/{RERANK}/predict", {"inputs": inputs})
    assert (status, refused["error_type"]) == (422, "Validation")
    assert "pair of strings [query, text]" in refused["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/compat/hf/{DENSE}/predict", {"inputs": ["a", "b"]}),
        (f"/compat/hf/{DENSE}/embed_sparse", {"inputs": "a"}),
        (f"/compat/hf/{RERANK}/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ],
)
async def test_another_task_is_refused(api: Client, path: str, body: Any) -> None:
    status, refused = await ask(api, "POST", path, body)
    assert (status, refused["error_type"]) == (400, "Validation")
    assert "has task type" in refused["error"]


async def test_tokens_of_a_provider_are_not_known(api: Client, dense: str) -> None:
    status, refused = await ask(api, "POST", f"/compat/hf/{dense}/tokenize", {"inputs": "a"})
    assert (status, refused["error_type"]) == (400, "Validation")
    assert refused["error"] == f"[openai] answers for endpoint [{dense}], and its tokens are not known here"


async def test_routes_that_are_not_there_are_told_in_the_form_of_their_callers(api: Client) -> None:
    status, refused = await ask(api, "POST", f"/compat/hf/{DENSE}/embed_all", {"inputs": "a"})
    assert status == 404
    assert refused == {"error": f"Invalid URL (POST /compat/hf/{DENSE}/embed_all)", "error_type": "Validation"}
    assert (await ask(api, "POST", f"/compat/cohere/{DENSE}/classify"))[1].keys() == {"message"}


async def test_openai_form_below_an_endpoint(api: Client) -> None:
    path = f"/compat/hf/{DENSE}/v1/embeddings"
    status, found = await ask(api, "POST", path, {"input": "whales", "model": "whatever"})
    assert status == 200
    np.testing.assert_allclose(found["data"][0]["embedding"], await native(api, "whales", "ingest"), atol=1e-6)
    assert (await ask(api, "POST", path, {"input": "whales"}))[0] == 200
    assert (await ask(api, "GET", f"/compat/hf/{DENSE}/info"))[1]["auto_truncate"] is True
    async with api.get(f"/compat/hf/{DENSE}") as response:
        assert response.status == 200


CUT: dict[str, dict[str, Any]] = {
    f"/compat/hf/{DENSE}/embed": {"inputs": ["short", "", LONG]},
    f"/compat/hf/{SPARSE}/sparse": {"inputs": ["short", "", LONG]},
    f"/compat/hf/{SPARSE}/embed_sparse": {"inputs": ["short", "", LONG]},
    f"/compat/hf/{RERANK}/rerank": {"query": "whales", "texts": ["short", "", LONG]},
    f"/compat/hf/{RERANK}/predict": {"inputs": [["whales", "short"], ["sing", "a"], ["whales", LONG]]},
    f"/compat/hf/{DENSE}/similarity": {
        "inputs": {"source_sentence": "a", "sentences": ["short", "b", LONG]},
        "parameters": {},
    },
}


@pytest.mark.parametrize("path", CUT)
async def test_a_cut_text_is_told_or_refused(api: Client, path: str) -> None:
    body = CUT[path]
    status, _, told = await answer(api, path, body)
    assert (status, told) == (200, "2")
    holder = "parameters" if "parameters" in body else None

    def asking(**more: Any) -> dict[str, Any]:
        return {**body, "parameters": more} if holder else {**body, **more}

    status, refused, told = await answer(api, path, asking(truncate=False))
    assert (status, refused["error_type"], told) == (413, "Validation", None)
    assert "and [truncate] is false" in refused["error"]
    assert (await answer(api, path, asking(truncate=True)))[0] == 200


async def test_the_side_of_cutting_matters_where_something_is_cut(api: Client) -> None:
    for texts, status in ((["short"], 200), (["short", LONG], 422)):
        body = {"inputs": texts, "truncation_direction": "Left"}
        assert (await ask(api, "POST", f"/compat/hf/{DENSE}/embed", body))[0] == status
    body = {"inputs": "a", "truncation_direction": "up"}
    assert (await ask(api, "POST", f"/compat/hf/{DENSE}/embed", body))[0] == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": DENSE, "input": ["short", "", LONG, LONG]}),
        ("/v1/embeddings/search", {"model": DENSE, "input": ["short", "", LONG, LONG]}),
        ("/v1/rerank", {"model": RERANK, "query": "whales", "documents": ["short", "", LONG, LONG], "top_n": 1}),
        ("/v2/rerank", {"model": RERANK, "query": "whales", "documents": ["short", "", LONG, LONG]}),
        ("/v1/embed", {"model": DENSE, "texts": ["short", "", LONG, LONG]}),
        ("/v2/embed", {"model": DENSE, "texts": ["short", "", LONG, LONG]}),
        (f"/compat/cohere/{RERANK}/rerank", {"query": "whales", "documents": ["short", "", LONG, LONG]}),
        (f"/compat/pairs/sparse_embedding/{SPARSE}", {"input": ["short", "", LONG, LONG]}),
        (f"/_inference/rerank/{RERANK}", {"query": "whales", "input": ["short", "", LONG, LONG]}),
        (f"/_ml/trained_models/{DENSE}/_infer", {"docs": [{"a": text} for text in ["short", "", LONG, LONG]]}),
    ],
)
async def test_every_form_tells_what_was_cut(api: Client, path: str, body: Any) -> None:
    for _ in range(2):  # computed, then remembered
        status, found, told = await answer(api, path, body)
        assert (status, told) == (200, "2-3")
    if "docs" in body:
        assert [row.get("is_truncated", False) for row in found["inference_results"]] == [False, False, True, True]
    async with api.get("/metrics") as response:
        counts = [line for line in (await response.text()).splitlines() if "inference_truncated_inputs_total{" in line]
    assert [line.rsplit(" ", 1)[1] for line in counts] == ["4.0"]


async def test_a_long_query_is_cut_for_every_document(api: Client) -> None:
    body = {"query": LONG, "input": ["a", "b"]}
    assert await answer(api, f"/_inference/rerank/{RERANK}", body) == (200, *(await ranked(api, body)), "0-1")


async def ranked(api: Client, body: Any) -> tuple[Any]:
    return ((await answer(api, f"/_inference/rerank/{RERANK}", body))[1],)


async def test_shorter_vectors_of_a_model_trained_for_them(start_api: StartApi, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "models" / "nested")
    tiny.encoder()
    api = await start_api(models_dir=tmp_path / "models", model_dimensions={"nested": 6})
    settings = {"model_id": "nested", "num_threads": 1, "num_allocations": 1}
    body = {"service": "elasticsearch", "service_settings": settings}
    assert (await ask(api, "PUT", "/_inference/text_embedding/nested", body))[0] == 200
    _, (whole,) = await ask(api, "POST", "/compat/hf/nested/embed", {"inputs": "red blue"})
    right = np.array(whole[:4]) / np.linalg.norm(whole[:4])
    _, (short,) = await ask(api, "POST", "/compat/hf/nested/embed", {"inputs": "red blue", "dimensions": 4})
    _, openai = await ask(api, "POST", "/v1/embeddings", {"model": "nested", "input": "red blue", "dimensions": 4})
    cohere = {"model": "nested", "texts": ["red blue"], "output_dimension": 4}
    _, embedded = await ask(api, "POST", "/v2/embed", cohere)
    for found in (short, openai["data"][0]["embedding"], embedded["embeddings"]["float"][0]):
        np.testing.assert_allclose(found, right, atol=1e-6)
    for wanted in (7, 0, -1, "4", True, 2.0):
        refused = await ask(api, "POST", "/compat/hf/nested/embed", {"inputs": "red", "dimensions": wanted})
        assert refused[0] == 422
    _, (scaled,) = await ask(api, "POST", "/compat/hf/nested/embed", {"inputs": "red blue", "normalize": True})
    np.testing.assert_allclose(scaled, np.array(whole) / np.linalg.norm(whole), atol=1e-6)
    assert await ask(api, "POST", "/compat/hf/nested/embed", {"inputs": "red blue", "normalize": False}) == (
        200,
        [whole],
    )
