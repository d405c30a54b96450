"""Queries of an inference-free sparse model: a fixed weight per token, and no model run.

A query's tokens are those of its text, each once, with the weight that the model's table gives them (an inverse
document frequency); a token without a weight is left out.
Source: sentence-transformers 6.2, ``SparseStaticEmbedding``; OpenSearch documentation, "Neural sparse search".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from sidecar.runtime.errors import UnusableModelError
from sidecar.runtime.json_files import JsonObject, ModelFiles
from sidecar.runtime.token_limits import TokenLimits
from sidecar.runtime.tokens import WordPieces
from sidecar.runtime.weights import read_weights, weights_file

Floats = npt.NDArray[np.float32]
_TABLE = "idf.json"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class StaticQuery:
    """Where the weights and the tokenizer of the queries are."""

    files: ModelFiles
    folder: str
    """Of the module; empty for the directory itself."""
    table: str | None
    """File of token to weight; ``None`` where the weights are a tensor by id."""

    @classmethod
    def read(cls, files: ModelFiles, folder: str) -> StaticQuery:
        """What a module's folder holds. Raises ``UnusableModelError`` when there are no weights."""
        named = files.object(_in(folder, "config.json")).text("path")
        names = [named, PurePosixPath(named).name, _TABLE] if named.endswith(".json") else []
        files.read.update(files.file(name) for name in (_in(folder, "tokenizer.json"), "tokenizer.json"))
        if not names and folder and (tensors := weights_file(files, folder)):
            files.read.add(files.file(tensors))
            return cls(files, folder, None)
        for name in names or [_TABLE]:
            for place in (_in(folder, name), name):
                if not PurePosixPath(place).is_absolute() and files.has(place):
                    files.read.add(files.file(place))
                    return cls(files, folder, place)
        raise UnusableModelError(
            f"{files.where(folder)} has no weights for queries: neither [model.safetensors] nor [{_TABLE}]"
        )

    @property
    def tokenizer(self) -> str:
        """The tokenizer's file: the module's own, else the directory's."""
        own = _in(self.folder, "tokenizer.json")
        return own if self.files.has(own) else "tokenizer.json"

    @property
    def settings(self) -> str:
        """The folder's own ``tokenizer_config.json``, else the directory's."""
        own = _in(self.folder, "tokenizer_config.json")
        return own if self.files.has(own) else "tokenizer_config.json"

    def weights(self, ids: Mapping[str, int]) -> Floats:
        """A weight per token id, 0 for none; ``ids`` is the tokenizer's vocabulary. Raises ``UnusableModelError``."""
        size = max(ids.values(), default=-1) + 1
        weights = np.zeros(size, np.float32)
        if self.table is not None:
            for token, weight in self._numbers(self.table).items():
                if token in ids:
                    weights[ids[token]] = weight
            return weights
        tensor = read_weights(self.files, self.folder).get("weight")
        if tensor is None or tensor.ndim != 1:
            raise UnusableModelError(f"{self.files.where(self.folder)} has no tensor [weight] of 1 dimension")
        weights[: len(tensor)] = tensor[:size]
        return weights

    def _numbers(self, name: str) -> Mapping[str, float]:
        table = self.files.object(name)
        if not all(map(_is_weight, table.values.values())):
            raise UnusableModelError(f"{table.where} is not a map from tokens to weights")
        return table.values


class StaticQueries:
    """The loaded table: a query's weights by its token ids."""

    def __init__(self, query: StaticQuery) -> None:
        files = query.files
        limits = TokenLimits.read(ModelFiles(files.file(query.settings).parent), JsonObject(""), JsonObject(""))
        self.word_pieces = WordPieces(files.file(query.tokenizer), limits, special_tokens=False)
        ids = self.word_pieces.ids()
        self._by_id = query.weights(ids)
        self._tokens = [token.replace(".", "__") for token in self.word_pieces.vocabulary(len(self._by_id))]
        self._by_id[[number for number in self.word_pieces.special_ids() if number < len(self._by_id)]] = 0

    def weights(self, ids: npt.NDArray[np.int64]) -> dict[str, float]:
        """Token to weight, heaviest first."""
        found = {self._tokens[number]: float(self._by_id[number]) for number in ids.tolist()}
        return dict(sorted(((t, w) for t, w in found.items() if w > 0), key=lambda pair: -pair[1]))


def _is_weight(value: object) -> bool:
    """Whether a value is a number that a float32 can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _LARGEST  # not so for NaN


def _in(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name)
