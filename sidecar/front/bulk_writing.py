"""``_bulk``: actions are read as they come, gathered to batches, embedded side by side and sent on in their order.

One bulk of the caller is one bulk of the cluster; memory holds a few batches, however large the body is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from sidecar.core.errors import PlainError, SidecarError
from sidecar.core.generations import Generation
from sidecar.front.bulk_answer import FailedItem, described, merged, without_last_complaint
from sidecar.front.bulk_batches import MOST_ACTIONS, MOST_BYTES, Batch, BatchMaker, Part, has_too_long_id
from sidecar.front.bulk_lines import BulkAction, BulkReader, Passage, named_indices
from sidecar.front.bulk_order import Unfinished
from sidecar.front.exchange import Exchange
from sidecar.front.forwarding import OF_THE_ENCODING, end_to_end, relay
from sidecar.front.parameter_refusals import WITHOUT_CHANGE, refused_for_parameters
from sidecar.front.refusals import GUARD
from sidecar.front.request_target import SHAPING, without_shape
from sidecar.front.simulation import explained
from sidecar.front.targets import WritePlan
from sidecar.front.write_context import WriteContext
from sidecar.front.written_places import WrittenPlaces
from sidecar.wire.content_codings import Decoder, decoded
from sidecar.wire.media_types import Format
from sidecar.wire.warning_header import warning_header

BATCHES_AT_ONCE = 4
# Bodies of this size the cluster reads whole before it does anything; longer ones it may do in parts.
_MOST_AT_ONCE = 256 * 1024

_SMILE = frozenset({"application/smile", "application/vnd.elasticsearch+smile"})

# What an action line may say that does not go together with an update under a guard.
_AGAINST_GUARD = frozenset(
    {"version", "_version", "version_type", "_version_type", "if_seq_no", "if_primary_term", "retry_on_conflict"}
    | {"pipeline", "op_type", "dynamic_templates", "require_data_stream", "_source"}
)


async def write_bulk(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_bulk``.

    Raises:
        PlainError: 406, it is written in SMILE, which is not read here, and some index wants vectors.
    """
    content = exchange.types.content
    context = await WriteContext.of(exchange)
    if content is not None and content.name in _SMILE and await _fills_anything(context):
        raise PlainError(
            f"Content-Type header [{content.raw}] is not supported for bulks where fields are filled: send JSON",
            status=406,
        )
    if content is None or content.format is not Format.JSON:
        return await exchange.forward()
    return await BulkWrite(exchange, context).answer()


async def _fills_anything(context: WriteContext) -> bool:
    """Whether any index that there is, or that a template would make, has fields to be filled."""
    catalog = context.exchange.front.catalog
    views = (*await catalog.resolve("*", "all"), *await catalog.templated())
    return any([bool(await context.finder.plan(view)) for view in views])


