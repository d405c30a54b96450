"""Endpoints in one SQLite file, for a sidecar on its own; several processes on one machine may share it.

One thread does all the work, so statements of a transaction never mix with others and a cancelled caller leaves none
half done. Write-ahead logging lets readers go on while another process writes. Not for network file systems.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import orjson
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from sidecar.core.endpoint import Endpoint
from sidecar.core.errors import ResourceExistsError
from sidecar.registry.store import (
    Record,
    StoreConflictError,
    StoreUnavailableError,
    document_endpoint,
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
_SELECT = """SELECT document, revision, created_at, updated_at, sealed
             FROM endpoints LEFT JOIN secrets USING (inference_id)"""
_SELECT_SOME = f"{_SELECT} WHERE inference_id IN (SELECT value FROM json_each(?))"  # noqa: S608

T = TypeVar("T")


class SQLiteStore:
    """An :class:`~sidecar.registry.store.EndpointStore` in the file ``path``, created with its directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def description(self) -> str:
        return f"SQLite file {self._path}"

    async def open(self) -> None:
        """Open the file. Raises :class:`UserError` for a directory or file that cannot be used."""
        if self._connection is None:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="sqlite")
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def get(self, inference_id: str) -> Record | None:
        return next(iter(await self.load([inference_id])), None)

    async def load(self, inference_ids: Iterable[str]) -> list[Record]:
        ids = orjson.dumps(list(inference_ids)).decode()

        def read(connection: sqlite3.Connection) -> list[Record]:
            return [_record(row) for row in connection.execute(_SELECT_SOME, (ids,))]

        return await self._run(read)

    async def revisions(self) -> dict[str, str]:
        return await self._run(
            lambda connection: dict(connection.execute("SELECT inference_id, revision FROM endpoints"))
        )

    async def create(self, endpoint: Endpoint, sealed: str | None) -> Record:
        record = _new_record(endpoint, sealed)

        def write(connection: sqlite3.Connection) -> None:
            taken = connection.execute("SELECT 1 FROM endpoints WHERE inference_id = ?", (record.inference_id,))
            if taken.fetchone():
                raise ResourceExistsError(f"Inference endpoint [{record.inference_id}] already exists")
            _insert(connection, record)

        await self._run(write)
        return record

    async def update(self, record: Record, endpoint: Endpoint, sealed: str | None) -> Record:
        updated = _new_record(endpoint, sealed, created_at=record.created_at)

        def write(connection: sqlite3.Connection) -> None:
            _remove(connection, record)
            _insert(connection, updated)

        await self._run(write)
        return updated

    async def delete(self, record: Record) -> None:
        await self._run(lambda connection: _remove(connection, record))

    async def all(self) -> list[Record]:
        """Every record, by inference id."""
        return await self._run(
            lambda connection: [_record(row) for row in connection.execute(f"{_SELECT} ORDER BY inference_id")]
        )

    async def replace_all(self, records: Iterable[Record]) -> None:
        """Make the file hold exactly ``records`` with their revisions: a copy of another store."""
        copied = list(records)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM endpoints")
            for record in copied:
                _insert(connection, record)

        await self._run(write)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise StoreUnavailableError(f"The {self.description} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        assert self._connection is not None  # noqa: S101
        connection = self._connection
        try:
            # IMMEDIATE takes the write lock first: a transaction that read before another wrote could not go on.
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"The {self.description} cannot be used: {error}") from error
        return result

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
            raise UserError(f"{self._path} cannot be used as a database: {error}; move it away.") from None
        if version > _VERSION:
            connection.close()
            raise UserError(f"{self._path} is of a newer version; use that one, or another SIDECAR_DATA_DIR.")
        self._connection = connection

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


def _new_record(endpoint: Endpoint, sealed: str | None, *, created_at: datetime | None = None) -> Record:
    present = now()
    return Record(endpoint, secrets.token_hex(8), created_at or present, present, sealed)


def _insert(connection: sqlite3.Connection, record: Record) -> None:
    document = orjson.dumps(endpoint_document(record.endpoint)).decode()
    times = record.created_at.isoformat(), record.updated_at.isoformat()
    connection.execute(
        "INSERT INTO endpoints VALUES (?, ?, ?, ?, ?)", (record.inference_id, record.revision, document, *times)
    )
    if record.sealed is not None:
        connection.execute("INSERT INTO secrets VALUES (?, ?)", (record.inference_id, record.sealed))


def _remove(connection: sqlite3.Connection, record: Record) -> None:
    removed = connection.execute(
        "DELETE FROM endpoints WHERE inference_id = ? AND revision = ?", (record.inference_id, record.revision)
    )
    if removed.rowcount != 1:
        raise StoreConflictError(record.inference_id)


def _record(row: tuple[str, str, str, str, str | None]) -> Record:
    document, revision, created_at, updated_at, sealed = row
    return Record(
        document_endpoint(orjson.loads(document)),
        revision,
        datetime.fromisoformat(created_at),
        datetime.fromisoformat(updated_at),
        sealed,
    )
