"""Results of the built-in models, and of tiny ones that can be worked out by hand."""

import asyncio
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from sidecar.core.tasks import InputType
from sidecar.runtime.batch import PaddedBatch
from sidecar.runtime.config import Lane, Precision, RuntimeConfig
from sidecar.runtime.errors import WrongTaskError
from sidecar.runtime.models import LocalModels
from sidecar.runtime.statistics import BatchReport
from sidecar.runtime.tokens import Encoded
from tests.runtime.tiny import WORDS, TinyModel, ids_of

Floats = npt.NDArray[np.float32]
WEATHER = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
FP32 = json.loads((Path(__file__).parent / "reference" / "fp32_vectors.json").read_text())
"""Vectors of four sentences from the unquantised graphs of the two dense models, run one by one without padding."""
LONG = "The boundary layer grows along the wall. " * 200


async def test_the_published_sparse_example(models: LocalModels) -> None:
    (result,) = await models.sparse("splade-tiny", WEATHER[:1], lane=Lane.SEARCH)
    assert list(result.tokens)[:3] == ["today", "lovely", "weather"]
    weights = list(result.tokens.values())
    assert weights == sorted(weights, reverse=True)
    assert all(isinstance(weight, float) and 0 < weight < 4 for weight in weights)
    assert not result.is_truncated


async def test_elser_names_are_answered_by_splade(models: LocalModels) -> None:
    ours = await models.sparse("splade-tiny", WEATHER, lane=Lane.SEARCH)
    assert await models.sparse(".elser_model_2_linux-x86_64", WEATHER, lane=Lane.SEARCH) == ours


async def test_int8_weights_stay_near_the_exact_ones() -> None:
    quantised = LocalModels(RuntimeConfig(precision={"splade-tiny": Precision.INT8}))
    exact = LocalModels(RuntimeConfig())
    for one, other in zip(
        await quantised.sparse("splade-tiny", WEATHER, lane=Lane.INGEST),
        await exact.sparse("splade-tiny", WEATHER, lane=Lane.INGEST),
        strict=True,
    ):
        assert list(one.tokens)[:2] == list(other.tokens)[:2]
        for token, weight in other.tokens.items():
            assert one.tokens.get(token, 0) == pytest.approx(weight, abs=0.25)
    await quantised.close()
    await exact.close()


async def test_dots_and_special_tokens_do_not_reach_elasticsearch(models: LocalModels) -> None:
    texts = ["what do i need to change my name on my license in ma", "[CLS] hello [MASK] . . . [SEP] [PAD]"]
    first, second = await models.sparse("splade-tiny", texts, lane=Lane.INGEST)
    assert first.tokens["__"] == pytest.approx(0.519, abs=0.002)  # the model's weight of "."
    assert not any("." in token or token.startswith("[") for token in (*first.tokens, *second.tokens))


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u0000\u200b"])
async def test_empty_text_is_no_error(models: LocalModels, text: str) -> None:
    (sparse, full) = await models.sparse("splade-tiny", [text, "full"], lane=Lane.INGEST)
    assert (sparse.tokens, sparse.is_truncated) == ({}, False)
    assert full.tokens
    for model in ("all-MiniLM-L6-v2", "bge-small-en-v1.5"):
        (dense,) = await models.dense(model, [text], lane=Lane.INGEST)
        assert np.linalg.norm(dense) == pytest.approx(1, abs=1e-5)
    scores = await models.rerank(".rerank-v1", "red wine", [text, "bananas", "wine"], lane=Lane.SEARCH)
    assert scores[0] == -1
    assert scores[0] < scores[1] < scores[2]


async def test_no_texts_give_no_results(models: LocalModels) -> None:
    assert await models.sparse("splade-tiny", [], lane=Lane.INGEST) == []
    assert await models.dense("all-MiniLM-L6-v2", [], lane=Lane.INGEST) == []
    assert await models.rerank(".rerank-v1", "query", [], lane=Lane.SEARCH) == []


async def test_an_empty_query_ranks_nothing_higher(models: LocalModels) -> None:
    assert await models.rerank(".rerank-v1", "  ", ["red", "green"], lane=Lane.SEARCH) == [-1, -1]


