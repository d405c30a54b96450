"""Reranking with a dense encoder: how well each token of the query is met somewhere in the document.

    score = (maxsim + cosine) / 2
    maxsim = mean over query tokens of the largest cosine with any document token
    cosine = cosine of the two sentence vectors

Both parts lie between -1 and 1, so no scaling over the other candidates is needed, and a document's score does not
depend on them. Source: Khattab and Zaharia, "ColBERT" (2020), eq. 3, for the sum of maxima; here averaged, so that
queries of any length give scores of one scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LOWEST = -1.0
"""The score of an empty document, and of every document for an empty query."""


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """A query as unit vectors: its tokens (tokens x size) and its sentence (size)."""

    tokens: Floats
    sentence: Floats

    def score(self, tokens: Floats, sentence: Floats) -> float:
        """Score of one document, given as unit vectors of its tokens and its sentence."""
        if not len(self.tokens) or not len(tokens):
            return LOWEST
        maxsim = float((self.tokens @ tokens.T).max(axis=1).mean())
        return (maxsim + float(self.sentence @ sentence)) / 2
