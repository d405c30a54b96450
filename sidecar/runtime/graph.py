"""Inputs and outputs of an ONNX file, read without loading its weights.

A model file is one protobuf message whose bulk is initialisers. The reader walks over the top level fields of the
file and of its graph, skips everything but the value descriptions, and touches a few pages of a file of any size.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import onnx

from sidecar.runtime.errors import UnusableModelError

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, .input, .output; TensorProto.name,
# .external_data; StringStringEntryProto.key, .value.
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_NAME, _EXTERNAL = 8, 13
_KEY, _VALUE = 1, 2
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class GraphValue:
    """An input or output; a dimension is an integer, or ``None`` when it varies."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """What goes into a graph and what comes out of it."""

    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]
    external: Mapping[str, int] = field(default_factory=dict)
    """Files beside the graph that hold its weights, with the size that they have at least."""


def read_signature(path: Path) -> GraphSignature:
    """Inputs, outputs and external files of the ONNX file at ``path``; ``UnusableModelError`` when it is none.

    The external files are looked at, too: one that is missing, cut short or not fetched is named.
    """
    refuse_pointer(path)
    inputs: list[GraphValue] = []
    outputs: list[GraphValue] = []
    initialisers: set[str] = set()
    external: dict[str, int] = {}
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for number, start, end in _fields(data, 0, len(data)):
                if number != _GRAPH:
                    continue
                for inner, low, high in _fields(data, start, end):
                    if inner == _INPUT:
                        inputs.append(_value(data[low:high]))
                    elif inner == _OUTPUT:
                        outputs.append(_value(data[low:high]))
                    elif inner == _INITIALIZER:
                        initialisers.add(_tensor_name(data, low, high, external))
    except (OSError, ValueError, IndexError) as error:
        raise UnusableModelError(f"[{path.name}] is not a readable ONNX graph: {error}") from error
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise UnusableModelError(f"[{path.name}] is not a readable ONNX graph") from error
    if not inputs or not outputs:
        raise UnusableModelError(f"[{path.name}] is not an ONNX graph with inputs and outputs")
    for name, size in external.items():
        _check_external(path, name, size)
    # Old exporters list initialisers among the inputs.
    return GraphSignature(tuple(i for i in inputs if i.name not in initialisers), tuple(outputs), external)


def refuse_pointer(file: Path) -> None:
    """Raises ``UnusableModelError`` when a file is what Git LFS leaves in place of one that was not fetched."""
    try:
        with file.open("rb") as data:
            is_pointer = data.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise UnusableModelError(f"[{file.name}] cannot be read: {error.strerror}") from error
    if is_pointer:
        raise UnusableModelError(
            f"[{file.name}] is a Git LFS pointer and not the file itself, which [git lfs pull] fetches; "
            "so it is not a readable ONNX graph"
        )


def _check_external(graph: Path, name: str, size: int) -> None:
    file = graph.parent / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise UnusableModelError(f"[{graph.name}] keeps weights in [{name}], outside of its directory")
    if not file.is_file():
        raise UnusableModelError(f"[{graph.name}] keeps weights in [{name}], which does not exist beside it")
    refuse_pointer(file)
    if file.stat().st_size < size:
        raise UnusableModelError(f"[{name}], in which [{graph.name}] keeps weights, is cut short")


def _value(data: bytes) -> GraphValue:
    info = onnx.ValueInfoProto.FromString(data)
    tensor = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return GraphValue(info.name, tensor.elem_type, shape)


def _tensor_name(data: mmap.mmap, start: int, end: int, external: dict[str, int]) -> str:
    """A tensor's name; where its values lie in another file, that file and the size it must have are noted."""
    name, entries = "", {}
    for number, low, high in _fields(data, start, end):
        if number == _NAME:
            name = bytes(data[low:high]).decode()
        elif number == _EXTERNAL:
            pair = {key: bytes(data[at:to]).decode() for key, at, to in _fields(data, low, high)}
            entries[pair.get(_KEY, "")] = pair.get(_VALUE, "")
    if location := entries.get("location"):
        needed = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
        external[location] = max(needed, external.get(location, 0))
    return name


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each length-delimited field between two offsets; others are skipped."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("the file is cut short")
            yield key >> 3, at, at + size
            at += size
        else:
            raise ValueError("not a protobuf message")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a protobuf message")
