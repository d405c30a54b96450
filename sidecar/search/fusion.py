"""How scores of different retrievers are made comparable before they are added.

Source: Elasticsearch's retriever reference, "Linear retriever".
"""

from __future__ import annotations

from enum import StrEnum


class Normalizer(StrEnum):
    """What a retriever's window of scores is divided by."""

    MINMAX = "minmax"
    L2_NORM = "l2_norm"
    NONE = "none"
