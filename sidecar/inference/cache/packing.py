"""Embeddings as bytes: a quarter of what Python objects take, and the form of the file.

    kind (1 byte: sparse, float, byte, bit; the highest bit: the text was cut) | token weights as JSON, or raw numbers

Floats are kept with the 32 bits with which they are written to callers and fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from sidecar.core.results import DenseEmbeddings, SparseEmbedding, SparseEmbeddings, Vector
from sidecar.core.tasks import ElementType

_SPARSE = 0
_DENSE = {1: ElementType.FLOAT, 2: ElementType.BYTE, 3: ElementType.BIT}
_KINDS = {element_type: kind for kind, element_type in _DENSE.items()}
_FLOAT = _KINDS[ElementType.FLOAT]
_CUT = 0x80


@dataclass(frozen=True, slots=True)
class Embedded:
    """One input's embedding; ``element_type`` is ``None`` for token weights, which say themselves if they are cut."""

    value: SparseEmbedding | Vector
    element_type: ElementType | None = None
    is_truncated: bool = False


def parted(result: SparseEmbeddings | DenseEmbeddings) -> list[Embedded]:
    """A result's embeddings, one by one."""
    if isinstance(result, SparseEmbeddings):
        return [Embedded(item) for item in result.items]
    is_truncated = result.is_truncated or (False,) * len(result.vectors)
    return [
        Embedded(vector, result.element_type, is_cut)
        for vector, is_cut in zip(result.vectors, is_truncated, strict=True)
    ]


def joined(parts: Iterable[Embedded]) -> SparseEmbeddings | DenseEmbeddings:
    """The result that holds ``parts``, which are of one kind, in order; needs one at least."""
    parts = list(parts)
    element_type = parts[0].element_type
    if element_type is None:
        return SparseEmbeddings(tuple(part.value for part in parts if isinstance(part.value, SparseEmbedding)))
    return DenseEmbeddings(
        tuple(part.value for part in parts if not isinstance(part.value, SparseEmbedding)),
        element_type,
        tuple(part.is_truncated for part in parts),
    )


def pack_all(parts: Sequence[Embedded]) -> list[bytes | None]:
    """:func:`pack` of each; float vectors of one length are looked at together."""
    if all(part.element_type is ElementType.FLOAT for part in parts):
        try:
            with np.errstate(over="ignore"):
                stacked = np.asarray([part.value for part in parts], dtype=np.float32)
        except (OverflowError, ValueError, TypeError):
            stacked = np.empty(0, dtype=np.float32)
        if stacked.ndim == 2 and np.isfinite(stacked).all():
            heads = (bytes([_FLOAT]), bytes([_FLOAT | _CUT]))
            return [heads[part.is_truncated] + row.tobytes() for part, row in zip(parts, stacked, strict=True)]
    return [pack(part) for part in parts]


def pack(part: Embedded) -> bytes | None:
    """``None`` for an embedding that is not worth keeping: numbers that are none, or that 32 bits cannot hold."""
    value = part.value
    if isinstance(value, SparseEmbedding):
        weights = {token: float(weight) for token, weight in value.tokens.items()}
        kind = _SPARSE | (_CUT if value.is_truncated else 0)
        try:
            return bytes([kind]) + orjson.dumps(weights)
        except orjson.JSONEncodeError:
            return None
    assert part.element_type is not None  # noqa: S101
    is_float = part.element_type is ElementType.FLOAT
    try:
        with np.errstate(over="ignore"):
            numbers = np.asarray(value, dtype=np.float32 if is_float else np.int16)
    except (OverflowError, ValueError, TypeError):
        return None
    if not np.isfinite(numbers).all() or (not is_float and (numbers != numbers.astype(np.int8)).any()):
        return None
    kind = _KINDS[part.element_type] | (_CUT if part.is_truncated else 0)
    return bytes([kind]) + (numbers if is_float else numbers.astype(np.int8)).tobytes()


def unpack(packed: bytes) -> Embedded:
    """The embedding that :func:`pack` made bytes of.

    Raises:
        ValueError: these are no such bytes.
    """
    if not packed:
        raise ValueError("an embedding has a kind")
    kind, is_cut = packed[0] & ~_CUT, bool(packed[0] & _CUT)
    if kind == _SPARSE:
        return Embedded(SparseEmbedding(orjson.loads(packed[1:]), is_cut))
    if kind not in _DENSE:
        raise ValueError(f"[{kind}] is no kind of embedding")
    element_type = _DENSE[kind]
    dtype = np.float32 if element_type is ElementType.FLOAT else np.int8
    return Embedded(np.frombuffer(packed, dtype=dtype, offset=1), element_type, is_cut)
