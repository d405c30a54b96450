"""Endpoints in Elasticsearch, shared by all replicas.

    create   secrets document (id of its own) -> endpoint document that names it, op_type=create
    update   new secrets document -> endpoint document, guarded by its sequence number -> old secrets removed
    delete   endpoint document, guarded by its sequence number -> secrets removed

The endpoint document decides: whoever reads it finds the secrets it names, and a writer that loses a race or dies
leaves at most secrets that nothing names. Those are swept away when a store opens.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError, ConflictError, NotFoundError

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import OtherError, ResourceExistsError
from sidecar.elastic.client import failure_text
from sidecar.elastic.mappings import load_mapping
from sidecar.registry.store import (
    Record,
    StoreConflictError,
    StoreLostError,
    StoreState,
    StoreUnavailableError,
    UnreadableEndpoint,
    document_endpoint,
    document_time,
    endpoint_document,
    now,
)
from sidecar.settings import UserError

ENDPOINTS = "sidecar-endpoints"
SECRETS = "sidecar-secrets"
_VERSION = 1
_PAGE = 1000
# Far longer than any writer takes between the two documents.
_ORPHAN_AGE = timedelta(hours=1)


class ElasticsearchStore:
    """An :class:`~sidecar.registry.store.EndpointStore` in the indices ``sidecar-endpoints`` and ``sidecar-secrets``.

    ``client`` stays the caller's to close. ``timeout`` (seconds) bounds each call. ``name`` replaces the beginning of
    the index names, for several independent sidecars on one cluster.
    """

    def __init__(self, client: AsyncElasticsearch, *, timeout: float = 10.0, name: str = "sidecar") -> None:
        self._client = client.options(request_timeout=timeout)
        # Polls come again by themselves: a cluster that groans must not get each of them four times.
        self._polling = self._client.options(max_retries=1, retry_on_status=(), retry_on_timeout=False)
        self._endpoints = f"{name}-endpoints"
        self._secrets = f"{name}-secrets"

    @property
    def description(self) -> str:
        return f"Elasticsearch index {self._endpoints}"

    async def open(self, *, create: bool = True) -> None:
        """Create the indices where they are missing, or with ``create`` false say that they are.

        Raises :class:`UserError` when Elasticsearch refuses the credentials or the index is of a newer version.
        """
        async with self._failures(refusals_are_user_errors=True):
            for index, template in ((self._endpoints, ENDPOINTS), (self._secrets, SECRETS)):
                mapping = load_mapping(template)
                if not await self._is_there(index):
                    if not create:
                        raise _missing(index)
                    await self._create_index(index, mapping)
                await self._check_index(index, mapping)

    async def close(self) -> None:
        """Nothing to do: the client belongs to the caller."""

    async def state(self) -> StoreState:
        names = [self._endpoints, self._secrets]
        async with self._failures():
            found = await self._polling.indices.get(
                index=names,
                ignore_unavailable=True,
                features=["settings", "mappings", "aliases"],
                flat_settings=True,
                filter_path=["*.aliases", "*.mappings._meta", "*.settings"],
            )
            holders = [_holder(found.body, name) for name in names]
            settings = [holder["settings"] for holder in holders]
            replaces = holders[0].get("mappings", {}).get("_meta", {}).get("replaces", [])
            return StoreState(
                identity="/".join(str(each["index.uuid"]) for each in settings),
                replaces=frozenset(str(each) for each in replaces),
                blocked=next((block for each in settings if (block := _block(each)) is not None), None),
            )

    async def accept_loss(self, identity: str) -> None:
        replaces = sorted({identity, *(await self.state()).replaces})
        async with self._failures():
            meta = {"version": _VERSION, "replaces": replaces}
            await self._client.indices.put_mapping(index=self._endpoints, meta=meta)

    async def get(self, inference_id: str) -> Record | None:
        for _ in range(3):
            found = await self._read([inference_id])
            record = found.get(inference_id)
            if record is None or not record.lacks_secrets:
                return record
            # The secrets it named are gone: someone updated or removed it between the two reads.
        return record

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        ids = sorted(inference_ids)
        records: list[Record] = []
        for start in range(0, len(ids), _PAGE):
            page = await self._read(ids[start : start + _PAGE])
            for record in page.values():
                whole = await self.get(record.inference_id) if record.lacks_secrets else record
                if whole is not None:
                    records.append(whole)
        return records

    async def revisions(self) -> dict[str, str]:
        found: dict[str, str] = {}
        after: list[str] | None = None
        while True:
            async with self._failures():
                answer = await self._polling.search(
                    index=self._endpoints,
                    size=_PAGE,
                    sort=[{"inference_id": "asc"}],
                    search_after=after,
                    source=False,
                    seq_no_primary_term=True,
                    track_total_hits=False,
                    allow_partial_search_results=False,
                )
                hits = answer["hits"]["hits"]
                found.update({hit["_id"]: _revision(hit) for hit in hits})
                if len(hits) < _PAGE:
                    return found
                after = hits[-1]["sort"]

    async def create(self, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        present = now()
        secrets_id = await self._write_secrets(endpoint.inference_id, sealed)
        document = _document(endpoint, secrets_id, created_at=present, updated_at=present)
        try:
            revision = await self._write(endpoint.inference_id, document, op_type="create")
        except StoreConflictError:
            await self._remove_secrets(secrets_id)
            raise ResourceExistsError(f"Inference endpoint [{endpoint.inference_id}] already exists") from None
        return Record(endpoint, revision, present, present, sealed, secrets_id)

    async def update(self, record: Record, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        present = now()
        kept = sealed == record.sealed
        secrets_id = record.secrets_id if kept else await self._write_secrets(endpoint.inference_id, sealed)
        document = _document(endpoint, secrets_id, created_at=record.created_at, updated_at=present)
        try:
            revision = await self._write(endpoint.inference_id, document, **_guard(record))
        except StoreConflictError:
            await self._remove_secrets(None if kept else secrets_id)
            raise
        await self._remove_secrets(None if kept else record.secrets_id)
        return Record(endpoint, revision, record.created_at, present, sealed, secrets_id)

    async def delete(self, record: Record) -> None:
        async with self._failures():
            try:
                await self._client.delete(
                    index=self._endpoints, id=record.inference_id, refresh="wait_for", **_guard(record)
                )
            except (ConflictError, NotFoundError) as error:
                if error.error == "index_not_found_exception":
                    raise
                raise StoreConflictError(record.inference_id) from None
        await self._remove_secrets(record.secrets_id)

    async def _read(self, inference_ids: list[str]) -> dict[str, Record]:
        if not inference_ids:
            return {}
        async with self._failures():
            # Multi-get is realtime: it sees writes that no refresh has made searchable yet.
            answer = await self._client.mget(index=self._endpoints, ids=inference_ids)
            found = [item for item in answer["docs"] if _found(item)]
            named = [item["_source"]["secrets_id"] for item in found if item["_source"].get("secrets_id")]
            sealed: dict[str, Any] = {}
            if named:
                answer = await self._client.mget(index=self._secrets, ids=named)
                sealed = {item["_id"]: item["_source"].get("sealed") for item in answer["docs"] if _found(item)}
            return {item["_id"]: _record(item, sealed) for item in found}

    async def _write(self, inference_id: str, document: dict[str, Any], **condition: Any) -> str:
        async with self._failures():
            try:
                # Without its alias a write would make an index of that name, with guessed types.
                answer = await self._client.index(
                    index=self._endpoints,
                    id=inference_id,
                    document=document,
                    refresh="wait_for",
                    require_alias=True,
                    **condition,
                )
            except ConflictError:
                # The client repeats a write whose answer was lost; then the conflict is with ourselves.
                current = await self._client.options(ignore_status=404).get(index=self._endpoints, id=inference_id)
                if not current.get("found") or current["_source"] != document:
                    raise StoreConflictError(inference_id) from None
                answer = current
            return _revision(answer.body)

    async def _write_secrets(self, inference_id: str, sealed: str | None) -> str | None:
        if sealed is None:
            return None
        secrets_id = uuid.uuid4().hex
        document = {"inference_id": inference_id, "sealed": sealed, "created_at": now().isoformat()}
        async with self._failures():
            await self._client.index(index=self._secrets, id=secrets_id, document=document, require_alias=True)
        return secrets_id

    async def _remove_secrets(self, secrets_id: str | None) -> None:
        if secrets_id is None:
            return
        try:
            await self._client.options(ignore_status=404).delete(index=self._secrets, id=secrets_id)
        except (ApiError, TransportError):
            # The endpoint is as it should be; the sweep takes what is left over.
            return

    async def _is_there(self, index: str) -> bool:
        # Not a HEAD request: the answer to one that is refused says nothing.
        found = await self._client.indices.get(index=index, ignore_unavailable=True, features="aliases")
        return len(_object(found.body)) > 0

    async def _create_index(self, index: str, template: Mapping[str, Any]) -> None:
        # The shipped file names the first index and its alias after "sidecar"; only tests take other names.
        try:
            await self._client.indices.create(
                index=f"{index}-1",
                aliases={index: dict(next(iter(template["aliases"].values())))},
                settings=template["settings"],
                mappings=template["mappings"],
            )
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise

    async def _check_index(self, index: str, template: Mapping[str, Any]) -> None:
        """Raise for an index that is not what the sidecar made, before anything is read from it or written to it."""
        found = await self._client.indices.get(index=index, features=["aliases", "mappings", "settings"])
        holder = _holder(found.body, index)
        # Not wait_for_status: an index whose first shard is only being created counts as yellow already.
        await self._client.cluster.health(index=index, wait_for_active_shards="1", timeout="5s")
        mapping = holder["mappings"]
        version = mapping.get("_meta", {}).get("version", 0)
        if not isinstance(version, int) or version > _VERSION:
            raise UserError(f"The index {index} was written by a newer version of the sidecar; use that one.")
        wanted = template["mappings"]["properties"]
        given = mapping.get("properties", {})
        wrong = sorted(name for name in wanted if given.get(name, {}).get("type") != wanted[name]["type"])
        if wrong:
            raise _not_ours(index, f"its fields {', '.join(wrong)} have other types")

    async def sweep(self) -> None:
        """Remove old secrets that no endpoint names any more."""
        before = (now() - _ORPHAN_AGE).isoformat()
        async with self._failures():
            answer = await self._client.search(
                index=self._secrets,
                size=_PAGE,
                query={"range": {"created_at": {"lt": before}}},
                source_includes=["inference_id"],
            )
            hits = answer["hits"]["hits"]
            owners = sorted({hit["_source"]["inference_id"] for hit in hits})
            records = await self._read(owners)
        named = {record.secrets_id for record in records.values()}
        orphans = [hit["_id"] for hit in hits if hit["_id"] not in named]
        await asyncio.gather(*(self._remove_secrets(orphan) for orphan in orphans))

    @asynccontextmanager
    async def _failures(self, *, refusals_are_user_errors: bool = False) -> AsyncIterator[None]:
        """Turn the client's failures into the registry's."""
        try:
            yield
        except ApiError as error:
            if refusals_are_user_errors and error.status_code in (401, 403):
                raise UserError(
                    f"Elasticsearch refused the sidecar ({failure_text(error)}): check SIDECAR_ELASTICSEARCH_API_KEY or"
                    " _USERNAME and _PASSWORD; the privileges that it needs stand in docs/settings.md."
                ) from None
            if error.error == "index_not_found_exception":
                raise _missing(str(self._endpoints)) from error
            if error.status_code == 400 and error.error not in _UNREADABLE_INDEX:
                raise OtherError("status_exception", f"Elasticsearch refused the endpoint: {_reason(error)}") from error
            raise self._unavailable(error) from error
        except TransportError as error:
            raise StoreUnavailableError(f"The {self.description} does not answer: {failure_text(error)}") from error
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise StoreUnavailableError(
                f"The {self.description} cannot be used: what answers there is not of Elasticsearch's form"
                f" ({type(error).__name__}: {error})"
            ) from error

    def _unavailable(self, error: ApiError) -> StoreUnavailableError:
        is_refusal = error.status_code in (400, 401, 403)
        does = "refuses" if is_refusal else "does not answer"
        unavailable = StoreUnavailableError(f"The {self.description} {does}: {failure_text(error)}")
        unavailable.is_refusal = is_refusal
        return unavailable


# The index is closed, or its mapping is not the sidecar's: no fault of an endpoint.
_UNREADABLE_INDEX = frozenset({"index_closed_exception", "search_phase_execution_exception"})


def _missing(index: str) -> StoreLostError:
    return StoreLostError(
        f"The Elasticsearch index behind {index} is gone: it was deleted, or its alias was; sidecar endpoints restore"
        " makes it anew with what the local copy holds"
    )


def _not_ours(index: str, why: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{index} in Elasticsearch is not what the sidecar made ({why}): move it away, then run sidecar endpoints"
        " restore"
    )


def _object(body: Any) -> Mapping[str, Any]:
    """``body``; an empty object says that there is no index, an empty list says nothing that Elasticsearch would."""
    if not isinstance(body, Mapping):
        raise TypeError(f"a {type(body).__name__} in the place of an object")
    return body


def _holder(found: Any, alias: str) -> Mapping[str, Any]:
    """The one index behind ``alias``."""
    found = _object(found)
    if alias in found:
        raise _not_ours(alias, "it is an index and no alias")
    holders: list[Mapping[str, Any]] = [holder for holder in found.values() if alias in holder.get("aliases", {})]
    if not holders:
        raise _missing(alias)
    if len(holders) > 1:
        raise _not_ours(alias, "the alias names several indices")
    return holders[0]


def _block(settings: Mapping[str, Any]) -> str | None:
    """Why an index takes no writes, of its flat settings; the first happens when a disk is full."""
    if settings.get("index.verified_before_close") == "true":
        raise StoreUnavailableError(f"The Elasticsearch index {settings.get('index.provided_name')} is closed")
    for name, why in (
        ("read_only_allow_delete", "Elasticsearch set it because a disk is nearly full"),
        ("read_only", "someone set it"),
        ("write", "someone set it"),
    ):
        if settings.get(f"index.blocks.{name}") == "true":
            index = settings.get("index.provided_name")
            return f"the Elasticsearch index {index} has the block index.blocks.{name}: {why}"
    return None


def _document(
    endpoint: Endpoint | UnreadableEndpoint, secrets_id: str | None, *, created_at: datetime, updated_at: datetime
) -> dict[str, Any]:
    return {
        **endpoint_document(endpoint),
        "secrets_id": secrets_id,
        "created_at": created_at.isoformat(),
        "updated_at": updated_at.isoformat(),
    }


def _record(item: Mapping[str, Any], sealed: Mapping[str, Any]) -> Record:
    source = item["_source"]
    secrets_id = source.get("secrets_id")
    found = sealed.get(secrets_id)
    return Record(
        document_endpoint(item["_id"], source),
        _revision(item),
        document_time(source.get("created_at")),
        document_time(source.get("updated_at")),
        found if isinstance(found, str) else None,
        secrets_id,
    )


def _found(item: Mapping[str, Any]) -> bool:
    """Whether a multi-get found the document; a failure of one item is a failure of all."""
    if "error" in item:
        raise StoreUnavailableError(f"Elasticsearch could not read [{item['_id']}]: {item['error'].get('type')}")
    return bool(item.get("found"))


def _revision(item: Mapping[str, Any]) -> str:
    return f"{item['_primary_term']}:{item['_seq_no']}"


def _guard(record: Record) -> dict[str, Any]:
    term, number = record.revision.split(":")
    return {"if_primary_term": int(term), "if_seq_no": int(number)}


def _reason(error: ApiError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    detail = body.get("error")
    return str(detail.get("reason")) if isinstance(detail, dict) else str(error.error)
