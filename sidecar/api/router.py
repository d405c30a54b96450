"""Which handler a path has, as Elasticsearch decides it: fixed segments before placeholders, then the method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from aiohttp import web

from sidecar.api.call import Call
from sidecar.core.errors import SidecarError
from sidecar.core.generations import GENERATIONS, Generation

Handler: TypeAlias = Callable[[Call, Mapping[str, str]], Awaitable[web.StreamResponse]]
ErrorHandler: TypeAlias = Callable[[Call, SidecarError], web.Response]
OWN_FORMS: web.AppKey[Callable[[tuple[str, ...]], ErrorHandler | None]] = web.AppKey("OWN_FORMS")
"""By the segments of a path, how errors are told below it in another form than Elasticsearch's."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path template with its handlers by method, in the order in which ``Allow`` lists them.

    ``{name}`` stands for one segment. ``exists`` says in which generations the path is known; elsewhere its fixed
    segments are read as placeholders of other routes. ``on_error`` answers errors of the handlers in another form than
    Elasticsearch's envelope. ``unlisted`` are handlers by method that ``Allow`` does not tell of.
    """

    template: str
    handlers: Mapping[str, Handler]
    exists: Callable[[Generation], bool] = lambda _generation: True
    on_error: ErrorHandler | None = None
    unlisted: Mapping[str, Handler] = field(default_factory=dict)
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(part for part in self.template.split("/") if part))

    @property
    def rank(self) -> tuple[bool, ...]:
        """Sorts fixed segments before placeholders, from left to right."""
        return tuple(part.startswith("{") for part in self.segments)


@dataclass(frozen=True, slots=True)
class Match:
    """A route with the decoded values of its placeholders."""

    route: Route
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> tuple[str, ...]:
        return tuple(self.route.handlers)


class Router:
    """An ordered table of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        ranked = sorted(routes, key=lambda route: route.rank)
        self._known: dict[tuple[Generation, int], list[Route]] = {}
        for generation in GENERATIONS.values():
            for route in ranked:
                if route.exists(generation):
                    self._known.setdefault((generation, len(route.segments)), []).append(route)
        self._remembered = lru_cache(maxsize=512)(self._find)  # callers come back to the same few endpoints

    def find(self, segments: tuple[str, ...], generation: Generation) -> Match | None:
        """The route of a path in a generation, ``None`` when there is none."""
        return self._remembered(segments, generation)

    def _find(self, segments: tuple[str, ...], generation: Generation) -> Match | None:
        for route in self._known.get((generation, len(segments)), ()):
            values: dict[str, str] = {}
            for part, segment in zip(route.segments, segments, strict=True):
                if part.startswith("{"):
                    values[part[1:-1]] = segment
                elif part != segment:
                    break
            else:
                return Match(route, values)
        return None
