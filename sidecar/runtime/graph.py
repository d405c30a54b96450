"""Inputs and outputs of an ONNX file, read without loading its weights.

A model file is one protobuf message whose bulk is initialisers. The reader walks over the top level fields of the
file and of its graph, skips everything but the value descriptions, and touches a few pages of a file of any size.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from sidecar.runtime.errors import UnusableModelError

# Field numbers of onnx.proto: ModelProto.graph, GraphProto.initializer, .input, .output.
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12


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


def read_signature(path: Path) -> GraphSignature:
    """The inputs and outputs of the ONNX file at ``path``; raises ``UnusableModelError`` when it is none."""
    inputs: list[GraphValue] = []
    outputs: list[GraphValue] = []
    initialisers: set[str] = set()
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
                        initialisers.add(_tensor_name(data, low, high))
    except (OSError, ValueError, IndexError) as error:
        raise UnusableModelError(f"[{path.name}] is not a readable ONNX graph: {error}") from error
    except Exception as error:  # protobuf's DecodeError has no public base class
        raise UnusableModelError(f"[{path.name}] is not a readable ONNX graph") from error
    if not inputs or not outputs:
        raise UnusableModelError(f"[{path.name}] is not an ONNX graph with inputs and outputs")
    # Old exporters list initialisers among the inputs.
    return GraphSignature(tuple(i for i in inputs if i.name not in initialisers), tuple(outputs))


def _value(data: bytes) -> GraphValue:
    info = onnx.ValueInfoProto.FromString(data)
    tensor = info.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return GraphValue(info.name, tensor.elem_type, shape)


def _tensor_name(data: mmap.mmap, start: int, end: int) -> str:
    name_field = 8  # TensorProto.name
    for number, low, high in _fields(data, start, end):
        if number == name_field:
            return bytes(data[low:high]).decode()
    return ""


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
