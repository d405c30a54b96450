"""Providers that fail in every way they can: what callers get, and how often the provider is asked.

The tables follow Elasticsearch: which statuses each of its clients repeats, three calls at most, texts cut to half
where they were too long, statuses of 500 and above as 400.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
import re
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sidecar.services.event_stream import Frame
from tests.services import frames
from tests.services.conftest import Bench
from tests.services.exchange import read_events
from tests.services.recordings import VERSIONS, Recording, basic_recordings, recordings, services
from tests.services.stand_in import Reply, without_limit

Json = Any


@dataclass(frozen=True)
class Family:
    """What a client repeats: ``retried`` statuses as they are, ``shortened`` ones with half the list, then of the text.

    ``unanswered`` and ``garbage`` are the numbers of calls when no answer comes, or one that cannot be read; ``unread``
    is the status for the latter, ``empty`` for an answer without a body.
    """

    retried: frozenset[int] = frozenset()
    shortened: frozenset[int] = frozenset()
    unanswered: int = 3
    garbage: int = 3
    unread: int = 400
    empty: int = 500

    def calls(self, status: int) -> int:
        return 3 if status in self.retried | self.shortened else 1


def _family(*retried: int, **changes: Any) -> Family:
    return Family(frozenset(retried), **changes)


_LONG = frozenset({413})
_OPENAI_EMBEDDINGS = _family(429, 500, 503, shortened=_LONG)
# Too long a chat is sent again as it is.
_CHAT = _family(413, 500, 503)
_AZURE = _family(413, 429, 500, 503)
_MANY = _family(429, 500)
_TEI = _family(429, 502, 503, shortened=_LONG)
# No document is cut for a ranking.
_TEI_RANKING = _family(413, 429, 502, 503)
_GOOGLE = _family(429, 500, 503)
_WATSONX = _family(500)
_ONCE = _family(unanswered=1, garbage=1, unread=500)
_CUSTOM = _family(429, garbage=1)
_SAGEMAKER = _family(429, 500, 503, garbage=1, unread=500)
_FAMILIES: dict[str, dict[str, Family]] = {
    "ai21": {"*": _CHAT},
    "alibabacloud-ai-search": {"*": _family(429)},
    "amazon_sagemaker": {"*": _SAGEMAKER},
    "amazonbedrock": {"text_embedding": replace(_ONCE, empty=400), "*": _ONCE},
    "anthropic": {"*": _family(429, 500, 529)},
    "azureaistudio": {"text_embedding": _OPENAI_EMBEDDINGS, "*": _AZURE},
    "azureopenai": {"text_embedding": _OPENAI_EMBEDDINGS, "completion": _AZURE, "chat_completion": _CHAT},
    "cohere": {"*": _MANY},
    "contextualai": {"*": _MANY},
    "custom": {"*": _CUSTOM},
    "deepseek": {"*": _CHAT},
    "fireworksai": {"text_embedding": _MANY, "*": _CHAT},
    "googleaistudio": {"*": _GOOGLE},
    "googlevertexai": {"*": _GOOGLE},
    "groq": {"*": _CHAT},
    "hugging_face": {"completion": _CHAT, "chat_completion": _CHAT, "rerank": _TEI_RANKING, "*": _TEI},
    "hugging_face_elser": {"*": _TEI},
    "jinaai": {"*": _MANY},
    "llama": {"text_embedding": _OPENAI_EMBEDDINGS, "*": _CHAT},
    "mistral": {"text_embedding": _OPENAI_EMBEDDINGS, "*": _CHAT},
    "nvidia": {"text_embedding": _OPENAI_EMBEDDINGS, "rerank": _MANY, "*": _family(500, 503)},
    "ollama": {"*": _family(429, 502, 503)},
    "openai": {"text_embedding": _OPENAI_EMBEDDINGS, "*": _CHAT},
    "openshift_ai": {"text_embedding": _OPENAI_EMBEDDINGS, "rerank": _MANY, "*": _CHAT},
    "together": {"text_embedding": _OPENAI_EMBEDDINGS, "rerank": _AZURE, "*": _CHAT},
    "voyageai": {"*": _MANY},
    "watsonxai": {"chat_completion": _CHAT, "*": _WATSONX},
}
_RATE_HEADERS = {
    "retry-after": "0",
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-tokens": "12",
    "anthropic-ratelimit-requests-limit": "60",
    "anthropic-ratelimit-requests-remaining": "0",
}
# These take no rate limit: DeepSeek has none, SageMaker's is high enough.
_WITHOUT_LIMIT_SETTING = {"deepseek", "amazon_sagemaker"}
_COMPARES_DIMENSIONS = {
    "openai", "azureopenai", "azureaistudio", "googlevertexai", "jinaai", "voyageai", "openshift_ai", "fireworksai",
    "amazon_sagemaker", "ollama",
}  # fmt: skip
_REFUSES_DIMENSIONS = {"amazonbedrock", "nvidia", "hugging_face_elser", "together"}
_ANSWERS_OPENAI_LIST = ("openai", "azureopenai", "azureaistudio", "mistral", "nvidia", "openshift_ai", "together")


def family_of(case: Recording) -> Family:
    families = _FAMILIES[case.service]
    return families.get(case.task_type, families.get("*", _CHAT))


def is_stream(case: Recording) -> bool:
    return case.task_type == "chat_completion"


@dataclass(frozen=True)
class Misbehaviour:
    """A reply, how the caller is answered, and how many calls that takes; ``error`` is whether an error is told."""

    name: str
    reply: Reply
    status: int
    calls: int
    error: bool = True
    timeout: str = "30s"


def misbehaviours(case: Recording) -> Iterator[Misbehaviour]:
    """Everything that can go wrong with one case."""
    family, recorded = family_of(case), Reply.recorded(case.call_replies[0])
    failure = {"error": {"message": "no", "type": "t", "code": "c"}, "message": "no", "detail": "no"}
    for status in (500, 503, 401, 413, 429):
        shown = status if status < 500 else 400
        calls = len(_smaller(case)) if status in family.shortened else family.calls(status)
        yield Misbehaviour(str(status), Reply.json(failure, status), shown, calls)
    yield Misbehaviour("429 with headers", Reply.json(failure, 429, _RATE_HEADERS), 429, family.calls(429))
    yield Misbehaviour("500 without body", Reply(500), 400, family.calls(500))
    yield Misbehaviour("slow", replace(recorded, delay=30), 429, 1, timeout="150ms")
    yield Misbehaviour("no answer", Reply(hang_up=True), 500, family.unanswered)
    half = len(recorded.body) // 2
    if is_stream(case):
        yield Misbehaviour("cut off in the stream", replace(recorded, cut_after=half), 200, 1)
        yield Misbehaviour("nothing in the stream", replace(recorded, body=b""), 200, 1, error=False)
        return
    garbage = replace(recorded, body=b"<html>oops")
    yield Misbehaviour("cut off", replace(recorded, cut_after=half), 500, family.unanswered)
    yield Misbehaviour("garbage", garbage, family.unread, family.garbage)
    yield Misbehaviour("empty", replace(recorded, body=b""), family.empty, 1)


@pytest.mark.parametrize("service", services())
async def test_failures_are_repeated_and_told_as_elasticsearch_does(
    service: str, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong: list[str] = []
    shown: list[str] = []
    for recorded in basic_recordings(service):
        case = await created(bench, recorded)
        for misbehaviour in misbehaviours(case):
            answer, calls = await misbehaved(bench, case, misbehaviour)
            shown.append(json.dumps(answer))
            found = (answer["status"], calls, tells_error(answer))
            wanted = (misbehaviour.status, misbehaviour.calls, misbehaviour.error)
            if found != wanted or bench.provider.refusals:
                where = f"{case.task_type}, {misbehaviour.name}"
                wrong.append(f"{where}: wanted {wanted}, found {found} {bench.provider.refusals} {answer}"[:700])
    assert shown
    log = capfd.readouterr()
    for secret in secrets_of(service):
        assert not any(secret in text for text in shown)
        assert secret not in log.out + log.err
    assert not wrong, "(status, calls, error told):\n" + "\n".join(wrong)


async def created(bench: Bench, case: Recording) -> Recording:
    """The case with its endpoint made, so that no rate limit makes its calls wait."""
    case = case if case.service in _WITHOUT_LIMIT_SETTING else without_limit(case)
    bench.provider.play_create(case)
    answer = await bench.send("PUT", case.create["path"], case.create["body"])
    assert answer["status"] == 200, (case.id, answer, bench.provider.refusals)
    return case


async def misbehaved(bench: Bench, case: Recording, misbehaviour: Misbehaviour) -> tuple[dict[str, Json], int]:
    provider = bench.provider
    provider.play_call(case, misbehaviour.reply, repeats=True)
    if misbehaviour.reply.status in family_of(case).shortened:
        provider.expected = [_with(provider.expected[0], case, texts) for texts in _smaller(case)]
    path, body = case.call["path"], case.call["body"]
    answer = await bench.send("POST", path, body, query={"timeout": misbehaviour.timeout})
    return answer, len(provider.calls)


def tells_error(answer: dict[str, Json]) -> bool:
    body = answer["body"]
    if isinstance(body, str):
        return any(event["event"] == "error" for event in read_events(body))
    return "error" in body


def secrets_of(service: str) -> set[str]:
    return {secret for case in basic_recordings(service) for secret in case.secrets}


def _smaller(case: Recording) -> list[list[str]]:
    """The texts of the calls that come of a provider for whom all is too large: lists halved, then the text."""
    given = case.call["body"].get("input", [])
    texts = given if isinstance(given, list) else [given]
    lists = [texts]
    # A ranking is one of the whole list.
    while len(lists[-1]) > 1 and case.task_type != "rerank":
        lists.append(lists[-1][: (len(lists[-1]) + 1) // 2])
    for _ in range(2):
        lists.append([text[: len(text) // 2] for text in lists[-1]])
    return lists


def _with(value: Json, case: Recording, texts: list[str]) -> Json:
    """A request with other texts in the place of the case's."""
    given = case.call["body"]["input"]
    if isinstance(value, dict):
        return {name: _with(item, case, texts) for name, item in value.items()}
    if value in (given, [given]):
        return texts if isinstance(value, list) else texts[0]
    return value


