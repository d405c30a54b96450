"""Exact maxima of a vocabulary head without computing most of it.

Of the products of a document's tokens with the vocabulary rows only those above zero matter, some hundreds of rows in
thirty thousand. A bound on each product tells most of them apart for half the arithmetic, and the rest is computed in
full, so the result is that of the whole product.

1.  With mu a mean hidden state, e = h - mu and bias' = W mu + b: logit = e.w + bias'. Centring is what makes a bound
    useful. In a basis that balances the second moments of e and w, the first ``kept`` coordinates carry most of both.
2.  Cauchy-Schwarz on the other coordinates: logit <= e1.w1 + |e2| |w2| + bias', one product of ``kept + 2`` columns.
3.  The same with no coordinate kept: only tokens with |e| > -bias' / |w| can bring a row above zero. Rows are sorted
    by that threshold and tokens by length, so each block of rows takes a prefix of the tokens.
4.  Rows whose bound is above zero somewhere are multiplied in full.

The mean and the basis come from sample texts; they decide the speed and never the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BLOCK = 1024
# Rounding of 32-bit sums of some hundred terms of size 10 is below 1e-4; the allowance is many times that.
_ALLOWANCE = np.float32(0.002)
_KEPT_SHARE = 72 / 128
_LEAST_HIDDEN = 32

Floats = npt.NDArray[np.float32]


@dataclass(slots=True)
class ScreeningCount:
    """How much was saved: pairs of token and vocabulary row in all, bounded, and computed in full."""

    pairs: int = 0
    bounded: int = 0
    exact: int = 0

    @property
    def pays(self) -> bool:
        """False when bounds and full products together cost about as much as the whole head."""
        return self.bounded * _KEPT_SHARE + self.exact * 1.5 < 0.8 * self.pairs


class ScreenedHead:
    """The head ``weights`` (vocabulary x hidden) and ``bias`` of a model, prepared for screening.

    ``sample`` holds hidden states (thousands x hidden) of the model; the more like those to come, the more is saved.
    ``row_moments`` is W'W / vocabulary where it is known already. Raises ``ValueError`` when the sample
    has no usable second moments or the hidden size is too small for a gain.
    """

    def __init__(
        self, weights: Floats, bias: Floats, sample: Floats, row_moments: npt.NDArray[np.float64] | None = None
    ) -> None:
        size, hidden = weights.shape
        if hidden < _LEAST_HIDDEN:
            raise ValueError("the hidden size is too small for screening")
        self.count = ScreeningCount()
        self._kept = round(hidden * _KEPT_SHARE)
        self._weights = weights
        self._bias = bias
        self._row_moments = (weights.T @ weights).astype(np.float64) / size if row_moments is None else row_moments
        self._mean = sample.mean(axis=0)
        basis, inverse = _balanced_basis(self._row_moments, (sample - self._mean).astype(np.float64))
        rotated = weights @ inverse.astype(np.float32)
        centred = weights @ self._mean + bias
        norms = np.linalg.norm(rotated, axis=1)
        threshold = np.where(centred > -_ALLOWANCE, -np.inf, -(centred + _ALLOWANCE) / np.maximum(norms, 1e-12))
        order = np.argsort(threshold)
        self._rows = order
        self._basis = np.ascontiguousarray(basis.T.astype(np.float32))
        self._columns = np.empty((self._kept + 2, size), np.float32)
        for column in range(self._kept):
            self._columns[column] = rotated[order, column]
        self._columns[-2] = np.linalg.norm(rotated[:, self._kept :], axis=1)[order]
        self._columns[-1] = (centred + _ALLOWANCE)[order]
        self._starts = np.arange(0, size, _BLOCK)
        self._thresholds = threshold[order][self._starts]

    def refitted(self, sample: Floats) -> ScreenedHead:
        """The same head with mean and basis of another sample; results stay the same."""
        return ScreenedHead(self._weights, self._bias, sample, self._row_moments)

    def maxima(self, hidden: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
        """Vocabulary ids whose largest logit over the tokens (tokens x hidden) is above zero, and those logits."""
        rotated = (hidden - self._mean) @ self._basis
        lengths = np.linalg.norm(rotated, axis=1)
        order = np.argsort(-lengths)
        rotated, lengths = rotated[order], lengths[order]
        tokens = len(hidden)
        bounds = np.empty((tokens, self._kept + 2), np.float32)
        bounds[:, : self._kept] = rotated[:, : self._kept]
        bounds[:, -2] = np.linalg.norm(rotated[:, self._kept :], axis=1)
        bounds[:, -1] = 1
        # The relative allowance covers the rounding of the two norms.
        prefixes = np.searchsorted(-lengths * np.float32(1 + 1e-4), -self._thresholds)
        found: list[npt.NDArray[np.int64]] = []
        for start, prefix in zip(self._starts.tolist(), prefixes.tolist(), strict=True):
            if prefix == 0:
                break  # thresholds only rise from here
            block = bounds[:prefix] @ self._columns[:, start : start + _BLOCK]
            self.count.bounded += block.size
            found.append(np.flatnonzero(block.max(axis=0) > 0) + start)
        rows = self._rows[np.concatenate(found)] if found else np.empty(0, np.int64)
        self.count.pairs += tokens * len(self._rows)
        self.count.exact += tokens * len(rows)
        top = (self._weights[rows] @ hidden.T).max(axis=1, initial=-np.inf) + self._bias[rows]
        positive = top > 0
        return rows[positive], top[positive].astype(np.float32, copy=False)


def _balanced_basis(
    of_rows: npt.NDArray[np.float64], centred: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """T and its inverse such that both T e and T^-T w have the same diagonal second moments, largest first."""
    size = len(of_rows)
    of_tokens = centred.T @ centred / len(centred)
    left = np.linalg.cholesky(of_tokens + np.eye(size) * 1e-6 * np.trace(of_tokens) / size)
    right = np.linalg.cholesky(of_rows + np.eye(size) * 1e-6 * np.trace(of_rows) / size)
    turned, scale, _ = np.linalg.svd(right.T @ left)
    basis = (turned / np.sqrt(scale)).T @ right.T
    return basis, np.linalg.inv(basis)
