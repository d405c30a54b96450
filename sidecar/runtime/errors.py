"""What can go wrong with local models, as members of the one exception family.

SidecarError
├── ModelError                  a local model cannot do what was asked
│   ├── UnknownModelError       400, no model of that name here
│   ├── UnusableModelError      400, a model directory is incomplete or of an unknown kind
│   ├── WrongTaskError          400, the model is of another kind than the call needs
│   ├── TooManyInputsError      413, more texts than one call may carry
│   ├── ModelRunError           500, ONNX Runtime failed on a batch
│   │   └── NotFiniteError      500, what came of an input is NaN or infinite
│   └── DeadlineError           408, the caller's deadline passed while its texts waited (a ``TimeoutError`` too)
└── RejectedExecutionError
    ├── QueueFullError          429, too much is waiting for this model
    └── RuntimeClosedError      429, the runtime is shutting down
"""

from __future__ import annotations

from sidecar.core.errors import RejectedExecutionError, StatusError


class ModelError(StatusError):
    """Base of the errors of local models."""


class UnknownModelError(ModelError):
    """No model of that name is built in, in the models directory, or in the alias map."""


class UnusableModelError(ModelError):
    """A model directory lacks a file, cannot be read, or holds a graph of no known kind."""


class WrongTaskError(ModelError):
    """A model was asked for results that its kind does not give."""


class TooManyInputsError(ModelError):
    """A call has more texts than local models take at once; it fails however often it is repeated."""

    default_status = 413


class ModelRunError(ModelError):
    """Running a batch failed inside ONNX Runtime."""

    default_status = 500


class NotFiniteError(ModelRunError):
    """A model made NaN or infinity of an input; ``index`` is its position in the call, ``None`` for a query."""

    def __init__(self, model: str, index: int | None) -> None:
        self.model = model
        self.index = index
        what = "the query" if index is None else f"input [{index}]"
        super().__init__(f"Model [{model}] made no finite numbers of {what}")


class DeadlineError(ModelError, TimeoutError):
    """The caller's deadline passed before its texts were through."""

    default_status = 408


class QueueFullError(RejectedExecutionError):
    """More waits for a model than its queue holds, or than is done in the caller's time; knows when to come again."""


class RuntimeClosedError(RejectedExecutionError):
    """The runtime is shutting down and takes no more work."""
