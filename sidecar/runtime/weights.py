"""Tensors of the small modules beside a graph, out of ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import ModelFiles

Floats = npt.NDArray[np.float32]

_FILE = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def read_weights(files: ModelFiles, folder: str) -> Mapping[str, Floats]:
    """The tensors of a module's folder as float32. Raises ``UnusableModelError`` with the file's name."""
    name = str(PurePosixPath(folder) / _FILE)
    if not files.has(name):
        if files.has(str(PurePosixPath(folder) / _PICKLED)):
            raise UnusableModelError(
                f"{files.where(folder)} has its weights in [{_PICKLED}], which can run code and is not read; "
                f"save them as [{_FILE}]"
            )
        raise UnusableModelError(f"{files.where(name)} does not exist")
    try:
        return {key: _floats(value) for key, value in deserialize(files.file(name).read_bytes())}  # type: ignore[no-untyped-call]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UnusableModelError(f"{files.where(name)} is not readable: {error}") from error


def _floats(tensor: Mapping[str, object]) -> Floats:
    data, shape, kind = tensor["data"], tensor["shape"], str(tensor["dtype"])
    if kind == "BF16":  # the upper half of a float32
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16  # type: ignore[call-overload]
        return wide.view(np.float32).reshape(shape)  # type: ignore[no-any-return]
    values = np.frombuffer(data, _TYPES[kind])  # type: ignore[call-overload]
    return values.astype(np.float32).reshape(shape)  # type: ignore[no-any-return]
