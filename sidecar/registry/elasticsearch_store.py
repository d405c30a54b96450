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
    StoreUnavailableError,
    document_endpoint,
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
        self._endpoints = f"{name}-endpoints"
        self._secrets = f"{name}-secrets"

    @property
    def description(self) -> str:
        return f"Elasticsearch index {self._endpoints}"

    async def open(self) -> None:
        """Create the indices where they are missing.

        Raises :class:`UserError` when Elasticsearch refuses the credentials or the index is of a newer version.
        """
        async with self._failures(refusals_are_user_errors=True):
            for index, template in ((self._endpoints, ENDPOINTS), (self._secrets, SECRETS)):
                await self._ensure_index(index, load_mapping(template))
        await self._sweep()

    async def close(self) -> None:
        """Nothing to do: the client belongs to the caller."""

    async def get(self, inference_id: str) -> Record | None:
        for _ in range(3):
            found = await self._read([inference_id])
            record = found.get(inference_id)
            if record is None or record.secrets_id is None or record.sealed is not None:
                return record
            # The secrets it named are gone: someone updated or removed it between the two reads.
        return record

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        ids = sorted(inference_ids)
        records: list[Record] = []
        for start in range(0, len(ids), _PAGE):
            page = await self._read(ids[start : start + _PAGE])
            for record in page.values():
                torn = record.secrets_id is not None and record.sealed is None
                whole = await self.get(record.inference_id) if torn else record
                if whole is not None:
                    records.append(whole)
        return records

    async def revisions(self) -> dict[str, str]:
        found: dict[str, str] = {}
        after: list[str] | None = None
        while True:
            async with self._failures():
                answer = await self._client.search(
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

    async def create(self, endpoint: Endpoint, sealed: str | None) -> Record:
        present = now()
        secrets_id = await self._write_secrets(endpoint.inference_id, sealed)
        document = _document(endpoint, secrets_id, created_at=present, updated_at=present)
        try:
            revision = await self._write(endpoint.inference_id, document, op_type="create")
        except StoreConflictError:
            await self._remove_secrets(secrets_id)
            raise ResourceExistsError(f"Inference endpoint [{endpoint.inference_id}] already exists") from None
        return Record(endpoint, revision, present, present, sealed, secrets_id)

    async def update(self, record: Record, endpoint: Endpoint, sealed: str | None) -> Record:
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
            except (ConflictError, NotFoundError):
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
            sealed: dict[str, str] = {}
            if named:
                answer = await self._client.mget(index=self._secrets, ids=named)
                sealed = {item["_id"]: item["_source"]["sealed"] for item in answer["docs"] if _found(item)}
        return {item["_id"]: _record(item, sealed) for item in found}

    async def _write(self, inference_id: str, document: dict[str, Any], **condition: Any) -> str:
        async with self._failures():
            try:
                answer = await self._client.index(
                    index=self._endpoints, id=inference_id, document=document, refresh="wait_for", **condition
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
            await self._client.index(index=self._secrets, id=secrets_id, document=document)
        return secrets_id

    async def _remove_secrets(self, secrets_id: str | None) -> None:
        if secrets_id is None:
            return
        try:
            await self._client.options(ignore_status=404).delete(index=self._secrets, id=secrets_id)
        except (ApiError, TransportError):
            # The endpoint is as it should be; the sweep takes what is left over.
            return

    async def _ensure_index(self, index: str, template: Mapping[str, Any]) -> None:
        # The shipped file names the first index and its alias after "sidecar"; only tests take other names.
        if not await self._client.indices.exists(index=index):
            try:
                await self._client.indices.create(
                    index=f"{index}-1",
                    aliases={index: dict(template["aliases"].popitem()[1])},
                    settings=template["settings"],
                    mappings=template["mappings"],
                )
            except BadRequestError as error:
                if error.error != "resource_already_exists_exception":
                    raise
        # Not wait_for_status: an index whose first shard is only being created counts as yellow already.
        await self._client.cluster.health(index=index, wait_for_active_shards="1", timeout="5s")
        for mapping in (await self._client.indices.get_mapping(index=index)).values():
            version = mapping["mappings"].get("_meta", {}).get("version", 0)
            if version > _VERSION:
                raise UserError(f"The index {index} was written by a newer version of the sidecar; use that one.")

    async def _sweep(self) -> None:
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
                    " _USERNAME and _PASSWORD; it needs the privilege all on the indices"
                    f" {self._endpoints}* and {self._secrets}*, and monitor on the cluster."
                ) from None
            if error.status_code == 400:
                raise OtherError("status_exception", f"Elasticsearch refused the endpoint: {_reason(error)}") from error
            raise StoreUnavailableError(f"The {self.description} does not answer: {failure_text(error)}") from error
        except TransportError as error:
            raise StoreUnavailableError(f"The {self.description} does not answer: {failure_text(error)}") from error


def _document(
    endpoint: Endpoint, secrets_id: str | None, *, created_at: datetime, updated_at: datetime
) -> dict[str, Any]:
    return {
        **endpoint_document(endpoint),
        "secrets_id": secrets_id,
        "created_at": created_at.isoformat(),
        "updated_at": updated_at.isoformat(),
    }


def _record(item: Mapping[str, Any], sealed: Mapping[str, str]) -> Record:
    source = item["_source"]
    return Record(
        document_endpoint(source),
        _revision(item),
        datetime.fromisoformat(source["created_at"]),
        datetime.fromisoformat(source["updated_at"]),
        sealed.get(source.get("secrets_id")),
        source.get("secrets_id"),
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