# --- vectors


def _dense() -> list[Recording]:
    cases = [case for service in services() for case in basic_recordings(service)]
    return [case for case in cases if case.task_type == "text_embedding"]


@pytest.mark.parametrize("case", _dense(), ids=lambda case: case.service)
async def test_too_few_vectors_are_returned_as_they_are(case: Recording, bench: Bench) -> None:
    if case.service == "amazonbedrock":  # Titan takes one text per call, so there is no list to be short of.
        assert isinstance(case.call["body"]["input"], str)
        return
    case = await created(bench, case)
    one = Reply.recorded(case.create_replies[0])
    bench.provider.play_call(case, one, repeats=True)
    answer = await bench.send("POST", case.call["path"], case.call["body"])
    assert answer["status"] == 200, answer
    (vectors,) = answer["body"].values()
    assert len(vectors) == 1
    assert len(bench.provider.calls) == 1


@pytest.mark.parametrize("case", _dense(), ids=lambda case: case.service)
async def test_vectors_of_another_size_than_asked_for(case: Recording, bench: Bench) -> None:
    case = copy.deepcopy(case)
    case.create["body"]["service_settings"]["dimensions"] = 7
    bench.provider.play_create(case)
    bench.provider.is_open = True
    answer = await bench.send("PUT", case.create["path"], case.create["body"])
    if case.service in _REFUSES_DIMENSIONS:
        assert answer["status"] == 400, answer
        assert "dimensions" in answer["body"]["error"]["reason"]
    elif case.service in _COMPARES_DIMENSIONS:
        assert answer["status"] == 400, answer
        assert "The retrieved embeddings size [4] does not match the size" in json.dumps(answer["body"])
    else:
        assert answer["status"] == 200, answer
        assert answer["body"]["service_settings"]["dimensions"] == 4


