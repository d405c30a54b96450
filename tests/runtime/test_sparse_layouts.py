"""Sparse encoders as their directories describe them, computed a second time in numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sidecar.core.tasks import InputType
from sidecar.runtime.catalog import BUILT_IN_DIR
from sidecar.runtime.config import Lane, Precision, RuntimeConfig
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Work
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.models import LocalModels
from sidecar.runtime.session import Session
from sidecar.runtime.sparse_engine import SparseEngine
from sidecar.runtime.statistics import BatchReport
from tests.runtime.tiny import WORDS, TinyModel, ids_of

Floats = npt.NDArray[np.float32]
TEXTS = ["red green", "blue", "red red fast slow green a.b"]
ENCODER, SPLADE = ("MLMTransformer", ""), ("SpladePooling", "1_SpladePooling")
IDF = {"red": 2.1, "green": 3.95, "a.b": 0.5, "slow": 0.0, "[CLS]": 9.0, "not a word": 4.0}


def weights_of(tiny: TinyModel, text: str, strategy: str = "max", activation: str = "relu") -> dict[str, float]:
    logits = tiny.hidden(ids_of(text)) @ tiny.head + tiny.bias
    weights = np.log1p(np.maximum(logits, 0))
    if activation == "log1p_relu":
        weights = np.log1p(weights)
    weights = weights.max(axis=0) if strategy == "max" else weights.sum(axis=0)
    return {WORDS[n].replace(".", "__"): float(weights[n]) for n in range(4, len(WORDS)) if weights[n] > 0}


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("strategy", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
async def test_strategy_and_activation(
    models: LocalModels, tmp_path: Path, strategy: str, activation: str, plain: bool
) -> None:
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model(plain=plain)
    tiny.modules(ENCODER, SPLADE, library="sentence_transformers.sparse_encoder.models")
    tiny.json("1_SpladePooling/config.json", {"pooling_strategy": strategy, "activation_function": activation})
    found = await models.sparse(str(tmp_path), TEXTS, lane=Lane.INGEST)
    for text, result in zip(TEXTS, found, strict=True):
        assert result.tokens == pytest.approx(weights_of(tiny, text, strategy, activation), abs=1e-5)
        assert list(result.tokens.values()) == sorted(result.tokens.values(), reverse=True)


async def test_screened_and_8_bit_heads_take_the_activation_too(tmp_path: Path) -> None:
    """The head that is carried in the package, in a directory that asks for a second logarithm."""
    for file in (BUILT_IN_DIR / "splade-tiny").iterdir():
        (tmp_path / file.name).symlink_to(file)
    tiny = ModelDirectory.read(tmp_path)
    (tmp_path / "modules.json").write_text(
        '[{"path": "", "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"},'
        ' {"path": "1_S", "type": "sentence_transformers.sparse_encoder.models.SpladePooling"}]'
    )
    (tmp_path / "1_S").mkdir()
    (tmp_path / "1_S" / "config.json").write_text('{"activation_function": "log1p_relu"}')
    for exact, head in ((True, "screened"), (False, "blocks")):
        engines = [SparseEngine(directory, exact=exact) for directory in (tiny, ModelDirectory.read(tmp_path))]
        once, twice = (
            engine.run(engine.open(1), [Work(text)], engine.batch([Work(text)]))[0].tokens
            for engine in engines
            for text in engine.word_pieces.encode(["The weather is lovely today."])
        )
        assert [engine.head for engine in engines] == [head, head]
        assert list(twice) == list(once)
        assert twice == pytest.approx({token: float(np.log1p(weight)) for token, weight in once.items()}, abs=1e-6)


@pytest.mark.parametrize("config", [{"pooling_strategy": "mean"}, {"activation_function": "gelu"}])
def test_other_settings_are_refused(tmp_path: Path, config: dict[str, str]) -> None:
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model()
    tiny.modules(ENCODER, SPLADE)
    tiny.json("1_SpladePooling/config.json", config)
    with pytest.raises(UnusableModelError, match=r"max or sum of relu or log1p_relu are supported"):
        ModelDirectory.read(tmp_path)


def routed(tiny: TinyModel, *, folder: str = "query_0_SparseStaticEmbedding", document: str = "") -> None:
    """A Router as sentence-transformers 5 writes it; the document's encoder in the directory itself, or below."""
    tiny.masked_language_model()
    if document:
        (tiny.path / document).mkdir()
        for name in ("model.onnx", "config.json", "tokenizer.json"):
            (tiny.path / name).rename(tiny.path / document / name)
    library = "sentence_transformers.sparse_encoder.models"
    tiny.modules(("Router", ""))
    tiny.json(
        "router_config.json",
        {
            "types": {
                folder: f"{library}.SparseStaticEmbedding",
                document: f"{library}.MLMTransformer",
                "document_1_SpladePooling": f"{library}.SpladePooling",
            },
            "structure": {"query": [folder], "document": [document, "document_1_SpladePooling"]},
            "parameters": {"default_route": "document", "allow_empty_key": True},
        },
    )
    tiny.json("document_1_SpladePooling/config.json", {"pooling_strategy": "max", "activation_function": "log1p_relu"})


def with_table(tiny: TinyModel, place: str) -> None:
    routed(tiny)
    tiny.json("query_0_SparseStaticEmbedding/config.json", {"frozen": True, "path": "idf.json"})
    tiny.json(place, IDF)


def with_tensor(tiny: TinyModel) -> None:
    routed(tiny, document="document_0_MLMTransformer")
    folder = tiny.path / "query_0_SparseStaticEmbedding"
    tiny.json("query_0_SparseStaticEmbedding/config.json", {"frozen": False})
    weight = np.zeros(len(WORDS), np.float32)
    for word, value in IDF.items():
        if word in WORDS:
            weight[WORDS.index(word)] = value
    tiny.tensors(folder.name, weight=weight)
    (folder / "tokenizer.json").write_bytes((tiny.path / "document_0_MLMTransformer" / "tokenizer.json").read_bytes())