class BulkWrite:
    """One bulk on its way."""

    def __init__(self, exchange: Exchange, context: WriteContext) -> None:
        self._exchange = exchange
        self._context = context
        self._batches = BatchMaker(exchange, context)
        self._failed: dict[int, FailedItem] = {}
        self._errors: dict[int, Mapping[str, SidecarError]] = {}
        self._guarded: dict[int, BulkAction] = {}
        self._waiting: dict[int, BulkAction] = {}
        self._unguarded: set[int] = set()
        self._items = 0
        self._is_opaque = False
        self._planned: dict[tuple[str, str], WritePlan] = {}
        self._left: dict[tuple[str, str, str], WritePlan] = {}
        self._places = WrittenPlaces(context, self._planned, self._left)

    async def answer(self) -> web.StreamResponse:
        """The cluster's answer with the items in it that never reached the cluster."""
        length = self._exchange.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= MOST_BYTES:
            return await self._answer_whole(await self._exchange.body())
        return await self._answer_stream()

    async def _answer_whole(self, body: bytes) -> web.StreamResponse:
        if await self._is_untouched(body):
            return await self._exchange.forward(warnings=self._context.notes, seen=self._places)
        if (refused := await self._refused_for_parameters()) is not None:
            return refused
        read = [parts async for parts in self._read()]
        if len(body) <= _MOST_AT_ONCE and (self._is_opaque or any(map(has_too_long_id, chain.from_iterable(read)))):
            refused = await self._refused_whole(list(chain.from_iterable(read)))
            if refused is not None:
                return refused
        batches = await self._all_current([batch async for batch in self._prepared(_one_by_one(read))])
        for batch in batches:
            self._count(batch)
        if not any(batch.is_changed for batch in batches):
            return await self._exchange.forward(warnings=self._context.notes, seen=self._places)
        if len(body) <= _MOST_AT_ONCE and any(not batch.keeps_heads for batch in batches):
            refused = await self._refused_line(list(chain.from_iterable(read)))
            if refused is not None:
                return refused
        data = b"".join(chain.from_iterable(chain.from_iterable(batch.lines for batch in batches)))
        if not self._has_own_items:
            return await self._exchange.forward(data, warnings=self._context.notes, seen=self._places)
        return await self._send(data)

    async def _all_current(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        while True:
            now = [await self._batches.current(batch) for batch in batches]
            if all(one is other for one, other in zip(now, batches, strict=True)):
                return now
            batches = now

    async def _is_untouched(self, body: bytes) -> bool:
        """Whether nothing can be wanted of any document, seen without reading the lines."""
        values, parameters = self._exchange.values, self._exchange.parameters
        index = values.get("index") or parameters.get("index")
        if parameters.get("pipeline") not in (None, "_none") or (index and _touches(await self._context.plan(index))):
            return False
        names = named_indices(body, index)
        if names is None:
            return False
        for name in names:
            plan = self._planned[name, "create"] = await self._context.plan(name)
            if _touches(plan):
                return False
        return True

    @property
    def _has_own_items(self) -> bool:
        """Whether the cluster's answer must be read, because some items of it are, or may be, the front's to tell."""
        return bool(self._failed or self._errors or self._guarded or self._waiting or self._unguarded)

    async def _refused_whole(self, parts: Sequence[Part]) -> web.StreamResponse | None:
        """The cluster's answer to a bulk that it refuses for one of its lines; ``None`` where it does not.

        It is sent with lines in place of the documents that could not be stored if it were taken.
        """
        lines = [part.data if isinstance(part, Passage) else _harmless(part) for part in parts]
        target = without_shape(self._exchange.target)
        answer = await self._exchange.call(
            self._exchange.request.method, target, b"".join(lines), content_type="application/x-ndjson"
        )
        if answer.status == 200:
            return None
        return self._exchange.respond(answer.status, answer.json(), warnings=self._context.notes, filtered=False)

    async def _refused_line(self, parts: Sequence[Part]) -> web.StreamResponse | None:
        """The cluster's answer to a bulk that it refuses for what an action line says, where that line is not sent.

        The bulk is asked about as it came, with an update behind it for which the cluster refuses all of it.
        """
        lines = [part.data if isinstance(part, Passage) else part.head + part.source for part in parts]
        if not lines or not lines[-1].endswith(b"\n"):
            return None
        target = without_shape(self._exchange.target)
        answer = await self._exchange.call(
            self._exchange.request.method,
            target,
            b"".join((*lines, WITHOUT_CHANGE)),
            content_type="application/x-ndjson",
        )
        told = without_last_complaint(answer.json()) if answer.status == 400 else answer.json()
        if told is None:
            return None
        return self._exchange.respond(answer.status, told, warnings=self._context.notes, filtered=False)

    async def _refused_for_parameters(self) -> web.StreamResponse | None:
        answer = await refused_for_parameters(self._exchange, "_bulk")
        return None if answer is None else self._exchange.respond(answer.status, answer.json(), filtered=False)

    async def _answer_stream(self) -> web.StreamResponse:
        if (refused := await self._refused_for_parameters()) is not None:
            return refused

        async def body() -> AsyncIterator[bytes]:
            async for made in self._prepared(self._read()):
                batch = await self._batches.current(made)
                self._count(batch)
                yield batch.data

        return await self._send(body())

    async def _send(self, body: bytes | AsyncIterator[bytes]) -> web.StreamResponse:
        exchange = self._exchange
        headers = end_to_end(exchange.request.raw_headers, {*OF_THE_ENCODING, "expect", "host"})
        answer_format, _ = exchange.types.answer(exchange.parameters.get("format"))
        is_shaped = answer_format is not Format.JSON or not SHAPING.isdisjoint(exchange.parameters)
        target = exchange.target
        if is_shaped:
            headers["Accept"] = "application/json"
            target = without_shape(target)
        async with exchange.front.cluster.send(exchange.request.method, target, headers, body) as answer:
            if not (is_shaped or self._has_own_items):
                added = [("Warning", warning_header(text, exchange.front.generation)) for text in self._context.notes]
                return await relay(exchange.request, answer, added, self._places)
            return await self._respond(answer)

    async def _respond(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        told = decoded(await answer.read(), answer.headers.get("Content-Encoding"))
        self._context.note(await self._places.strays(told))
        body = orjson.loads(told)
        warnings = answer.headers.getall("Warning", ())
        if answer.status == 200:
            body = _explained(merged(body, self._failed), self._errors, self._exchange.front.generation)
            self._tell_unread(self._unguarded, body.get("items") or [])
            if self._guarded or self._waiting:
                await self._finish(body)
        # Errors of the whole request are never filtered.
        filtered = answer.status < 300
        response = self._exchange.respond(answer.status, body, warnings=self._context.notes, filtered=filtered)
        for warning in warnings:
            response.headers.add("Warning", warning)
        return response

    async def _finish(self, body: dict[str, Any]) -> None:
        """Does what had to wait, and again what only the front's guard made fail, each document's in their order."""
        items = body.get("items") or []
        unfinished = Unfinished(self._guarded, self._waiting, self._batches.document_of)
        unfinished.heed(items)
        while places := unfinished.due():
            prepared = await self._batches.prepare([unfinished.action(place) for place in places], again=True)
            batch = await self._batches.current(prepared)
            target = without_shape(self._exchange.target)
            answer = await self._exchange.call("POST", target, batch.data, content_type="application/x-ndjson")
            told = answer.json()
            if answer.status == 200:
                made = _explained(merged(told, batch.failed), batch.errors, self._exchange.front.generation)["items"]
            else:
                made = [_refused(unfinished.action(place), answer.status, told) for place in places]
            self._tell_unread(batch.unguarded, made)
            for place, item in zip(places, made, strict=True):
                items[place] = item
            unfinished.done({place: n in batch.guarded for n, place in enumerate(places)}, items)
        body["errors"] = any("error" in about for item in items for about in item.values())

    def _tell_unread(self, unguarded: Collection[int], items: Sequence[Mapping[str, Any]]) -> None:
        """Notes documents that were there, by another caller, when updates came that were to insert them."""
        found = [about for n in unguarded if n < len(items) for about in items[n].values() if "error" not in about]
        indices = sorted({str(about.get("_index")) for about in found if about.get("result") != "created"})
        self._context.note(
            f"documents that another caller inserted into index [{index}] meanwhile may have vectors of a part of their"
            " texts, since [_source] was asked for: run [sidecar backfill]"
            for index in indices
        )

    def settled(self, batch: Batch, body: dict[str, Any]) -> dict[str, Any]:
        """The cluster's answer to ``batch`` alone, with the items that never reached it."""
        self._failed, self._errors, self._items = {}, {}, 0
        self._count(batch)
        return _explained(merged(body, self._failed), self._errors, self._exchange.front.generation)

    def _count(self, batch: Batch) -> None:
        self._batches.keep_order(batch)
        for key, plan in batch.plans.items():
            before = self._planned.get(key, plan)
            if before.index != plan.index:
                self._left[*key, before.index] = before
        self._planned |= batch.plans
        for place, item in batch.failed.items():
            self._failed[self._items + place] = item
        for place, errors in batch.errors.items():
            self._errors[self._items + place] = errors
        for place, action in batch.guarded.items():
            self._guarded[self._items + place] = action
        for place, action in batch.waiting.items():
            self._waiting[self._items + place] = action
        self._unguarded |= {self._items + place for place in batch.unguarded}
        self._items += batch.items

    # --- batches

    async def _prepared(self, read: AsyncIterator[list[Part]]) -> AsyncIterator[Batch]:
        """Every batch of what was read, in order, a few of them in the making."""
        waiting: deque[asyncio.Task[Batch]] = deque()
        try:
            async for parts in read:
                waiting.append(asyncio.create_task(self._batches.prepare(parts)))
                if len(waiting) >= BATCHES_AT_ONCE:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)  # the first failure is the one that is told

    async def _read(self) -> AsyncIterator[list[Part]]:
        reader = BulkReader()
        decoder = Decoder(self._exchange.request.headers.get("Content-Encoding"))
        parts: list[Part] = []
        size = actions = 0
        async for data in self._exchange.raw_stream():
            for part in reader.feed(decoder.feed(data)):
                parts.append(part)
                size += part.size
                actions += 1
                if size >= MOST_BYTES or actions >= MOST_ACTIONS:
                    yield parts
                    parts, size, actions = [], 0, 0
        decoder.finish()
        parts.extend(reader.finish())
        self._is_opaque = reader.is_opaque
        if parts:
            yield parts


def _touches(plan: WritePlan) -> bool:
    return bool(plan or plan.has_semantic_text or plan.default_pipeline or plan.final_pipeline)


def _is_no_update(source: bytes) -> bool:
    """Whether the source of an update says nothing that could change a document: the whole bulk is refused for it."""
    if b"upsert" in source:
        return False  # does not go together with the guard
    try:
        body = orjson.loads(source)
    except orjson.JSONDecodeError:
        return True
    return not isinstance(body, dict) or not body.keys() & {"doc", "script"}


def _harmless(action: BulkAction) -> bytes:
    """The action in as many lines, without effect; as it is where the whole bulk is refused for it.

    The guard stays where a source is kept: the cluster reads some that are no JSON to others, with comments for one.
    """
    if has_too_long_id(action):
        return action.head + action.source
    meta = {"_id": "0", **{name: value for name, value in action.meta.items() if name not in _AGAINST_GUARD}, **GUARD}
    head = orjson.dumps({"update" if action.source else "delete": meta}) + b"\n"
    if not action.source:
        return head
    is_kept = action.operation == "update" and _is_no_update(action.source)
    return head + (action.source if is_kept else b'{"doc":{}}\n')


def _explained(
    body: dict[str, Any], errors: Mapping[int, Mapping[str, SidecarError]], generation: Generation
) -> dict[str, Any]:
    """The answer with what failed in stand-ins of inference, by the places of the items, told as inference is."""
    items = body.get("items") or []
    for place, known in errors.items():
        for about in items[place].values() if place < len(items) else ():
            error = explained(about.get("error") or {}, known)
            if error is not None:
                about["status"], about["error"] = described(error, generation)
    return body


def _refused(action: BulkAction, status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """The item of an action that was sent again, in a bulk that the cluster refused whole."""
    error = body.get("error")
    told = error if isinstance(error, Mapping) else {"type": "exception", "reason": str(error)}
    about = {name: value for name, value in told.items() if name != "root_cause"}
    return {action.operation: {"_index": action.meta.get("_index"), "_id": action.id, "status": status, "error": about}}


async def _one_by_one(read: Sequence[list[Part]]) -> AsyncIterator[list[Part]]:
    for parts in read:
        yield parts
