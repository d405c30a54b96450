"""Tensors of the small modules beside a graph, out of ``model.safetensors`` or, as older releases wrote them, of
``pytorch_model.bin``."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import ModelFiles

Floats = npt.NDArray[np.float32]

_FILE = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_STORAGES = {"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"}


def read_weights(files: ModelFiles, folder: str) -> Mapping[str, Floats]:
    """The tensors of a module's folder as float32. Raises ``UnusableModelError`` with the file's name."""
    name = weights_file(files, folder)
    if name is None:
        raise UnusableModelError(f"{files.where(str(PurePosixPath(folder) / _FILE))} does not exist")
    files.read.add(files.file(name))
    try:
        if name.endswith(_PICKLED):
            return _read_pickled(files.file(name))
        tensors = deserialize(files.file(name).read_bytes())  # type: ignore[no-untyped-call]
        return {key: _floats(value["data"], value["dtype"]).reshape(value["shape"]) for key, value in tensors}
    except (OSError, SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, LookupError, ValueError) as error:
        raise UnusableModelError(f"{files.where(name)} is not readable: {error}") from error


def weights_file(files: ModelFiles, folder: str) -> str | None:
    """The file with a module's tensors, ``None`` when there is none."""
    names = (str(PurePosixPath(folder) / name) for name in (_FILE, _PICKLED))
    return next((name for name in names if files.has(name)), None)


def _floats(data: Any, kind: str) -> Floats:
    if kind == "BF16":  # the upper half of a float32
        wide: Floats = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        return wide
    return np.frombuffer(data, _TYPES[kind]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Storage:
    kind: str


class _Tensors(pickle.Unpickler):
    """Reads what ``torch.save`` writes of a module's tensors: of all that a pickle may name, only that is known.

    Nothing of the file is run: other names are refused before they are looked up. Source: PyTorch documentation,
    "Serialization semantics"; Python documentation, "Restricting Globals".
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise pickle.UnpicklingError("no tensors as torch saves them")
        super().__init__(io.BytesIO(archive.read(pickled)))
        self._archive, self._folder = archive, pickled.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        raise pickle.UnpicklingError(f"it names [{module}.{name}], which is no part of a tensor")

    def persistent_load(self, pid: Any) -> Floats:
        _, storage, key, *_ = pid
        if not isinstance(storage, _Storage) or not isinstance(key, str):
            raise pickle.UnpicklingError("it has a storage of an unknown kind")
        return _floats(self._archive.read(f"{self._folder}data/{key}"), storage.kind)


def _tensor(storage: Floats, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Floats:
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if min((offset, *stride), default=0) < 0 or not 0 <= last < len(storage):
        raise pickle.UnpicklingError("a tensor lies outside of its storage")
    places = [np.arange(size) * step for size, step in zip(shape, stride, strict=True)]
    values: Floats = storage[offset + sum(np.ix_(*places))] if places else storage[offset]
    return values


def _read_pickled(file: Path) -> Mapping[str, Floats]:
    with zipfile.ZipFile(file) as archive:
        tensors = _Tensors(archive).load()
    if not isinstance(tensors, Mapping) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise pickle.UnpicklingError("it holds no map of tensors")
    return {str(key): value for key, value in tensors.items()}
