"""One waiting line: first come, first served, in company of its like."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable

from sidecar.runtime.job import Item

_FEW = 16


def _by_length(item: Item) -> int:
    return item.tokens


class WaitingLine:
    """Items in order of arrival and, at the same time, in order of length.

    A batch is the item that waits longest and its neighbours in length, as many as the token budget holds, padding
    counted. So nobody starves, and little is spent on padding. Not safe for threads by itself.
    """

    def __init__(self) -> None:
        self._arrived: deque[Item] = deque()
        self._sorted: list[Item] = []
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, items: list[Item]) -> None:
        """Items of one call, in order."""
        self._arrived.extend(items)
        self.tokens += sum(item.tokens for item in items)
        if len(items) < _FEW:
            for item in items:
                insort(self._sorted, item, key=_by_length)
        else:
            self._sorted.extend(items)
            self._sorted.sort(key=_by_length)

    def take(self, token_budget: int, most: int) -> list[Item]:
        """The next batch, shortest first, empty when nothing waits; at least one item whatever its length."""
        while self._arrived and self._arrived[0].taken:
            self._arrived.popleft()
        if not self._arrived:
            return []
        oldest = self._arrived[0]
        line = self._sorted
        low = bisect_left(line, oldest.tokens, key=_by_length)
        while line[low] is not oldest:
            low += 1
        high = low + 1
        longest = oldest.tokens
        while high - low < most:
            size = high - low + 1
            up = line[high].tokens if high < len(line) else None
            down = line[low - 1].tokens if low else None
            fits_up = up is not None and up * size <= token_budget
            fits_down = down is not None and longest * size <= token_budget
            if fits_up and (not fits_down or up - longest <= longest - down):  # type: ignore[operator]
                longest = up  # type: ignore[assignment]
                high += 1
            elif fits_down:
                low -= 1
            else:
                break
        batch = line[low:high]
        del line[low:high]
        for item in batch:
            item.taken = True
        self.tokens -= sum(item.tokens for item in batch)
        return batch

    def discard(self, unwanted: Callable[[Item], bool]) -> int:
        """Removes items; returns how many went."""
        before = len(self._sorted)
        self._sorted = [item for item in self._sorted if not unwanted(item)]
        self._arrived = deque(item for item in self._arrived if not item.taken and not unwanted(item))
        self.tokens = sum(item.tokens for item in self._sorted)
        return before - len(self._sorted)

    def items(self) -> Iterable[Item]:
        return self._sorted
