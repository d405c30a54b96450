"""What pipelines do with a field that the front fills."""

from __future__ import annotations

from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a value that the front put in; ``UNKNOWN``: pipelines cannot be tried with one in its place."""

    DROPPED = "dropped"
    CHANGED = "changed"
    UNKNOWN = "unknown"
