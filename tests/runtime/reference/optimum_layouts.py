"""Writes small random models as Optimum exports, optimises and quantises them, with the values that it computes itself.

    make reference                              # in the environment of sentence-transformers 5, which drives Optimum
    python -m tests.runtime.reference.optimum_layouts ARCHIVE

The values are those of Optimum's own ONNX Runtime models, pooled by sentence-transformers where that is a step. The
archive is like the others (see ``layouts``).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import (
    ORTModelForFeatureExtraction,
    ORTModelForMaskedLM,
    ORTModelForSequenceClassification,
    ORTOptimizer,
    ORTQuantizer,
)
from optimum.onnxruntime.configuration import AutoOptimizationConfig, AutoQuantizationConfig
from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model, export_optimized_onnx_model
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from transformers import AutoTokenizer

from tests.runtime.reference.layouts import HIDDEN, PAIRS, TEXTS, WORDS, base, pack

_ST_NAMES = ("model_O2", "model_O3", "model_qint8_avx512_vnni", "model_quint8_avx2")


class OptimumLayouts:
    """The models under ``root``, and the values of each."""

    def __init__(self, root: Path, bases: Path) -> None:
        self.root = root
        self.bases = bases
        self.expected: dict[str, dict[str, Any]] = {}

    def exported(self, name: str, task: str, family: str = "bert", head: str = "", **more: Any) -> Path:
        folder = self.root / name
        source = self.bases / f"{family}-{head}"
        if not source.exists():
            base(source, family, head)
        main_export(str(source), folder, task=task, do_validation=False, **more)
        return folder

    def vectors(self, name: str, file_name: str = "model.onnx") -> None:
        """Mean of the token vectors, scaled to length 1, as a model without ``modules.json`` is used."""
        folder = self.root / name
        model = ORTModelForFeatureExtraction.from_pretrained(folder, file_name=file_name)
        rows = []
        for text in TEXTS:
            read = AutoTokenizer.from_pretrained(folder)(text, truncation=True, return_tensors="pt")
            mean = model(**read).last_hidden_state[0].mean(dim=0)
            rows.append((mean / mean.norm()).tolist())
        self._dense(name, rows)

    def token_weights(self, name: str) -> None:
        folder = self.root / name
        model = ORTModelForMaskedLM.from_pretrained(folder)
        rows = []
        for text in TEXTS:
            read = AutoTokenizer.from_pretrained(folder)(text, truncation=True, return_tensors="pt")
            weights = torch.log1p(model(**read).logits[0].relu()).amax(dim=0).tolist()
            rows.append({WORDS[n]: weight for n, weight in enumerate(weights) if weight > 0 and n > 4})
        self.expected[name] = {"kind": "sparse", "query": rows, "document": rows}

    def scores(self, name: str) -> None:
        folder = self.root / name
        model = ORTModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        scores = [float(model(**tokenizer(*pair, return_tensors="pt")).logits[0, 0]) for pair in PAIRS]
        self.expected[name] = {"kind": "pairs", "pairs": PAIRS, "scores": scores}

    def sentence_vectors(self, name: str, modules: Callable[[Path], list[Any]], graph: str | None = None) -> None:
        """A model saved by sentence-transformers with Optimum's graph, or with the one that ``graph`` names."""
        folder, source = self.root / name, self.bases / "bert-"
        if not source.exists():
            base(source)
        SentenceTransformer(modules=modules(source), device="cpu").save_pretrained(str(folder))
        made = SentenceTransformer(str(folder), device="cpu", backend="onnx", model_kwargs={"export": True})
        made.save_pretrained(str(folder))
        if graph is not None and "_O" in graph:
            export_optimized_onnx_model(made, graph.removeprefix("model_"), str(folder))
        elif graph is not None:
            export_dynamic_quantized_onnx_model(made, graph.removeprefix("model_q").partition("int8_")[2], str(folder))
        file_name = f"onnx/{graph or 'model'}.onnx"
        if graph is not None:
            (folder / "onnx" / "model.onnx").unlink()  # so that there is one to take
        kwargs = {"file_name": file_name, "provider": "CPUExecutionProvider"}
        model = SentenceTransformer(str(folder), device="cpu", backend="onnx", model_kwargs=kwargs)
        self._dense(name, [model.encode(text).tolist() for text in TEXTS])

    def _dense(self, name: str, rows: list[list[float]]) -> None:
        self.expected[name] = {"kind": "dense", "query": rows, "document": rows, "plain": rows}


def write(root: Path, bases: Path) -> None:
    made = OptimumLayouts(root, bases)
    for family in ("bert", "distilbert", "roberta", "modernbert"):
        made.exported(f"optimum-{family}", "feature-extraction", family)
        made.vectors(f"optimum-{family}")
    made.exported("optimum-fill-mask", "fill-mask", head="mlm")
    made.token_weights("optimum-fill-mask")
    made.exported("optimum-text-classification", "text-classification", head="classifier")
    made.scores("optimum-text-classification")
    made.exported("optimum-O2", "feature-extraction", optimize="O2")
    made.vectors("optimum-O2")

    folder = made.exported("optimum-optimized", "feature-extraction")
    optimizer = ORTOptimizer.from_pretrained(ORTModelForFeatureExtraction.from_pretrained(folder))
    optimizer.optimize(save_dir=folder, optimization_config=AutoOptimizationConfig.O1())
    (folder / "model.onnx").unlink()
    made.vectors("optimum-optimized", "model_optimized.onnx")

    folder = made.exported("optimum-quantized", "feature-extraction")
    quantizer = ORTQuantizer.from_pretrained(folder, file_name="model.onnx")
    quantizer.quantize(save_dir=folder, quantization_config=AutoQuantizationConfig.avx2(is_static=False))
    (folder / "model.onnx").unlink()
    made.vectors("optimum-quantized", "model_quantized.onnx")

    folder = made.exported("optimum-external-data", "feature-extraction")
    graph = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    # as Optimum writes what is above 2 GiB
    onnx.save(
        graph,
        folder / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    made.vectors("optimum-external-data")

    def steps(source: Path) -> list[Any]:
        return [Transformer(str(source)), Pooling(HIDDEN, "mean"), Normalize()]

    def with_dense(source: Path) -> list[Any]:
        return [Transformer(str(source)), Pooling(HIDDEN, "cls"), Dense(HIDDEN, 8), Normalize()]

    made.sentence_vectors("optimum-sentence-transformers", with_dense)
    for graph_name in _ST_NAMES:
        made.sentence_vectors(f"optimum-sentence-transformers-{graph_name}", steps, graph_name)

    whole = bases / "whole"
    SentenceTransformer(modules=with_dense(bases / "bert-"), device="cpu").save_pretrained(str(whole))
    main_export(
        str(whole),
        root / "optimum-sentence-embedding",
        task="feature-extraction",
        library_name="sentence_transformers",
        do_validation=False,
    )
    model = SentenceTransformer(str(whole), device="cpu")
    made._dense("optimum-sentence-embedding", model.encode(TEXTS).tolist())
    (root / "expected.json").write_text(
        json.dumps({"release": f"Optimum {version('optimum')}", "texts": TEXTS, "models": made.expected})
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as models:
        write(Path(scratch), Path(models))
        pack(Path(scratch), Path(sys.argv[1]))
