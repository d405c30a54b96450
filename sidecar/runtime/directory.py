"""What a model directory holds: its graph, its kind, its limits, and how its vectors are made.

Layout, as Optimum and sentence-transformers write it: ``model.onnx`` or ``onnx/model.onnx``, ``tokenizer.json``,
``config.json``, and where present ``modules.json``, ``1_Pooling/config.json``, ``sentence_bert_config.json``,
``config_sentence_transformers.json``, ``tokenizer_config.json``.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.core.tasks import TaskType
from sidecar.runtime.config import Precision
from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.graph import GraphSignature, GraphValue, read_signature
from sidecar.runtime.prompts import Prompts

_EXACT_FILES = ("model.onnx", "onnx/model.onnx")
_INT8_FILES = tuple(
    folder + name
    for folder in ("", "onnx/")
    for name in (
        "model_fused_int8.onnx",
        "model_int8.onnx",
        "model_quantized.onnx",
        "model_quint8_avx2.onnx",
        "model_uint8.onnx",
    )
)
_INPUT_NAMES = {"input_ids", "attention_mask", "token_type_ids"}
_SLICE = 1 << 20


class ModelKind(enum.Enum):
    """What a graph computes, and which tasks it serves."""

    SPARSE = "sparse encoder"
    DENSE = "dense encoder"
    CROSS_ENCODER = "cross-encoder"

    @property
    def tasks(self) -> frozenset[TaskType]:
        """Tasks of the kind; a dense encoder also reranks, by late interaction of its token vectors."""
        return {
            ModelKind.SPARSE: frozenset({TaskType.SPARSE_EMBEDDING}),
            ModelKind.DENSE: frozenset({TaskType.TEXT_EMBEDDING, TaskType.RERANK}),
            ModelKind.CROSS_ENCODER: frozenset({TaskType.RERANK}),
        }[self]


class Pooling(enum.Enum):
    """How token vectors become a sentence vector."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    MEAN_SQRT_LENGTH = "mean_sqrt_len"
    IN_GRAPH = "in_graph"
    """The graph itself gives one vector per text."""


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """One usable model directory; ``read`` makes it."""

    path: Path
    graph_file: Path
    signature: GraphSignature
    output: GraphValue
    kind: ModelKind
    dimensions: int | None
    """Length of a dense vector, size of a sparse encoder's vocabulary, ``None`` for a cross-encoder."""
    max_length: int
    pooling: Pooling
    normalize: bool
    prompts: Prompts
    pad_token_id: int
    precision: Precision
    """``INT8`` when the file named so was taken."""
    metadata: Mapping[str, str]
    """``name``, ``source``, ``repository``, ``licence`` out of ``sidecar.json`` where the directory has one."""

    @classmethod
    def read(cls, path: Path, precision: Precision | None = None) -> ModelDirectory:
        """Looks at a directory; raises ``UnusableModelError`` with the reason when it is no usable model."""
        if not path.is_dir():
            raise UnusableModelError(f"Model directory [{path}] does not exist")
        graph_file, found = _graph_file(path, precision)
        if not (path / "tokenizer.json").is_file():
            raise UnusableModelError(f"Model directory [{path}] has no [tokenizer.json]")
        config = _json(path, "config.json")
        if not config:
            raise UnusableModelError(f"Model directory [{path}] has no [config.json]")
        signature = read_signature(graph_file)
        if missing := {"input_ids"} - {i.name for i in signature.inputs}:
            raise UnusableModelError(f"Graph [{graph_file.name}] of [{path}] lacks the input {sorted(missing)}")
        if unknown := {i.name for i in signature.inputs} - _INPUT_NAMES:
            raise UnusableModelError(f"Graph [{graph_file.name}] of [{path}] needs unknown inputs {sorted(unknown)}")
        kind, output = _recognise(path, signature, config)
        pooling, normalize = _pooling(path, output)
        vocabulary = config.get("vocab_size")
        size = output.shape[-1] or (vocabulary if kind is ModelKind.SPARSE else config.get("hidden_size"))
        return cls(
            path=path,
            graph_file=graph_file,
            signature=signature,
            output=output,
            kind=kind,
            dimensions=None if kind is ModelKind.CROSS_ENCODER else size,
            max_length=_max_length(path, config),
            pooling=pooling,
            normalize=normalize,
            prompts=Prompts.read(_json(path, "config_sentence_transformers.json"), _names(path, config)),
            pad_token_id=int(config.get("pad_token_id") or 0),
            precision=found,
            metadata=_json(path, "sidecar.json"),
        )

    @property
    def tasks(self) -> frozenset[TaskType]:
        """Tasks of the kind; without token vectors there is no late interaction, so no reranking."""
        if self.kind is ModelKind.DENSE and self.pooling is Pooling.IN_GRAPH:
            return frozenset({TaskType.TEXT_EMBEDDING})
        return self.kind.tasks

    def revision(self) -> str:
        """Twelve hexadecimal digits that change with the files.

        Small files count whole; of a large one the size and its first, middle and last MiB count, so that a graph
        of gigabytes costs no more than a small one.
        """
        digest = hashlib.sha256()
        for file in (self.graph_file, *sorted(self.path.glob("*.json")), *sorted(self.path.glob("1_Pooling/*.json"))):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size};".encode())
            with file.open("rb") as data:
                for start in {0, max(0, size // 2 - _SLICE // 2), max(0, size - _SLICE)}:
                    data.seek(start)
                    digest.update(data.read(_SLICE))
        return digest.hexdigest()[:12]


def _graph_file(path: Path, precision: Precision | None) -> tuple[Path, Precision]:
    wanted = [(name, Precision.EXACT) for name in _EXACT_FILES]
    quantised = [(name, Precision.INT8) for name in _INT8_FILES]
    for name, kind in quantised + wanted if precision is Precision.INT8 else wanted + quantised:
        if (path / name).is_file():
            return path / name, kind
    raise UnusableModelError(f"Model directory [{path}] has neither [model.onnx] nor [onnx/model.onnx]")


def _recognise(path: Path, signature: GraphSignature, config: Mapping[str, Any]) -> tuple[ModelKind, GraphValue]:
    """Kind and output by the graph's shapes; where those are left open, by the architecture in ``config.json``."""
    outputs = {value.name: value for value in signature.outputs}
    architectures = " ".join(str(a) for a in config.get("architectures") or ())
    vocabulary, hidden = config.get("vocab_size"), config.get("hidden_size")
    if logits := outputs.get("logits"):
        last, rank = logits.shape[-1] if logits.shape else None, len(logits.shape)
        if rank == 3 and (last == vocabulary if last else "MaskedLM" in architectures):
            return ModelKind.SPARSE, logits
        if rank == 2 and (last == 1 or (last is None and _labels(config) == 1)):
            return ModelKind.CROSS_ENCODER, logits
        if rank == 2:
            raise UnusableModelError(
                f"Model [{path}] classifies into {last or _labels(config)} labels; a reranker gives a single logit"
            )
        if rank == 3:
            raise UnusableModelError(
                f"Model [{path}] labels tokens ({last} labels); a sparse encoder gives one logit per vocabulary entry"
            )
    for name in ("sentence_embedding", "sentence_embeddings"):
        if name in outputs and len(outputs[name].shape) == 2:
            return ModelKind.DENSE, outputs[name]
    for value in signature.outputs:
        if len(value.shape) == 3 and value.shape[-1] == vocabulary and "MaskedLM" in architectures:
            return ModelKind.SPARSE, value
        if len(value.shape) == 3 and value.shape[-1] in (hidden, None):
            return ModelKind.DENSE, value
    raise UnusableModelError(
        f"Model [{path}] is neither a masked language model, nor an encoder, nor a sequence classifier: "
        f"outputs {[(value.name, list(value.shape)) for value in signature.outputs]}"
    )


def _labels(config: Mapping[str, Any]) -> int:
    return int(config.get("num_labels") or len(config.get("id2label") or {}) or 2)


def _pooling(path: Path, output: GraphValue) -> tuple[Pooling, bool]:
    """Pooling and normalisation as ``modules.json`` and the pooling configuration say; else mean and normalised."""
    normalize = True
    folder = "1_Pooling"
    modules = _json_list(path, "modules.json")
    if modules:
        types = [str(module.get("type", "")) for module in modules]
        normalize = any(kind.endswith("Normalize") for kind in types)
        folder = next((str(m["path"]) for m in modules if str(m.get("type", "")).endswith("Pooling")), folder)
        if any(kind.endswith(".Dense") for kind in types):
            raise UnusableModelError(f"Model [{path}] has a dense layer after pooling, which is not supported")
    if len(output.shape) == 2:
        return Pooling.IN_GRAPH, normalize
    config = _json(path, f"{folder}/config.json")
    modes = {
        "pooling_mode_cls_token": Pooling.CLS,
        "pooling_mode_mean_tokens": Pooling.MEAN,
        "pooling_mode_max_tokens": Pooling.MAX,
        "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LENGTH,
    }
    chosen = [mode for key, mode in modes.items() if config.get(key)]
    if len(chosen) > 1:
        raise UnusableModelError(f"Model [{path}] joins several pooling modes, which is not supported")
    others = [key for key, value in config.items() if key.startswith("pooling_mode_") and value and key not in modes]
    if others:
        raise UnusableModelError(f"Model [{path}] pools by {others[0]!r}, which is not supported")
    if isinstance(by_name := config.get("pooling_mode"), str):  # newer sentence-transformers name the mode
        try:
            chosen = [Pooling(by_name.removesuffix("token") if by_name == "clstoken" else by_name)]
        except ValueError:
            raise UnusableModelError(f"Model [{path}] pools by [{by_name}], which is not supported") from None
    return (chosen[0] if chosen else Pooling.MEAN), normalize


def _max_length(path: Path, config: Mapping[str, Any]) -> int:
    """Most word pieces of an input, special tokens included.

    The length the model was trained for (``sentence_bert_config.json``) comes first, then the tokenizer's; never
    more than there are positions. RoBERTa's positions start after the padding id.
    """
    positions = config.get("max_position_embeddings")
    if positions and "roberta" in str(config.get("model_type", "")):
        positions = positions - int(config.get("pad_token_id") or 1) - 1
    trained = _json(path, "sentence_bert_config.json").get("max_seq_length")
    written = trained or _json(path, "tokenizer_config.json").get("model_max_length")
    limits = [int(limit) for limit in (positions, written) if limit and 0 < limit < 1_000_000]
    return min(limits) if limits else 512


def _names(path: Path, config: Mapping[str, Any]) -> str:
    return f"{path.name} {_json(path, 'sidecar.json').get('repository', '')} {config.get('_name_or_path', '')}"


def _json(path: Path, name: str) -> dict[str, Any]:
    """An object out of a JSON file of the directory, empty when there is no such file."""
    value = _load(path, name)
    if value is not None and not isinstance(value, dict):
        raise UnusableModelError(f"[{name}] of model directory [{path}] is not a JSON object")
    return value or {}


def _json_list(path: Path, name: str) -> list[dict[str, Any]]:
    value = _load(path, name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _load(path: Path, name: str) -> Any:
    if not re.fullmatch(r"[\w./-]+", name) or ".." in name or not (path / name).is_file():
        return None
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableModelError(f"[{name}] of model directory [{path}] is not readable: {error}") from error
