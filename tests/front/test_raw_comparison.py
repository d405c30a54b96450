"""What is forwarded comes back as the node gives it, byte for byte: straight and through."""

from __future__ import annotations

from collections.abc import Iterator

from tests.front.conftest import StartFront
from tests.front.raw_http import RawAnswer, compose, exchange, outline, plain, steady
from tests.front.raw_requests import CLEANUP, RawRequest, requests


async def played(base: str) -> list[tuple[RawRequest, RawAnswer]]:
    """All requests, one after the other, on a node without what they make."""
    await _clean(base)
    answers = []
    for request in requests():
        raw = compose(request.method, request.target, request.headers, request.body)
        answers.append((request, await exchange(base, raw, is_head=request.method == "HEAD")))
    await _clean(base)
    return answers


async def _clean(base: str) -> None:
    for target in CLEANUP:
        await exchange(base, compose("DELETE", target))


def differences(request: RawRequest, direct: RawAnswer, through: RawAnswer) -> Iterator[str]:
    # the version is that of the connection: a node answers a line that is too long in HTTP/1.0
    if direct.status_line.partition(" ")[2] != through.status_line.partition(" ")[2]:
        yield f"{direct.status_line} became {through.status_line}"
    if _comparable(direct) != _comparable(through):
        yield f"headers {_comparable(direct)} became {_comparable(through)}"
    if request.method != "HEAD" and direct.framing.split()[0] != through.framing.split()[0]:
        yield f"{direct.framing} became {through.framing}"
    before, after = plain(direct), plain(through)
    if outline(before) != outline(after) if request.figures else steady(before) != steady(after):
        yield f"body {before[:400]!r} became {after[:400]!r}"


def _comparable(answer: RawAnswer) -> list[tuple[str, str]]:
    # the length of a body with durations in it varies
    return [(name, value) for name, value in answer.headers if name.lower() != "content-length"]


async def test_two_hundred_requests_are_answered_as_the_node_answers_them(
    start_front: StartFront, elasticsearch: str
) -> None:
    front = await start_front(elasticsearch)
    direct = await played(elasticsearch)
    through = await played(front)
    assert len({str(request) for request, _ in direct}) >= 200
    found = [
        f"{request}: {difference}"
        for (request, straight), (_, relayed) in zip(direct, through, strict=True)
        for difference in differences(request, straight, relayed)
    ]
    assert not found, f"{len(found)} differ\n" + "\n".join(found)
