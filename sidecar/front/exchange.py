"""One request meant for the cluster, as the front's handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from aiohttp import web
from multidict import CIMultiDict

from sidecar.elastic.index_catalog import IndexCatalog
from sidecar.front.cluster import Cluster
from sidecar.inference.facade import Inference

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
_OF_THE_BODY = frozenset({"content-length", "content-type", "content-encoding", "expect", "accept", "accept-encoding"})


@dataclass(frozen=True, slots=True)
class Front:
    """What every handler of the front works with. ``catalog`` asks with the sidecar's own credentials."""

    cluster: Cluster
    catalog: IndexCatalog
    inference: Inference


FRONT: web.AppKey[Front] = web.AppKey("FRONT", Front)


@dataclass(slots=True)
class Exchange:
    """``values`` are the decoded placeholders of the route; ``facts`` go into the line of the access log."""

    request: web.Request
    front: Front
    values: Mapping[str, str] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def caller_headers(self) -> CIMultiDict[str]:
        """The caller's end-to-end headers but for those that describe its body: for calls made on its behalf."""
        kept = CIMultiDict(self.request.headers)
        for name in {*HOP_BY_HOP, *_OF_THE_BODY, "host"}:
            kept.popall(name, None)
        return kept


FrontHandler: TypeAlias = Callable[[Exchange], Awaitable[web.StreamResponse]]
