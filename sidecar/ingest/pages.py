"""How many documents a page may hold now: by their bytes, and by what the cluster bears."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of sources in a page: some hundred times what a page of ordinary documents has, little for a node's heap."""
FIRST_PAGE = 25


@dataclass(slots=True)
class PageSize:
    """Documents of the next page: few at first, then as many as make :data:`PAGE_BYTES`, at most ``most``."""

    most: int = 500
    bytes: int = PAGE_BYTES
    now: int = FIRST_PAGE

    def __post_init__(self) -> None:
        self.now = min(self.now, self.most)

    def read(self, documents: int, held: int) -> None:
        """Follows a page that came: twice as many next, as far as their weight allows."""
        if documents:
            fitting = self.bytes * documents // max(1, held)
            self.now = max(1, min(self.most, 2 * self.now, fitting))

    def halve(self) -> bool:
        """Follows a page that was too much; false when it held a single document."""
        smaller = max(1, self.now // 2)
        was_smaller, self.now = smaller < self.now, smaller
        return was_smaller
