"""Headers and answers on their way through: end-to-end ones pass as they are, what concerns one connection stays.

Sources: RFC 9110, section 7.6.1 (Connection); section 10.1.1 (Expect); RFC 9112, section 6 (message bodies).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

# Up to here an answer is read before it is sent on.
_SMALL = 64 * 1024
RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
Seen: TypeAlias = Callable[[aiohttp.ClientResponse, bytes], Awaitable[Iterable[tuple[str, str]]]]
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-connection"}
)
OF_THE_BODY = frozenset({"content-length", "content-type", "content-encoding", "expect", "accept", "accept-encoding"})
OF_THE_ENCODING = frozenset({"content-length", "content-encoding"})


class RelayedStream(web.StreamResponse):
    """An answer of the cluster on its way to the caller; nothing is added to its headers."""

    def __init__(self, status: int, reason: str | None, headers: CIMultiDict[str]) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self.names = frozenset(name.lower() for name in headers)


class RelayedAnswer(web.Response):
    """The same for one that is here already, which goes out with its headers in one piece."""

    def __init__(self, status: int, reason: str | None, headers: CIMultiDict[str], body: bytes) -> None:
        super().__init__(status=status, reason=reason, headers=headers, body=body)
        self.names = frozenset(name.lower() for name in headers)


def leave_as_it_is(response: web.StreamResponse) -> None:
    """Takes away what the server adds to an answer, just before it is sent."""
    kept = response.names if isinstance(response, RelayedStream | RelayedAnswer) else frozenset({"content-type"})
    for name in ("Server", "Date", "Content-Type"):
        if name.lower() not in kept:
            response.headers.pop(name, None)


def end_to_end(raw: RawHeaders, without: Iterable[str] = ()) -> CIMultiDict[str]:
    """Headers as they came less those of the connection, those that ``Connection`` names, and ``without`` (lower case).

    Names keep the letters in which they were first sent. Bytes that are no UTF-8 become question marks.
    """
    dropped = {*HOP_BY_HOP, *without}
    named = [(_name(name), value) for name, value in raw]
    for (_, lowered), value in named:
        if lowered == "connection":
            dropped.update(part.strip().lower() for part in _text(value).split(","))
    kept: CIMultiDict[str] = CIMultiDict()
    spelled: dict[str, str] = {}  # two values under two spellings of a name would become one in the client
    for (name, lowered), value in named:
        if lowered not in dropped:
            kept.add(spelled.setdefault(lowered, name), _text(value))
    return kept


@lru_cache(maxsize=512)  # the same few come with every request
def _name(data: bytes) -> tuple[str, str]:
    """A header's name as it is spelled and in lower case."""
    text = _text(data)
    return text, text.lower()


def _text(data: bytes) -> str:
    if data.isascii():
        return data.decode("ascii")
    return data.decode("utf-8", "replace").replace("\ufffd", "?")


def replaced(headers: CIMultiDict[str], by: Mapping[str, str] | None) -> CIMultiDict[str]:
    """``headers`` with those of ``by`` in place of their namesakes."""
    for name, value in (by or {}).items():
        headers[name] = value
    return headers


async def relay(
    request: web.Request,
    answer: aiohttp.ClientResponse,
    added: Iterable[tuple[str, str]] = (),
    seen: Seen | None = None,
) -> web.StreamResponse:
    """Streams ``answer`` to the caller, with ``added`` behind its headers.

    ``seen`` is shown the beginning of its body before its headers are sent, and says what else is to be added.
    An answer that breaks off at the cluster breaks off at the caller as well.
    """
    headers = end_to_end(answer.raw_headers)
    headers.extend(list(added))
    if request.method != "HEAD" and 0 < (answer.content_length or 0) <= _SMALL:
        body = await answer.read()
        headers.extend(list(await seen(answer, body)) if seen else ())
        return RelayedAnswer(answer.status, answer.reason, headers, body)
    first = b""
    if seen is not None:
        first = await answer.content.readany()
        headers.extend(list(await seen(answer, first)))
    response = RelayedStream(answer.status, answer.reason, headers)
    await response.prepare(request)
    try:
        if first:
            await response.write(first)
        async for part in answer.content.iter_any():
            await response.write(part)
    except aiohttp.ClientError:
        # No status can tell it any more; an end of the body that looks right would be a lie.
        if request.transport is not None:
            request.transport.abort()
        raise
    await response.write_eof()
    return response
