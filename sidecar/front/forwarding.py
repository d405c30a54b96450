"""Headers and answers on their way through: end-to-end ones pass as they are, what concerns one connection stays.

Sources: RFC 9110, section 7.6.1 (Connection); section 10.1.1 (Expect); RFC 9112, section 6 (message bodies).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
OF_THE_BODY = frozenset({"content-length", "content-type", "content-encoding", "expect", "accept", "accept-encoding"})
OF_THE_ENCODING = frozenset({"content-length", "content-encoding"})


class RelayedResponse(web.StreamResponse):
    """An answer of the cluster on its way to the caller; nothing is added to its headers."""

    def __init__(self, status: int, reason: str | None, headers: CIMultiDict[str]) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self.names = {name.lower() for name in headers}


async def leave_as_it_is(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal ``on_response_prepare``: takes away what the server adds to answers that are not its own."""
    if isinstance(response, RelayedResponse):
        for name in ("Server", "Date", "Content-Type"):
            if name.lower() not in response.names:
                response.headers.pop(name, None)


def end_to_end(headers: CIMultiDictProxy[str] | CIMultiDict[str], without: Iterable[str] = ()) -> CIMultiDict[str]:
    """``headers`` less those of the connection, those that ``Connection`` names, and ``without`` (lower case)."""
    named = {name.strip().lower() for value in headers.getall("Connection", ()) for name in value.split(",")}
    dropped = {*HOP_BY_HOP, *named, *without}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def replaced(headers: CIMultiDict[str], by: Mapping[str, str] | None) -> CIMultiDict[str]:
    """``headers`` with those of ``by`` in place of their namesakes."""
    for name, value in (by or {}).items():
        headers[name] = value
    return headers


async def relay(
    request: web.Request, answer: aiohttp.ClientResponse, added: Iterable[tuple[str, str]] = ()
) -> web.StreamResponse:
    """Streams ``answer`` to the caller, with ``added`` behind its headers.

    An answer that breaks off at the cluster breaks off at the caller as well.
    """
    headers = end_to_end(answer.headers)
    headers.extend(list(added))
    response = RelayedResponse(answer.status, answer.reason, headers)
    await response.prepare(request)
    try:
        async for part in answer.content.iter_any():
            await response.write(part)
    except aiohttp.ClientError:
        # No status can tell it any more; an end of the body that looks right would be a lie.
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response
