"""Packed embeddings in memory, within a bound of bytes; those not used for longest go first."""

from __future__ import annotations

from collections import OrderedDict

_OVERHEAD = 160
"""Bytes that an entry takes beside its value: key, two objects, their place in the table (CPython 3.11, 64 bits)."""


class MemoryStore:
    """``size`` is in bytes; 0 keeps nothing."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.used = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> bytes | None:
        """The value, which is then the most recently used."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Keep a value; one that is larger than an eighth of the store is not worth all it would push out."""
        weight = len(value) + _OVERHEAD
        if weight > self._size // 8:
            return
        known = self._entries.pop(key, None)
        if known is not None:
            self.used -= len(known) + _OVERHEAD
        self._entries[key] = value
        self.used += weight
        while self.used > self._size:
            _, gone = self._entries.popitem(last=False)
            self.used -= len(gone) + _OVERHEAD
