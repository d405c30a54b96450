"""Which requests to the cluster a handler of the front looks at; all others go on untouched.

A handler may still find that nothing of ours is in the request, and forward it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from sidecar.front.exchange import FrontHandler


@dataclass(frozen=True, slots=True)
class FrontRoute:
    """A path template with its handler for ``methods``; ``{name}`` stands for one segment.

    ``{index}`` does not stand for names that begin with ``_``, which no index has, but for ``_all``.
    """

    template: str
    methods: frozenset[str]
    handler: FrontHandler
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(part for part in self.template.split("/") if part))


@dataclass(frozen=True, slots=True)
class FrontMatch:
    """A route with the decoded values of its placeholders."""

    route: FrontRoute
    values: Mapping[str, str]


class FrontRoutes:
    """The table; fixed segments win over placeholders."""

    def __init__(self, routes: Iterable[FrontRoute]) -> None:
        ranked = sorted(routes, key=lambda route: tuple(part.startswith("{") for part in route.segments))
        self._by_length: dict[int, list[FrontRoute]] = {}
        for route in ranked:
            self._by_length.setdefault(len(route.segments), []).append(route)
        self._remembered = lru_cache(maxsize=1024)(self._find)

    def __iter__(self) -> Iterator[FrontRoute]:
        return chain.from_iterable(self._by_length.values())

    def find(self, method: str, segments: tuple[str, ...]) -> FrontMatch | None:
        """The route of a request, ``None`` where it is to be forwarded."""
        return self._remembered(method, segments) if len(segments) in self._by_length else None

    def _find(self, method: str, segments: tuple[str, ...]) -> FrontMatch | None:
        for route in self._by_length[len(segments)]:
            values = _values(route.segments, segments)
            if values is not None and method in route.methods:
                return FrontMatch(route, values)
        return None


def _values(template: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    values = {}
    for part, segment in zip(template, segments, strict=True):
        if not part.startswith("{"):
            if part != segment:
                return None
            continue
        name = part[1:-1]
        if name == "index" and segment.startswith("_") and segment != "_all":
            return None
        values[name] = segment
    return values


def route(methods: str, template: str, handler: FrontHandler) -> FrontRoute:
    """``route("POST PUT", "/{index}/_bulk", handler)``."""
    return FrontRoute(template, frozenset(methods.split()), handler)