def without_modules(tiny: TinyModel) -> None:
    tiny.masked_language_model()
    tiny.json("idf.json", IDF)


@pytest.mark.parametrize(
    ("layout", "activation"),
    [
        (lambda tiny: with_table(tiny, "idf.json"), "log1p_relu"),
        (lambda tiny: with_table(tiny, "query_0_SparseStaticEmbedding/idf.json"), "log1p_relu"),
        (with_tensor, "log1p_relu"),
        (without_modules, "relu"),
    ],
    ids=["table beside", "table in the folder", "tensor", "OpenSearch without modules"],
)
async def test_queries_of_an_inference_free_model_run_no_model(tmp_path: Path, layout: Any, activation: str) -> None:
    tiny = TinyModel(tmp_path / "doc")
    layout(tiny)
    models = LocalModels(RuntimeConfig(models_dir=tmp_path))
    ran: list[str] = []
    original = Session.run

    def run(self: Session, feeds: Any, outputs: list[str]) -> Any:
        ran.append("run")
        return original(self, feeds, outputs)

    with pytest.MonkeyPatch.context() as patch:
        (document,) = await models.sparse("doc", ["red green"], lane=Lane.INGEST)  # loads the model
        patch.setattr(Session, "run", run)
        queries = await models.sparse(
            "doc", ["red GREEN red slow unknown a.b", "fast", "", "[CLS] red"], lane=Lane.SEARCH
        )
        assert ran == []
        await models.sparse("doc", ["red fast"], lane=Lane.INGEST)
        assert ran == ["run"]
    found = [query.tokens for query in queries]
    assert found == [
        {"green": pytest.approx(3.95), "red": pytest.approx(2.1), "a__b": pytest.approx(0.5)},
        {},
        {},
        {"red": pytest.approx(2.1)},
    ]
    assert list(found[0]) == ["green", "red", "a__b"]
    assert document.tokens == pytest.approx(weights_of(tiny, "red green", activation=activation), abs=1e-5)
    await models.close()


def test_the_table_decides_the_revision(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    with_table(tiny, "query_0_SparseStaticEmbedding/idf.json")
    before = ModelDirectory.read(tmp_path).revision()
    tiny.json("query_0_SparseStaticEmbedding/idf.json", IDF | {"red": 2.2})
    assert ModelDirectory.read(tmp_path).revision() != before


def test_a_router_without_weights_is_refused(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    routed(tiny)
    with pytest.raises(UnusableModelError, match=r"no weights for queries: neither \[model\.safetensors\] nor \[idf"):
        ModelDirectory.read(tmp_path)


async def test_prompts_of_a_sparse_encoder(models: LocalModels, tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model()
    tiny.json("config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})
    for lane, input_type, prompt in (
        (Lane.SEARCH, None, "query: "),
        (Lane.SEARCH, InputType.SEARCH, "query: "),
        (Lane.INGEST, InputType.INGEST, "passage: "),
        (Lane.INGEST, None, ""),
    ):
        (found,) = await models.sparse(str(tmp_path), ["red"], input_type=input_type, lane=lane)
        assert found.tokens == pytest.approx(weights_of(tiny, prompt + "red"), abs=1e-5)


def halved(tiny: TinyModel) -> None:
    """The masked language model in fp16, its inputs and outputs included."""
    tiny.masked_language_model()
    file = tiny.path / "model.onnx"
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.checker.check_model(model)
    onnx.save(model, file)


@pytest.mark.parametrize("precision", [Precision.EXACT, Precision.INT8])
async def test_a_head_in_half_precision(tmp_path: Path, precision: Precision) -> None:
    tiny = TinyModel(tmp_path / "half")
    halved(tiny)
    models = LocalModels(RuntimeConfig(models_dir=tmp_path, precision={"*": precision}))
    found = await models.sparse("half", TEXTS, lane=Lane.INGEST)
    for text, result in zip(TEXTS, found, strict=True):
        expected = weights_of(tiny, text)
        assert result.tokens == pytest.approx(expected, abs=0.005 if precision is Precision.EXACT else 0.2)
    await models.close()


async def test_an_encoder_that_cannot_be_rewritten_runs_whole(models: LocalModels, tmp_path: Path) -> None:
    """A bias of another type than its matrix: nothing that the cut-off head could be made of."""
    tiny = TinyModel(tmp_path)
    tiny.masked_language_model()
    file = tmp_path / "model.onnx"
    model = onnx.load(file)
    add = next(node for node in model.graph.node if node.output[0] == "logits")
    add.input[:] = [{"product": "product_64", "bias": "bias_64"}[name] for name in add.input]
    add.output[0] = "logits_64"
    nodes = [*model.graph.node]
    del model.graph.node[:]
    cast = [helper.make_node("Cast", [n], [f"{n}_64"], to=TensorProto.DOUBLE) for n in ("product", "bias")]
    back = helper.make_node("Cast", ["logits_64"], ["logits"], to=TensorProto.FLOAT)
    model.graph.node.extend([*nodes[:-1], *cast, nodes[-1], back])
    onnx.save(model, file)
    reports: list[BatchReport] = []
    models.watch(reports.append)
    found = await models.sparse(str(tmp_path), TEXTS, lane=Lane.INGEST)
    for text, result in zip(TEXTS, found, strict=True):
        assert result.tokens == pytest.approx(weights_of(tiny, text), abs=1e-5)
    assert reports
