"""Recognising what a model directory holds."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from sidecar.core.tasks import InputType
from sidecar.runtime.catalog import BUILT_IN, BUILT_IN_DIR
from sidecar.runtime.config import Precision
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.graph import read_signature
from sidecar.runtime.pooling import Pooling, PoolingMode
from sidecar.runtime.recognition import ModelKind
from tests.runtime.tiny import HIDDEN, WORDS, TinyModel

BUILT_IN_FACTS = {
    "splade-tiny": (ModelKind.SPARSE, 30522, 512, None, Precision.EXACT),
    "bge-small-en-v1.5": (ModelKind.DENSE, 384, 512, PoolingMode.CLS, Precision.INT8),
    "all-MiniLM-L6-v2": (ModelKind.DENSE, 384, 256, PoolingMode.MEAN, Precision.INT8),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_models_are_what_their_cards_say(name: str) -> None:
    directory = ModelDirectory.read(BUILT_IN_DIR / name)
    facts = (
        directory.kind,
        directory.dimensions,
        directory.max_length,
        directory.pooling.modes[0] if directory.pooling else None,
        directory.precision,
    )
    assert facts == BUILT_IN_FACTS[name]
    assert directory.normalize == (directory.kind is ModelKind.DENSE)
    assert directory.metadata["licence"] in (BUILT_IN_DIR / "NOTICE").read_text()


@pytest.mark.parametrize("name", BUILT_IN)
def test_signature_without_weights_is_that_of_the_whole_graph(name: str) -> None:
    file = ModelDirectory.read(BUILT_IN_DIR / name).graph_file
    graph = onnx.load(file).graph
    signature = read_signature(file)
    assert [value.name for value in signature.inputs] == [value.name for value in graph.input]
    assert [(value.name, value.element_type, len(value.shape)) for value in signature.outputs] == [
        (v.name, v.type.tensor_type.elem_type, len(v.type.tensor_type.shape.dim)) for v in graph.output
    ]


def test_an_encoder_is_a_dense_model(tmp_path: Path) -> None:
    directory = ModelDirectory.read(TinyModel(tmp_path).encoder())
    assert (directory.kind, directory.dimensions) == (ModelKind.DENSE, 4)


def test_a_masked_language_model_is_a_sparse_encoder(tmp_path: Path) -> None:
    directory = ModelDirectory.read(TinyModel(tmp_path).masked_language_model())
    assert (directory.kind, directory.dimensions) == (ModelKind.SPARSE, len(WORDS))


def test_a_classifier_of_one_logit_is_a_cross_encoder(tmp_path: Path) -> None:
    directory = ModelDirectory.read(TinyModel(tmp_path).classifier())
    assert (directory.kind, directory.dimensions) == (ModelKind.CROSS_ENCODER, None)


@pytest.mark.parametrize(
    ("architectures", "graph", "kind"),
    [
        (["DistilBertForMaskedLM"], TinyModel.masked_language_model, ModelKind.SPARSE),
        (["BertForMaskedLM"], TinyModel.encoder, ModelKind.DENSE),
        (["T5EncoderModel"], TinyModel.encoder, ModelKind.DENSE),
        (["XLMRobertaForSequenceClassification"], TinyModel.classifier, ModelKind.CROSS_ENCODER),
        (["GPT2LMHeadModel"], TinyModel.masked_language_model, ModelKind.SPARSE),
        (["BertModel", "BertForMaskedLM"], TinyModel.masked_language_model, ModelKind.SPARSE),
        (["Reranker"], TinyModel.classifier, ModelKind.CROSS_ENCODER),
    ],
)
def test_a_graph_with_the_head_of_its_architecture(
    tmp_path: Path, architectures: list[str], graph: Callable[[TinyModel], Path], kind: ModelKind
) -> None:
    graph(TinyModel(tmp_path, config={"architectures": architectures}))
    assert ModelDirectory.read(tmp_path).kind is kind


def test_modules_say_before_the_architecture_what_a_graph_is_for(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path, config={"architectures": ["BertForSequenceClassification"]})
    tiny.masked_language_model()
    tiny.modules(("MLMTransformer", ""), ("SpladePooling", "1_SpladePooling"))
    assert ModelDirectory.read(tmp_path).kind is ModelKind.SPARSE


def test_the_graph_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    directory = ModelDirectory.read(TinyModel(tmp_path).encoder("onnx/model.onnx"))
    assert directory.graph_file == tmp_path / "onnx" / "model.onnx"


@pytest.mark.parametrize(
    ("precision", "file"),
    [(None, "model.onnx"), (Precision.EXACT, "model.onnx"), (Precision.INT8, "onnx/model_quantized.onnx")],
)
def test_precision_chooses_the_file(tmp_path: Path, precision: Precision | None, file: str) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder("model.onnx")
    tiny.encoder("onnx/model_quantized.onnx")
    assert ModelDirectory.read(tmp_path, precision).graph_file == tmp_path / file


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 64),
        ({"tokenizer_config.json": {"model_max_length": 32}}, 32),
        ({"tokenizer_config.json": {"model_max_length": 1e30}}, 64),
        (
            {"tokenizer_config.json": {"model_max_length": 32}, "sentence_bert_config.json": {"max_seq_length": 16}},
            16,
        ),
        ({"sentence_bert_config.json": {"max_seq_length": 128}}, 64),
    ],
)
def test_the_limit_is_the_trained_one_and_never_beyond_the_positions(
    tmp_path: Path, files: dict[str, object], limit: int
) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    for name, value in files.items():
        tiny.json(name, value)
    assert ModelDirectory.read(tmp_path).max_length == limit


def test_positions_of_roberta_start_after_the_padding_id(tmp_path: Path) -> None:
    path = TinyModel(tmp_path).encoder(model_type="xlm-roberta", pad_token_id=1, max_position_embeddings=514)
    assert ModelDirectory.read(path).max_length == 512


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({}, (PoolingMode.MEAN,)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, (PoolingMode.CLS,)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, (PoolingMode.MEAN_SQRT_LENGTH,)),
        ({"pooling_mode_lasttoken": True}, (PoolingMode.LAST_TOKEN,)),
        # joined in the library's own order, whatever the order of the file
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, (PoolingMode.CLS, PoolingMode.MEAN)),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, (PoolingMode.MEAN_SQRT_LENGTH,)),
        ({"pooling_mode": ["mean", "cls"]}, (PoolingMode.MEAN, PoolingMode.CLS)),
        ({"pooling_mode": "weightedmean", "pooling_mode_max_tokens": True}, (PoolingMode.WEIGHTED_MEAN,)),
    ],
)
def test_pooling_modes_as_each_release_writes_them(
    tmp_path: Path, config: dict[str, object], modes: tuple[PoolingMode, ...]
) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    tiny.json("1_Pooling/config.json", config)
    directory = ModelDirectory.read(tmp_path)
    assert directory.pooling == Pooling(modes)
    assert directory.dimensions == HIDDEN * len(modes)


def test_modules_without_normalisation(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder()
    tiny.modules(("Transformer", ""), ("Pooling", "1_Part"))
    tiny.json("1_Part/config.json", {"pooling_mode_max_tokens": True})
    directory = ModelDirectory.read(tmp_path)
    assert (directory.normalize, directory.pooling) == (False, Pooling((PoolingMode.MAX,)))


@pytest.mark.parametrize(
    ("name", "config", "query", "passage", "unspecified"),
    [
        ("plain", {}, "", "", ""),
        ("intfloat--multilingual-e5-small", {}, "query: ", "passage: ", ""),
        ("e5-base-v2", {"prompts": {"query": "", "document": ""}}, "query: ", "passage: ", ""),
        ("bge-base-en-v1.5", {}, "Represent this sentence for searching relevant passages: ", "", ""),
        ("e5-mine", {"prompts": {"query": "Q ", "document": "D "}}, "Q ", "D ", ""),
        ("own", {"prompts": {"query": "Q ", "passage": "P "}, "default_prompt_name": "query"}, "Q ", "P ", "Q "),
        ("own", {"prompts": {"query": "Q ", "passage": "P ", "document": "D "}}, "Q ", "D ", ""),
        ("own", {"prompts": {"query": "Q ", "passage": "P ", "document": ""}}, "Q ", "", ""),
        ("own", {"prompts": {"query": "Q ", "corpus": "C "}}, "Q ", "C ", ""),
        ("own", {"prompts": {"query": "Q ", "x": "X "}, "default_prompt_name": "x"}, "Q ", "X ", "X "),
        ("own", {"prompts": {"x": "X "}, "default_prompt_name": "x"}, "X ", "X ", "X "),
    ],
)
def test_prompts_by_input_type(
    tmp_path: Path, name: str, config: dict[str, object], query: str, passage: str, unspecified: str
) -> None:
    tiny = TinyModel(tmp_path / name)
    tiny.encoder()
    tiny.json("config_sentence_transformers.json", config)
    prompts = ModelDirectory.read(tiny.path).prompts
    assert prompts.of(InputType.SEARCH) == prompts.of(InputType.INTERNAL_SEARCH) == query
    assert prompts.of(InputType.INGEST) == prompts.of(InputType.INTERNAL_INGEST) == passage
    assert prompts.of(None) == prompts.of(InputType.UNSPECIFIED) == unspecified


def test_e5_takes_the_query_prompt_where_nothing_is_searched(tmp_path: Path) -> None:
    prompts = ModelDirectory.read(TinyModel(tmp_path / "e5-small-v2").encoder()).prompts
    assert prompts.of(InputType.CLASSIFICATION) == prompts.of(InputType.CLUSTERING) == "query: "


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableModelError, match="does not exist"):
        ModelDirectory.read(tmp_path / "nothing")
    tiny = TinyModel(tmp_path)
    with pytest.raises(UnusableModelError, match=r"neither \[model.onnx\] nor \[onnx/model.onnx\]"):
        ModelDirectory.read(tmp_path)
    tiny.encoder()
    (tmp_path / "config.json").unlink()
    with pytest.raises(UnusableModelError, match=r"no \[config.json\]"):
        ModelDirectory.read(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UnusableModelError, match=r"no \[tokenizer.json\]"):
        ModelDirectory.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x3a\xff\xff\xff\x7f", b"\x08\x08"])
def test_a_broken_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = TinyModel(tmp_path).encoder()
    (path / "model.onnx").write_bytes(content)
    with pytest.raises(UnusableModelError, match="ONNX graph"):
        ModelDirectory.read(path)


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    path = TinyModel(tmp_path).encoder()
    (path / "config.json").write_text("{")
    with pytest.raises(UnusableModelError, match=r"config\.json"):
        ModelDirectory.read(path)
    (path / "config.json").write_text("[]")
    with pytest.raises(UnusableModelError, match="not a JSON object"):
        ModelDirectory.read(path)


def test_a_classifier_of_several_labels_is_refused(tmp_path: Path) -> None:
    path = TinyModel(tmp_path).classifier(labels=3)
    with pytest.raises(UnusableModelError, match="3 labels; a reranker gives a single logit"):
        ModelDirectory.read(path)


def test_the_revision_changes_with_any_file(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    path = tiny.encoder()
    first = ModelDirectory.read(path).revision()
    assert first == ModelDirectory.read(path).revision()
    config = json.loads((path / "config.json").read_text())
    tiny.json("config.json", config | {"note": 1})
    second = ModelDirectory.read(path).revision()
    tiny.embedding[6, 0] += 1
    tiny.encoder(note=1)
    assert len({first, second, ModelDirectory.read(path).revision()}) == 3
