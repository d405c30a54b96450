"""The endpoints this process knows: a cache in front of a store that other processes write to as well.

get       cache -> on a miss the store itself, so an endpoint created elsewhere works at once
write     store first (it decides), then cache
poll      revisions of all endpoints -> changed ones loaded, vanished ones dropped -> local copy -> watchers
no store  reads from the cache or the local copy, writes answer 503, the poll goes on trying
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from sidecar.core.endpoint import Endpoint, Secrets, is_valid_inference_id
from sidecar.core.errors import OtherError, ResourceNotFoundError
from sidecar.registry.secrets import SecretCipher, UnreadableSecrets, other_key_sentence
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.registry.store import EndpointStore, Record, StoreConflictError, StoreUnavailableError
from sidecar.settings import UserError

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """An endpoint with its secrets, opened; ``created_at`` is ``None`` for one that is built in or not stored yet."""

    endpoint: Endpoint
    secrets: Secrets
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RegistryHealth:
    """``serves`` is what reads come from: ``store``, ``copy`` (the store is away) or ``nothing``."""

    serves: str
    cause: str | None = None


class Registry:
    """Endpoints by inference id; :meth:`start` before use, :meth:`close` after.

    ``copy`` keeps what was last seen of a store on another machine. ``poll_interval`` in seconds. Endpoints that are
    built in are not kept here.
    """

    def __init__(
        self,
        store: EndpointStore,
        cipher: SecretCipher,
        *,
        copy: SQLiteStore | None = None,
        poll_interval: float = 1.0,
        allow_unreadable: bool = False,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._copy = copy
        self._poll_interval = poll_interval
        self._allow_unreadable = allow_unreadable
        self._cache: dict[str, tuple[Record, StoredEndpoint]] = {}
        self._copied: dict[str, str] | None = None
        self._is_open = False
        self._serves = "nothing"
        self._cause: StoreUnavailableError | None = None
        # Counts writes, and which id was written by which: a poll must not undo what was written while it ran.
        self._clock = 0
        self._written: dict[str, int] = {}
        self._poll_task: asyncio.Task[None] | None = None
        self._watchers: list[Callable[[], Awaitable[None]]] = []

    async def start(self) -> None:
        """Open the store, or the local copy when the store does not answer, and begin to poll.

        Raises :class:`UserError` when stored secrets were encrypted with another key.
        """
        if self._copy is not None:
            await self._copy.open()
        try:
            await self._synchronise()
        except StoreUnavailableError as error:
            await self._serve_copy(error)
        self._check_key()
        self._poll_task = asyncio.create_task(self._poll(), name="registry poll")

    async def close(self) -> None:
        """Stop polling and close the stores."""
        if self._poll_task is not None:
            self._poll_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poll_task
        await self._store.close()
        if self._copy is not None:
            await self._copy.close()

    async def get(self, inference_id: str) -> StoredEndpoint | None:
        """The endpoint of that id, ``None`` when there is none.

        Raises :class:`StoreUnavailableError` when it is not known here and the store cannot be asked.
        """
        cached = self._cache.get(inference_id)
        if cached is not None:
            return cached[1]
        if not is_valid_inference_id(inference_id):
            return None
        self._require_store()
        seen = self._clock
        record = await self._store.get(inference_id)
        if record is None:
            return None
        if self._written.get(inference_id, 0) <= seen:
            return self._put(record)
        return self._opened(record)

    async def list(self) -> list[StoredEndpoint]:
        """All endpoints by inference id; those of other replicas appear within two poll intervals."""
        return [stored for _, (_, stored) in sorted(self._cache.items())]

    async def create(self, endpoint: Endpoint, secrets: Mapping[str, Any] | None = None) -> StoredEndpoint:
        """Add an endpoint. Raises ``ResourceExistsError`` when the id is taken, here or in any replica."""
        self._require_store()
        sealed = self._cipher.seal(endpoint.inference_id, secrets or {})
        return self._put(await self._store.create(endpoint, sealed))

    async def update(self, endpoint: Endpoint, secrets: Mapping[str, Any] | None = None) -> StoredEndpoint:
        """Replace an endpoint; ``secrets=None`` keeps the stored ones.

        Raises ``ResourceNotFoundError``, or a 409 when others keep changing it at the same time.
        """
        inference_id = endpoint.inference_id
        sealed = None if secrets is None else self._cipher.seal(inference_id, secrets)
        for _ in range(2):
            record = await self._newest(inference_id)
            with contextlib.suppress(StoreConflictError):
                return self._put(
                    await self._store.update(record, endpoint, record.sealed if secrets is None else sealed)
                )
        raise _conflict(inference_id)

    async def delete(self, inference_id: str) -> None:
        """Remove an endpoint with its secrets. Raises ``ResourceNotFoundError``, or a 409 as in :meth:`update`."""
        for _ in range(2):
            record = await self._newest(inference_id)
            with contextlib.suppress(StoreConflictError):
                await self._store.delete(record)
                self._drop(inference_id)
                return
        raise _conflict(inference_id)

    async def rotate_secrets(self) -> int:
        """Encrypt anew with the first key what older keys encrypted; returns how many endpoints that were."""
        self._require_store()
        rotated = 0
        for inference_id in sorted(self._cache):
            record = await self._store.get(inference_id)
            if record is None or record.sealed is None or self._cipher.is_current(record.sealed):
                continue
            secrets = self._cipher.open(inference_id, record.sealed)
            if isinstance(secrets, UnreadableSecrets):
                continue
            sealed = self._cipher.seal(inference_id, secrets)
            # After a conflict someone else wrote it, with the key that is theirs to know.
            with contextlib.suppress(StoreConflictError):
                self._put(await self._store.update(record, record.endpoint, sealed))
                rotated += 1
        return rotated

    @contextlib.contextmanager
    def watched_by(self, watcher: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """While inside, awaits ``watcher`` after every poll: what others wrote is in :meth:`list` by then.

        The next poll waits for it. It is not called while the store is away.
        """
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def health(self) -> RegistryHealth:
        """Where reads come from at this moment, as of the last poll, and why not from the store."""
        return RegistryHealth(self._serves, self._cause.reason if self._cause else None)

    # --- cache

    def _opened(self, record: Record) -> StoredEndpoint:
        if record.sealed is None and record.secrets_id is not None:
            return StoredEndpoint(record.endpoint, UnreadableSecrets(record.inference_id), record.created_at)
        return StoredEndpoint(record.endpoint, self._cipher.open(record.inference_id, record.sealed), record.created_at)

    def _put(self, record: Record) -> StoredEndpoint:
        stored = self._opened(record)
        self._cache[record.inference_id] = record, stored
        self._touch(record.inference_id)
        return stored

    def _drop(self, inference_id: str) -> None:
        self._cache.pop(inference_id, None)
        self._touch(inference_id)

    def _touch(self, inference_id: str) -> None:
        self._clock += 1
        self._written[inference_id] = self._clock

    # --- store

    def _require_store(self) -> None:
        if self._cause is not None:
            raise StoreUnavailableError(
                f"{self._cause.reason}. Endpoints cannot be created, changed or removed until it does; known endpoints"
                " keep working"
            )

    async def _newest(self, inference_id: str) -> Record:
        self._require_store()
        record = await self._store.get(inference_id)
        if record is None:
            self._drop(inference_id)
            raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
        return record

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval)
            try:
                await self._synchronise()
            except StoreUnavailableError as error:
                self._lost(error)
            except UserError as error:
                self._lost(StoreUnavailableError(str(error)))
            except Exception:
                _log.exception("registry_poll_failed", store=self._store.description)
            else:
                await self._tell_watchers()

    async def _tell_watchers(self) -> None:
        for watcher in tuple(self._watchers):
            try:
                await watcher()
            except Exception:
                _log.exception("registry_watcher_failed")

    async def _synchronise(self) -> None:
        """Bring the cache up to the store's state."""
        if not self._is_open:
            await self._store.open()
            self._is_open = True
        started = self._clock
        before = set(self._cache)
        revisions = await self._store.revisions()
        cached = {inference_id: record.revision for inference_id, (record, _) in self._cache.items()}
        changed = {inference_id for inference_id, revision in revisions.items() if cached.get(inference_id) != revision}
        loaded = {record.inference_id: record for record in await self._store.load(changed)} if changed else {}
        gone = (before - set(revisions)) | (changed - set(loaded))
        for inference_id in changed | gone:
            if self._written.get(inference_id, 0) > started:
                continue
            record = loaded.get(inference_id)
            if record is None:
                self._cache.pop(inference_id, None)
            else:
                self._cache[inference_id] = record, self._opened(record)
        self._written = {inference_id: at for inference_id, at in self._written.items() if at > started}
        if self._serves == "copy":
            _log.info("registry_store_back", store=self._store.description)
        self._serves, self._cause = "store", None
        await self._write_copy()

    def _lost(self, error: StoreUnavailableError) -> None:
        if self._cause is None:
            _log.error("registry_store_lost", store=self._store.description, cause=error.reason)
        if self._serves == "store":
            self._serves = "copy"
        self._is_open = False
        self._cause = error

    # --- local copy

    async def _serve_copy(self, error: StoreUnavailableError) -> None:
        records = await self._copy.all() if self._copy is not None else []
        for record in records:
            self._cache[record.inference_id] = record, self._opened(record)
        self._serves = "copy" if records else "nothing"
        self._cause = error
        _log.error(
            "registry_starts_without_store",
            store=self._store.description,
            cause=error.reason,
            endpoints_from_copy=len(records),
        )

    async def _write_copy(self) -> None:
        if self._copy is None:
            return
        revisions = {inference_id: record.revision for inference_id, (record, _) in self._cache.items()}
        if revisions == self._copied:
            return
        try:
            await self._copy.replace_all(record for record, _ in self._cache.values())
        except StoreUnavailableError as error:
            _log.warning("registry_copy_failed", cause=error.reason)
        else:
            self._copied = revisions

    # --- keys

    def _check_key(self) -> None:
        unreadable = sorted(
            inference_id
            for inference_id, (_, stored) in self._cache.items()
            if isinstance(stored.secrets, UnreadableSecrets)
        )
        if unreadable and not self._allow_unreadable:
            raise UserError(other_key_sentence(unreadable, is_generated=self._cipher.is_generated))
        if unreadable:
            _log.error("registry_secrets_unreadable", inference_ids=unreadable)


def _conflict(inference_id: str) -> OtherError:
    return OtherError(
        "version_conflict_engine_exception",
        f"Inference endpoint [{inference_id}] was changed by others at the same time, try again",
        status=409,
    )
