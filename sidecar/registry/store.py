"""What a store of endpoints does, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import StatusError
from sidecar.core.tasks import TaskType


class StoreUnavailableError(StatusError):
    """The store does not answer; reads go on from the cache, writes fail with 503 and may be repeated."""

    default_status = 503


class StoreConflictError(Exception):
    """The record was changed or removed by someone else since it was read; never reaches a caller."""


@dataclass(frozen=True, slots=True)
class Record:
    """An endpoint as it is stored.

    ``revision`` differs after every write and is compared for equality only. ``sealed`` holds the encrypted secrets,
    ``None`` where there are none. ``secrets_id`` names a separate document of secrets, for stores that need one.
    """

    endpoint: Endpoint
    revision: str
    created_at: datetime
    updated_at: datetime
    sealed: str | None = None
    secrets_id: str | None = None

    @property
    def inference_id(self) -> str:
        return self.endpoint.inference_id


class EndpointStore(Protocol):
    """Keeps endpoints and their sealed secrets; safe under several processes.

    Every method raises :class:`StoreUnavailableError` when the store does not answer.
    """

    @property
    def description(self) -> str:
        """What and where the store is, for logs and errors."""

    async def open(self) -> None:
        """Make the store usable, creating what is missing; may be called again after a failure."""

    async def close(self) -> None:
        """Let go of everything that ``open`` took."""

    async def get(self, inference_id: str) -> Record | None:
        """The newest state of one endpoint."""

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        """The newest state of several endpoints; those that are gone are left out."""

    async def revisions(self) -> dict[str, str]:
        """Revision by inference id of all endpoints; may lag behind writes of others by a second."""

    async def create(self, endpoint: Endpoint, sealed: str | None) -> Record:
        """Add an endpoint. Raises ``ResourceExistsError`` when the id is taken."""

    async def update(self, record: Record, endpoint: Endpoint, sealed: str | None) -> Record:
        """Replace ``record``. Raises :class:`StoreConflictError` when it is not the newest state any more."""

    async def delete(self, record: Record) -> None:
        """Remove ``record``. Raises :class:`StoreConflictError` when it is not the newest state any more."""


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """The stored form of an endpoint, JSON types only."""
    chunking = endpoint.chunking_settings
    return {
        "inference_id": endpoint.inference_id,
        "task_type": endpoint.task_type.value,
        "service": endpoint.service,
        "service_settings": dict(endpoint.service_settings),
        "task_settings": dict(endpoint.task_settings),
        "chunking_settings": None if chunking is None else dict(chunking),
    }


def document_endpoint(document: Mapping[str, Any]) -> Endpoint:
    """The endpoint of a stored form; fields of newer versions are left aside."""
    return Endpoint(
        inference_id=document["inference_id"],
        task_type=TaskType(document["task_type"]),
        service=document["service"],
        service_settings=document.get("service_settings") or {},
        task_settings=document.get("task_settings") or {},
        chunking_settings=document.get("chunking_settings"),
    )


def now() -> datetime:
    """The present in UTC, in milliseconds, which both stores keep."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)
