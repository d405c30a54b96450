"""Sends what services build and hands back what they parse.

    rate limit -> token -> request -> answer ─┬─ parse -> result
                     ▲                        ├─ retryable failure: wait, again (at most 3 calls)
                     └── 401 drops the token  ├─ too large: half the list (embeddings), a lone text cut to half, again
                                              └─ other failure: the service's error

The caller's deadline bounds everything; leaving cancels the provider call.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import aiohttp
import structlog

from sidecar.core.errors import OtherError, SidecarError, UpstreamError
from sidecar.core.requests import ContentGroup
from sidecar.core.results import Answer, StreamItem
from sidecar.services.calls import Call, ProviderAnswer, ProviderRequest, StreamFailedError, UnusableAnswerError
from sidecar.services.declaration import RemoteTask
from sidecar.services.rate_limit_headers import seconds_to_wait
from sidecar.upstream.connection import Connection, ConnectionConfig
from sidecar.upstream.limits import RateLimits
from sidecar.upstream.network_errors import NetworkError, network_error
from sidecar.upstream.results import check_numbers, count_of, joined, with_marks
from sidecar.upstream.tokens import Tokens
from sidecar.upstream.whole_answer import WholeAnswer
from sidecar.upstream.words import shorten, without_secrets

_log = structlog.stdlib.get_logger(__name__)
_T = TypeVar("_T")

# answers above it are read, and requests above it are built, in a thread: two thousandths of a second on the loop and
# more; below it the way there and back costs the processor more than it frees
_LARGE_BODY = 512 * 1024
_MANY_INPUTS = 5000
_MANY_MESSAGES = 500
MAX_CALLS = 3
# statuses whose answers may say when to come again
_MAY_COME_AGAIN = frozenset({429, 503})
# requests of one split call that run at the same time
SPLIT_CONCURRENCY = 4


class Observer(Protocol):
    """Hears of every provider call; ``status`` is 0 when no answer came."""

    def upstream_call(self, service: str, status: int, seconds: float) -> None: ...

    def upstream_retry(self, service: str, status: int) -> None: ...


class SilentObserver:
    """Hears and says nothing."""

    def upstream_call(self, service: str, status: int, seconds: float) -> None:
        """Ignore the call."""

    def upstream_retry(self, service: str, status: int) -> None:
        """Ignore the retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """Back-off: the bound starts at ``initial_delay`` and doubles up to ``max_delay``; the wait is random in its upper
    half. No retry begins after ``timeout`` seconds. The defaults are Elasticsearch's.
    """

    initial_delay: float = 1.0
    max_delay: float = 5.0
    timeout: float = 30.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after failed call number ``attempt`` (from 1)."""
        bound = min(self.initial_delay * 2 ** (attempt - 1), self.max_delay)
        return random.uniform(bound / 2, bound)  # noqa: S311 - jitter, not a secret


class _RetryableError(Exception):
    """A failure worth another call: ``error`` is what the caller sees if there is none, ``call`` what to send next.

    ``wait`` is how long the provider asks to wait before, in seconds.
    """

    def __init__(self, error: SidecarError, call: Call, status: int, wait: float = 0.0) -> None:
        super().__init__(error.reason)
        self.error = error
        self.call = call
        self.status = status
        self.wait = wait


class _SilentError(Exception):
    """A stream's provider sent nothing for too long."""


class _TooMuchError(Exception):
    """The provider takes less than the whole list at once; nobody's text need be cut for that."""


