"""A batch as the model sees it: ids padded to the longest text, equal texts computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sidecar.runtime.tokens import Encoded

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Arrays of shape texts x longest text, and where each original text is found in them."""

    ids: Ids
    mask: Ids
    type_ids: Ids
    lengths: tuple[int, ...]
    rows: tuple[int, ...]
    """Row of each text that was given, in the order given."""

    @classmethod
    def of(cls, encoded: Sequence[Encoded], pad_token_id: int) -> PaddedBatch:
        """Pads texts on the right; texts with the same ids and segments share a row."""
        first: dict[tuple[bytes, bytes], int] = {}
        unique: list[Encoded] = []
        rows: list[int] = []
        for text in encoded:
            key = text.key
            row = first.get(key)
            if row is None:
                row = first[key] = len(unique)
                unique.append(text)
            rows.append(row)
        lengths = tuple(len(text) for text in unique)
        shape = (len(unique), max(lengths))
        ids = np.full(shape, pad_token_id, np.int64)
        mask = np.zeros(shape, np.int64)
        type_ids = np.zeros(shape, np.int64)
        for row, text in enumerate(unique):
            size = lengths[row]
            ids[row, :size] = text.ids
            mask[row, :size] = 1
            if text.type_ids is not None:
                type_ids[row, :size] = text.type_ids
        return cls(ids, mask, type_ids, lengths, tuple(rows))

    @property
    def feeds(self) -> dict[str, Ids]:
        """Inputs of the graph by name."""
        positions = np.broadcast_to(np.arange(self.ids.shape[1]), self.ids.shape)
        return {
            "input_ids": self.ids,
            "attention_mask": self.mask,
            "token_type_ids": self.type_ids,
            "position_ids": positions,
        }

    @property
    def padded_tokens(self) -> int:
        return self.ids.size
