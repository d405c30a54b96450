"""From a model directory to an engine."""

from __future__ import annotations

from sidecar.runtime.dense_engine import CrossEncoder, DenseEngine
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Engine
from sidecar.runtime.recognition import ModelKind
from sidecar.runtime.sparse_engine import SparseEngine


def load_engine(directory: ModelDirectory, *, exact: bool) -> Engine:
    """The engine of a model directory; reads and prepares the model, so it belongs into a thread.

    ``exact`` decides how a sparse encoder's vocabulary head is computed; other kinds take their file as it is.
    Raises ``UnusableModelError``.
    """
    match directory.kind:
        case ModelKind.SPARSE:
            return SparseEngine(directory, exact=exact)
        case ModelKind.DENSE:
            return DenseEngine(directory)
        case ModelKind.CROSS_ENCODER:
            return CrossEncoder(directory)
