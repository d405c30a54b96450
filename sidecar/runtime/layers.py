"""What stands between a pooled vector and the model's: linear layers, layer normalisation, scaling to length 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject, ModelFiles
from sidecar.runtime.pooling import unit
from sidecar.runtime.weights import read_weights

Floats = npt.NDArray[np.float32]

_SENTENCE = "sentence_embedding"
_EPSILON = 1e-5
"""What torch adds to the variance in a layer normalisation."""


class Layer(Protocol):
    """One step after pooling."""

    def apply(self, vectors: Floats) -> Floats:
        """Vectors (texts x size) of vectors (texts x size)."""
        ...

    @property
    def takes(self) -> int | None:
        """Length of the vectors that the layer is made for, ``None`` for any."""
        ...

    @property
    def gives(self) -> int | None:
        """Length of the vectors that it gives, ``None`` where it leaves that."""
        ...


@dataclass(frozen=True, slots=True)
class Normalize:
    """Scales vectors to length 1."""

    takes = gives = None

    def apply(self, vectors: Floats) -> Floats:
        return unit(vectors)


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """Centres each vector, divides by its standard deviation, scales and shifts."""

    weight: Floats
    bias: Floats

    def apply(self, vectors: Floats) -> Floats:
        centred = vectors - vectors.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        scaled: Floats = centred / np.sqrt(variance + np.float32(_EPSILON)) * self.weight + self.bias
        return scaled

    @property
    def takes(self) -> int | None:
        return len(self.weight)

    @property
    def gives(self) -> int | None:
        return len(self.weight)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A linear layer with an activation; with ``residual`` what came in, or a projection of it, is added."""

    weight: Floats
    """Outputs x inputs."""
    bias: Floats | None
    activation: Callable[[Any], Any]
    residual: Floats | bool = False
    """A projection (outputs x inputs), ``True`` for the input itself."""

    def apply(self, vectors: Floats) -> Floats:
        product = vectors @ self.weight.T
        result: Floats = np.asarray(self.activation(product if self.bias is None else product + self.bias), np.float32)
        if self.residual is False:
            return result
        added: Floats = result + (vectors if self.residual is True else vectors @ self.residual.T)
        return added

    @property
    def takes(self) -> int | None:
        return int(self.weight.shape[1])

    @property
    def gives(self) -> int | None:
        return len(self.weight)


def read_layer(kind: str, files: ModelFiles, folder: str) -> Layer:
    """The layer of a module's folder. Raises ``UnusableModelError``, which names what is missing or not known."""
    name = str(PurePosixPath(folder) / "config.json")
    if kind == "Dense" and not files.has(name):  # which activation it has nothing else says
        raise UnusableModelError(f"{files.where(name)}, which {kind} needs, does not exist")
    config = files.object(name)
    takes = config.text("module_input_name", _SENTENCE)
    gives = config.text("module_output_name", takes)
    if {takes, gives} != {_SENTENCE}:
        raise UnusableModelError(f"{config.where} turns [{takes}] into [{gives}], which is not supported")
    if kind == "Normalize":
        return Normalize()
    tensors = read_weights(files, folder)
    if kind == "LayerNorm":
        size = config.integer("dimension") or tensors.get("norm.weight", np.empty(0)).shape[0]
        return LayerNorm(*(_tensor(files, folder, tensors, name, size) for name in ("norm.weight", "norm.bias")))
    return _dense(files, folder, config, tensors)


def check_sizes(layers: tuple[Layer, ...], size: int, where: str) -> int:
    """Length of the vectors after all layers for pooled vectors of length ``size``.

    Raises ``UnusableModelError`` when a layer does not take what comes before it.
    """
    for layer in layers:
        if layer.takes not in (None, size):
            raise UnusableModelError(
                f"{where} has a {type(layer).__name__} for vectors of {layer.takes}, which follows vectors of {size}"
            )
        size = layer.gives or size
    return size


def _dense(files: ModelFiles, folder: str, config: JsonObject, tensors: Mapping[str, Floats]) -> Dense:
    gives, takes = config.integer("out_features"), config.integer("in_features")
    weight = _tensor(files, folder, tensors, "linear.weight", gives, takes)
    gives, takes = weight.shape
    bias = _tensor(files, folder, tensors, "linear.bias", gives) if config.flag("bias", default=True) else None
    residual: Floats | bool = config.flag("use_residual")
    if residual and gives != takes:
        residual = _tensor(files, folder, tensors, "residual.weight", gives, takes)
    return Dense(weight, bias, _activation(config), residual)


def _tensor(files: ModelFiles, folder: str, tensors: Mapping[str, Floats], name: str, *shape: int | None) -> Floats:
    """A tensor of a shape, in which ``None`` is any length. Raises ``UnusableModelError``."""
    tensor = tensors.get(name)
    if tensor is None or tensor.ndim != len(shape):
        raise UnusableModelError(f"{files.where(folder)} has no tensor [{name}] of {len(shape)} dimensions")
    if any(wanted not in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)):
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise UnusableModelError(
            f"{files.where(folder)} has [{name}] of {' x '.join(map(str, tensor.shape))} where {wanted} belongs"
        )
    return tensor


def _activation(config: JsonObject) -> Callable[[Any], Any]:
    """The activation by the name of torch's module; tanh where none is named, as in sentence-transformers."""
    name = config.text("activation_function", "torch.nn.modules.activation.Tanh")
    kind = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or kind not in _ACTIVATIONS:
        raise UnusableModelError(f"{config.where} has the activation [{name}], which is not supported")
    return _ACTIVATIONS[kind]


def _sigmoid(x: Any) -> Any:
    return (np.tanh(x / 2) + 1) / 2  # does not overflow


def _gelu(x: Any) -> Any:
    return x * (np.asarray(_ERF(x / math.sqrt(2)), np.float32) + 1) / 2


_ERF = np.frompyfunc(math.erf, 1, 1)
# With torch's default parameters: the configuration names the class alone.
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "SiLU": lambda x: x * _sigmoid(x),
    "GELU": _gelu,
    "LeakyReLU": lambda x: np.maximum(x, x * np.float32(0.01)),
    "ELU": lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0)),
}
