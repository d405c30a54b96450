"""Model directories of a few kilobytes, whose results can be worked out by hand."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import BertProcessing

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "query:", "passage:", "red", "green", "blue", "fast", "slow", "a.b")
HIDDEN = 4
Floats = npt.NDArray[np.float32]


def ids_of(text: str) -> list[int]:
    """Ids of a text with [CLS] and [SEP]."""
    return [2, *(WORDS.index(word) if word in WORDS else 1 for word in text.lower().split()), 3]


@dataclass
class TinyModel:
    """A directory under construction; ``write`` makes it. All weights come from one seeded generator."""

    path: Path
    opset: int = 17
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(3)
        self.embedding: Floats = random.normal(size=(len(WORDS), HIDDEN)).astype(np.float32)
        self.segments: Floats = random.normal(size=(2, HIDDEN)).astype(np.float32)
        self.head: Floats = random.normal(size=(HIDDEN, len(WORDS))).astype(np.float32)
        self.bias: Floats = random.normal(size=len(WORDS)).astype(np.float32)
        self.path.mkdir(parents=True, exist_ok=True)
        tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.normalizer = Lowercase()
        tokenizer.pre_tokenizer = WhitespaceSplit()
        tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
        tokenizer.save(str(self.path / "tokenizer.json"))

    def hidden(self, ids: list[int], type_ids: list[int] | None = None) -> Floats:
        """Token vectors of one input (tokens x hidden), as the graphs below compute them."""
        return self.embedding[ids] + self.segments[type_ids if type_ids else [0] * len(ids)]

    def encoder(
        self,
        file: str = "model.onnx",
        output: str = "last_hidden_state",
        shape: Sequence[str | int] = ("batch", "sequence", HIDDEN),
        **config: Any,
    ) -> Path:
        """An encoder: each token's embedding plus its segment's."""
        nodes = [helper.make_node("Identity", ["hidden"], [output])]
        return self._write(file, nodes, output, list(shape), {"hidden_size": HIDDEN} | config)

    def masked_language_model(self, *, transposed: bool = False, plain: bool = True) -> Path:
        """An encoder with a vocabulary head; ``plain`` ends in MatMul and Add, ``transposed`` shares a matrix."""
        nodes = []
        if transposed:
            nodes.append(helper.make_node("Transpose", ["head_t"], ["matrix"], perm=[1, 0]))
        matrix = "matrix" if transposed else "head"
        nodes.append(helper.make_node("MatMul", ["hidden", matrix], ["product"]))
        nodes.append(helper.make_node("Add", ["bias", "product"], ["logits" if plain else "sum"]))
        if not plain:
            nodes.append(helper.make_node("Identity", ["sum"], ["logits"]))
        shape = ["batch", "sequence", len(WORDS)]
        return self._write("model.onnx", nodes, "logits", shape, {"hidden_size": HIDDEN, "vocab_size": len(WORDS)})

    def classifier(self, labels: int = 1) -> Path:
        """A sequence classifier: the sum over real positions, multiplied with the first columns of the head."""
        axes: Any = {"axes": [1]} if self.opset < 13 else {}
        nodes = [
            helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["real", "axis_two"], ["column"]),
            helper.make_node("Mul", ["hidden", "column"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "axis_one"], ["sum"], keepdims=0, **axes),
            helper.make_node("MatMul", ["sum", "labels"], ["logits"]),
        ]
        return self._write("model.onnx", nodes, "logits", ["batch", labels], {"hidden_size": HIDDEN}, labels)

    def logit(self, ids: list[int], type_ids: list[int]) -> float:
        """What ``classifier`` gives for one input."""
        return float(self.hidden(ids, type_ids).sum(axis=0) @ self.head[:, 0])

    def json(self, name: str, value: Any) -> None:
        """Writes one of the directory's JSON files."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(json.dumps(value))

    def modules(self, *steps: tuple[str, str], library: str = "sentence_transformers.models") -> None:
        """Writes ``modules.json``: each step's class and its folder. Pooling not configured is the mean."""
        pooled: dict[str, Any] = {"Pooling": {"pooling_mode": "mean"}, "SpladePooling": {}}
        for kind, path in steps:
            if kind in pooled and ".." not in path and not (self.path / path / "config.json").exists():
                self.json(f"{path}/config.json", pooled[kind])
        self.json(
            "modules.json",
            [{"idx": n, "name": str(n), "path": p, "type": f"{library}.{kind}"} for n, (kind, p) in enumerate(steps)],
        )

    def tensors(self, folder: str, **values: Floats) -> None:
        """Writes a module's weights; ``__`` in a name stands for a dot."""
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        named = {name.replace("__", "."): value for name, value in values.items()}
        safetensors.numpy.save_file(named, self.path / folder / "model.safetensors")

    def _write(
        self, file: str, nodes: list[Any], output: str, shape: list[Any], config: dict[str, Any], labels: int = 1
    ) -> Path:
        tensors = {
            "embedding": self.embedding,
            "segments": self.segments,
            "head": self.head,
            "head_t": np.ascontiguousarray(self.head.T),
            "bias": self.bias,
            "labels": np.ascontiguousarray(self.head[:, :labels]),
            "axis_one": np.array([1]),
            "axis_two": np.array([2]),
        }
        nodes = [
            helper.make_node("Gather", ["embedding", "input_ids"], ["words"]),
            helper.make_node("Gather", ["segments", "token_type_ids"], ["types"]),
            helper.make_node("Add", ["words", "types"], ["hidden"]),
            *nodes,
        ]
        used = {name for node in nodes for name in node.input}
        names = ["input_ids", "token_type_ids"] + (["attention_mask"] if "attention_mask" in used else [])
        if output == "logits" and "attention_mask" not in names:
            names.append("attention_mask")
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in tensors.items() if name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        (self.path / file).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, self.path / file)
        self.json("config.json", {"max_position_embeddings": 64, "pad_token_id": 0} | config | self.config)
        return self.path
