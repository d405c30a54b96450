"""Writes the table of model folders in docs/models.md: what their makers compute, and what comes out here.

python -m tools.model_layouts
"""

from __future__ import annotations

import asyncio
import json
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.core.tasks import InputType
from sidecar.runtime.config import Lane, Precision, RuntimeConfig
from sidecar.runtime.models import LocalModels

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "models.md"
ARCHIVES = sorted(
    (ROOT / "tests" / "runtime" / "reference").glob("*.tar.xz"), key=lambda path: path.name.startswith("optimum")
)
BEGIN, END = "<!-- layouts: make tables -->\n", "<!-- end of layouts -->\n"
_PURPOSES = {"query": InputType.SEARCH, "document": InputType.INGEST, "plain": None}
_MEANING = {
    "mean-normalised": "Pooling mean, Normalize",
    "pooling-joined": "Pooling of several modes (3, 5: cls, max, last token, by flags; 6: mean, cls, by a list)",
    "dense-tanh": "Pooling, Dense 16 to 8 with tanh, Normalize",
    "dense-pickled": "Pooling, Dense, LayerNorm, with weights in `pytorch_model.bin`",
    "dense-identity-layernorm": "Pooling, Dense without bias and activation, LayerNorm",
    "dense-gelu": "Pooling, Dense with GELU",
    "prompts": "prompts `query` and `document`",
    "prompts-default": "prompts, `default_prompt_name`",
    "prompts-excluded": "prompts, `include_prompt` false",
    "lower-case": "cased tokenizer, `do_lower_case` true",
    "cased": "cased tokenizer",
    "length": "`max_seq_length` 6",
    "cut": "Normalize, `truncate_dim` 5",
    "cut-left": "`max_seq_length` 6, `truncation_side` left",
    "distilbert": "DistilBERT (`dim`)",
    "roberta": "RoBERTa (positions after the padding id, no segments)",
    "t5": "T5 encoder (`d_model`)",
    "modernbert": "ModernBERT",
    "cross-encoder": "CrossEncoder, raw logits",
    "splade-max-relu": "SpladePooling max, relu",
    "splade-max-log1p_relu": "SpladePooling max, log1p_relu",
    "splade-sum-relu": "SpladePooling sum, relu",
    "splade-sum-log1p_relu": "SpladePooling sum, log1p_relu",
    "optimum-bert": "Optimum, `feature-extraction`: BERT",
    "optimum-distilbert": "the same: DistilBERT",
    "optimum-roberta": "the same: RoBERTa",
    "optimum-modernbert": "the same: ModernBERT",
    "optimum-fill-mask": "Optimum, `fill-mask`, max and relu",
    "optimum-text-classification": "Optimum, `text-classification`, raw logits",
    "optimum-O2": "Optimum, `--optimize O2`",
    "optimum-optimized": "Optimum's optimizer: `model_optimized.onnx`",
    "optimum-quantized": "Optimum's quantizer: `model_quantized.onnx`",
    "optimum-external-data": "Optimum, `model.onnx_data`",
    "optimum-sentence-transformers": "sentence-transformers with Optimum's `onnx/model.onnx`: Pooling cls, Dense",
    "optimum-sentence-transformers-model_O2": "the same: `onnx/model_O2.onnx`",
    "optimum-sentence-transformers-model_O3": "the same: `onnx/model_O3.onnx`",
    "optimum-sentence-transformers-model_qint8_avx512_vnni": "the same: `onnx/model_qint8_avx512_vnni.onnx`",
    "optimum-sentence-transformers-model_quint8_avx2": "the same: `onnx/model_quint8_avx2.onnx`",
    "optimum-sentence-embedding": "Optimum of a whole sentence-transformers model: `sentence_embedding`",
    "inference-free": "Router: SparseStaticEmbedding, Transformer with SpladePooling",
}


@dataclass
class Row:
    """A layout: the releases that wrote it, the last value of the last of them, and the largest difference of all."""

    releases: list[str] = field(default_factory=list)
    reference: float = 0.0
    here: float = 0.0
    difference: float = 0.0


async def rows() -> dict[str, Row]:
    """Every recorded layout."""
    found: dict[str, Row] = {}
    for archive in ARCHIVES:
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(archive) as source:
                source.extractall(folder, filter="data")
            await _compare(Path(folder), found)
    return found


async def _compare(folder: Path, found: dict[str, Row]) -> None:
    recorded = json.loads((folder / "expected.json").read_text())
    models = LocalModels(RuntimeConfig(models_dir=folder))
    for name, expected in recorded["models"].items():
        row = found.setdefault(name, Row())
        reference, here = await _values(models, name, expected, recorded["texts"])
        row.releases.append(recorded["release"])
        row.reference, row.here = float(reference[-1]), float(here[-1])
        row.difference = max(row.difference, float(np.abs(reference - here).max()))
    await models.close()


async def dense_values(models: LocalModels, name: str, texts: list[str], input_type: InputType | None) -> list[Any]:
    """Vectors of texts; each by itself where the numbers are 8 bits, which depend on the other texts of a batch."""
    is_int8 = models.resolve(name).precision is Precision.INT8
    calls = [[text] for text in texts] if is_int8 else [texts]
    found = [await models.dense(name, call, input_type=input_type, lane=Lane.INGEST) for call in calls]
    return [vector for vectors in found for vector in vectors]


async def _values(models: LocalModels, name: str, expected: dict[str, Any], texts: list[str]) -> tuple[Any, Any]:
    """All values of a layout, once as recorded and once from here, side by side."""
    reference: list[float] = []
    here: list[float] = []
    if expected["kind"] == "pairs":
        for query, document in expected["pairs"]:
            here += await models.rerank(name, query, [document], lane=Lane.SEARCH)
        return np.array(expected["scores"]), np.array(here)
    for purpose in [purpose for purpose in _PURPOSES if purpose in expected]:
        if expected["kind"] == "dense":
            vectors = await dense_values(models, name, texts, _PURPOSES[purpose])
            reference += np.array(expected[purpose]).ravel().tolist()
            here += np.array(vectors).ravel().tolist()
            continue
        lane = Lane.SEARCH if purpose == "query" else Lane.INGEST
        for result, weights in zip(await models.sparse(name, texts, lane=lane), expected[purpose], strict=True):
            named = {token.replace(".", "__"): weight for token, weight in weights.items()}
            for token in sorted(named.keys() | result.tokens.keys()):
                reference.append(named.get(token, 0.0))
                here.append(result.tokens.get(token, 0.0))
    return np.array(reference), np.array(here)


def table(found: dict[str, Row]) -> str:
    """The table in Markdown."""
    lines = [
        "| layout | saved by | a value there | here | largest difference |\n",
        "|---|---|---|---|---|\n",
    ]
    for name, row in found.items():
        meaning = _MEANING.get(name, f"Pooling {name.removeprefix('pooling-')}")
        values = f"{row.reference:.6f} | {row.here:.6f} | {row.difference:.0e}"
        lines.append(f"| {meaning} | {', '.join(row.releases)} | {values} |\n")
    return "".join(lines)


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + table(asyncio.run(rows())) + END + rest.split(END)[1])
