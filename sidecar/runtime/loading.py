"""From a model directory to an engine."""

from __future__ import annotations

import structlog

from sidecar.runtime.dense_engine import CrossEncoder, DenseEngine
from sidecar.runtime.directory import ModelDirectory
from sidecar.runtime.engine import Engine
from sidecar.runtime.errors import ModelError, UnusableModelError
from sidecar.runtime.recognition import ModelKind
from sidecar.runtime.sparse_engine import SparseEngine

_log = structlog.stdlib.get_logger(__name__)


def load_engine(directory: ModelDirectory, *, exact: bool) -> Engine:
    """The engine of a model directory; reads and prepares the model, so it belongs into a thread.

    ``exact`` decides how a sparse encoder's vocabulary head is computed; other kinds take their file as it is.
    Raises ``UnusableModelError``, whatever is odd about its files.
    """
    try:
        return _engine(directory, exact=exact)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # files of others: what they may hold has no end
        _log.warning("model_directory_unusable", directory=str(directory.path), exc_info=True)
        raise UnusableModelError(
            f"Model directory [{directory.path}] cannot be used: {type(error).__name__}: {error}"
        ) from error


def _engine(directory: ModelDirectory, *, exact: bool) -> Engine:
    match directory.kind:
        case ModelKind.SPARSE:
            return SparseEngine(directory, exact=exact)
        case ModelKind.DENSE:
            return DenseEngine(directory)
        case ModelKind.CROSS_ENCODER:
            return CrossEncoder(directory)
