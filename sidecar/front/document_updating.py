"""``_update``: vectors for what it changes.

On an index with ``semantic_text`` Elasticsearch infers the whole document anew, with endpoints that a cluster without
the licence cannot have; and where an index has pipelines, these run on the document that an update leaves. There the
update is done here: read, merge, write under the sequence number that was read.
Elsewhere the vectors are put into the partial document, and the cluster merges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from aiohttp import web

from sidecar.core.errors import OtherError, SidecarError
from sidecar.elastic.source import drop_at, is_present, text_at
from sidecar.front.cluster import Answer
from sidecar.front.document_merging import drop_outdated_results, merge
from sidecar.front.document_writing import (
    RunningPipelines,
    filled,
    pipelines_of,
    read_body,
    respond,
    respond_with,
    told,
)
from sidecar.front.exchange import Exchange
from sidecar.front.filling import Filling, examined, unclaimed_in
from sidecar.front.json_members import Change, changed, members
from sidecar.front.parameter_refusals import refused_for_parameters
from sidecar.front.refusals import GUARD, MISSING, DocumentPlace, is_too_long, refusal, versions
from sidecar.front.request_target import with_parameters, without_shape
from sidecar.front.source_text import SourceText
from sidecar.front.stored_documents import (
    DocumentName,
    StoredDocument,
    examined_with_stored,
    read_stored,
    shown_by_update,
)
from sidecar.front.targets import WritePlan
from sidecar.front.update_request import UpdateRequest, inserts_its_doc
from sidecar.front.value_places import Touch, touch_of
from sidecar.front.write_context import PlanChangedError, WriteContext
from sidecar.front.written_places import WrittenPlaces
from sidecar.ingest.marker import Marker
from sidecar.ingest.semantic_field import INFERENCE_FIELDS

_CONFLICT, _FORBIDDEN = 409, 403


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document as it was read."""

    index: str
    source: dict[str, Any]
    seq_no: int
    primary_term: int
    version: int
    routing: str | None


@dataclass(frozen=True, slots=True)
class _Change:
    """What an update makes of a document: ``operation`` is ``index``, ``delete`` or ``none``.

    ``unclaimed`` are fields of which the stored marker says nothing any more.
    """

    operation: str
    source: Mapping[str, Any]
    unclaimed: Collection[str] = ()


async def update_document(exchange: Exchange) -> web.StreamResponse:
    """Handler of ``_update``.

    Raises:
        SidecarError: an inference failed; nothing was written.
    """
    while True:
        with suppress(PlanChangedError):
            return await _update(exchange)


async def _update(exchange: Exchange) -> web.StreamResponse:
    context = await WriteContext.of(exchange)
    if is_too_long(exchange.values["id"]):
        return await exchange.forward()
    plan = await context.plan(exchange.values["index"], "update")
    if plan.is_refused:
        return await told(context, plan, "_update", b'{"doc":{}}')
    pipelines = await pipelines_of(exchange, plan, None)
    body = await read_body(exchange, strict=True) if plan or pipelines.infers else None
    request = UpdateRequest.read(body.document, exchange.parameters) if body is not None else None
    if body is None:
        return await exchange.forward(warnings=context.notes, seen=_places(context, plan))
    if (refused := await refused_for_parameters(exchange, "_update")) is not None:
        return respond(context, refused, {})
    if "require_alias" in exchange.parameters:
        refused = await refusal(exchange, "_update", b'{"doc":{}}')
        if refused is not None:
            return respond(context, refused, {})
    merges_here = plan.semantic or plan.missing or pipelines.infers
    if request is None and merges_here:
        return await exchange.forward(warnings=context.notes)  # without the licence the cluster stores nothing
    if request is not None and (merges_here or (pipelines.run and request.script is None)):
        answer = await _Update(exchange, context, plan, pipelines, request).run()
        return answer if answer is not None else await exchange.forward(warnings=context.notes)
    return await _forward_filled(exchange, context, plan, pipelines, request, body)


