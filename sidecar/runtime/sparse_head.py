"""The vocabulary head of a sparse encoder, cut off its graph and put back in a form that a CPU runs fast.

A masked language model ends in ``logits = hidden @ W + b``, with one logit per position and vocabulary entry. SPLADE
weights are ``max over positions of log(1 + relu(logits))``. The logarithm never decreases, so the maximum may be taken
first; the bias is the same at all positions, so it may be added after the maximum; and cut into blocks of the
vocabulary no intermediate is larger than ``batch x positions x vocabulary / blocks``:

    hidden ──► padded positions := first position ──┬─► MatMul block 1  ──► ReduceMax ──┐
                                                    ├─► ...                             ├─► Concat, + b, Relu, Log(1+x)
                                                    └─► MatMul block 16 ──► ReduceMax ──┘

A repeated position cannot change a maximum, so no mask over the vocabulary is needed.
Source: Formal et al., "SPLADE v2" (2021), eq. 6 for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sidecar.runtime.errors import UnusableModelError

BLOCKS = 16
HIDDEN = "sidecar_hidden"
WEIGHTS = "sidecar_weights"
_MASK = "attention_mask"
_LEAST_OPSET = 11
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True, slots=True)
class SplitModel:
    """A masked language model in two parts: the encoder's graph, and the head's matrix and bias."""

    encoder: onnx.ModelProto
    """Gives ``HIDDEN``, batch x positions x hidden."""
    weights: npt.NDArray[np.float32]
    """Vocabulary x hidden."""
    bias: npt.NDArray[np.float32]
    """Vocabulary."""


def split_head(path: Path, output: str) -> SplitModel | None:
    """Cuts the head off the graph at ``path``; ``None`` when its last nodes are not a plain ``MatMul`` and ``Add``.

    A head in fp16 is cut off too: the encoder's hidden states leave it as fp32. Raises ``UnusableModelError``.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's, the file system's and onnx's own share no base class
        raise UnusableModelError(f"[{path.name}] is not a readable ONNX graph: {error}") from error
    graph = model.graph
    if _opset(model) < _LEAST_OPSET or not any(value.name == _MASK for value in graph.input):
        return None
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return None  # a subgraph may use values that the walk from the output does not see
    producers = {name: node for node in graph.node for name in node.output}
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    add = producers.get(output)
    if add is None or add.op_type != "Add":
        return None
    product = next((producers[name] for name in add.input if name in producers), None)
    bias = next((initialisers[name] for name in add.input if name in initialisers), None)
    if product is None or product.op_type != "MatMul" or bias is None:
        return None
    hidden, matrix = product.input
    weights = _vocabulary_matrix(matrix, producers, initialisers)
    offsets = numpy_helper.to_array(bias).astype(np.float32)
    if weights is None or offsets.shape != (weights.shape[0],) or bias.data_type not in _FLOATS:
        return None
    _end_at(model, hidden, weights.shape[1])
    return SplitModel(model, weights, offsets)


def _vocabulary_matrix(
    name: str, producers: dict[str, onnx.NodeProto], initialisers: dict[str, onnx.TensorProto]
) -> npt.NDArray[np.float32] | None:
    """The head's matrix as vocabulary x hidden, from an initialiser or from a transposed one (shared embeddings)."""
    source = name if name in initialisers else next(iter(producers[name].input), "") if name in producers else ""
    if source not in initialisers or initialisers[source].data_type not in _FLOATS:
        return None
    if name in initialisers:
        matrix: npt.NDArray[np.float32] = numpy_helper.to_array(initialisers[name]).astype(np.float32)
        return np.ascontiguousarray(matrix.T)
    node = producers.get(name)
    if node is None or node.op_type != "Transpose" or node.input[0] not in initialisers:
        return None
    return numpy_helper.to_array(initialisers[node.input[0]]).astype(np.float32, copy=False)


def _end_at(model: onnx.ModelProto, hidden: str, size: int) -> None:
    """Makes ``hidden`` the only output and removes what no longer leads to it."""
    graph = model.graph
    graph.node.append(helper.make_node("Cast", [hidden], [HIDDEN], name=HIDDEN, to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, ["batch", "positions", size]))
    needed = {HIDDEN}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    del graph.value_info[:]


