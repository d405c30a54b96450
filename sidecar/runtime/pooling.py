"""Token vectors to sentence vectors."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]

_TINY = np.float32(1e-12)
_LEAST_WEIGHT = np.float32(1e-9)


class PoolingMode(enum.Enum):
    """How token vectors become a sentence vector, named as sentence-transformers does."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    MEAN_SQRT_LENGTH = "mean_sqrt_len_tokens"
    WEIGHTED_MEAN = "weightedmean"
    LAST_TOKEN = "lasttoken"  # noqa: S105


# In the order in which several of them are joined.
_FLAGS = {
    "pooling_mode_cls_token": PoolingMode.CLS,
    "pooling_mode_max_tokens": PoolingMode.MAX,
    "pooling_mode_mean_tokens": PoolingMode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": PoolingMode.MEAN_SQRT_LENGTH,
    "pooling_mode_weightedmean_tokens": PoolingMode.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": PoolingMode.LAST_TOKEN,
}
_BY_NAME = {mode.value: mode for mode in PoolingMode} | {
    "mean_sqrt_len": PoolingMode.MEAN_SQRT_LENGTH,
}


@dataclass(frozen=True, slots=True)
class Pooling:
    """One or more modes, whose vectors are joined end to end, and whether a prompt's tokens take part."""

    modes: tuple[PoolingMode, ...] = (PoolingMode.MEAN,)
    include_prompt: bool = True

    @classmethod
    def read(cls, config: JsonObject) -> Pooling:
        """Pooling as the configuration of a ``Pooling`` module says: a flag per mode, or ``pooling_mode``.

        Without any, the mean. Raises ``UnusableModelError`` for a mode that is not known.
        """
        named = config.values.get("pooling_mode")
        if named is not None:
            names = (config.text("pooling_mode"),) if isinstance(named, str) else config.texts("pooling_mode")
            if unknown := [name for name in names if name not in _BY_NAME]:
                raise UnusableModelError(f"{config.where} pools by [{unknown[0]}], which is not supported")
            modes = tuple(_BY_NAME[name] for name in names)
        else:
            flags = [key for key in config.values if key.startswith("pooling_mode_") and config.flag(key)]
            if unknown := [key for key in flags if key not in _FLAGS]:
                raise UnusableModelError(f"{config.where} pools by [{unknown[0]}], which is not supported")
            modes = tuple(mode for key, mode in _FLAGS.items() if key in flags)
        return cls(modes or (PoolingMode.MEAN,), config.flag("include_prompt", default=True))

    def pool(self, hidden: Floats, mask: Mask) -> Floats:
        """Sentence vectors (texts x size times modes) of token vectors (texts x positions x size).

        ``mask`` is 1 where a token takes part. Texts are padded on the right. Source: sentence-transformers
        documentation, "Pooling".
        """
        vectors = [_POOLED[mode](hidden, mask) for mode in self.modes]
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors, axis=1)


def without_prompt(mask: Mask, prompt_tokens: Mask) -> Mask:
    """The mask without the first ``prompt_tokens`` (one number per text) positions."""
    positions = np.arange(mask.shape[1])[None, :]
    left: Mask = np.where(positions < prompt_tokens[:, None], 0, mask)
    return left


def unit(vectors: Floats) -> Floats:
    """Vectors scaled to length 1 along the last axis; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, _TINY)
    return scaled


def _first(hidden: Floats, mask: Mask) -> Floats:
    vectors: Floats = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return vectors


def _last(hidden: Floats, mask: Mask) -> Floats:
    positions = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    any_left = mask.max(axis=1, keepdims=True) > 0
    vectors: Floats = np.where(any_left, hidden[np.arange(len(hidden)), positions], np.float32(0))
    return vectors


def _maximum(hidden: Floats, mask: Mask) -> Floats:
    vectors: Floats = np.where(mask[:, :, None] > 0, hidden, -np.inf).max(axis=1).astype(np.float32)
    return vectors


def _weighted(hidden: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sums of weighted token vectors, and of the weights."""
    sums: Floats = np.matmul(weights[:, None, :], hidden)[:, 0]
    return sums, np.maximum(weights.sum(axis=1, keepdims=True), _LEAST_WEIGHT)


def _mean(hidden: Floats, mask: Mask) -> Floats:
    sums, counts = _weighted(hidden, mask.astype(np.float32))
    return sums / counts


def _mean_sqrt_length(hidden: Floats, mask: Mask) -> Floats:
    sums, counts = _weighted(hidden, mask.astype(np.float32))
    roots: Floats = np.asarray(np.sqrt(counts), np.float32)
    return sums / roots


def _weighted_mean(hidden: Floats, mask: Mask) -> Floats:
    positions = np.arange(1, mask.shape[1] + 1, dtype=np.float32)[None, :]
    sums, weights = _weighted(hidden, (mask * positions).astype(np.float32))
    return sums / weights


_POOLED: dict[PoolingMode, Callable[[Floats, Mask], Floats]] = {
    PoolingMode.CLS: _first,
    PoolingMode.MAX: _maximum,
    PoolingMode.MEAN: _mean,
    PoolingMode.MEAN_SQRT_LENGTH: _mean_sqrt_length,
    PoolingMode.WEIGHTED_MEAN: _weighted_mean,
    PoolingMode.LAST_TOKEN: _last,
}
