"""How the engine asks the cluster: one call, whoever makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the cluster; ``body`` as it came."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body read as JSON; ``None`` for an empty one."""
        return orjson.loads(self.body) if self.body else None


class Executor(Protocol):
    """Calls the cluster on behalf of somebody, with that one's credentials."""

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        as_shown: bool = False,
    ) -> Reply:
        """One request; ``target`` is raw path and query. ``as_shown``: in the format that the caller wants to see."""
        ...
