"""Bearer tokens: one request for many callers, renewed before the end, dropped when refused, never piling up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

import pytest

from sidecar.core.errors import SidecarError, StatusError
from sidecar.services.calls import ProviderAnswer, ProviderRequest, TokenRequest
from sidecar.services.oauth2 import form_request, read_token
from sidecar.upstream import tokens
from sidecar.upstream.tokens import Tokens


@dataclass
class TokenServer:
    """Answers with tokens numbered from 1, or with ``status`` alone."""

    lifetime: float = 3600
    status: int = 200
    numbers: count[int] = field(default_factory=lambda: count(1))
    requests: int = 0

    async def send(self, request: ProviderRequest) -> ProviderAnswer:
        self.requests += 1
        await asyncio.sleep(0)
        body = b'{"access_token": "T%d", "expires_in": %d}' % (next(self.numbers), self.lifetime)
        return ProviderAnswer(self.status, {}, body)


def wish(key: str = "endpoint") -> TokenRequest:
    def failure(answer: ProviderAnswer | None) -> SidecarError:
        return StatusError(f"refused with {answer.status if answer else None}", status=401)

    return TokenRequest(
        key=key,
        request=lambda: form_request("http://token.example", {}),
        read=read_token,
        failure=failure,
        retried=frozenset({500}),
    )


def at_once(attempt: int) -> float:
    return 0.0


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


async def test_callers_at_the_same_time_share_one_request() -> None:
    server = TokenServer()
    cache = Tokens(server.send)
    assert await asyncio.gather(*(cache.get(wish(), at_once) for _ in range(5))) == ["T1"] * 5
    assert server.requests == 1


@pytest.mark.parametrize(("lifetime", "kept", "renewed"), [(3600, 3539, 3540), (10, 7.9, 8)])
async def test_a_token_is_renewed_before_it_ends(
    clock: list[float], lifetime: float, kept: float, renewed: float
) -> None:
    cache = Tokens(TokenServer(lifetime).send, lambda: clock[0])
    assert await cache.get(wish(), at_once) == "T1"
    clock[0] = kept
    assert await cache.get(wish(), at_once) == "T1"
    clock[0] = renewed
    assert await cache.get(wish(), at_once) == "T2"


async def test_a_refused_token_is_fetched_anew() -> None:
    cache = Tokens(TokenServer().send)
    await cache.get(wish(), at_once)
    cache.drop(wish())
    assert await cache.get(wish(), at_once) == "T2"


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (500, 3)])
async def test_refusals_are_final_and_failures_are_tried_again(status: int, requests: int) -> None:
    server = TokenServer(status=status)
    with pytest.raises(StatusError, match=f"refused with {status}"):
        await Tokens(server.send).get(wish(), at_once)
    assert server.requests == requests


async def test_tokens_of_endpoints_that_are_gone_do_not_pile_up(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MANY_TOKENS", 3)
    server = TokenServer(lifetime=100)
    cache = Tokens(server.send, lambda: clock[0])
    for number in range(3):
        await cache.get(wish(f"gone-{number}"), at_once)
    clock[0] = 1000.0
    await cache.get(wish("new"), at_once)
    server.status = 401
    with pytest.raises(StatusError):
        await cache.get(wish("refused"), at_once)
    assert len(cache._tokens) == len(cache._locks) == 1
