"""What follows the encoder, computed a second time in numpy from the weights that were written."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer

from sidecar.core.tasks import InputType
from sidecar.runtime.config import Lane, RuntimeConfig
from sidecar.runtime.models import LocalModels
from tests.runtime.tiny import HIDDEN, WORDS, TinyModel, ids_of

Floats = npt.NDArray[np.float32]
RANDOM = np.random.default_rng(11)
TEXTS = ["red", "green blue fast", "slow red unknown green"]
ENCODER, POOLING = ("Transformer", ""), ("Pooling", "1_Pooling")


def drawn(*shape: int) -> Floats:
    return RANDOM.normal(size=shape).astype(np.float32)


async def vectors(models: LocalModels, tiny: TinyModel, input_type: InputType | None = None) -> list[Floats]:
    return await models.dense(str(tiny.path), TEXTS, input_type=input_type, lane=Lane.INGEST)


def unit(x: Floats) -> Floats:
    scaled: Floats = x / np.linalg.norm(x)
    return scaled


@pytest.fixture
def tiny(tmp_path: Path) -> TinyModel:
    model = TinyModel(tmp_path / "tiny")
    model.encoder()
    return model


POOLED: dict[str, Any] = {
    "cls": lambda t: t[0],
    "max": lambda t: t.max(axis=0),
    "mean": lambda t: t.mean(axis=0),
    "mean_sqrt_len_tokens": lambda t: t.sum(axis=0) / math.sqrt(len(t)),
    "weightedmean": lambda t: np.average(t, axis=0, weights=np.arange(1, len(t) + 1)),
    "lasttoken": lambda t: t[-1],
}


@pytest.mark.parametrize("modes", [*([mode] for mode in POOLED), ["cls", "mean"], ["lasttoken", "max", "weightedmean"]])
async def test_pooling_modes_and_their_combinations(models: LocalModels, tiny: TinyModel, modes: list[str]) -> None:
    tiny.modules(ENCODER, POOLING)
    tiny.json("1_Pooling/config.json", {"embedding_dimension": HIDDEN, "pooling_mode": modes})
    assert models.resolve(str(tiny.path)).dimensions == HIDDEN * len(modes)
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        tokens = tiny.hidden(ids_of(text))
        np.testing.assert_allclose(vector, np.concatenate([POOLED[mode](tokens) for mode in modes]), atol=1e-5)


@pytest.mark.parametrize("mode", [*POOLED])
async def test_a_prompt_that_takes_no_part_in_the_pooling(models: LocalModels, tiny: TinyModel, mode: str) -> None:
    tiny.modules(ENCODER, POOLING)
    tiny.json("1_Pooling/config.json", {"pooling_mode": mode, "include_prompt": False})
    tiny.json("config_sentence_transformers.json", {"prompts": {"query": "query: fast ", "document": ""}})
    for text, vector in zip(TEXTS, await vectors(models, tiny, InputType.SEARCH), strict=True):
        tokens = tiny.hidden(ids_of("query: fast " + text))
        if mode == "weightedmean":  # the others keep the weights of their places
            expected = np.average(tokens[3:], axis=0, weights=np.arange(4, len(tokens) + 1))
        else:
            expected = POOLED[mode](tokens[3:])  # [CLS] and the two words of the prompt
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    for text, vector in zip(TEXTS, await vectors(models, tiny, InputType.INGEST), strict=True):
        np.testing.assert_allclose(vector, POOLED[mode](tiny.hidden(ids_of(text))), atol=1e-5)


ACTIVATIONS: dict[str, Any] = {
    "activation.Tanh": math.tanh,
    "linear.Identity": lambda x: x,
    "activation.ReLU": lambda x: max(x, 0.0),
    "activation.Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "activation.SiLU": lambda x: x / (1 + math.exp(-x)),
    "activation.GELU": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "activation.LeakyReLU": lambda x: x if x > 0 else 0.01 * x,
    "activation.ELU": lambda x: x if x > 0 else math.exp(x) - 1,
}


@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
async def test_a_linear_layer_with_its_activation(models: LocalModels, tiny: TinyModel, name: str | None) -> None:
    weight, bias = drawn(3, HIDDEN), drawn(3)
    tiny.modules(ENCODER, POOLING, ("Dense", "2_Dense"))
    tiny.json("2_Dense/config.json", {"activation_function": f"torch.nn.modules.{name}"} if name else {})
    tiny.tensors("2_Dense", linear__weight=weight, linear__bias=bias)
    assert models.resolve(str(tiny.path)).dimensions == 3
    activation = np.vectorize(ACTIVATIONS[name or "activation.Tanh"])
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        expected = activation(weight @ tiny.hidden(ids_of(text)).mean(axis=0) + bias)
        np.testing.assert_allclose(vector, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "projected"), [(HIDDEN, False), (3, True)])
async def test_a_linear_layer_that_adds_what_came_in(
    models: LocalModels, tiny: TinyModel, size: int, projected: bool
) -> None:
    weight, projection = drawn(size, HIDDEN), drawn(size, HIDDEN)
    tiny.modules(ENCODER, POOLING, ("Dense", "2_Dense"))
    tiny.json("2_Dense/config.json", {"bias": False, "use_residual": True})
    tiny.tensors("2_Dense", linear__weight=weight, **({"residual__weight": projection} if projected else {}))
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        pooled = tiny.hidden(ids_of(text)).mean(axis=0)
        expected = np.tanh(weight @ pooled) + (projection @ pooled if projected else pooled)
        np.testing.assert_allclose(vector, expected, atol=1e-5)


async def test_layers_in_the_order_of_the_file(models: LocalModels, tiny: TinyModel) -> None:
    weight, scale, shift = drawn(6, HIDDEN), drawn(6), drawn(6)
    steps = [("Normalize", "2_N"), ("Dropout", "3_D"), ("Dense", "4_D"), ("LayerNorm", "5_L"), ("Normalize", "6_N")]
    tiny.modules(ENCODER, POOLING, *steps, library="sentence_transformers.base.modules.x")
    tiny.json("4_D/config.json", {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"})
    tiny.tensors("4_D", linear__weight=weight)
    tiny.json("5_L/config.json", {"dimension": 6})
    tiny.tensors("5_L", norm__weight=scale, norm__bias=shift)
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        dense = weight @ unit(tiny.hidden(ids_of(text)).mean(axis=0))
        normed = (dense - dense.mean()) / np.sqrt(dense.var() + 1e-5) * scale + shift
        np.testing.assert_allclose(vector, unit(normed), atol=1e-5)


@pytest.mark.parametrize("kind", ["F16", "BF16"])
async def test_weights_of_half_precision(models: LocalModels, tiny: TinyModel, kind: str) -> None:
    weight = (RANDOM.integers(-8, 8, (2, HIDDEN)) / 4).astype(np.float32)  # exact in either
    tiny.modules(ENCODER, POOLING, ("Dense", "2_Dense"))
    tiny.json("2_Dense/config.json", {"bias": False})
    upper = (weight.view(np.uint32) >> 16).astype("<u2")
    data = (weight.astype("<f2") if kind == "F16" else upper).tobytes()
    header = json.dumps(
        {"linear.weight": {"dtype": kind, "shape": [2, HIDDEN], "data_offsets": [0, len(data)]}}
    ).encode()
    (tiny.path / "2_Dense" / "model.safetensors").parent.mkdir(exist_ok=True)
    (tiny.path / "2_Dense" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        np.testing.assert_allclose(vector, np.tanh(weight @ tiny.hidden(ids_of(text)).mean(axis=0)), atol=1e-5)


async def test_vectors_are_cut_at_the_very_end(tmp_path: Path, tiny: TinyModel) -> None:
    tiny.modules(ENCODER, POOLING, ("Normalize", "2_N"))
    tiny.json("config_sentence_transformers.json", {"truncate_dim": 3})
    for dimensions, length in (({}, 3), ({"TINY": 2}, 2), ({"other": 2}, 3), ({"tiny": 99}, HIDDEN)):
        models = LocalModels(RuntimeConfig(models_dir=tmp_path, dimensions=dimensions))
        assert models.resolve("tiny").dimensions == length
        for text, vector in zip(TEXTS, await models.dense("tiny", TEXTS, lane=Lane.INGEST), strict=True):
            np.testing.assert_allclose(vector, unit(tiny.hidden(ids_of(text)).mean(axis=0))[:length], atol=1e-5)
        await models.close()


def in_graph(tiny: TinyModel, size: int) -> None:
    """A graph that gives one vector of ``size`` per text, as an export of a whole model does."""
    tiny.classifier(labels=size)
    model = onnx.load(tiny.path / "model.onnx")
    model.graph.node[-1].output[0] = model.graph.output[0].name = "sentence_embedding"
    onnx.save(model, tiny.path / "model.onnx")


@pytest.mark.parametrize("included", [True, False])
async def test_a_linear_layer_that_may_be_in_the_graph_already(
    models: LocalModels, tiny: TinyModel, included: bool
) -> None:
    weight = drawn(3, 5)
    in_graph(tiny, 3 if included else 5)
    tiny.modules(ENCODER, POOLING, ("Dense", "2_Dense"), ("Normalize", "3_N"))
    tiny.json("2_Dense/config.json", {"bias": False})
    tiny.tensors("2_Dense", linear__weight=weight)
    for text, vector in zip(TEXTS, await vectors(models, tiny), strict=True):
        given = tiny.hidden(ids_of(text)).sum(axis=0) @ tiny.head[:, : 3 if included else 5]
        np.testing.assert_allclose(vector, unit(given if included else np.tanh(weight @ given)), atol=1e-5)


async def test_capitals_are_put_down_where_the_module_says_so(models: LocalModels, tmp_path: Path) -> None:
    for name, lower in (("kept", False), ("lowered", True)):
        tiny = TinyModel(tmp_path / name)
        tiny.encoder()
        tokenizer = (tiny.path / "tokenizer.json").read_text()
        (tiny.path / "tokenizer.json").write_text(tokenizer.replace('{\n    "type": "Lowercase"\n  }', "null"))
        assert (tiny.path / "tokenizer.json").read_text() != tokenizer
        tiny.json("sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": lower})
        (vector,) = await models.dense(str(tiny.path), ["RED Green blue"], lane=Lane.INGEST)
        ids = ids_of("red green blue") if lower else [2, 1, 1, WORDS.index("blue"), 3]
        np.testing.assert_allclose(vector, unit(tiny.hidden(ids).mean(axis=0)), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "lower"),
    [
        ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, False),
        ({"tokenizer_class": "DistilBertTokenizerFast", "do_lower_case": False}, False),
        ({"tokenizer_class": "BertTokenizer", "strip_accents": None}, True),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}, True),
    ],
)
async def test_capitals_as_a_bert_tokenizer_reads_its_configuration(
    models: LocalModels, tiny: TinyModel, settings: dict[str, Any], lower: bool
) -> None:
    """transformers 4.57 and 5.24 gave the ids [2, 1, 6, 3] for the first, with a tokenizer.json that lowers."""
    tokenizer = Tokenizer.from_file(str(tiny.path / "tokenizer.json"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.save(str(tiny.path / "tokenizer.json"))
    tiny.json("tokenizer_config.json", settings)
    (vector,) = await models.dense(str(tiny.path), ["RED green"], lane=Lane.INGEST)
    ids = ids_of("red green") if lower else [2, 1, WORDS.index("green"), 3]
    np.testing.assert_allclose(vector, unit(tiny.hidden(ids).mean(axis=0)), atol=1e-5)


async def test_a_long_text_loses_its_beginning_where_the_tokenizer_says_so(
    models: LocalModels, tiny: TinyModel
) -> None:
    tiny.json("tokenizer_config.json", {"model_max_length": 4, "truncation_side": "left"})
    (vector,) = await models.dense(str(tiny.path), ["red green blue fast"], lane=Lane.INGEST)
    np.testing.assert_allclose(vector, unit(tiny.hidden(ids_of("blue fast")).mean(axis=0)), atol=1e-5)
    (vector,) = await models.dense(str(tiny.path), ["red " * 5000 + "blue fast"], lane=Lane.INGEST)
    np.testing.assert_allclose(vector, unit(tiny.hidden(ids_of("blue fast")).mean(axis=0)), atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "distilbert", "dim": HIDDEN, "hidden_size": None},
        {"model_type": "t5", "d_model": HIDDEN, "hidden_size": None, "n_positions": 4},
        {"model_type": "nomic_bert", "n_embd": HIDDEN, "hidden_size": None, "n_positions": 64},
        {"model_type": "modernbert", "pad_token_id": 0, "cls_token_id": 2},
        {"model_type": "xlm-roberta", "pad_token_id": 1, "max_position_embeddings": 66},
        {"architectures": ["BertForMaskedLM"], "vocab_size": len(WORDS)},
    ],
)
async def test_configurations_of_other_families(models: LocalModels, tiny: TinyModel, config: dict[str, Any]) -> None:
    tiny.encoder(**config)
    assert models.resolve(str(tiny.path)).dimensions == HIDDEN
    long = "red green blue fast slow " * 5
    (vector,) = await models.dense(str(tiny.path), [long], lane=Lane.INGEST)
    np.testing.assert_allclose(vector, unit(tiny.hidden(ids_of(long)).mean(axis=0)), atol=1e-5)


async def test_the_transformer_in_a_folder_of_its_own(models: LocalModels, tiny: TinyModel) -> None:
    folder = tiny.path / "0_Transformer"
    folder.mkdir()
    for name in ("model.onnx", "config.json", "tokenizer.json"):
        (tiny.path / name).rename(folder / name)
    tiny.json("0_Transformer/sentence_bert_config.json", {"max_seq_length": 4})
    tiny.modules(("Transformer", "0_Transformer"), POOLING)
    assert models.resolve(str(tiny.path)).max_length == 4
    (vector,) = await models.dense(str(tiny.path), ["red green blue"], lane=Lane.INGEST)
    np.testing.assert_allclose(vector, tiny.hidden(ids_of("red green")).mean(axis=0), atol=1e-5)


async def test_the_default_prompt_of_a_cross_encoder_stands_before_the_query(
    models: LocalModels, tiny: TinyModel
) -> None:
    tiny.classifier()
    tiny.json("config_sentence_transformers.json", {"prompts": {"q": "query: "}, "default_prompt_name": "q"})
    (score,) = await models.rerank(str(tiny.path), "red", ["blue fast"], lane=Lane.SEARCH)
    query, document = ids_of("query: red"), ids_of("blue fast")[1:]
    expected = tiny.logit(query + document, [0] * len(query) + [1] * len(document))
    assert score == pytest.approx(expected, abs=1e-4)
