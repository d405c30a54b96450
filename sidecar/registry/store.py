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
    is_refusal = False
    """Whether the store is there and does not want to: asking again changes nothing."""


class StoreLostError(StoreUnavailableError):
    """The store answers, but what it held is gone: its index or file was removed, or made anew without its records."""


class StoreConflictError(Exception):
    """The record was changed or removed by someone else since it was read; never reaches a caller."""


@dataclass(frozen=True, slots=True)
class UnreadableEndpoint:
    """A stored form that this version cannot read: ``document`` is that form, ``cause`` why."""

    inference_id: str
    document: Mapping[str, Any]
    cause: str


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a store says about itself.

    ``identity`` becomes another when what holds the endpoints is removed and made anew; ``replaces`` are identities
    whose loss a person accepted. ``blocked`` is why writes fail, ``None`` while they are taken.
    """

    identity: str
    replaces: frozenset[str] = frozenset()
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """An endpoint as it is stored.

    ``revision`` differs after every write and is compared for equality only. ``sealed`` holds the encrypted secrets,
    ``None`` where there are none. ``secrets_id`` names a separate document of secrets, for stores that need one: where
    it is set and ``sealed`` is not, the secrets are missing.
    """

    endpoint: Endpoint | UnreadableEndpoint
    revision: str
    created_at: datetime
    updated_at: datetime
    sealed: str | None = None
    secrets_id: str | None = None

    @property
    def inference_id(self) -> str:
        return self.endpoint.inference_id

    @property
    def lacks_secrets(self) -> bool:
        """Whether it names secrets that are not there."""
        return self.secrets_id is not None and self.sealed is None


class EndpointStore(Protocol):
    """Keeps endpoints and their sealed secrets; safe under several processes.

    Every method raises :class:`StoreUnavailableError` when the store does not answer.
    """

    @property
    def description(self) -> str:
        """What and where the store is, for logs and errors."""

    async def open(self, *, create: bool = True) -> None:
        """Make the store usable; may be called again after a failure.

        What is missing is created, or with ``create`` false reported as :class:`StoreLostError`.
        """

    async def close(self) -> None:
        """Let go of everything that ``open`` took."""

    async def state(self) -> StoreState:
        """Which store it is and whether it can be written to.

        Raises :class:`StoreLostError` when what holds the endpoints is gone.
        """

    async def accept_loss(self, identity: str) -> None:
        """Note for all replicas that this store replaces the lost one of that identity."""

    async def sweep(self) -> None:
        """Remove what dead writers left behind; to be called when the endpoints are known to be whole."""

    async def get(self, inference_id: str) -> Record | None:
        """The newest state of one endpoint."""

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        """The newest state of several endpoints; those that are gone are left out."""

    async def revisions(self) -> dict[str, str]:
        """Revision by inference id of all endpoints; may lag behind writes of others by a second."""

    async def create(self, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        """Add an endpoint. Raises ``ResourceExistsError`` when the id is taken."""

    async def update(self, record: Record, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        """Replace ``record``. Raises :class:`StoreConflictError` when it is not the newest state any more."""

    async def delete(self, record: Record) -> None:
        """Remove ``record``. Raises :class:`StoreConflictError` when it is not the newest state any more."""


def endpoint_document(endpoint: Endpoint | UnreadableEndpoint) -> dict[str, Any]:
    """The stored form of an endpoint, JSON types only."""
    if isinstance(endpoint, UnreadableEndpoint):
        return dict(endpoint.document)
    chunking = endpoint.chunking_settings
    return {
        "inference_id": endpoint.inference_id,
        "task_type": endpoint.task_type.value,
        "service": endpoint.service,
        "service_settings": dict(endpoint.service_settings),
        "task_settings": dict(endpoint.task_settings),
        "chunking_settings": None if chunking is None else dict(chunking),
    }


def document_endpoint(inference_id: str, document: Any) -> Endpoint | UnreadableEndpoint:
    """The endpoint of a stored form; fields of newer versions are left aside, a form that cannot be read is kept."""
    try:
        return Endpoint(
            inference_id=_same(inference_id, document["inference_id"]),
            task_type=_task_type(document["task_type"]),
            service=_typed(document, "service", str),
            service_settings=_typed(document, "service_settings", dict, {}),
            task_settings=_typed(document, "task_settings", dict, {}),
            chunking_settings=_typed(document, "chunking_settings", dict, None),
        )
    except KeyError as error:
        cause = f"[{error.args[0]}] is missing"
    except (TypeError, ValueError) as error:
        cause = str(error) or "it is not an object"
    kept = {k: v for k, v in document.items() if k not in _OF_THE_STORE} if isinstance(document, Mapping) else {}
    return UnreadableEndpoint(inference_id, kept, cause)


def document_time(value: Any) -> datetime:
    """A stored time, the beginning of the epoch for what is none."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return datetime.fromtimestamp(0, UTC)


def _same(inference_id: str, found: Any) -> str:
    if found != inference_id:
        raise ValueError(f"it calls itself [{found}]")
    return inference_id


def _task_type(value: Any) -> TaskType:
    try:
        return TaskType(value)
    except ValueError:
        raise ValueError(f"its task_type [{value}] is unknown") from None


# kept in the document by some stores, but not part of the endpoint
_OF_THE_STORE = frozenset({"secrets_id", "created_at", "updated_at"})
_REQUIRED = object()


def _typed(document: Mapping[str, Any], name: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = document[name] if default is _REQUIRED else document.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind):
        raise TypeError(f"its {name} is a {type(value).__name__}")
    return value


def now() -> datetime:
    """The present in UTC, in milliseconds, which both stores keep."""
    present = datetime.now(UTC)
    return present.replace(microsecond=present.microsecond // 1000 * 1000)
