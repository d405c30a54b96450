"""Several lines with one id: the last of them is the document, whatever the index holds and however often they come.

A line that keeps what is there (``create``) gives way to every other, as a bulk request has it; of several such the
first is the document.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from enum import Enum
from hashlib import blake2b

import numpy as np

from sidecar.ingest.json_lines import BadLine, Line


class Place(Enum):
    """When a line is looked at."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


class Repeats:
    """Knows which lines are followed by another of the same id.

    A file is scanned before, at 16 bytes a line. A stream cannot be: there a line whose id came before waits until
    what came before is written, and of those that wait for one id the last is taken.
    """

    def __init__(self) -> None:
        self._scanned = False
        self._last: dict[int, int] = {}
        self._seen: set[int] = set()
        self._later: dict[int, Line] = {}

    def scan(self, lines: Iterable[Line | BadLine]) -> None:
        """Reads all lines of a file once and remembers the last line of every id that comes more than once."""
        keys, numbers, keeping = array("Q"), array("Q"), bytearray()
        for line in lines:
            if isinstance(line, Line):
                keys.append(_digest(line))
                numbers.append(line.number)
                keeping.append(line.keeps)
        names, counts = np.unique(np.asarray(keys, dtype=np.uint64), return_counts=True)
        repeated = set(names[counts > 1].tolist())
        if repeated:
            for key, number, keeps in zip(keys, numbers, keeping, strict=True):
                if key in repeated and not (keeps and key in self._last):
                    self._last[key] = number
        self._scanned = True

    def place_of(self, line: Line) -> Place:
        """Whether the line is indexed now, after the others, or never, because another of its id follows.

        In a stream ``NEVER`` is said of the line that waited so far and gives its place to this one, and of one that
        keeps what came before.
        """
        key = _digest(line)
        if self._scanned:
            return Place.NOW if self._last.get(key, line.number) == line.number else Place.NEVER
        if key not in self._seen:
            self._seen.add(key)
            return Place.NOW
        if line.keeps:
            return Place.NEVER
        replaces = key in self._later
        self._later[key] = line
        return Place.NEVER if replaces else Place.LATER

    def take_later(self) -> list[Line]:
        """The lines that wait, once."""
        later, self._later = list(self._later.values()), {}
        return later


def _digest(line: Line) -> int:
    name = f"{line.routing or ''}\n{line.id}"
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