class Sender:
    """One for all services. Create it inside a running loop; ``close`` it at the end."""

    def __init__(
        self,
        *,
        connection: ConnectionConfig | None = None,
        retries: RetryConfig | None = None,
        queue_capacity: int = 2000,
        stream_idle_timeout: float = 120.0,
        observer: Observer | None = None,
    ) -> None:
        self._stream_idle_timeout = stream_idle_timeout
        self._connection = Connection(connection or ConnectionConfig())
        self._retries = retries or RetryConfig()
        self._limits = RateLimits(queue_capacity)
        self._tokens = Tokens(self._connection.send)
        self._observer = observer or SilentObserver()
        self._open_streams = 0

    @property
    def calls_in_flight(self) -> int:
        """Calls of providers under way, streams among them."""
        return self._connection.calls_in_flight

    @property
    def open_streams(self) -> int:
        """Streams whose provider answered and has not ended."""
        return self._open_streams

    async def close(self) -> None:
        await self._connection.close()

    def forget(self, inference_id: str) -> None:
        """Drop what is kept for an endpoint that is gone."""
        self._limits.forget(inference_id)

    async def perform(self, service: str, task: RemoteTask, call: Call) -> Answer:
        """The provider's result; inputs beyond its hard limit go in several requests, answers keep the order.

        Raises:
            SidecarError: the provider's failure, in Elasticsearch's words.
        """
        cut, truncated = _cut(task, call)
        limit = task.most_inputs(call.settings)
        try:
            answer = await self._perform_parts(service, task, cut, limit or len(cut.inputs))
        except SidecarError as error:
            shorten(error, call.secrets)
            raise
        return with_marks(answer, truncated) if any(truncated) else answer

    async def _perform_parts(self, service: str, task: RemoteTask, call: Call, limit: int) -> Answer:
        """The result of requests with at most ``limit`` inputs each, or fewer where the provider wants that."""
        count = len(call.inputs)
        if count > limit:
            return await self._perform_split(service, task, call, limit)
        try:
            return await self._perform(service, task, call)
        except _TooMuchError:
            # One after the other: where each text alone is too much as well, the first says so.
            parts = _parts(call, (count + 1) // 2)
            return _together([await self._perform_part(service, task, part, limit) for part in parts])

    async def _perform_split(self, service: str, task: RemoteTask, call: Call, limit: int) -> Answer:
        gate = asyncio.Semaphore(SPLIT_CONCURRENCY)

        async def one(part: Call) -> Answer:
            async with gate:
                return await self._perform_part(service, task, part, limit)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(part)) for part in _parts(call, limit)]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return _together([task.result() for task in tasks])

    async def _perform_part(self, service: str, task: RemoteTask, part: Call, limit: int) -> Answer:
        answer = await self._perform_parts(service, task, part, limit)
        found = count_of(answer.result)
        if found != len(part.inputs):
            # Joined all the same, the results of the parts behind would stand at the wrong inputs.
            reason = f"The provider answered with [{found}] results for [{len(part.inputs)}] inputs"
            raise _failed_to_send(task, part, OtherError("illegal_state_exception", reason), 500)
        return answer

    async def _perform(self, service: str, task: RemoteTask, call: Call) -> Answer:
        sent = call

        async def attempt(call: Call) -> Answer:
            nonlocal sent
            sent = call
            call, request = await self._prepare(task, call)
            started = time.monotonic()
            try:
                answer = await self._connection.send(request)
            except NetworkError as error:
                self._unanswered(service, call, request, error, time.monotonic() - started)
                raise _unanswered(task, call, error) from error
            self._observer.upstream_call(service, answer.status, time.monotonic() - started)
            self._check(service, task, call, answer)
            if len(answer.body) > _LARGE_BODY:
                # beside the loop, which others need meanwhile
                return await asyncio.to_thread(_parsed, task, call, answer)
            return _parsed(task, call, answer)

        answer = await self._retrying(service, call, attempt)
        shorter = [len(text) < len(whole) for text, whole in zip(sent.texts, call.texts, strict=True)]
        return with_marks(answer, shorter) if any(shorter) else answer

    async def stream(self, service: str, task: RemoteTask, call: Call) -> AsyncGenerator[StreamItem, None]:
        """The provider's stream, item by item as it arrives; closing the iterator ends the provider call.

        Failures before the first byte are repeated like those of :meth:`perform`.

        Raises:
            SidecarError: the provider's failure, before or within the stream.
        """
        if task.stream is None:
            raise TypeError(f"{service} cannot stream {call.task_type}")
        reader = task.stream(call)
        async with AsyncExitStack() as stack:

            async def attempt(call: Call) -> aiohttp.ClientResponse:
                call, request = await self._prepare(task, call)
                return await self._opened(service, task, call, request, stack)

            response = await self._retrying(service, call, attempt)
            self._open_streams += 1
            stack.callback(self._end_stream)
            reader.open(response.headers)
            whole = WholeAnswer(response.headers)
            try:
                async for data in self._chunks(response):
                    items = reader.feed(data)
                    whole.look(data, items)
                    for item in items:
                        yield item
                for item in reader.finish():
                    whole.has_items = True
                    yield item
                whole.check(task.failures_for(call), call)
            except StreamFailedError as failure:
                for item in failure.items:
                    yield item
                failure.error.is_within_stream = True
                raise failure.error from failure
            except (aiohttp.ClientError, OSError) as error:
                broken = _unanswered(task, call, network_error(error, str(response.url))).error
                broken.is_within_stream = True
                raise broken from error
            except _SilentError as error:
                seconds = f"{self._stream_idle_timeout:g}s"
                cause = OtherError("timeout_exception", f"Nothing came from the provider for [{seconds}]")
                silent = _failed_to_send(task, call, cause, 500)
                silent.is_within_stream = True
                _log.warning("upstream_stream_silent", service=service, inference_id=call.inference_id, seconds=seconds)
                raise silent from error

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """What comes, piece by piece, each within the time that silence may last."""
        chunks = response.content.iter_any()
        while True:
            try:
                async with asyncio.timeout(self._stream_idle_timeout):
                    data = await anext(chunks, None)
            except TimeoutError:
                raise _SilentError from None
            if data is None:
                return
            yield data

    def _end_stream(self) -> None:
        self._open_streams -= 1

    async def _opened(
        self, service: str, task: RemoteTask, call: Call, request: ProviderRequest, stack: AsyncExitStack
    ) -> aiohttp.ClientResponse:
        """The response of a successful stream request; ``stack`` closes it."""
        started = time.monotonic()
        try:
            async with AsyncExitStack() as opening:
                response = await opening.enter_async_context(self._connection.open(request))
                self._observer.upstream_call(service, response.status, time.monotonic() - started)
                if response.status >= 300:
                    self._check(service, task, call, await self._connection.answer(response, request.address))
                stack.push_async_exit(opening.pop_all())
                return response
        except NetworkError as error:
            self._unanswered(service, call, request, error, time.monotonic() - started)
            raise _unanswered(task, call, error) from error

    def _unanswered(
        self, service: str, call: Call, request: ProviderRequest, error: NetworkError, seconds: float
    ) -> None:
        self._observer.upstream_call(service, 0, seconds)
        _log.warning(
            "upstream_call_failed",
            service=service,
            inference_id=call.inference_id,
            host=urlsplit(request.address).hostname,
            cause=error.cause.type,
        )

    async def _prepare(self, task: RemoteTask, call: Call) -> tuple[Call, ProviderRequest]:
        """Wait for the rate limit, fetch a token where one is needed, build the request."""
        await self._limits.wait(call)
        token = task.token(call) if task.token else None
        if token is not None:
            call = replace(call, token=await self._tokens.get(token, self._retries.delay))
        if _is_large(call):
            return call, await asyncio.to_thread(_built, task, call)
        return call, _built(task, call)

    def _check(self, service: str, task: RemoteTask, call: Call, answer: ProviderAnswer) -> None:
        """Raise for an unsuccessful answer."""
        if answer.status < 300:
            return
        if answer.status == 401 and task.token and (token := task.token(call)) is not None:
            self._tokens.drop(token)
        failures = task.failures_for(call)
        error = failures.error(answer, call)
        shorten(error, call.secrets)
        _log.warning(
            "upstream_call_failed",
            service=service,
            inference_id=call.inference_id,
            host=urlsplit(answer.url).hostname,
            upstream_status=answer.status,
            cause=without_secrets(error.reason or "", call.secrets),
        )
        if failures.is_too_large(answer):
            # Only embeddings: half a document's score, or half a question's answer, would pass for the whole one's.
            can_shorten = failures.can_shorten and call.task_type.is_embedding
            if can_shorten and len(call.inputs) > 1:
                raise _TooMuchError from error
            raise _RetryableError(error, _halved(call) if can_shorten else call, answer.status)
        wait = seconds_to_wait(answer.headers, datetime.now(UTC)) if answer.status in _MAY_COME_AGAIN else None
        if wait is not None and error.status in _MAY_COME_AGAIN:
            error.headers["Retry-After"] = str(math.ceil(wait))
        if failures.is_retried(answer):
            raise _RetryableError(error, call, answer.status, wait or 0.0)
        raise error

    async def _retrying(self, service: str, call: Call, attempt: Callable[[Call], Awaitable[_T]]) -> _T:
        """Run ``attempt`` up to three times, with the call that the last failure left.

        A provider that says when to come again (``Retry-After``) is believed, as its own client libraries do:
        Elasticsearch comes earlier and is refused again. Where that is too late for the caller, it is told at once.
        """
        started = time.monotonic()
        last = min(started + self._retries.timeout, math.inf if call.deadline is None else call.deadline)
        for number in range(1, MAX_CALLS + 1):
            try:
                return await attempt(call)
            except _RetryableError as failure:
                call = failure.call
                if number == MAX_CALLS or time.monotonic() + failure.wait > last:
                    raise failure.error from failure
                self._observer.upstream_retry(service, failure.status)
                await asyncio.sleep(max(failure.wait, self._retries.delay(number)))
        raise AssertionError("unreachable")