def blocked_graph(model: SplitModel, *, int8: bool) -> bytes:
    """The whole model with the head in blocks, as a serialised graph.

    Its outputs are ``WEIGHTS`` (batch x vocabulary) and ``HIDDEN``, in which NaN shows: maxima and integers lose it.

    ``int8`` computes the products in 8-bit integers: the hidden states are quantised per batch, each vocabulary row
    has a scale of its own, and the maximum is taken over the 32-bit sums before they are scaled. Rows use 7 bits,
    because AVX2 without VNNI adds pairs of products in 16 bits and would saturate.
    """
    whole = onnx.ModelProto()
    whole.CopyFrom(model.encoder)
    graph = whole.graph
    opset = _opset(whole)
    hidden = _repeat_first_over_padding(graph, opset)
    rows = np.array_split(np.arange(len(model.bias)), BLOCKS)
    append = _int8_blocks if int8 else _float_blocks
    maxima = append(graph, hidden, model, rows, opset)
    graph.node.append(helper.make_node("Concat", maxima, ["sidecar_max"], axis=-1))
    graph.initializer.extend([_tensor("sidecar_bias", model.bias), _tensor("sidecar_one", np.array(1, np.float32))])
    graph.node.extend(
        [
            helper.make_node("Add", ["sidecar_max", "sidecar_bias"], ["sidecar_logits"]),
            helper.make_node("Relu", ["sidecar_logits"], ["sidecar_positive"]),
            helper.make_node("Add", ["sidecar_positive", "sidecar_one"], ["sidecar_shifted"]),
            helper.make_node("Log", ["sidecar_shifted"], [WEIGHTS]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(WEIGHTS, TensorProto.FLOAT, ["batch", len(model.bias)]))
    data: bytes = whole.SerializeToString()
    return data


def encoder_graph(model: SplitModel) -> bytes:
    """The encoder alone, as a serialised graph with the output ``HIDDEN``."""
    data: bytes = model.encoder.SerializeToString()
    return data


def _opset(model: onnx.ModelProto) -> int:
    return max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def _repeat_first_over_padding(graph: onnx.GraphProto, opset: int) -> str:
    graph.initializer.extend(
        [
            _tensor("sidecar_start", np.array([0])),
            _tensor("sidecar_end", np.array([1])),
            _tensor("sidecar_positions", np.array([1])),
            _tensor("sidecar_last", np.array([2])),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Cast", [_MASK], ["sidecar_real"], to=TensorProto.BOOL),
            helper.make_node("Unsqueeze", ["sidecar_real", "sidecar_last"], ["sidecar_real_column"])
            if opset >= 13
            else helper.make_node("Unsqueeze", ["sidecar_real"], ["sidecar_real_column"], axes=[2]),
            helper.make_node("Slice", [HIDDEN, "sidecar_start", "sidecar_end", "sidecar_positions"], ["sidecar_first"]),
            helper.make_node("Where", ["sidecar_real_column", HIDDEN, "sidecar_first"], ["sidecar_filled"]),
        ]
    )
    return "sidecar_filled"


def _float_blocks(
    graph: onnx.GraphProto,
    hidden: str,
    model: SplitModel,
    rows: list[npt.NDArray[np.int64]],
    opset: int,
) -> list[str]:
    maxima = []
    for number, block in enumerate(rows):
        matrix, product, maximum = (f"sidecar_{part}_{number}" for part in ("matrix", "product", "block_max"))
        graph.initializer.append(_tensor(matrix, np.ascontiguousarray(model.weights[block].T)))
        graph.node.append(helper.make_node("MatMul", [hidden, matrix], [product]))
        graph.node.append(_maximum(product, maximum, opset))
        maxima.append(maximum)
    return maxima


def _int8_blocks(
    graph: onnx.GraphProto,
    hidden: str,
    model: SplitModel,
    rows: list[npt.NDArray[np.int64]],
    opset: int,
) -> list[str]:
    graph.node.append(
        helper.make_node("DynamicQuantizeLinear", [hidden], ["sidecar_q", "sidecar_q_scale", "sidecar_q_zero"])
    )
    maxima = []
    for number, block in enumerate(rows):
        matrix, scale, product, top, real, row_scale, maximum = (
            f"sidecar_{part}_{number}"
            for part in ("matrix", "scale", "product", "top", "real", "row_scale", "block_max")
        )
        part = model.weights[block]
        scales = np.maximum(np.abs(part).max(axis=1), 1e-12) / 63
        quantised = np.rint(part / scales[:, None]).astype(np.int8)
        graph.initializer.append(_tensor(matrix, np.ascontiguousarray(quantised.T)))
        graph.initializer.append(_tensor(scale, scales.astype(np.float32)))
        graph.node.append(helper.make_node("MatMulInteger", ["sidecar_q", matrix, "sidecar_q_zero"], [product]))
        graph.node.append(_maximum(product, top, opset))
        graph.node.extend(
            [
                helper.make_node("Cast", [top], [real], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["sidecar_q_scale", scale], [row_scale]),
                helper.make_node("Mul", [real, row_scale], [maximum]),
            ]
        )
        maxima.append(maximum)
    return maxima


def _maximum(source: str, target: str, opset: int) -> onnx.NodeProto:
    """The maximum over positions; its axes are an attribute up to opset 17 and an input after."""
    if opset < 18:
        return helper.make_node("ReduceMax", [source], [target], axes=[1], keepdims=0)
    return helper.make_node("ReduceMax", [source, "sidecar_positions"], [target], keepdims=0)


def _tensor(name: str, value: npt.NDArray[np.generic]) -> onnx.TensorProto:
    tensor: onnx.TensorProto = numpy_helper.from_array(value, name)
    return tensor