async def test_long_inputs_are_cut_and_said_to_be(models: LocalModels) -> None:
    short, long = await models.sparse("splade-tiny", ["short", LONG], lane=Lane.INGEST)
    assert (short.is_truncated, long.is_truncated) == (False, True)
    # What stands behind the limit has no say.
    (other,) = await models.sparse("splade-tiny", [LONG + " zebra"], lane=Lane.INGEST)
    assert other.tokens == pytest.approx(long.tokens, abs=1e-4)
    (huge,) = await models.sparse("splade-tiny", ["x" * 3_000_000], lane=Lane.INGEST)
    assert huge.is_truncated


async def test_published_similarities_of_minilm(models: LocalModels) -> None:
    """0.6660, 0.1046 and 0.1411 stand in the Sentence Transformers quickstart, in fp32; ours is int8."""
    vectors = await models.dense("all-MiniLM-L6-v2", WEATHER, lane=Lane.INGEST)
    assert [float(vectors[a] @ vectors[b]) for a, b in ((0, 1), (0, 2), (1, 2))] == pytest.approx(
        [0.6660, 0.1046, 0.1411], abs=0.03
    )


@pytest.mark.parametrize(("name", "least"), [("all-MiniLM-L6-v2", 0.98), ("bge-small-en-v1.5", 0.99)])
async def test_int8_vectors_point_where_the_fp32_ones_do(models: LocalModels, name: str, least: float) -> None:
    vectors = await models.dense(name, list(FP32[name]), lane=Lane.INGEST)
    for vector, expected in zip(vectors, FP32[name].values(), strict=True):
        assert vector.dtype == np.float32
        assert vector.shape == (384,)
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)
        assert float(vector @ np.array(expected, np.float32)) > least


@pytest.mark.parametrize(("name", "least"), [("all-MiniLM-L6-v2", 0.98), ("bge-small-en-v1.5", 0.99)])
async def test_company_in_a_batch_changes_little(models: LocalModels, name: str, least: float) -> None:
    """Dynamic int8 scales by batch, so not nothing; but less than quantising itself does."""
    texts = [*WEATHER, "short", "A much longer sentence that makes the shorter ones carry padding. " * 6]
    together = await models.dense(name, texts, lane=Lane.INGEST)
    for text, vector in zip(texts, together, strict=True):
        (alone,) = await models.dense(name, [text], lane=Lane.INGEST)
        assert float(vector @ alone) > least


async def test_company_in_a_batch_changes_no_token_weight(models: LocalModels) -> None:
    texts = [*WEATHER, "short", "A much longer sentence that makes the shorter ones carry padding. " * 6]
    together = await models.sparse("splade-tiny", texts, lane=Lane.INGEST)
    for text, result in zip(texts, together, strict=True):
        (alone,) = await models.sparse("splade-tiny", [text], lane=Lane.INGEST)
        assert result.tokens == pytest.approx(alone.tokens, abs=1e-4)


async def test_equal_texts_are_computed_once(models: LocalModels) -> None:
    reports: list[BatchReport] = []
    models.watch(reports.append)
    results = await models.sparse("splade-tiny", ["the same"] * 20 + ["another"], lane=Lane.INGEST)
    assert sum(report.items for report in reports) == 21
    assert sum(report.unique_items for report in reports) < 21
    assert all(result.tokens == results[0].tokens for result in results[:20])
    assert results[20].tokens != results[0].tokens


async def test_bge_takes_its_prompt_for_queries_only(models: LocalModels) -> None:
    async def vector(text: str, input_type: InputType | None) -> Floats:
        (result,) = await models.dense("bge-small-en-v1.5", [text], input_type=input_type, lane=Lane.SEARCH)
        return result

    passage = await vector("red wine", InputType.INGEST)
    query = await vector("red wine", InputType.SEARCH)
    spelled = await vector("Represent this sentence for searching relevant passages: red wine", None)
    np.testing.assert_allclose(query, spelled, atol=1e-6)
    assert float(query @ passage) < 0.99


