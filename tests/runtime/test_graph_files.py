"""Which of several graphs is run."""

import itertools
from pathlib import Path

import pytest

from sidecar.runtime import graph_files
from sidecar.runtime.catalog import Catalog
from sidecar.runtime.config import Precision, RuntimeConfig
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.errors import UnusableModelError
from tests.runtime.tiny import TinyModel

# The names that sentence-transformers 6.2 (its ``backend`` package), Optimum and transformers.js write.
WRITTEN = [
    "model_O1",
    "model_O2",
    "model_O3",
    "model_O4",
    "model_qint8_arm64",
    "model_quint8_avx2",
    "model_qint8_avx512",
    "model_qint8_avx512_vnni",
    "model_optimized",
    "model_quantized",
    "model_int8",
    "model_uint8",
    "model_fp16",
    "model_q4",
    "model_q4f16",
    "model_bnb4",
]
INT8 = ("model_quint8_avx2.onnx", "model_qint8_avx512.onnx", "model_qint8_avx512_vnni.onnx", "model_qint8_arm64.onnx")


@pytest.mark.parametrize("folder", ["", "onnx/"])
@pytest.mark.parametrize("name", WRITTEN)
def test_every_name_that_exporters_write_is_known(tmp_path: Path, name: str, folder: str) -> None:
    path = TinyModel(tmp_path).encoder(f"{folder}{name}.onnx")
    directory = ModelDirectory.read(path)
    assert directory.graph_file == path / f"{folder}{name}.onnx"
    is_8_bit = "int8" in name or name == "model_quantized"
    assert (directory.precision is Precision.INT8) == is_8_bit


@pytest.mark.parametrize(
    ("processor", "best"),
    [
        ({"avx2"}, "model_quint8_avx2.onnx"),
        ({"avx2", "avx512f"}, "model_qint8_avx512.onnx"),
        ({"avx2", "avx512f", "avx512_vnni"}, "model_qint8_avx512_vnni.onnx"),
        ({"arm64"}, "model_qint8_arm64.onnx"),
    ],
)
def test_8_bit_graphs_by_processor(processor: set[str], best: str) -> None:
    for files in itertools.permutations(INT8):
        assert graph_files.choose(files, None, processor) == (best, Precision.INT8)
    others = [name for name in INT8 if name != best]
    assert graph_files.choose([*others, "model_int8.onnx"], None, processor) != (best, Precision.INT8)
    # what was made for none in particular comes before what was made for another
    if processor == {"avx2"}:
        assert graph_files.choose([*others, "model_int8.onnx"], None, processor) == ("model_int8.onnx", Precision.INT8)


def test_the_exact_graph_comes_first_unless_8_bits_are_asked_for() -> None:
    files = ["model_fp16.onnx", "model_q4.onnx", "onnx/model_O2.onnx", "model_quantized.onnx"]
    order = [
        ("onnx/model_O2.onnx", Precision.EXACT),
        ("model_fp16.onnx", Precision.FP16),
        ("model_quantized.onnx", Precision.INT8),
        ("model_q4.onnx", Precision.INT4),
    ]
    left = list(files)
    for name, precision in order:
        assert graph_files.choose(left, None, {"avx2"}) == (name, precision)
        left.remove(name)
    assert graph_files.choose(files, Precision.INT8, {"avx2"}) == ("model_quantized.onnx", Precision.INT8)
    assert graph_files.choose(["model.onnx", *files], Precision.EXACT, {"avx2"}) == ("model.onnx", Precision.EXACT)


def test_a_single_graph_of_another_name_is_taken_and_several_are_not_guessed(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    tiny.encoder("onnx/mine.onnx")
    assert ModelDirectory.read(tmp_path).graph_file == tmp_path / "onnx" / "mine.onnx"
    tiny.encoder("yours.onnx")
    with pytest.raises(UnusableModelError, match=r"of \['onnx/mine.onnx', 'yours.onnx'\] none is known by its name"):
        ModelDirectory.read(tmp_path)


def test_the_file_that_sentence_transformers_was_told_to_load(tmp_path: Path) -> None:
    tiny = TinyModel(tmp_path)
    for name in ("model.onnx", "model_O3.onnx", "model_quantized.onnx"):
        tiny.encoder(f"onnx/{name}")
    tiny.json("sentence_bert_config.json", {"model_args": {"file_name": "onnx/model_O3.onnx"}})
    assert ModelDirectory.read(tmp_path).graph_file.name == "model_O3.onnx"
    assert ModelDirectory.read(tmp_path, Precision.INT8).graph_file.name == "model_quantized.onnx"


def test_what_was_taken_is_said(tmp_path: Path) -> None:
    TinyModel(tmp_path / "tiny").encoder("onnx/model_O3.onnx")
    info, _ = Catalog(RuntimeConfig(models_dir=tmp_path)).resolve("tiny")
    assert (info.graph, info.precision) == ("onnx/model_O3.onnx", Precision.EXACT)
