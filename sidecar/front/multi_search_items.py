"""One search of an ``_msearch``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.core.errors import SidecarError
from sidecar.search.rewriting import Planted


@dataclass(slots=True)
class Item:
    """Its two lines, or its ``answer``.

    ``raw`` is the body as it came, ``failure`` what went wrong with it here; ``is_tree``: its retrievers are ours.
    """

    header: bytes
    body: bytes
    answer: dict[str, Any] | None = None
    failure: SidecarError | None = None
    is_tree: bool = False
    is_refused: bool = False
    planted: tuple[Planted, ...] = ()
    warnings: tuple[str, ...] = ()
    raw: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.raw = self.body

    @property
    def has_failed(self) -> bool:
        return self.failure is not None or (self.answer is not None and int(self.answer.get("status", 200)) >= 400)