@pytest.mark.parametrize("service", _ANSWERS_OPENAI_LIST)
async def test_base64_vectors_are_those_of_float_arrays(service: str, bench: Bench) -> None:
    case = await created(bench, next(c for c in basic_recordings(service) if c.task_type == "text_embedding"))
    floats = case.call_replies[0]["body"]
    packed = json.loads(json.dumps(floats))
    for item in packed["data"]:
        item["embedding"] = base64.b64encode(struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])).decode()
    answers = []
    for body in (floats, packed):
        bench.provider.play_call(case, Reply.json(body), repeats=True)
        answers.append(await bench.send("POST", case.call["path"], case.call["body"]))
    assert answers[0]["status"] == 200
    assert answers[0]["body"] == answers[1]["body"]
    assert not bench.provider.refusals


# --- streams

_TEXT = "Hé€😀"
# the two texts that every recorded stream says, as providers and callers write them
_FIRST, _SECOND = re.compile(rb': ?"Hel'), re.compile(rb': ?"lo')


def _streams() -> list[Recording]:
    """A plain stream of every service that has one, and of both forms that SageMaker's endpoints speak."""
    found = [case for service in services() if (case := _stream_of(service)) is not None]
    chats = (case for case in recordings("amazon_sagemaker", VERSIONS[0]) if is_stream(case))
    return [*found, next(case for case in chats if case.name == "openai_basic")]