async def _forward_filled(
    exchange: Exchange,
    context: WriteContext,
    plan: WritePlan,
    pipelines: RunningPipelines,
    request: UpdateRequest | None,
    body: SourceText,
) -> web.StreamResponse:
    """The update with vectors in its partial documents; the cluster merges."""
    if "if_seq_no" in exchange.parameters and (
        inserts_its_doc(body.document, exchange.parameters) or "upsert" in body.document
    ):
        return await exchange.forward(warnings=context.notes)  # the two do not go together
    retries = exchange.parameters.get("retry_on_conflict", "0")
    doc = _doc_of(body)
    looked_at = None if doc is None else await examined(doc, plan, is_partial=True)
    if looked_at is not None and await _is_missing(exchange, body, looked_at):
        guard = {name: str(value) for name, value in GUARD.items()}
        target = with_parameters(without_shape(exchange.target), guard, without={"retry_on_conflict"})
        answer = await exchange.call("POST", target, body.raw)
        if answer.status != _CONFLICT:
            return respond(context, answer, {})
    while True:
        written, stored = await _with_vectors(context, plan, pipelines, body, looked_at)
        if stored is None and looked_at is not None and looked_at.needs_stored and request is not None:
            # What is inserted must not meet a document that comes meanwhile, whose texts its vectors would lack.
            answered = await _Update(exchange, context, plan, pipelines, request).run()
            return answered if answered is not None else await exchange.forward(warnings=context.notes)
        await context.check(plan, exchange.values["index"], "update")
        seen = _places(context, plan)
        if written is body.raw:
            return await exchange.forward(warnings=context.notes, seen=seen)
        if stored is None or "if_seq_no" in exchange.parameters:
            return await exchange.forward(written, warnings=context.notes, seen=seen)
        guard = {"if_seq_no": str(stored.seq_no), "if_primary_term": str(stored.primary_term)}
        target = with_parameters(without_shape(exchange.target), guard, without={"retry_on_conflict", "doc_as_upsert"})
        answer = await exchange.call("POST", target, written)
        if answer.status != _CONFLICT or not retries.isdecimal() or int(retries) == 0:
            return respond(context, answer, {})
        retries = str(int(retries) - 1)


def _places(context: WriteContext, plan: WritePlan) -> WrittenPlaces:
    return WrittenPlaces(context, {(context.exchange.values["index"], "update"): plan})


def _doc_of(body: SourceText) -> SourceText | None:
    """The partial document of an update."""
    doc = body.document.get("doc")
    if not isinstance(doc, dict):
        return None
    held, _ = members(body.raw)
    (place,) = [member for member in held if member.name == "doc"]
    return SourceText(body.raw[place.value : place.end], doc)


async def _is_missing(exchange: Exchange, body: SourceText, filling: Filling) -> bool:
    """Whether an update that wants inference is of a document that is not there and would not be made by it."""
    inserts = {"upsert", "doc_as_upsert", "scripted_upsert"} & (body.document.keys() | exchange.parameters.keys())
    if inserts or "if_seq_no" in exchange.parameters:
        return False
    if filling.needs_stored or not any(True for _ in filling.texts()):
        return False
    place = DocumentPlace(exchange.values["index"], exchange.values["id"], exchange.parameters.get("routing"))
    return await versions(exchange, [place]) == [MISSING]


async def _with_vectors(
    context: WriteContext,
    plan: WritePlan,
    pipelines: RunningPipelines,
    body: SourceText,
    looked_at: Filling | None,
) -> tuple[bytes, StoredDocument | None]:
    """The body of an update with its vectors, and the stored document where they depend on it.

    ``looked_at`` is what its partial document wants, if it has one.

    Raises:
        SidecarError: an inference failed, or the stored document cannot be read now.
    """
    identity = context.exchange.values["id"]
    held, _ = members(body.raw)
    raw = {member.name: body.raw[member.value : member.end] for member in held}
    changes: dict[str, Change] = {}
    stored = None
    upsert = body.document.get("upsert")
    if looked_at is not None:
        filling = looked_at
        if filling.needs_stored:
            name = DocumentName(context.exchange.values["index"], identity, context.exchange.parameters.get("routing"))
            (found,) = await read_stored(context.exchange, [name], shows_vectors=context.needs_places(plan))
            if isinstance(found, SidecarError):
                raise found
            stored = found
            if stored is not None:
                filling = await examined_with_stored(filling.source, stored, plan)
        context.note(filling.notes)
        if not filling.is_idle:
            changes["doc"] = context.completed(filling, await context.embed([filling]))
    if isinstance(upsert, dict) and stored is None:
        source = SourceText(raw["upsert"], upsert)
        written = await filled(context, plan, pipelines, source, identity)
        if written.body is not source.raw:
            changes["upsert"] = written.body
    if stored is not None and changes:
        # The document is there; what would insert it does not go together with the guard.
        changes |= {name: None for name in ("upsert", "doc_as_upsert") if name in body.document}
    return (changed(body.raw, changes) if changes else body.raw), stored


