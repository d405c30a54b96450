"""A stand-in for every model provider, on a real socket: it refuses what it does not expect, and plays replies.

A request whose method, host, path, query, headers or body differ from the expected one is answered 599 and noted in
``refusals``. Replies are recorded ones, or misbehaviour: late, cut off, piece by piece when a test says so.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from tests.services.exchange import Received, is_discovery, is_token_request, request_differences
from tests.services.recordings import Recording
from tests.services.signature import signature_fault

Json = Any
REFUSED = 599
_DISCOVERY = {
    "tenant_discovery_endpoint": "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration",
    "api-version": "1.1",
    "metadata": [],
}


@dataclass(frozen=True)
class Reply:
    """One reply. ``delay`` in seconds comes first; ``hang_up`` answers nothing at all.

    ``cut_after`` ends the connection after so many bytes of the body. ``pieces`` replace the body: bytes are sent at
    once each, an event is waited for.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    body: bytes = b""
    delay: float = 0.0
    hang_up: bool = False
    cut_after: int | None = None
    pieces: tuple[bytes | asyncio.Event, ...] = ()

    @classmethod
    def recorded(cls, reply: Mapping[str, Json]) -> Reply:
        """A reply as the recordings write it."""
        headers = {name.lower(): value for name, value in (reply.get("headers") or {}).items()}
        headers.setdefault("content-type", "application/json")
        body = reply.get("body")
        if "body_base64" in reply:
            data = base64.b64decode(reply["body_base64"])
        elif body is None:
            data = b""
        else:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return cls(reply.get("status", 200), headers, data, reply.get("delay", 0), bool(reply.get("close")))

    @classmethod
    def json(cls, body: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        return cls(status, {"content-type": "application/json", **(headers or {})}, json.dumps(body).encode())


@dataclass
class StandIn:
    """The state of one stand-in; ``play`` sets what it expects and how it replies.

    ``is_open`` takes any request, for tests of what is not recorded.
    """

    expected: Sequence[Mapping[str, Json]] = ()
    replies: Sequence[Reply] = ()
    expected_tokens: Sequence[Mapping[str, Json]] = ()
    token_replies: Sequence[Reply] = ()
    repeats: bool = False
    is_open: bool = False
    secret_key: str | None = None
    calls: list[Received] = field(default_factory=list)
    tokens: list[Received] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def play(
        self,
        expected: Iterable[Mapping[str, Json]],
        replies: Iterable[Reply],
        token_replies: Iterable[Reply] = (),
        *,
        secret_key: str | None = None,
        repeats: bool = False,
    ) -> None:
        """Expect requests in this order; with ``repeats`` the last one any number of times.

        Replies are taken in order, the last one repeated. ``secret_key`` is what signed requests are signed with.
        """
        requests = list(expected)
        self.expected = [r for r in requests if not is_token_request(r["path"])]
        self.expected_tokens = [r for r in requests if is_token_request(r["path"]) and r["method"] == "POST"]
        self.replies, self.token_replies = list(replies), list(token_replies)
        self.secret_key, self.repeats, self.is_open = secret_key, repeats, False
        self.calls, self.tokens, self.refusals = [], [], []
        self.left.clear()

    def play_create(self, case: Recording) -> None:
        self.play(
            case.create_requests,
            map(Reply.recorded, case.create_replies),
            map(Reply.recorded, case.token_replies),
            secret_key=_secret_key(case),
        )

    def play_call(self, case: Recording, *replies: Reply, repeats: bool = False) -> None:
        """Expect what the case recorded; ``replies`` instead of the recorded ones."""
        self.play(
            case.call_requests,
            replies or map(Reply.recorded, case.call_replies),
            map(Reply.recorded, case.token_replies),
            secret_key=_secret_key(case),
            repeats=repeats,
        )

    @property
    def missing(self) -> list[str]:
        """Expected requests that did not come; tokens may have been kept from before."""
        absent = self.expected[len(self.calls) :]
        return [] if self.repeats else [f"not sent: {r['method']} {r['host']}{r['path']}" for r in absent]

    def create_app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, headers.get("host", ""), request.raw_path, headers, await request.read())
        if is_discovery(received.target):
            return web.json_response(_DISCOVERY)
        is_token = is_token_request(received.target) and bool(self.token_replies)
        log, expected = (self.tokens, self.expected_tokens) if is_token else (self.calls, self.expected)
        replies = self.token_replies if is_token else self.replies
        number = len(log)
        log.append(received)
        refusal = self._refusal(received, number, expected, is_token=is_token)
        if refusal is not None and not self.is_open:
            self.refusals.append(refusal)
            return web.json_response({"error": {"message": f"the stand-in refuses: {refusal}"}}, status=REFUSED)
        return await self._play(request, replies[min(number, len(replies) - 1)])

    def _refusal(
        self, received: Received, number: int, expected: Sequence[Mapping[str, Json]], *, is_token: bool
    ) -> str | None:
        if self.repeats or is_token:
            wanted = expected[min(number, len(expected) - 1)] if expected else None
            wanted = wanted if self.repeats or number < len(expected) else None
        else:
            wanted = expected[number] if number < len(expected) else None
        if wanted is None:
            return f"request {number + 1} to {received.host}{received.target} is one too many"
        if found := request_differences(wanted, received.form):
            return f"request {number + 1}: {'; '.join(found[:3])}"
        if self.secret_key is not None and "AWS4-HMAC" in received.headers.get("authorization", ""):
            return signature_fault(received, self.secret_key)
        return None

    async def _play(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        try:
            await asyncio.sleep(reply.delay)
        except asyncio.CancelledError:
            self.left.set()
            raise
        if reply.hang_up:
            _hang_up(request)
            return web.Response()
        if reply.pieces:
            return await self._play_pieces(request, reply)
        if reply.cut_after is None:
            return web.Response(status=reply.status, headers=dict(reply.headers), body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: reply.cut_after])
        _hang_up(request)
        return response

    async def _play_pieces(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        await response.prepare(request)
        try:
            for piece in reply.pieces:
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                else:
                    await response.write(piece)
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _secret_key(case: Recording) -> str | None:
    value = case.create["body"].get("service_settings", {}).get("secret_key")
    return value if isinstance(value, str) else None


def without_limit(case: Recording) -> Recording:
    """The case with a rate limit that never makes a call wait, where the service takes one."""
    body = json.loads(json.dumps(case.create["body"]))
    body["service_settings"]["rate_limit"] = {"requests_per_minute": 6_000_000}
    return replace(case, create={**case.create, "body": body})