def _stream_of(service: str) -> Recording | None:
    """The plain chat of a service, or the first completion that streams where it has none."""
    chats = (case for case in basic_recordings(service) if is_stream(case))
    streams = (case for case in recordings(service, VERSIONS[0]) if case.call["path"].endswith("/_stream"))
    succeeding = (case for case in streams if case.call_replies and case.call_replies[0].get("status", 200) == 200)
    return next(chats, None) or next(succeeding, None)


def _content_type(case: Recording) -> str:
    content_type: str = case.call_replies[0]["headers"]["content-type"]
    return content_type


def _is_framed(case: Recording) -> bool:
    """True for Amazon's streams, which are binary frames."""
    return _content_type(case) == frames.CONTENT_TYPE


def _events(case: Recording) -> list[bytes]:
    body = Reply.recorded(case.call_replies[0]).body
    if _is_framed(case):
        return frames.split(body)
    return [block + b"\n\n" for block in body.split(b"\n\n") if block.strip()]


def _broken(case: Recording) -> bytes:
    """An event of the case's stream that holds no JSON."""
    if not _is_framed(case):
        return b"data: {not json\n\n"
    last = next(event for event in _events(case) if _SECOND.search(event))
    return frames.replaced(last, b'"lo', b"{not json")


def _stream_reply(case: Recording, *pieces: bytes | asyncio.Event) -> Reply:
    return Reply(headers={"content-type": _content_type(case)}, pieces=pieces)


async def _told(bench: Bench, case: Recording, *pieces: bytes | asyncio.Event) -> list[dict[str, Json]]:
    """The events that the caller gets for a stream of these pieces; an id that is made up for it is left out."""
    bench.provider.play_call(case, _stream_reply(case, *pieces))
    answer = await bench.send("POST", case.call["path"], case.call["body"])
    assert answer["status"] == 200, answer
    assert not bench.provider.refusals
    text = re.sub(r"unified-[0-9a-f-]+", "unified", answer["body"])
    return read_events(text)


_EVERY_STREAM = pytest.mark.parametrize("case", _streams(), ids=lambda case: case.id)
_FRAMED = [case for case in _streams() if _is_framed(case)]
_EVERY_FRAMED_STREAM = pytest.mark.parametrize("case", _FRAMED, ids=lambda case: case.id)


@_EVERY_STREAM
async def test_chunks_pass_as_they_arrive(case: Recording, bench: Bench) -> None:
    case = await created(bench, case)
    pieces: list[bytes | asyncio.Event] = []
    held: dict[re.Pattern[bytes], asyncio.Event] = {}
    for event in _events(case):
        pieces.append(event)
        for text in (_FIRST, _SECOND):
            if text.search(event) and text not in held:
                held[text] = asyncio.Event()
                pieces.append(held[text])
    assert len(held) == 2
    bench.provider.play_call(case, _stream_reply(case, *pieces))
    async with asyncio.timeout(20), bench.open("POST", case.call["path"], case.call["body"]) as response:
        chunks = response.content.iter_any()
        received = b""
        for text, next_is_due in held.items():
            while not text.search(received):
                received += await anext(chunks)
            assert b"[DONE]" not in received
            next_is_due.set()
        received += b"".join([chunk async for chunk in chunks])
    assert response.status == 200
    assert received.endswith(b"data: [DONE]\n\n")
    assert not bench.provider.refusals


