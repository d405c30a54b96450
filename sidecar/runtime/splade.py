"""From the logits of a masked language model to token weights.

    relu:        w = log(1 + relu(logit))
    log1p_relu:  w = log(1 + log(1 + relu(logit)))

and over the positions of a text their maximum, or their sum. Both activations only rise, so a maximum may be taken of
the logits, before them; a sum may not. Source: sentence-transformers 6.2, ``SpladePooling``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject

Floats = npt.NDArray[np.float32]


class Strategy(enum.Enum):
    """How the weights of a text's positions become one."""

    MAX = "max"
    SUM = "sum"


class Activation(enum.Enum):
    """How a logit becomes a weight."""

    RELU = "relu"
    LOG1P_RELU = "log1p_relu"


@dataclass(frozen=True, slots=True)
class SpladePooling:
    """The settings of a ``SpladePooling`` module, whose defaults are those of SPLADE v2."""

    strategy: Strategy = Strategy.MAX
    activation: Activation = Activation.RELU

    @classmethod
    def read(cls, config: JsonObject) -> SpladePooling:
        """The settings in the module's configuration. Raises ``UnusableModelError`` for values not known."""
        strategy = config.text("pooling_strategy", Strategy.MAX.value)
        activation = config.text("activation_function", Activation.RELU.value)
        try:
            return cls(Strategy(strategy), Activation(activation))
        except ValueError:
            raise UnusableModelError(
                f"{config.where} pools by [{strategy}] of [{activation}]; "
                "max or sum of relu or log1p_relu are supported"
            ) from None

    def of_logits(self, logits: Floats) -> Floats:
        """Weights (vocabulary) of a text's logits (positions x vocabulary)."""
        if self.strategy is Strategy.SUM:
            summed: Floats = self.of_weights(np.log1p(np.maximum(logits, 0))).sum(axis=0)
            return summed
        return self.of_weights(np.log1p(np.maximum(logits.max(axis=0), 0)))

    def of_weights(self, weights: Floats) -> Floats:
        """Weights out of log(1 + relu(logit))."""
        if self.activation is Activation.LOG1P_RELU:
            twice: Floats = np.log1p(weights)
            return twice
        return weights
