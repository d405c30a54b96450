"""Endpoints in one SQLite file, for a sidecar on its own; several processes on one machine may share it.

One thread does all the work, so statements of a transaction never mix with others and a cancelled caller leaves none
half done. Write-ahead logging lets readers go on while another process writes. Not for network file systems.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import ResourceExistsError
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

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE endpoints (
         inference_id TEXT PRIMARY KEY, revision TEXT NOT NULL, document TEXT NOT NULL,
         created_at TEXT NOT NULL, updated_at TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    """CREATE TABLE secrets (
         inference_id TEXT PRIMARY KEY REFERENCES endpoints ON DELETE CASCADE, sealed TEXT NOT NULL)
         STRICT, WITHOUT ROWID""",
)
# Beside the schema, so that it needs no version of its own: an older sidecar never looks at it.
_NOTES = "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID"
_IDENTITY = "identity"
_REPLACES = "replaces"
_UNUSABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SELECT = """SELECT inference_id, document, revision, created_at, updated_at, sealed
             FROM endpoints LEFT JOIN secrets USING (inference_id)"""
_SELECT_SOME = f"{_SELECT} WHERE inference_id IN (SELECT value FROM json_each(?))"  # noqa: S608

T = TypeVar("T")


class SQLiteStore:
    """An :class:`~sidecar.registry.store.EndpointStore` in the file ``path``, created with its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        # device and inode of the open file: one that was removed goes on taking writes that nobody will find again
        self._file: tuple[int, int] | None = None
        self._failed_write: str | None = None

    @property
    def description(self) -> str:
        return f"SQLite file {self._path}"

    async def open(self, *, create: bool = True) -> None:
        """Open the file, anew when another one took its place.

        Raises :class:`UserError` for a directory or file that cannot be used, :class:`StoreLostError` for one that was
        removed, unless ``create``.
        """
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open, create)

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def state(self) -> StoreState:
        def read(connection: sqlite3.Connection) -> StoreState:
            if self._failed_write is not None:
                # The same value again: it shows whether there is room to write.
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            found = connection.execute("SELECT value FROM notes WHERE name = ?", (_REPLACES,)).fetchone()
            replaces = frozenset(json.loads(found[0])) if found else frozenset()
            return StoreState(":".join(map(str, self._file or ())), replaces)

        if self._failed_write is None:
            return await self._run(read)
        try:
            state = await self._run(read)
        except StoreLostError:
            raise
        except StoreUnavailableError:
            return StoreState(":".join(map(str, self._file or ())), blocked=self._failed_write)
        self._failed_write = None
        return state

    async def accept_loss(self, identity: str) -> None:
        await self.write_note(_REPLACES, json.dumps([identity, *(await self.state()).replaces]))

    async def sweep(self) -> None:
        """Nothing to do: secrets go with their endpoint."""

    async def read_identity(self) -> str | None:
        """The identity of the store that this file is a copy of, ``None`` where it was not noted."""
        found = await self._run(
            lambda connection: connection.execute("SELECT value FROM notes WHERE name = ?", (_IDENTITY,)).fetchone()
        )
        return str(found[0]) if found else None

    async def write_note(self, name: str, value: str) -> None:
        """Keep a text beside the endpoints."""
        await self._run(lambda connection: _note(connection, name, value))

    async def get(self, inference_id: str) -> Record | None:
        return next(iter(await self.load([inference_id])), None)

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        ids = json.dumps(list(inference_ids))

        def read(connection: sqlite3.Connection) -> list[Record]:
            return [_record(row) for row in connection.execute(_SELECT_SOME, (ids,))]

        return await self._run(read)

    async def revisions(self) -> dict[str, str]:
        return await self._run(
            lambda connection: dict(connection.execute("SELECT inference_id, revision FROM endpoints"))
        )

    async def create(self, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        record = _new_record(endpoint, sealed)

        def write(connection: sqlite3.Connection) -> None:
            taken = connection.execute("SELECT 1 FROM endpoints WHERE inference_id = ?", (record.inference_id,))
            if taken.fetchone():
                raise ResourceExistsError(f"Inference endpoint [{record.inference_id}] already exists")
            _insert(connection, record)

        await self._write(write)
        return record

    async def update(self, record: Record, endpoint: Endpoint | UnreadableEndpoint, sealed: str | None) -> Record:
        updated = _new_record(endpoint, sealed, created_at=record.created_at)

        def write(connection: sqlite3.Connection) -> None:
            _remove(connection, record)
            _insert(connection, updated)

        await self._write(write)
        return updated

    async def delete(self, record: Record) -> None:
        await self._write(lambda connection: _remove(connection, record))

    async def all(self) -> list[Record]:
        """Every record, by inference id."""
        return await self._run(
            lambda connection: [_record(row) for row in connection.execute(f"{_SELECT} ORDER BY inference_id")]
        )

    async def replace_all(self, records: Iterable[Record], identity: str) -> None:
        """Make the file hold exactly ``records`` with their revisions: a copy of the store of that identity."""
        copied = list(records)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM endpoints")
            for record in copied:
                _insert(connection, record)
            _note(connection, _IDENTITY, identity)

        await self._run(write)

    async def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            await self._run(work)
        except StoreUnavailableError as error:
            self._failed_write = error.reason
            raise
        self._failed_write = None

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise StoreUnavailableError(f"The {self.description} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None or self._file_now() != self._file:
            raise StoreLostError(
                f"The {self.description} was removed or replaced while it was in use; sidecar endpoints restore"
                " writes back what was in it"
            )
        try:
            # IMMEDIATE takes the write lock first: a transaction that read before another wrote could not go on.
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                # A full disk rolls back by itself, and a second time would hide why.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"The {self.description} cannot be used: {error}") from error
        return result

    def _open(self, create: bool) -> None:
        if self._connection is not None and self._file_now() == self._file:
            return
        self._disconnect()
        if not create and not self._path.exists():
            raise StoreLostError(f"The {self.description} was removed")
        self._connect()

    def _file_now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _connect(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"Cannot use {self._path}: {error}; set SIDECAR_DATA_DIR to a directory for data."
            ) from None
        try:
            version = _prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            is_unusable = getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE
            advice = (
                "move it away" if is_unusable else "is the disk full, or the folder read-only? The file may be whole"
            )
            raise UserError(f"{self._path} cannot be used as a database: {error}; {advice}.") from None
        if version > _VERSION:
            connection.close()
            raise UserError(f"{self._path} is of a newer version; use that one, or another SIDECAR_DATA_DIR.")
        self._connection, self._file = connection, self._file_now()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _prepare(connection: sqlite3.Connection) -> int:
    """Create the tables where there are none; returns the version of the schema."""
    _log_ahead(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        version = _VERSION
    connection.execute(_NOTES)
    connection.execute("COMMIT")
    return version


# Of processes that switch a new file at once all but one are told that it is locked, without the usual waiting.
@retry(
    retry=retry_if_exception_type(sqlite3.OperationalError),
    stop=stop_after_delay(10),
    wait=wait_fixed(0.05),
    reraise=True,
)
def _log_ahead(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _new_record(
    endpoint: Endpoint | UnreadableEndpoint, sealed: str | None, *, created_at: datetime | None = None
) -> Record:
    present = now()
    return Record(endpoint, secrets.token_hex(8), created_at or present, present, sealed)


def _insert(connection: sqlite3.Connection, record: Record) -> None:
    document = endpoint_document(record.endpoint)
    if record.secrets_id is not None:
        document["secrets_id"] = record.secrets_id
    times = record.created_at.isoformat(), record.updated_at.isoformat()
    connection.execute(
        "INSERT INTO endpoints VALUES (?, ?, ?, ?, ?)",
        (record.inference_id, record.revision, json.dumps(document), *times),
    )
    if record.sealed is not None:
        connection.execute("INSERT INTO secrets VALUES (?, ?)", (record.inference_id, record.sealed))


def _remove(connection: sqlite3.Connection, record: Record) -> None:
    removed = connection.execute(
        "DELETE FROM endpoints WHERE inference_id = ? AND revision = ?", (record.inference_id, record.revision)
    )
    if removed.rowcount != 1:
        raise StoreConflictError(record.inference_id)


def _note(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))


def _record(row: tuple[str, str, str, str, str, str | None]) -> Record:
    inference_id, text, revision, created_at, updated_at, sealed = row
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = None
    secrets_id = document.get("secrets_id") if isinstance(document, dict) else None
    return Record(
        document_endpoint(inference_id, document),
        revision,
        document_time(created_at),
        document_time(updated_at),
        sealed,
        secrets_id if isinstance(secrets_id, str) else None,
    )