@_EVERY_STREAM
async def test_a_caller_who_leaves_ends_the_providers_stream(case: Recording, bench: Bench) -> None:
    case = await created(bench, case)
    never = asyncio.Event()
    bench.provider.play_call(case, _stream_reply(case, *_events(case), never))
    async with asyncio.timeout(20):
        async with bench.open("POST", case.call["path"], case.call["body"]) as response:
            assert await response.content.readany()
            response.close()
        await bench.provider.left.wait()


@_EVERY_STREAM
async def test_events_cut_anywhere_are_put_together(case: Recording, bench: Bench) -> None:
    case = await created(bench, case)
    replace_text = frames.replaced if _is_framed(case) else bytes.replace
    events = [replace_text(event, b'"Hel', f'"{_TEXT}'.encode()) for event in _events(case)]
    number = next(number for number, event in enumerate(events) if _TEXT.encode() in event)
    body, start, end = b"".join(events), len(b"".join(events[:number])), len(b"".join(events[: number + 1]))
    cuts = {character: body.index(character.encode()) + 1 for character in _TEXT if not character.isascii()}
    cuts |= {"start": start + 3, "json": body.index(_TEXT.encode()) - 4, "end": end - 1}
    if _is_framed(case):
        cuts |= {"prelude": start + 9, "headers": start + frames.payload_start(events[number]) - 4, "checksum": end - 3}
    whole = await _told(bench, case, body)
    assert _TEXT in json.dumps(whole, ensure_ascii=False)
    for where, at in cuts.items():
        arrived = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, arrived.set)
        assert _joined(await _told(bench, case, body[:at], arrived, body[at:])) == _joined(whole), where


def _joined(events: list[dict[str, Json]]) -> Json:
    """How completion deltas are grouped depends on how they came."""
    pieces = [event["data"]["completion"] for event in events if "completion" in event["data"]]
    text = "".join(delta["delta"] for piece in pieces for delta in piece)
    return text, [event for event in events if "completion" not in event["data"]]


@_EVERY_STREAM
async def test_a_broken_event_ends_the_stream_with_an_error(case: Recording, bench: Bench) -> None:
    case = await created(bench, case)
    begun = list(itertools.takewhile(lambda event: not _SECOND.search(event), _events(case)))
    answered = await _told(bench, case, *begun)
    assert answered[-1]["data"] == "[DONE]"
    told = await _told(bench, case, *begun, _broken(case), *_events(case))
    assert _joined(told[:-1]) == _joined(answered[:-1])
    assert told[-1]["event"] == "error"
    assert "message" in json.dumps(told[-1]["data"]) or "reason" in json.dumps(told[-1]["data"])


@_EVERY_FRAMED_STREAM
async def test_a_damaged_or_unfinished_frame_ends_the_stream_with_an_error(case: Recording, bench: Bench) -> None:
    case = await created(bench, case)
    *before, last = _events(case)
    answered = await _told(bench, case, *before)
    for broken in (last[:-1], last[:10], last[:-1] + b"?"):
        told = await _told(bench, case, *before, broken)
        assert told[:-1] == answered[:-1]
        assert told[-1]["event"] == "error"
        assert told[-1]["data"]["error"]["message"].startswith("Broken event stream: ")


@_EVERY_FRAMED_STREAM
@pytest.mark.parametrize("after", [0, 1])
async def test_an_exception_in_a_frame_ends_the_stream_with_its_words(
    case: Recording, after: int, bench: Bench
) -> None:
    case = await created(bench, case)
    before = _events(case)[:after]
    name, payload, error = {
        "amazonbedrock": (
            "throttlingException",
            b'{"message": "Too many requests"}',
            {
                "code": "too_many_requests",
                "message": "Too many requests (Service: bedrock, Status Code: 429, Request ID: null)",
                "type": "throttling_exception",
            },
        ),
        "amazon_sagemaker": (
            "ModelStreamError",
            b'{"Message": "broke", "ErrorCode": "X"}',
            {
                "code": "internal_server_error",
                "message": f"Received an error from SageMaker for [{case.create['path'].rpartition('/')[2]}]",
                "type": "error",
            },
        ),
    }[case.service]
    told = await _told(bench, case, *before, frames.encoded(Frame("exception", name, payload)))
    assert [event["event"] for event in told] == ["message"] * after + ["error"]
    assert told[-1]["data"] == {"error": error}