def _built(task: RemoteTask, call: Call) -> ProviderRequest:
    request = task.request(call)
    return task.sign(request, call, datetime.now(UTC)) if task.sign else request


def _is_large(call: Call) -> bool:
    """Whether to build the request takes more than a few milliseconds."""
    if call.chat is not None:
        return len(call.chat.messages) > _MANY_MESSAGES or _letters(call.chat.messages) > _LARGE_BODY
    return len(call.inputs) > _MANY_INPUTS or _letters(call.inputs) > _LARGE_BODY


def _letters(value: Any) -> int:
    """About how many letters the texts in ``value`` have, as far as a few levels down."""
    match value:
        case str():
            return len(value)
        case Mapping():
            return sum(map(_letters, value.values()))
        case list() | tuple():
            return sum(map(_letters, value))
        case ContentGroup():
            return sum(len(part.value) for part in value.items)
    return 0


def _parts(call: Call, limit: int) -> list[Call]:
    return [replace(call, inputs=call.inputs[n : n + limit]) for n in range(0, len(call.inputs), limit)]


def _together(answers: list[Answer]) -> Answer:
    return replace(answers[0], result=joined([answer.result for answer in answers]))


def _unanswered(task: RemoteTask, call: Call, error: NetworkError) -> _RetryableError:
    """No answer came: worth another call, unless the address itself is wrong."""
    if error.is_final or not task.failures_for(call).retries_unanswered:
        raise error.whole or _failed_to_send(task, call, error.cause, 500)
    return _RetryableError(_failed_to_send(task, call, error.cause, 500), call, 0)