async def test_late_interaction_ranks_the_passage_that_answers_first(models: LocalModels) -> None:
    documents = [
        "Bananas turn brown because of an enzyme in their peel.",
        "Paris has been the capital of France since the tenth century.",
        "Lyon is the third largest city of France.",
    ]
    scores = await models.rerank(".rerank-v1", "what is the capital of France?", documents, lane=Lane.SEARCH)
    assert sorted(range(3), key=lambda n: -scores[n]) == [1, 2, 0]
    assert all(-1 <= score <= 1 for score in scores)
    # A score does not depend on the other candidates' content, only a little on the batch's int8 scale.
    (alone,) = await models.rerank(".rerank-v1", "what is the capital of France?", documents[1:2], lane=Lane.SEARCH)
    assert alone == pytest.approx(scores[1], abs=0.02)


async def test_a_model_does_only_what_its_kind_does(models: LocalModels) -> None:
    with pytest.raises(WrongTaskError, match="sparse encoder"):
        await models.dense("splade-tiny", ["text"], lane=Lane.INGEST)
    with pytest.raises(WrongTaskError, match="dense encoder"):
        await models.sparse("bge-small-en-v1.5", ["text"], lane=Lane.INGEST)
    with pytest.raises(WrongTaskError):
        await models.rerank(".elser_model_2", "query", ["text"], lane=Lane.SEARCH)
    with pytest.raises(WrongTaskError):
        await models.dense(".rerank-v1", ["text"], lane=Lane.INGEST)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("mode", ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"])
async def test_pooling_of_a_directory_by_hand(models: LocalModels, tmp_path: Path, mode: str, normalize: bool) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.encoder()
    tiny.json("1_Pooling/config.json", {f"pooling_mode_{mode}": True})
    tiny.modules(("Transformer", ""), ("Pooling", "1_Pooling"), *([("Normalize", "2_Normalize")] if normalize else []))
    texts = ["red", "green blue fast", "slow red unknown"]
    vectors = await models.dense(str(tiny.path), texts, lane=Lane.INGEST)
    for text, vector in zip(texts, vectors, strict=True):
        tokens = tiny.hidden(ids_of(text))
        expected = {
            "cls_token": tokens[0],
            "mean_tokens": tokens.mean(axis=0),
            "max_tokens": tokens.max(axis=0),
            "mean_sqrt_len_tokens": tokens.sum(axis=0) / np.sqrt(len(tokens)),
        }[mode]
        expected = expected / np.linalg.norm(expected) if normalize else expected
        np.testing.assert_allclose(vector, expected, atol=1e-5)


async def test_prompts_of_a_directory_by_hand(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "e5-small-v2")
    tiny.encoder()
    path = str(tiny.path)
    for input_type, prompt in ((InputType.SEARCH, "query: "), (InputType.INGEST, "passage: "), (None, "")):
        (vector,) = await models.dense(path, ["red"], input_type=input_type, lane=Lane.INGEST)
        expected = tiny.hidden(ids_of(prompt + "red")).mean(axis=0)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


async def test_a_vector_made_in_the_graph_is_taken_as_it_is(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "pooled")
    tiny.classifier(labels=3)
    graph = tiny.path / "model.onnx"
    import onnx

    model = onnx.load(graph)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "sentence_embedding"
    onnx.save(model, graph)
    (vector,) = await models.dense(str(tiny.path), ["red blue"], lane=Lane.INGEST)
    expected = tiny.hidden(ids_of("red blue")).sum(axis=0) @ tiny.head[:, :3]
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    with pytest.raises(WrongTaskError, match="rerank"):
        await models.rerank(str(tiny.path), "red", ["blue"], lane=Lane.SEARCH)


async def test_late_interaction_by_hand(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.encoder()

    def unit(x: Floats) -> Floats:
        scaled: Floats = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return scaled

    query, document = (tiny.hidden(ids_of(text)) for text in ("red fast", "green slow blue"))
    maxsim = (unit(query[1:-1]) @ unit(document[1:-1]).T).max(axis=1).mean()
    cosine = unit(query.mean(axis=0)) @ unit(document.mean(axis=0))
    scores = await models.rerank(str(tiny.path), "red fast", ["green slow blue", "red fast"], lane=Lane.SEARCH)
    assert scores == pytest.approx([(maxsim + cosine) / 2, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("frame", "before", "behind"),
    [
        (None, 0, 0),
        (TemplateProcessing(single=["$A", "[SEP]"], special_tokens=[("[SEP]", 3)]), 0, 1),
        (TemplateProcessing(single=["[CLS]", "$A"], special_tokens=[("[CLS]", 2)]), 1, 0),
        (TemplateProcessing(single=["[CLS]", "[CLS]", "$A"], special_tokens=[("[CLS]", 2)]), 2, 0),
    ],
)
async def test_late_interaction_leaves_out_what_the_tokenizer_puts_around_a_text(
    models: LocalModels, tmp_path: Path, frame: TemplateProcessing | None, before: int, behind: int
) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.encoder()
    file = tiny.path / "tokenizer.json"
    bare = json.loads(file.read_text()) | {"post_processor": None}
    file.write_text(json.dumps(bare))
    if frame is not None:
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.post_processor = frame
        tokenizer.save(str(file))

    def unit(x: Floats) -> Floats:
        scaled: Floats = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return scaled

    query, document = (ids_of(text)[1:-1] for text in ("red", "green slow blue"))
    whole = [tiny.hidden([2] * before + ids + [3] * behind) for ids in (query, document)]
    maxsim = (unit(tiny.hidden(query)) @ unit(tiny.hidden(document)).T).max(axis=1).mean()
    cosine = unit(whole[0].mean(axis=0)) @ unit(whole[1].mean(axis=0))
    (score,) = await models.rerank(str(tiny.path), "red", ["green slow blue"], lane=Lane.SEARCH)
    assert score == pytest.approx((maxsim + cosine) / 2, abs=1e-5)


async def test_a_padding_id_that_the_graph_lacks_is_not_used(models: LocalModels, tmp_path: Path) -> None:
    for name, number in (("outside", len(WORDS)), ("huge", 10**30), ("below", -1)):
        tiny = TinyModel(tmp_path / name)
        tiny.encoder(pad_token_id=number, vocab_size=len(WORDS))
        texts = ["red green blue fast", "red"]
        found = await models.dense(str(tiny.path), texts, lane=Lane.INGEST)
        for text, vector in zip(texts, found, strict=True):
            mean = tiny.hidden(ids_of(text)).mean(axis=0)
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


async def test_a_cross_encoder_reads_pairs_with_segments(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path / "tiny")
    tiny.classifier()
    documents = ["green slow blue", "red", ""]
    scores = await models.rerank(str(tiny.path), "red fast", documents, lane=Lane.SEARCH)
    query = ids_of("red fast")
    for score, document in zip(scores[:2], documents[:2], strict=True):
        second = ids_of(document)[1:]
        expected = tiny.logit(query + second, [0] * len(query) + [1] * len(second))
        assert score == pytest.approx(expected, abs=1e-4)
    assert scores[2] == min(scores) <= -20


async def test_pairs_with_the_same_ids_in_other_segments_have_scores_of_their_own(
    models: LocalModels, tmp_path: Path
) -> None:
    """Two calls that run in one batch: [CLS] red [SEP] blue [SEP] green [SEP], cut into segments in two places."""
    tiny = TinyModel(tmp_path / "tiny")
    tiny.classifier()
    path = str(tiny.path)
    await models.rerank(path, "red", ["load"], lane=Lane.SEARCH)
    (first,), (second,) = await asyncio.gather(
        models.rerank(path, "red [SEP] blue", ["green"], lane=Lane.SEARCH),
        models.rerank(path, "red", ["blue [SEP] green"], lane=Lane.SEARCH),
    )
    ids = ids_of("red [sep] blue [sep] green")
    ids = [WORDS.index("[SEP]") if number == 1 else number for number in ids]
    assert first == pytest.approx(tiny.logit(ids, [0] * 5 + [1] * 2), abs=1e-4)
    assert second == pytest.approx(tiny.logit(ids, [0] * 3 + [1] * 4), abs=1e-4)
    assert first != second


def test_one_batch_keeps_pairs_apart_that_differ_in_segments_only() -> None:
    ids = np.arange(6)
    pairs = [
        Encoded(ids, np.array(segments), is_truncated=False, is_empty=False)
        for segments in ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1])
    ]
    batch = PaddedBatch.of(pairs, 0)
    assert batch.rows == (0, 1, 0)
    np.testing.assert_array_equal(batch.type_ids, [pairs[0].type_ids, pairs[1].type_ids])
