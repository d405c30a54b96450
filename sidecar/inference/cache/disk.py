"""Packed embeddings in a SQLite file, so that commands and the service of one machine share them.

One thread does all the work. The file is a cache: when it cannot be used it is left alone with a warning, and whoever
asked computes. Each value carries a checksum, so that a damaged page is a miss and never a wrong vector.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

_log = structlog.stdlib.get_logger(__name__)

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS embeddings"
    " (key BLOB PRIMARY KEY, value BLOB NOT NULL, checked INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS embeddings_used ON embeddings (used)",
)
_BUSY_SECONDS = 1.0
_ASKED_AT_ONCE = 500
_USED_SECONDS = 60
"""How exactly it is known when an embedding was last used."""
_ROW_OVERHEAD = 64
_SIZE = f"length(value) + {_ROW_OVERHEAD}"
_EVERY_BYTES = 1 << 20
"""How much is written between two looks at the size of the file."""

T = TypeVar("T")


class DiskStore:
    """The file ``path`` with at most about ``size`` bytes of embeddings. Open it before use and close it after."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding-cache")
        self._connection: sqlite3.Connection | None = None
        self._written = 0

    async def open(self) -> None:
        """Open the file, which is created with its directory; a failure is logged and leaves the store empty."""
        await self._run(self._open, None)

    async def close(self) -> None:
        """Finish what is being written and close the file."""
        await self._run(self._close, None)
        self._thread.shutdown(wait=False)

    async def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values that are there; those damaged are left out."""
        wanted = list(keys)
        return await self._run(lambda: self._get(wanted), {})

    async def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; the longest unused go when there is no room."""
        await self._run(lambda: self._put(values), None)

    async def _run(self, work: Callable[[], T], otherwise: T) -> T:
        def guarded() -> T:
            try:
                return work()
            except (sqlite3.Error, OSError) as error:
                _log.warning("embedding_cache_unusable", file=str(self._path), cause=str(error))
                return otherwise

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # a crash of the machine may lose the last embeddings, which are then made again
            connection.execute("PRAGMA synchronous = OFF")
            for statement in _SCHEMA:
                connection.execute(statement)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get(self, keys: list[bytes]) -> dict[bytes, bytes]:
        if self._connection is None:
            return {}
        found: dict[bytes, bytes] = {}
        stale: list[bytes] = []
        now = int(time.time())
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            some = keys[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self._connection.execute(
                f"SELECT key, value, checked, used FROM embeddings WHERE key IN ({marks})",  # noqa: S608
                some,
            )
            for key, value, checked, used in rows:
                if checked == _checksum(key, value):
                    found[key] = value
                    stale += [key] if used < now - _USED_SECONDS else []
        self._touch(self._connection, stale, now)
        return found

    def _touch(self, connection: sqlite3.Connection, keys: list[bytes], now: int) -> None:
        """Note that embeddings are in use; that another process is writing meanwhile is no reason to lose them."""
        if not keys:
            return
        with suppress(sqlite3.Error):
            connection.executemany("UPDATE embeddings SET used = ? WHERE key = ?", [(now, key) for key in keys])

    def _put(self, values: Mapping[bytes, bytes]) -> None:
        if self._connection is None:
            return
        now = int(time.time())
        rows = [(key, value, _checksum(key, value), now) for key, value in values.items()]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        self._written += sum(len(value) + _ROW_OVERHEAD for value in values.values())
        if self._written >= min(_EVERY_BYTES, self._size // 8):
            self._written = 0
            self._make_room(self._connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        (total,) = connection.execute(f"SELECT coalesce(sum({_SIZE}), 0) FROM embeddings").fetchone()  # noqa: S608
        surplus = total - self._size
        if surplus <= 0:
            return
        surplus += self._size // 10
        gone = []
        for key, size in connection.execute(f"SELECT key, {_SIZE} FROM embeddings ORDER BY used"):  # noqa: S608
            gone.append((key,))
            surplus -= size
            if surplus <= 0:
                break
        connection.executemany("DELETE FROM embeddings WHERE key = ?", gone)
        _log.info("embedding_cache_trimmed", file=str(self._path), removed=len(gone))


def _checksum(key: bytes, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key))
