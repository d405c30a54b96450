"""The endpoints this process knows: a cache in front of a store that other processes write to as well.

get       cache -> on a miss the store itself, so an endpoint created elsewhere works at once
write     store first (it decides), then cache
poll      revisions of all endpoints -> changed ones loaded, vanished ones dropped -> local copy -> watchers
no store  reads from the cache or the local copy, writes answer 503, the poll goes on trying, less and less often
lost      the store was removed, or is another one that lacks endpoints: as without a store, until a person restores
          them or accepts the loss; nothing is dropped and the copy stays as it was
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from sidecar.core.endpoint import Endpoint, Secrets, is_valid_inference_id
from sidecar.core.errors import OtherError, ResourceNotFoundError, StatusError
from sidecar.registry.secrets import SecretCipher, UnreadableSecrets, other_key_sentence
from sidecar.registry.sqlite_store import SQLiteStore
from sidecar.registry.store import (
    EndpointStore,
    Record,
    StoreConflictError,
    StoreLostError,
    StoreUnavailableError,
    UnreadableEndpoint,
)
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
    """``serves`` is what reads come from: ``store``, ``copy`` (the store is away) or ``nothing``.

    ``cause`` says why it is not the store, ``blocked`` why writes fail although reads do not. ``left_aside`` are ids of
    records that this version cannot read, with the reason; ``without_secrets`` those whose secrets are missing;
    ``unreadable_secrets`` those whose secrets no key of this process opens.
    """

    serves: str
    cause: str | None = None
    blocked: str | None = None
    left_aside: Mapping[str, str] = field(default_factory=dict)
    without_secrets: tuple[str, ...] = ()
    unreadable_secrets: tuple[str, ...] = ()
    endpoints: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """One record of the cache; ``stored`` is ``None`` where this version cannot read it, and ``cause`` says why."""

    record: Record
    stored: StoredEndpoint | None
    cause: str = ""

    @property
    def has_unreadable_secrets(self) -> bool:
        """Whether there are secrets, and no key of this process opens them."""
        return self.stored is not None and not self.stored.secrets.is_readable and not self.record.lacks_secrets


# Seconds between two tries to reach a store that is away, at most; it is back that much later for this replica.
_LONGEST_WAIT = 10.0


class Registry:
    """Endpoints by inference id; :meth:`start` before use, :meth:`close` after.

    ``copy`` keeps what was last seen of a store on another machine; with ``copies_when_lost`` only what was known when
    the store was lost. ``poll_interval`` in seconds. ``refuses`` says why an endpoint cannot be one of this version
    (``None``: it can). With ``is_guest`` nothing is created where there is no store, and secrets that cannot be opened
    are no reason to refuse: for commands that want to use what is there. Endpoints that are built in are not kept here.
    """

    def __init__(
        self,
        store: EndpointStore,
        cipher: SecretCipher,
        *,
        copy: SQLiteStore | None = None,
        copies_when_lost: bool = False,
        poll_interval: float = 1.0,
        allow_unreadable: bool = False,
        refuses: Callable[[Endpoint], str | None] = lambda _endpoint: None,
        is_guest: bool = False,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._copy = copy
        self._copies_when_lost = copies_when_lost
        self._poll_interval = poll_interval
        self._allow_unreadable = allow_unreadable or is_guest
        self._refuses = refuses
        self._is_guest = is_guest
        self._cache: dict[str, _Known] = {}
        # Whose secrets the store lacks although this process has them.
        self._torn: set[str] = set()
        self._identity: str | None = None
        self._copied: dict[str, str] | None = None
        self._is_open = False
        self._serves = "nothing"
        self._cause: StoreUnavailableError | None = None
        self._blocked: str | None = None
        self._refused: str | None = None
        # Counts writes, and which id was written by which: a poll must not undo what was written while it ran.
        self._clock = 0
        self._written: dict[str, int] = {}
        self._poll_task: asyncio.Task[None] | None = None
        self._watchers: list[Callable[[], Awaitable[None]]] = []

    async def start(self) -> None:
        """Open the store, or the local copy when the store does not answer, and begin to poll.

        Raises :class:`UserError` when stored secrets were encrypted with another key, and for refused credentials
        where there is no copy to serve.
        """
        if self._copy is not None and not self._copies_when_lost:
            await self._read_copy(self._copy)
        try:
            await self._synchronise()
        except StoreUnavailableError as error:
            await self._start_without_store(error)
        except UserError as error:
            if not self._cache:
                raise
            await self._start_without_store(StoreUnavailableError(str(error)))
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

        Raises :class:`StoreUnavailableError` when it is not known here and the store cannot be asked, ``StatusError``
        400 when it is stored in a form that this version cannot read.
        """
        cached = self._cache.get(inference_id)
        if cached is not None:
            return _readable(cached)
        if not is_valid_inference_id(inference_id):
            return None
        if self._is_guest and isinstance(self._cause, StoreLostError):
            return None
        self._require_store(reads=True)
        seen = self._clock
        record = await self._store.get(inference_id)
        if record is None:
            return None
        known = self._known(record) if self._written.get(inference_id, 0) > seen else self._put(record)
        return _readable(known)

    async def is_left_aside(self, inference_id: str) -> bool:
        """Whether there is a record of that id that this version cannot read.

        Raises :class:`StoreUnavailableError` as :meth:`get`.
        """
        try:
            await self.get(inference_id)
        except UnreadableEndpointError:
            return True
        return False

    async def contains(self, inference_id: str) -> bool:
        """Whether there is a record of that id, be it readable or not.

        Raises :class:`StoreUnavailableError` as :meth:`get`.
        """
        try:
            return await self.get(inference_id) is not None
        except UnreadableEndpointError:
            return True

    async def list(self) -> list[StoredEndpoint]:
        """All endpoints by inference id; those of other replicas appear within two poll intervals."""
        known = (known for _, known in sorted(self._cache.items()))
        return [each.stored for each in known if each.stored is not None]

    async def create(self, endpoint: Endpoint, secrets: Mapping[str, Any] | None = None) -> StoredEndpoint:
        """Add an endpoint. Raises ``ResourceExistsError`` when the id is taken, here or in any replica."""
        self._require_store()
        sealed = self._cipher.seal(endpoint.inference_id, secrets or {})
        with self._logged("create", endpoint.inference_id):
            return _readable(self._put(await self._store.create(endpoint, sealed)))

    async def update(self, endpoint: Endpoint, secrets: Mapping[str, Any] | None = None) -> StoredEndpoint:
        """Replace an endpoint; ``secrets=None`` keeps the stored ones.

        Raises ``ResourceNotFoundError``, or a 409 when others keep changing it at the same time.
        """
        inference_id = endpoint.inference_id
        sealed = None if secrets is None else self._cipher.seal(inference_id, secrets)
        for _ in range(2):
            record = await self._newest(inference_id)
            with contextlib.suppress(StoreConflictError), self._logged("update", inference_id):
                kept = record.sealed if secrets is None else sealed
                return _readable(self._put(await self._store.update(record, endpoint, kept)))
        raise _conflict(inference_id)

    async def delete(self, inference_id: str) -> None:
        """Remove an endpoint with its secrets. Raises ``ResourceNotFoundError``, or a 409 as in :meth:`update`."""
        for _ in range(2):
            record = await self._newest(inference_id)
            with contextlib.suppress(StoreConflictError), self._logged("delete", inference_id):
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
        """Where reads come from at this moment, as of the last poll, and what is wrong."""
        return RegistryHealth(
            self._serves,
            self._cause.reason if self._cause else None,
            self._blocked or self._refused,
            {inference_id: known.cause for inference_id, known in self._cache.items() if known.stored is None},
            tuple(sorted(self._torn | {name for name, known in self._cache.items() if known.record.lacks_secrets})),
            self._with_unreadable_secrets(),
            sum(known.stored is not None for known in self._cache.values()),
        )

    # --- cache

    def _known(self, record: Record) -> _Known:
        endpoint = record.endpoint
        cause = endpoint.cause if isinstance(endpoint, UnreadableEndpoint) else self._refuses(endpoint)
        if isinstance(endpoint, UnreadableEndpoint) or cause is not None:
            return _Known(record, None, cause or "")
        secrets = (
            UnreadableSecrets(record.inference_id, are_missing=True)
            if record.lacks_secrets
            else self._cipher.open(record.inference_id, record.sealed)
        )
        return _Known(record, StoredEndpoint(endpoint, secrets, record.created_at))

    def _put(self, record: Record) -> _Known:
        known = self._cache[record.inference_id] = self._known(record)
        self._torn.discard(record.inference_id)
        self._touch(record.inference_id)
        return known

    def _drop(self, inference_id: str) -> None:
        self._cache.pop(inference_id, None)
        self._torn.discard(inference_id)
        self._touch(inference_id)

    def _touch(self, inference_id: str) -> None:
        self._clock += 1
        self._written[inference_id] = self._clock

    # --- store

    def _require_store(self, *, reads: bool = False) -> None:
        # A store that was made anew may hold what others created since.
        if self._cause is None or (reads and isinstance(self._cause, StoreLostError)):
            return
        reason = (self._cause.reason or "").removesuffix(".")
        raise StoreUnavailableError(
            f"{reason}. Endpoints cannot be created, changed or removed until that is mended; known endpoints keep"
            " working"
        )

    @contextlib.contextmanager
    def _logged(self, action: str, inference_id: str) -> Iterator[None]:
        """Says in the log why the store did not take a write; :meth:`health` tells a refusal until it takes one."""
        try:
            yield
        except StoreUnavailableError as error:
            if error.is_refusal:
                self._refused = error.reason
            _log.error("registry_write_failed", action=action, inference_id=inference_id, cause=error.reason)
            raise
        self._refused = None

    async def _newest(self, inference_id: str) -> Record:
        self._require_store()
        record = await self._store.get(inference_id)
        if record is None:
            self._drop(inference_id)
            raise ResourceNotFoundError(f"Inference endpoint not found [{inference_id}]")
        return record

    async def _poll(self) -> None:
        wait = self._poll_interval
        while True:
            await asyncio.sleep(wait)
            try:
                await self._synchronise()
            except StoreUnavailableError as error:
                await self._lost(error)
            except UserError as error:
                await self._lost(StoreUnavailableError(str(error)))
            except Exception as error:
                await self._lost(
                    StoreUnavailableError(f"The {self._store.description} cannot be used: {error!r}"), error
                )
            else:
                wait = self._poll_interval
                await self._tell_watchers()
                continue
            # Somewhat more each time, and not all replicas in step.
            wait = max(self._poll_interval, min(wait * 1.5, _LONGEST_WAIT) * random.uniform(0.75, 1))  # noqa: S311

    async def _tell_watchers(self) -> None:
        for watcher in tuple(self._watchers):
            try:
                await watcher()
            except Exception:
                _log.exception("registry_watcher_failed")

    async def _synchronise(self) -> None:
        """Bring the cache up to the store's state, once that is judged to be no worse than what is known."""
        is_opened = not self._is_open
        if is_opened:
            # What this process knows was somewhere: an empty store in its place would be a loss, not a beginning.
            await self._store.open(create=not self._cache and not self._is_guest)
            self._is_open = True
        started = self._clock
        before = set(self._cache)
        state = await self._store.state()
        is_other = self._identity not in (None, state.identity) and self._identity not in state.replaces
        revisions = await self._store.revisions()
        if is_other and (missing := sorted(before - set(revisions))):
            raise StoreLostError(_loss_sentence(self._store.description, missing))
        cached = {inference_id: known.record.revision for inference_id, known in self._cache.items()}
        # A store just opened may have lost the secrets of records that are as they were.
        is_read_whole = is_other or is_opened
        changed = {name for name, revision in revisions.items() if is_read_whole or cached.get(name) != revision}
        loaded = {record.inference_id: record for record in await self._store.load(changed)} if changed else {}
        gone = (before - set(revisions)) | (changed - set(loaded))
        if removed := sorted(name for name in gone & before if self._written.get(name, 0) <= started):
            # By another sidecar, or by somebody in the store itself: nothing tells which.
            _log.info("registry_endpoints_removed", inference_ids=removed, store=self._store.description)
        for inference_id in changed | gone:
            if self._written.get(inference_id, 0) <= started:
                self._take_over(inference_id, loaded.get(inference_id))
        self._written = {inference_id: at for inference_id, at in self._written.items() if at > started}
        if self._cause is not None:
            _log.info("registry_store_back", store=self._store.description)
        if state.blocked is not None and state.blocked != self._blocked:
            _log.error("registry_writes_blocked", store=self._store.description, cause=state.blocked)
        self._blocked, self._identity = state.blocked, state.identity
        self._serves, self._cause = "store", None
        if not self._copies_when_lost:
            await self._write_copy()
        if is_opened and revisions and not self._is_guest:
            await self._store.sweep()

    def _take_over(self, inference_id: str, record: Record | None) -> None:
        """Into the cache, or out of it. Secrets that the store lacks and this process has are kept."""
        known = self._cache.get(inference_id)
        self._torn.discard(inference_id)
        if record is None:
            self._cache.pop(inference_id, None)
            return
        if record.lacks_secrets:
            _log.error("registry_secrets_missing", inference_id=inference_id, store=self._store.description)
            if known is not None and known.record.sealed is not None and known.record.secrets_id == record.secrets_id:
                record = replace(record, sealed=known.record.sealed)
                self._torn.add(inference_id)
        self._cache[inference_id] = fresh = self._known(record)
        if fresh.stored is None and (known is None or known.cause != fresh.cause):
            _log.warning("registry_record_left_aside", inference_id=inference_id, cause=fresh.cause)
        is_running = self._poll_task is not None  # at the start all are told together
        if is_running and fresh.has_unreadable_secrets and (known is None or not known.has_unreadable_secrets):
            _log.error("registry_secrets_unreadable", inference_ids=[inference_id])

    async def _lost(self, error: StoreUnavailableError, defect: Exception | None = None) -> None:
        if self._cause is None or self._cause.reason != error.reason:
            _log.error("registry_store_lost", store=self._store.description, cause=error.reason, exc_info=defect)
        was_there, self._is_open, self._cause = self._serves == "store", False, error
        if was_there:
            self._serves = "copy"
            if self._copies_when_lost and self._cache:
                await self._write_copy()

    # --- local copy

    async def _read_copy(self, copy: SQLiteStore) -> None:
        await copy.open()
        try:
            records, self._identity = await copy.all(), await copy.read_identity()
        except StoreUnavailableError as error:
            _log.warning("registry_copy_failed", cause=error.reason)
            return
        for record in records:
            self._cache[record.inference_id] = self._known(record)

    async def _start_without_store(self, error: StoreUnavailableError) -> None:
        self._serves = "copy" if self._cache else "nothing"
        self._cause, self._is_open = error, False
        if self._is_guest and isinstance(error, StoreLostError):
            return
        _log.error(
            "registry_starts_without_store",
            store=self._store.description,
            cause=error.reason,
            endpoints_from_copy=len(self._cache),
        )

    async def _write_copy(self) -> None:
        if self._copy is None or self._identity is None:
            return
        revisions = {inference_id: known.record.revision for inference_id, known in self._cache.items()}
        revisions[""] = self._identity
        if revisions == self._copied:
            return
        try:
            await self._copy.open()
            await self._copy.replace_all((known.record for known in self._cache.values()), self._identity)
        except (StoreUnavailableError, UserError) as error:
            _log.warning("registry_copy_failed", cause=str(error))
        else:
            self._copied = revisions

    # --- keys

    def _check_key(self) -> None:
        unreadable = self._with_unreadable_secrets()
        if unreadable and not self._allow_unreadable:
            raise UserError(other_key_sentence(unreadable, is_generated=self._cipher.is_generated))
        if unreadable and not self._is_guest:
            _log.error("registry_secrets_unreadable", inference_ids=list(unreadable))

    def _with_unreadable_secrets(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, known in self._cache.items() if known.has_unreadable_secrets))


class UnreadableEndpointError(StatusError):
    """An endpoint is stored in a form that this version cannot read."""


def _readable(known: _Known) -> StoredEndpoint:
    if known.stored is None:
        raise UnreadableEndpointError(
            f"Inference endpoint [{known.record.inference_id}] is stored in a form that this version of the sidecar"
            f" cannot read: {known.cause}. Use the version that wrote it, or delete it"
        )
    return known.stored


def _loss_sentence(store: str, missing: Sequence[str]) -> str:
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return (
        f"The {store} was made anew, without inference endpoints that were in it ({shown}): sidecar endpoints restore"
        " writes them back, sidecar endpoints restore --forget accepts the loss"
    )


def _conflict(inference_id: str) -> OtherError:
    return OtherError(
        "version_conflict_engine_exception",
        f"Inference endpoint [{inference_id}] was changed by others at the same time, try again",
        status=409,
    )
