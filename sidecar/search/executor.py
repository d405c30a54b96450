"""How the engine asks the cluster: one call, whoever makes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import orjson


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the cluster; ``body`` as it came, ``origin`` what the executor knows of it besides."""

    status: int
    body: bytes
    origin: Any = None

    def json(self) -> Any:
        """The body read as JSON; ``None`` for an empty one."""
        if not self.body:
            return None
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:  # half a surrogate pair, which Elasticsearch stores and returns
            return json.loads(self.body)


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
