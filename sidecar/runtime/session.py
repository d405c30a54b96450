"""ONNX Runtime sessions, set so that memory stays flat."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from sidecar.runtime.errors import ModelRunError, UnusableModelError

_ERRORS_ONLY = 3


class Session:
    """One graph ready to run, safe to call from several threads at once.

    ``threads`` is the number of threads that one call uses. With one, a call runs in its caller's thread and any
    number of callers share the weights; with more, callers share ``threads - 1`` helpers of the session.
    """

    def __init__(self, model: Path | bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # The arena keeps the high-water mark of every shape it has seen, per concurrent call.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # Threads that spin between batches would take the other allocations' cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise UnusableModelError(f"ONNX Runtime cannot load the graph: {_first_line(error)}") from error
        self._inputs = {value.name: value.type for value in self._session.get_inputs()}
        self._dtypes = {
            name: np.dtype(np.int32 if kind == "tensor(int32)" else np.int64) for name, kind in self._inputs.items()
        }

    def run(self, feeds: Mapping[str, npt.NDArray[np.int64]], outputs: list[str]) -> list[npt.NDArray[np.float32]]:
        """Runs one batch; feeds the graph does not take are left out. Raises ``ModelRunError``."""
        wanted = {name: feeds[name].astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        try:
            result: Any = self._session.run(outputs, wanted)
        except Exception as error:
            raise ModelRunError(f"Running the model failed: {_first_line(error)}") from error
        return [value.astype(np.float32, copy=False) for value in result]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