# --- tokens


def _token_services() -> list[Recording]:
    found = [case for service in services() for case in basic_recordings(service) if case.token_replies]
    azure = (case for case in recordings("azureopenai", VERSIONS[0]) if case.token_replies and case.call_replies)
    return [*found, next(azure), _openai_oauth2()]


def _openai_oauth2() -> Recording:
    """OpenAI's plain case with OAuth2 client credentials as RFC 6749 has them, sections 2.3.1 and 4.4."""
    case = next(case for case in basic_recordings("openai") if case.task_type == "text_embedding")
    settings = {
        "model_id": "text-embedding-3-small",
        "client_id": "client 1",
        "client_secret": "s:cret",
        "scopes": ["first", "second"],
        "token_url": "https://login.example.org/oauth2/token",
    }
    token_request = {
        "method": "POST",
        "host": "login.example.org",
        "path": "/oauth2/token",
        "headers": {
            "content-type": "application/x-www-form-urlencoded",
            "authorization": "Basic " + base64.b64encode(b"client%201:s%3Acret").decode(),
        },
        "body": "grant_type=client_credentials&scope=first+second",
    }

    def with_token(request: dict[str, Json]) -> dict[str, Json]:
        return {**request, "headers": {**request["headers"], "authorization": "Bearer T1"}}

    return replace(
        case,
        id="openai/text_embedding/oauth2_client_credentials",
        create={**case.create, "body": {"service": "openai", "service_settings": settings}},
        create_requests=(token_request, *map(with_token, case.create_requests)),
        call_requests=tuple(map(with_token, case.call_requests)),
        token_replies=({"body": {"access_token": "T1", "token_type": "Bearer", "expires_in": 3600}},),
    )


async def _calls(bench: Bench, case: Recording, count: int) -> AsyncIterator[dict[str, Json]]:
    for _ in range(count):
        yield await bench.send(case.call["method"], case.call["path"], case.call["body"])


@pytest.mark.parametrize("case", _token_services(), ids=lambda case: case.id)
async def test_one_token_serves_many_calls_until_it_ends_or_is_refused(case: Recording, bench: Bench) -> None:
    provider = bench.provider
    case = await created(bench, case)
    assert len(provider.tokens) == 1
    call_reply = Reply.recorded(case.call_replies[0])
    provider.play_call(case, call_reply, repeats=True)
    provider.expected_tokens = [r for r in case.create_requests if "token" in r["path"] and r["method"] == "POST"]
    assert [answer["status"] async for answer in _calls(bench, case, 2)] == [200, 200]
    assert not provider.tokens
    refused = Reply.json({"error": {"message": "expired", "code": 401, "status": "UNAUTHENTICATED"}}, 401)
    provider.replies = [refused, call_reply]
    provider.calls.clear()
    assert [answer["status"] async for answer in _calls(bench, case, 2)] == [401, 200]
    assert len(provider.tokens) == 1
    assert not provider.refusals


@pytest.mark.parametrize("case", _token_services(), ids=lambda case: case.id)
async def test_a_token_is_fetched_anew_when_its_time_is_over(case: Recording, bench: Bench) -> None:
    short = json.loads(json.dumps(case.token_replies))
    for reply in short:
        reply["body"]["expires_in"] = 1
        reply["body"].pop("expiration", None)
    case = await created(bench, replace(case, token_replies=tuple(short)))
    provider = bench.provider
    provider.play_call(case, Reply.recorded(case.call_replies[0]), repeats=True)
    provider.expected_tokens = [r for r in case.create_requests if "token" in r["path"] and r["method"] == "POST"]
    await asyncio.sleep(1)
    answers = [answer["status"] async for answer in _calls(bench, case, 1)]
    assert answers == [200]
    assert len(provider.tokens) == 1
    assert not provider.refusals