def _parsed(task: RemoteTask, call: Call, answer: ProviderAnswer) -> Answer:
    """The result, or the failure that an unusable body is."""
    if not answer.body and not task.parses_empty:
        reason = f"Response body was empty for request from inference entity id [{call.inference_id}]"
        raise _failed_to_send(task, call, OtherError("illegal_state_exception", reason), 500)
    try:
        result = task.parse(answer, call)
        parsed = result if isinstance(result, Answer) else Answer(result)
        check_numbers(parsed.result)
    except UnusableAnswerError as error:
        failure = error.cause if error.is_whole else _failed_to_send(task, call, error.cause, error.status)
        if error.is_final or not task.failures_for(call).retries_unusable:
            raise failure from error
        raise _RetryableError(failure, call, answer.status) from error
    except OverflowError as error:
        cause = OtherError("input_coercion_exception", "The answer holds an integer that is out of range of a number")
        raise _RetryableError(_failed_to_send(task, call, cause, None), call, answer.status) from error
    return parsed


def _failed_to_send(task: RemoteTask, call: Call, cause: SidecarError, status: int | None) -> UpstreamError:
    sending = task.sending.replace("{task}", call.task_type).replace("{id}", call.inference_id)
    reason = f"{sending}. Cause: {cause.reason}"
    status = call.generation.unparsable_answer_status if status is None else status
    error = task.failures_for(call).with_chat_fields(reason, None, status, call)
    error.cause = cause
    return error


def _halved(call: Call) -> Call:
    return call.with_texts(text[: len(text) // 2] for text in call.texts)


def _cut(task: RemoteTask, call: Call) -> tuple[Call, list[bool]]:
    """The call with every text cut to what the endpoint's ``max_input_tokens`` stands for, and which texts were."""
    characters = task.most_characters(call.settings)
    if characters is None:
        return call, []
    texts = call.texts
    truncated = [len(text) > characters for text in texts]
    return (call.with_texts(text[:characters] for text in texts), truncated) if any(truncated) else (call, [])