class _Update:
    """One update, done by reading and writing; :meth:`run` gives ``None`` for what the cluster answers best itself."""

    def __init__(
        self,
        exchange: Exchange,
        context: WriteContext,
        plan: WritePlan,
        pipelines: RunningPipelines,
        request: UpdateRequest,
    ) -> None:
        self._pipelines = pipelines
        self._errors: Mapping[str, SidecarError] = {}
        self._exchange = exchange
        self._context = context
        self._plan = plan
        self._request = request
        self._id = exchange.values["id"]

    async def run(self) -> web.StreamResponse | None:
        """The answer of the write, repeated after a conflict as often as the caller allows."""
        for attempt in range(self._request.retries + 1):
            is_last = attempt == self._request.retries
            stored = await self._read()
            if stored is None and self._request.upsert is None:
                answer = await self._missing()
                if answer.status != _CONFLICT or is_last:
                    return respond(self._context, answer, {})
                continue
            if stored is not None and self._request.seq_no not in (None, stored.seq_no):
                return None
            change = await self._changed(stored)
            if change is None:
                return None
            if change.operation == "none" and stored is not None:
                return await self._unchanged(stored)
            answer = await self._write(stored, change)
            if answer.status != _CONFLICT or is_last:
                return await self._answer(answer, stored)
        return None

    async def _missing(self) -> Answer:
        """What the cluster says of a document that is not there; should it have come meanwhile, a conflict."""
        parameters = {name: str(value) for name, value in GUARD.items()} | dict(self._request.write_parameters)
        target = self._target("_update", self._exchange.values["index"], parameters)
        return await self._exchange.call("POST", target, b'{"doc":{}}')

    async def _read(self) -> _Stored | None:
        parameters = {} if self._request.routing is None else {"routing": self._request.routing}
        if self._context.version.since(None, (9, 2)):
            parameters["_source_exclude_vectors"] = "false"
        answer = await self._exchange.call("GET", self._target("_doc", self._exchange.values["index"], parameters))
        found = answer.json() if answer.status == 200 else {}
        if answer.status == _FORBIDDEN:
            found = await shown_by_update(self._exchange, self._name)
        if not found.get("found") or not isinstance(found.get("_source"), dict):
            return None
        source = found["_source"]
        if isinstance(source.get(INFERENCE_FIELDS), dict):
            ours = {target.name for target in self._plan.semantic}
            kept = {name: value for name, value in source[INFERENCE_FIELDS].items() if name not in ours}
            source = {name: value for name, value in source.items() if name != INFERENCE_FIELDS}
            if kept:
                source[INFERENCE_FIELDS] = kept
        return _Stored(
            found["_index"],
            source,
            found["_seq_no"],
            found["_primary_term"],
            found["_version"],
            found.get("_routing"),
        )

    @property
    def _name(self) -> DocumentName:
        return DocumentName(self._exchange.values["index"], self._id, self._request.routing)

    def _target(self, route: str, index: str, parameters: Mapping[str, str]) -> str:
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"/{quote(index, safe='')}/{route}/{quote(self._id, safe='')}{query}"

    async def _changed(self, stored: _Stored | None) -> _Change | None:
        request = self._request
        if request.script is not None and (stored is not None or request.scripted_upsert):
            return await self._scripted(stored)
        if stored is None:
            return _Change("index", request.upsert or {})
        doc = request.doc or {}
        merged, is_changed = merge(stored.source, doc)
        self._drop_outdated(stored.source, merged)
        drop_outdated_results(stored.source, merged, self._plan.foreign)
        return _Change(
            "index" if is_changed or not request.detect_noop else "none", merged, unclaimed_in(doc, self._plan)
        )

    def _drop_outdated(self, stored: Mapping[str, Any], merged: dict[str, Any]) -> None:
        """Takes away vectors without a marker whose text the update brings: they would count as the user's own."""
        doc, stamps = self._request.doc or {}, Marker.read(merged).stamps
        for target in self._plan.vectors:
            is_touched = any(
                touch_of(doc, path) is Touch.VALUE or text_at(stored, path) != text_at(merged, path)
                for path in target.binding.sources
            )
            if is_touched and not is_present(doc, target.place) and target.name not in stamps:
                drop_at(merged, target.place)

    async def _scripted(self, stored: _Stored | None) -> _Change | None:
        """What the script makes of the document, found out by a pipeline that is only simulated.

        There the document lies under the name by which update scripts know it.
        """
        request = self._request
        script = {"source": request.script} if isinstance(request.script, str) else request.script
        draft: dict[str, Any] = {"_source": request.upsert if stored is None else stored.source}
        draft["op"] = "create" if stored is None else "index"
        doc: dict[str, Any] = {"_index": self._plan.index, "_id": self._id, "_source": draft}
        if stored is not None:
            doc |= {"_version": stored.version} | ({} if stored.routing is None else {"_routing": stored.routing})
        body = {"pipeline": {"processors": [{"script": script}]}, "docs": [doc]}
        answer = await self._exchange.call("POST", "/_ingest/pipeline/_simulate", orjson.dumps(body))
        if answer.status == _FORBIDDEN:
            reason = str((answer.json().get("error") or {}).get("reason"))
            raise OtherError("security_exception", f"scripts on [semantic_text] are tried first: {reason}", status=403)
        made = answer.json()["docs"][0].get("doc") if answer.status == 200 else None
        if made is None:
            return None  # the cluster tells what is wrong with the script before it looks for an endpoint
        if any(str(made.get(name)) != str(value) for name, value in doc.items() if name != "_source"):
            return None  # a script may not set them
        result = made["_source"]
        operation = str(result.get("op", "index"))
        source = result.get("_source")
        if operation not in ("index", "create", "delete"):
            operation = "none"
        if stored is None and operation in ("none", "delete"):
            return None
        changed_source = source if isinstance(source, dict) else {}
        if not isinstance(source, dict) and operation in ("index", "create"):
            return None
        if stored is not None:
            drop_outdated_results(stored.source, changed_source, self._plan.foreign)
        return _Change("index" if operation == "create" else operation, changed_source)

    async def _write(self, stored: _Stored | None, change: _Change) -> Answer:
        parameters = dict(self._request.write_parameters)
        index = self._exchange.values["index"] if stored is None else stored.index
        if stored is not None:
            parameters |= {"if_seq_no": str(stored.seq_no), "if_primary_term": str(stored.primary_term)}
            if stored.routing is not None and (self._request.routing is None or self._request.script is not None):
                parameters["routing"] = stored.routing  # a document that was found without it keeps it
        if change.operation == "delete":
            parameters.pop("include_source_on_error", None)
            return await self._exchange.call("DELETE", self._target("_doc", index, parameters))
        source = SourceText(orjson.dumps(change.source), dict(change.source))
        written = await filled(self._context, self._plan, self._pipelines, source, self._id, change.unclaimed)
        self._errors = written.errors
        await self._context.check(self._plan, self._exchange.values["index"], "update")
        route = "_create" if stored is None else "_doc"
        return await self._exchange.call("PUT", self._target(route, index, parameters), written.body)

    async def _unchanged(self, stored: _Stored) -> web.StreamResponse:
        body: dict[str, Any] = {
            "_index": stored.index,
            "_id": self._id,
            "_version": stored.version,
            "result": "noop",
            "_shards": {"total": 0, "successful": 0, "failed": 0},
            "_seq_no": stored.seq_no,
            "_primary_term": stored.primary_term,
        }
        return self._exchange.respond(200, await self._with_source(body), warnings=self._context.notes)

    async def _answer(self, answer: Answer, stored: _Stored | None) -> web.StreamResponse:
        if answer.status >= 300:
            return respond(self._context, answer, self._errors)
        return respond_with(self._context, answer, await self._with_source(answer.json()))

    async def _with_source(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer with the document's source where the caller asked for it."""
        shown = self._request.shown
        if shown is None:
            return body
        if body.get("result") == "deleted":
            return body | {"get": {"_seq_no": body["_seq_no"], "_primary_term": body["_primary_term"], "found": True}}
        parameters = dict(shown) | ({} if self._request.routing is None else {"routing": self._request.routing})
        answer = await self._exchange.call("GET", self._target("_doc", body["_index"], parameters))
        found = answer.json() if answer.status == 200 else {}
        if answer.status == _FORBIDDEN:
            found = await shown_by_update(self._exchange, self._name, shown)
        shown_source = {"found": True} | ({"_source": found["_source"]} if "_source" in found else {})
        about = {"_seq_no": body["_seq_no"], "_primary_term": body["_primary_term"], **shown_source}
        return body | {"get": about}
